//! The runtime that a store was built on, as the place where its connections live.

use std::future::{pending, poll_fn};
use std::pin::pin;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// `redis` connects, and leaves a task for the connection, on the runtime that a call is polled on. Each of actix-web's
/// workers has one of its own, and a connection that lived there would stand still for all of them while a handler there
/// computes, and die with it.
#[derive(Debug)]
pub(super) struct Home {
    handle: Handle,
    /// Ends with the runtime.
    sentinel: JoinHandle<()>,
}

impl Home {
    pub(super) fn new(handle: Handle) -> Self {
        let sentinel = handle.spawn(pending());
        Self { handle, sentinel }
    }

    /// Waits for `call` here, and has whatever it starts live there, while that runtime is.
    pub(super) async fn run<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|context| {
            let _at_home = (!self.sentinel.is_finished()).then(|| self.handle.enter());
            call.as_mut().poll(context)
        })
        .await
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.sentinel.abort();
    }
}
