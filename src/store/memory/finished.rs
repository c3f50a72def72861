//! Finished keys, in a moka cache.
//!
//! **Two clocks.** Whether something done is still remembered is decided by the `now` of each call, not here. Moka
//! measures with the monotonic clock and only collects garbage: it is told to keep entries for longer than the
//! retention, by [`slack`]. An entry could therefore vanish early only if the wall clock were set back by more than that
//! while the process runs. A wall clock that is set forwards makes the store forget early, as it would any store.
//!
//! **Moka never chooses.** Its default policy may refuse a new key; LRU does not. Reads do not touch the order
//! ([`Question`]), so that it is the order of completion, and an entry is evicted for room only after all that were
//! finished before it. With [`WhenFull::Refuse`] moka gets more room than the tally lets be used, so that what it may
//! evict has always expired.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use moka::Equivalent;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::builder::WhenFull;
use super::shard::KeyHash;
use crate::dedupe::ClaimKey;
use crate::time::Timestamp;

/// The keys that are done, oldest first to go.
pub(super) struct Finished(Cache<Remembered, (), KeyHash>);

/// What is kept with a key that is done.
#[derive(Clone, Copy)]
pub(super) struct Done {
    pub(super) print: u64,
    pub(super) expires_at: Timestamp,
}

impl Finished {
    pub(super) fn new(capacity: u64, retention: Duration, when_full: WhenFull) -> Self {
        let room = match when_full {
            WhenFull::ForgetOldest => capacity,
            // Expired entries stay a while, see `slack`; and moka's write log holds 384 that it has not counted.
            WhenFull::Refuse => capacity + capacity / SLACK + 1_024,
        };
        // 32 bytes a key up front. Half of that would hold them, but with longer runs of occupied buckets, each of
        // which costs a look-up two cache misses; and a table that grows moves its keys while claims wait. Measured
        // with `benches/memory_store.rs` at a million keys: claim and complete 696 ns; 767 ns at half; 786 ns grown.
        let table = usize::try_from(capacity.saturating_mul(2)).unwrap_or(usize::MAX);
        let cache = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .max_capacity(room)
            .initial_capacity(table)
            // Nothing touches an entry, so idle time is age; `time_to_live` would keep a second queue for the same
            // (32 bytes a key).
            .time_to_idle(retention + slack(retention))
            .build_with_hasher(KeyHash::default());
        Self(cache)
    }

    /// What is kept with `key`, expired or not.
    pub(super) fn find(&self, key: &ClaimKey) -> Option<Done> {
        let question = Question { key, seen: Cell::new(None) };
        // The answer counts, not only the notes: what was evicted may still be compared on the way.
        self.0.contains_key(&question).then(|| question.seen.get()).flatten()
    }

    /// Keeps `key`, in the place of what was kept with it.
    ///
    /// Now and then this does moka's housekeeping, some tens of microseconds: hold no lock.
    pub(super) fn insert(&self, key: ClaimKey, done: Done) {
        self.0.insert(Remembered { key, done }, ());
    }

    /// Lets moka catch up, and tells how many entries there are.
    #[cfg(test)]
    pub(super) fn settle(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

/// What the cache keeps: all of it is the cache's *key*, so that a [`Question`] can read it.
struct Remembered {
    key: ClaimKey,
    done: Done,
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
    seen: Cell<Option<Done>>,
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
            self.seen.set(Some(entry.done));
        }
        same
    }
}

/// How much longer than the retention moka keeps an entry: a sixteenth, and a minute.
fn slack(retention: Duration) -> Duration {
    retention / SLACK as u32 + Duration::from_mins(1)
}

const SLACK: u64 = 16;
