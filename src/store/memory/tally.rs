//! How many keys a memory store holds, told exactly and at once.
//!
//! The cache's own count lags behind by its write log and knows nothing of our `now`; a store that promises to forget
//! nothing cannot rely on it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Timestamp;

/// The numbers of keys in flight (upper half) and remembered (lower half), in one word so that they change together.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    /// Counts a claim if `fits` says so of the numbers before it; otherwise changes nothing.
    pub(super) fn admit(&self, fits: impl Fn(Counts) -> bool) -> Option<Counts> {
        self.0
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                fits(Counts::from(word)).then_some(word.wrapping_add(IN_FLIGHT))
            })
            .ok()
            .map(|before| Counts::from(before.wrapping_add(IN_FLIGHT)))
    }

    /// `count` claims ended without being remembered.
    pub(super) fn end(&self, count: u32) {
        self.0.fetch_sub(u64::from(count) << 32, Ordering::Relaxed);
    }

    /// A claim became a remembered key.
    pub(super) fn remember(&self) -> Counts {
        let change = IN_FLIGHT - REMEMBERED;
        Counts::from(self.0.fetch_sub(change, Ordering::Relaxed).wrapping_sub(change))
    }

    /// `count` remembered keys are forgotten.
    pub(super) fn forget(&self, count: u32) {
        self.0.fetch_sub(u64::from(count), Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts::from(self.0.load(Ordering::Relaxed))
    }
}

/// A snapshot of a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) in_flight: u64,
    pub(super) remembered: u64,
}

impl Counts {
    pub(super) fn total(self) -> u64 {
        self.in_flight + self.remembered
    }
}

impl From<u64> for Counts {
    fn from(word: u64) -> Self {
        Self { in_flight: word >> 32, remembered: word & u64::from(u32::MAX) }
    }
}

/// When the remembered keys of one shard may be forgotten: how many in each slot of time, in order.
///
/// A slot is 1/128 of the retention, so room is given back at most that much late, and a shard needs no more than
/// about 130 × 16 bytes for it.
#[derive(Debug, Default)]
pub(super) struct Expiries(VecDeque<Slot>);

impl Expiries {
    /// The width of a slot in milliseconds.
    pub(super) fn slot_millis(retention: Duration) -> i64 {
        i64::try_from(retention.as_millis() / SLOTS).unwrap_or(i64::MAX).max(1)
    }

    /// One more key that may be forgotten at `expires_at`.
    pub(super) fn add(&mut self, expires_at: Timestamp, slot_millis: i64) {
        let end = expires_at.as_millis().div_euclid(slot_millis).saturating_add(1);
        let end = Timestamp::from_millis(end.saturating_mul(slot_millis));
        // Time runs forwards but for a corrected clock: the place is at the end, or a step or two before it.
        let later = self.0.iter().rev().take_while(|slot| slot.end > end).count();
        let at = self.0.len() - later;
        match at.checked_sub(1).and_then(|last| self.0.get_mut(last)) {
            Some(slot) if slot.end == end => slot.count += 1,
            _ => self.0.insert(at, Slot { end, count: 1 }),
        }
    }

    /// Takes out every slot that is over by `now`: how many keys were in them.
    pub(super) fn sweep(&mut self, now: Timestamp) -> u32 {
        let mut count = 0;
        while let Some(slot) = self.0.pop_front_if(|slot| slot.end <= now) {
            count += slot.count;
        }
        count
    }

    /// One key less in the oldest slot: it had to go before its time.
    pub(super) fn forget_oldest(&mut self) {
        if let Some(slot) = self.0.front_mut() {
            slot.count -= 1;
            if slot.count == 0 {
                self.0.pop_front();
            }
        }
    }
}

#[derive(Debug)]
struct Slot {
    end: Timestamp,
    count: u32,
}

const IN_FLIGHT: u64 = 1 << 32;
const REMEMBERED: u64 = 1;
const SLOTS: u128 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_tally_moves_a_key_from_in_flight_to_remembered_in_one_step() {
        let tally = Tally::default();
        assert!(tally.admit(|counts| counts.total() < 2).is_some());
        assert!(tally.admit(|counts| counts.total() < 2).is_some());
        assert_eq!(tally.admit(|counts| counts.total() < 2), None);
        let counts = tally.remember();
        assert_eq!((counts.in_flight, counts.remembered), (1, 1));
        tally.end(1);
        tally.forget(1);
        assert_eq!(tally.counts().total(), 0);
    }

    #[test]
    fn no_slot_is_swept_before_its_last_key_may_be_forgotten() {
        let mut expiries = Expiries::default();
        for expires_at in [100, 109, 110] {
            expiries.add(at(expires_at), 10);
        }
        assert_eq!(expiries.sweep(at(109)), 0);
        assert_eq!(expiries.sweep(at(110)), 2);
        assert_eq!(expiries.sweep(at(120)), 1);
        assert_eq!(expiries.sweep(Timestamp::MAX), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_the_slots_in_order() {
        let mut expiries = Expiries::default();
        for expires_at in [100, 50, 105, 55, -20] {
            expiries.add(at(expires_at), 10);
        }
        assert_eq!(expiries.sweep(at(-10)), 1);
        assert_eq!(expiries.sweep(at(60)), 2);
        assert_eq!(expiries.sweep(at(110)), 2);
    }

    #[test]
    fn the_oldest_slot_is_the_one_that_gives_way() {
        let mut expiries = Expiries::default();
        expiries.add(at(5), 10);
        expiries.add(at(15), 10);
        expiries.forget_oldest();
        assert_eq!(expiries.sweep(at(10)), 0);
        assert_eq!(expiries.sweep(at(20)), 1);
        expiries.forget_oldest();
    }
}
