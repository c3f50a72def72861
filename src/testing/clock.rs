//! A clock for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// A clock that moves only when it is told to. Its clones are one clock.
///
/// ```
/// use std::time::Duration;
/// use countersign::testing::FakeClock;
/// use countersign::{Clock, Timestamp};
///
/// let clock = FakeClock::at(Timestamp::from_secs(1_700_000_000));
/// let seen_by_the_receiver = clock.clone();
/// clock.advance(Duration::from_secs(301));
/// assert_eq!(seen_by_the_receiver.now(), Timestamp::from_secs(1_700_000_301));
/// ```
#[derive(Clone, Debug, Default)]
pub struct FakeClock(Arc<AtomicI64>);

impl FakeClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(now.as_millis())))
    }

    /// Sets it, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Moves it forwards, by whole milliseconds, and tells what it shows then.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let later = |millis| Timestamp::from_millis(millis).saturating_add(by).as_millis();
        let before = self.0.update(Ordering::SeqCst, Ordering::SeqCst, later);
        Timestamp::from_millis(later(before))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
