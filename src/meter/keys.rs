//! How full memory stores are: told once a second, not by every claim.

#[cfg(feature = "metrics")]
use std::sync::atomic::{AtomicI64, Ordering};
#[cfg(feature = "metrics")]
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "metrics")]
use super::{family, table as to};
use crate::time::Timestamp;

/// What was told of one memory store. The gauges are sums over all of them.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    #[cfg(feature = "metrics")]
    second: AtomicI64,
    #[cfg(feature = "metrics")]
    told: Mutex<Told>,
}

#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
struct Told {
    recorder: usize,
    values: [f64; 3],
}

impl Keys {
    /// Tells how full the store is, if it was not told yet in this second. `count` gives the keys in flight, those
    /// remembered, and how many there is room for.
    #[cfg(feature = "metrics")]
    pub(crate) fn tell(&self, now: Timestamp, count: impl FnOnce() -> [u64; 3]) {
        let second = now.as_secs();
        if self.second.load(Ordering::Relaxed) != second && self.second.swap(second, Ordering::Relaxed) != second {
            self.set(count().map(|count| count as f64));
        }
    }

    #[cfg(not(feature = "metrics"))]
    #[inline]
    pub(crate) fn tell(&self, _: Timestamp, _: impl FnOnce() -> [u64; 3]) {}

    #[cfg(feature = "metrics")]
    fn set(&self, values: [f64; 3]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let recorder = family::recorder();
        if told.recorder != recorder {
            *told = Told { recorder, values: [0.0; 3] };
        }
        let [in_flight, remembered, capacity] = [0, 1, 2].map(|at| values[at] - told.values[at]);
        to::MEMORY_KEYS.with(["in_flight"], |gauge| gauge.increment(in_flight));
        to::MEMORY_KEYS.with(["remembered"], |gauge| gauge.increment(remembered));
        to::MEMORY_CAPACITY.with([], |gauge| gauge.increment(capacity));
        told.values = values;
    }
}

#[cfg(feature = "metrics")]
impl Drop for Keys {
    fn drop(&mut self) {
        self.set([0.0; 3]);
    }
}
