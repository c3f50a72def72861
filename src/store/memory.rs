//! The store of a single process: claims in flight in sharded maps, finished keys in a moka cache.
//!
//! What is in flight changes twice and is gone; what is finished is written once and kept for days. So each has the
//! structure that is cheap for it, and moka, whose insertion is the dear part, sees each key once: when it is done.
//!
//! **Two clocks.** Whether something done is still remembered is decided here, by the `now` of each call. Moka measures
//! with the monotonic clock and only collects garbage: it is told to keep entries for longer than the retention, by
//! [`slack`]. An entry could therefore vanish early only if the wall clock were set back by more than that while the
//! process runs. A wall clock that is set forwards makes the store forget early, as it would any store.
//!
//! **Moka never chooses.** Its default policy may refuse a new key; LRU does not. Reads do not touch the order
//! ([`Question`]), so that it is the order of completion, and an entry is evicted for room only after all that were
//! finished before it. With [`WhenFull::Refuse`] moka gets more room than [`Tally`] lets be used, so that what it may
//! evict has always expired.

mod builder;
mod shard;
mod tally;

pub use builder::{MemoryStoreBuilder, MemoryStoreError, MemoryStoreMistake, WhenFull};

use std::cell::Cell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use moka::Equivalent;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use self::shard::{KeyHash, Shards};
use self::tally::{Counts, Expiries, Tally};
use crate::dedupe::{ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Settled, StoreError};
use crate::time::Timestamp;

/// Remembers in the memory of this process: bounded, fast, and gone with the process.
///
/// For one process that answers after the work is done. Behind a load balancer two processes each have their own
/// memory, and would each run one of two copies; after a restart, retries of what was done before run again. Use a
/// shared store there.
///
/// It never waits: each call holds one of 64 locks for well under a microsecond. Now and then one call does moka's
/// housekeeping for all, some tens of microseconds, without holding a lock.
pub struct MemoryStore {
    shards: Shards,
    done: Cache<Remembered, (), KeyHash>,
    tally: Tally,
    capacity: u64,
    retention: Duration,
    slot_millis: i64,
    when_full: WhenFull,
    warn_at: u64,
    warned: AtomicBool,
    forgotten: AtomicU64,
}

impl MemoryStore {
    /// Starts with a million keys, 80 hours, and refusal when full.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder::default()
    }

    /// How many keys it holds, finished and in flight. Keys that have outlived the retention count until their 1/128
    /// of it is over.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::try_from(self.tally.counts().total()).unwrap_or(usize::MAX)
    }

    /// Whether it holds no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        usize::try_from(self.capacity).unwrap_or(usize::MAX)
    }

    /// How many keys had to be forgotten within the retention, since the start. Always 0 with [`WhenFull::Refuse`].
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn new(settings: MemoryStoreBuilder) -> Self {
        let capacity = settings.capacity as u64;
        let room = match settings.when_full {
            WhenFull::ForgetOldest => capacity,
            // Expired entries stay a while, see `slack`; and moka's write log holds 384 that it has not counted.
            WhenFull::Refuse => capacity + capacity / SLACK + 1_024,
        };
        Self {
            shards: Shards::new(),
            done: Cache::builder()
                .eviction_policy(EvictionPolicy::lru())
                .max_capacity(room)
                // The table at its full size (16 bytes a key): growing it moves every key, while claims wait.
                .initial_capacity(settings.capacity)
                // Nothing touches an entry, so idle time is age; `time_to_live` would keep a second queue for the
                // same (32 bytes a key).
                .time_to_idle(settings.retention + slack(settings.retention))
                .build_with_hasher(KeyHash::default()),
            tally: Tally::default(),
            capacity,
            retention: settings.retention,
            slot_millis: Expiries::slot_millis(settings.retention),
            when_full: settings.when_full,
            warn_at: (capacity.saturating_mul(4) / 5).max(1),
            warned: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
        }
    }

    fn try_claim(&self, key: &ClaimKey, print: u64, until: Timestamp, now: Timestamp) -> Attempt {
        let mut shard = self.shards.lock(key);
        let expired = shard.expiries.sweep(now);
        if expired > 0 {
            self.tally.forget(expired);
        }
        let dead = shard.purge(self.retention, now);
        if dead > 0 {
            self.tally.end(dead);
        }

        let same = |other: u64, answer: Claimed| if other == print { answer } else { Claimed::Conflict };
        if let Some(flight) = shard.flight(key) {
            if flight.done {
                return Attempt::Answered(same(flight.print, Claimed::Done));
            }
            if flight.until > now {
                let until = flight.until;
                return Attempt::Answered(same(flight.print, Claimed::InFlight { until }));
            }
            return Attempt::Claimed(shard.take_off(*key, print, until), None);
        }
        if let Some(done) = self.remembered(key)
            && done.expires_at > now
        {
            return Attempt::Answered(same(done.print, Claimed::Done));
        }
        match self.tally.admit(|counts| self.has_room(counts)) {
            Some(counts) => Attempt::Claimed(shard.take_off(*key, print, until), Some(counts)),
            None => Attempt::Full,
        }
    }

    fn settle_done(&self, claim: &ClaimToken, now: Timestamp) -> Settled {
        let print = short(claim.fingerprint);
        let expires_at = now.saturating_add(self.retention);
        let mut shard = self.shards.lock(&claim.key);
        let Some(flight) = shard.current(claim) else {
            return Settled::Superseded;
        };
        // Done from here on. The flight stays until the cache has the key, so that a claim sees either of the two; the
        // lock is not held meanwhile, as moka may do its housekeeping.
        flight.done = true;
        shard.expiries.add(expires_at, self.slot_millis);
        let overflow = self.tally.remember().remembered > self.capacity;
        if overflow {
            shard.expiries.forget_oldest();
            self.tally.forget(1);
        }
        drop(shard);

        let key = claim.key;
        self.done.insert(Remembered { key, print, expires_at }, ());
        self.shards.lock(&claim.key).land(claim);
        if overflow {
            self.warn_of_a_forgotten_key();
        }
        Settled::Current
    }

    fn settle_released(&self, claim: &ClaimToken) -> Settled {
        let mut shard = self.shards.lock(&claim.key);
        if shard.current(claim).is_none() {
            return Settled::Superseded;
        }
        shard.land(claim);
        self.tally.end(1);
        Settled::Current
    }

    fn remembered(&self, key: &ClaimKey) -> Option<Seen> {
        let question = Question {
            key,
            seen: Cell::new(None),
        };
        // The answer counts, not only the notes: what was evicted may still be compared on the way.
        self.done.contains_key(&question).then(|| question.seen.get()).flatten()
    }

    fn has_room(&self, counts: Counts) -> bool {
        match self.when_full {
            WhenFull::ForgetOldest => counts.in_flight < self.capacity,
            WhenFull::Refuse => counts.total() < self.capacity,
        }
    }

    /// Gives back the room of everything that has expired, in all shards: 64 short locks.
    fn sweep(&self, now: Timestamp) {
        for mut shard in self.shards.each() {
            self.tally.forget(shard.expiries.sweep(now));
            self.tally.end(shard.purge(self.retention, now));
        }
    }

    fn warn_if_nearly_full(&self, counts: Counts) {
        if counts.total() >= self.warn_at && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                keys = counts.total(),
                capacity = self.capacity,
                when_full = ?self.when_full,
                "the memory store is 80 % full: raise its `capacity`, or lower its `retention`"
            );
        }
    }

    fn warn_of_a_forgotten_key(&self) {
        let forgotten = self.forgotten.fetch_add(1, Ordering::Relaxed) + 1;
        // At 1, 2, 4, 8 …: seen at once, and no flood.
        if forgotten.is_power_of_two() {
            tracing::warn!(
                forgotten,
                capacity = self.capacity,
                "the memory store is full and forgot a key within its retention, whose retry would run again: raise its \
                 `capacity`, or set `when_full` to `Refuse`"
            );
        }
    }
}

