//! The boundaries between steps, for the tests that end a process at each of them.
//!
//! With the feature `testing` a test can set a hook (`testing::inbox::on_step`) that is called whenever work comes to a
//! boundary, and ends the process there. Without it there is no hook, and these calls are nothing.

#[cfg(feature = "testing")]
use std::sync::OnceLock;

/// What is called at a boundary: of which step, and where in it.
#[cfg(feature = "testing")]
pub(crate) type Hook = Box<dyn Fn(&'static str, &'static str) + Send + Sync>;

#[cfg(feature = "testing")]
static HOOK: OnceLock<Hook> = OnceLock::new();

/// Sets the hook of this process. `false` when it has one already.
#[cfg(feature = "testing")]
pub(crate) fn set_hook(hook: Hook) -> bool {
    HOOK.set(hook).is_ok()
}

/// Work has come to the boundary called `at` of the step called `of`.
#[inline]
pub(crate) fn reached(of: &'static str, at: &'static str) {
    #[cfg(feature = "testing")]
    if let Some(hook) = HOOK.get() {
        hook(of, at);
    }
    #[cfg(not(feature = "testing"))]
    let _ = (of, at);
}
