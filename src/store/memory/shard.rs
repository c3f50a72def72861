//! Claims in flight, in shards, so that two claims wait for one another only where they are of neighbouring keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::tally::Expiries;
use crate::dedupe::{ClaimKey, ClaimToken};
use crate::time::Timestamp;

/// All the shards. The number is a power of two and a multiple of any number of cores there is today.
#[derive(Debug)]
pub(super) struct Shards(Box<[Padded]>);

impl Shards {
    pub(super) fn new() -> Self {
        Self((0..SHARDS).map(|_| Padded::default()).collect())
    }

    /// The shard of `key`, locked. Nothing waits and nothing is logged while it is held.
    pub(super) fn lock(&self, key: &ClaimKey) -> MutexGuard<'_, Shard> {
        // Word 0 is what the maps hash by; word 1 is independent of it.
        let at = key.word::<1>() as usize % self.0.len();
        self.0[at].lock()
    }

    /// One shard after another, each locked while it is looked at.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.0.iter().map(Padded::lock)
    }
}

/// The keys in flight of one shard, and when its remembered keys may be forgotten.
#[derive(Debug)]
pub(super) struct Shard {
    flights: HashMap<ClaimKey, Flight, KeyHash>,
    pub(super) expiries: Expiries,
    epoch: u64,
    next_purge: Timestamp,
}

/// A claim in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) print: u64,
    pub(super) epoch: u64,
    pub(super) until: Timestamp,
    /// Done already, and about to be found in the cache.
    pub(super) done: bool,
}

impl Shard {
    pub(super) fn flight(&self, key: &ClaimKey) -> Option<&Flight> {
        self.flights.get(key)
    }

    /// The flight that `claim` stands for, if its epoch is still the current one.
    pub(super) fn current(&mut self, claim: &ClaimToken) -> Option<&mut Flight> {
        self.flights.get_mut(&claim.key).filter(|flight| flight.epoch == claim.epoch && !flight.done)
    }

    /// Puts a flight under a new epoch in the place of whatever was there.
    pub(super) fn take_off(&mut self, key: ClaimKey, print: u64, until: Timestamp) -> u64 {
        // One counter for all keys of a shard: higher than any that this key ever had.
        self.epoch += 1;
        let flight = Flight { print, epoch: self.epoch, until, done: false };
        self.flights.insert(key, flight);
        self.epoch
    }

    /// Takes out the flight that `claim` stands for, if its epoch is still the current one.
    pub(super) fn land(&mut self, claim: &ClaimToken) -> Option<Flight> {
        match self.flights.entry(claim.key) {
            Entry::Occupied(flight) if flight.get().epoch == claim.epoch => Some(flight.remove()),
            _ => None,
        }
    }

    /// Drops flights whose lease ran out longer than `retention` ago, and tells how many. Their holders died without
    /// a word; nothing else would ever remove them.
    ///
    /// Looks at the flights at most twice per retention, which makes its cost vanish.
    pub(super) fn purge(&mut self, retention: Duration, now: Timestamp) -> u32 {
        if now < self.next_purge {
            return 0;
        }
        self.next_purge = now.saturating_add(retention / 2);
        let before = self.flights.len();
        self.flights.retain(|_, flight| flight.done || flight.until.saturating_add(retention) > now);
        u32::try_from(before - self.flights.len()).unwrap_or(u32::MAX)
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            flights: HashMap::default(),
            expiries: Expiries::default(),
            epoch: 0,
            next_purge: Timestamp::from_millis(i64::MIN),
        }
    }
}

/// Hashes a [`ClaimKey`] as what it is: a digest already.
///
/// Only keys of authenticated deliveries get here, so that a sender who seeks out colliding ids slows down nobody's
/// receiver but the one that gave it a key.
pub(super) type KeyHash = BuildHasherDefault<FirstWord>;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    /// Not used: the key feeds one word. Kept correct all the same.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

/// Two cache lines apart, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

impl Padded {
    /// A panic while the lock was held leaves a shard that is still in order: each change to it is a single call.
    fn lock(&self) -> MutexGuard<'_, Shard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SHARDS: usize = 64;