impl DedupeStore for MemoryStore {
    async fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let (print, until) = (short(fingerprint), now.saturating_add(lease));
        let mut attempt = self.try_claim(key, print, until, now);
        if matches!(attempt, Attempt::Full) {
            self.sweep(now);
            attempt = self.try_claim(key, print, until, now);
        }
        match attempt {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Claimed(epoch, counts) => {
                if let Some(counts) = counts {
                    self.warn_if_nearly_full(counts);
                }
                Ok(Claimed::New(ClaimToken {
                    key: *key,
                    fingerprint,
                    epoch,
                    claimed_at: now,
                }))
            }
            Attempt::Full => Err(StoreError::Full),
        }
    }

    async fn complete(&self, claim: &ClaimToken, now: Timestamp) -> Result<Settled, StoreError> {
        Ok(self.settle_done(claim, now))
    }

    async fn release(&self, claim: &ClaimToken, _now: Timestamp) -> Result<Settled, StoreError> {
        Ok(self.settle_released(claim))
    }

    async fn extend(&self, claim: &ClaimToken, lease: Duration, now: Timestamp) -> Result<Settled, StoreError> {
        let mut shard = self.shards.lock(&claim.key);
        let Some(flight) = shard.current(claim) else {
            return Ok(Settled::Superseded);
        };
        flight.until = now.saturating_add(lease);
        Ok(Settled::Current)
    }

    fn abandon(&self, claim: &ClaimToken) {
        let _ = self.settle_released(claim);
    }

    fn retention(&self) -> Duration {
        self.retention
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("len", &self.len())
            .field("capacity", &self.capacity)
            .field("retention", &self.retention)
            .field("when_full", &self.when_full)
            .field("forgotten", &self.forgotten())
            .finish_non_exhaustive()
    }
}

/// What came of one look at a key.
enum Attempt {
    Answered(Claimed),
    /// The epoch of the new claim, and the counts if it is one more than before.
    Claimed(u64, Option<Counts>),
    Full,
}

/// What the cache keeps: all of it is the cache's *key*, so that a [`Question`] can read it.
struct Remembered {
    key: ClaimKey,
    print: u64,
    expires_at: Timestamp,
}

impl PartialEq for Remembered {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Remembered {}

impl Hash for Remembered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// Asks the cache for a key and notes down what is kept with it.
///
/// `Cache::get` would log the read, hit or miss, and move the entry to the back of the queue: that costs about as much
/// as the look-up, and would make the order one of use. `contains_key` does neither, but tells only whether there is
/// an entry; the rest is read while moka compares the keys.
struct Question<'a> {
    key: &'a ClaimKey,
    seen: Cell<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    print: u64,
    expires_at: Timestamp,
}

impl Hash for Question<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl Equivalent<Remembered> for Question<'_> {
    fn equivalent(&self, entry: &Remembered) -> bool {
        let same = *self.key == entry.key;
        if same {
            self.seen.set(Some(Seen {
                print: entry.print,
                expires_at: entry.expires_at,
            }));
        }
        same
    }
}

/// How much longer than the retention moka keeps an entry: a sixteenth, and a minute.
fn slack(retention: Duration) -> Duration {
    retention / SLACK as u32 + Duration::from_mins(1)
}

/// Half of a fingerprint: saves 8 bytes a key, and chance finds two bodies that agree in it once in 2⁶⁴ conflicts.
#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn short(fingerprint: Fingerprint) -> u64 {
    fingerprint.as_u128() as u64
}

const SLACK: u64 = 16;
