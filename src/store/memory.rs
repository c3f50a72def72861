//! The store of a single process: claims in flight in sharded maps, finished keys in a moka cache.
//!
//! What is in flight changes twice and is gone; what is finished is written once and kept for days. So each has the
//! structure that is cheap for it, and moka, whose insertion is the dear part, sees each key once: when it is done.

mod builder;
mod finished;
mod shard;
mod tally;

pub use builder::{MemoryStoreBuilder, MemoryStoreError, MemoryStoreMistake, WhenFull};

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use self::finished::{Done, Finished};
use self::shard::Shards;
use self::tally::{Counts, Expiries, Tally};
use crate::dedupe::{ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Settled, StoreError};
use crate::meter::{Keys, forgotten_early};
use crate::time::Timestamp;

/// Remembers in the memory of this process: bounded, fast, and gone with the process.
///
/// For one process that answers after the work is done. Behind a load balancer two processes each have their own
/// memory, and would each run one of two copies; after a restart, retries of what was done before run again. Use a
/// shared store there.
///
/// Each call holds one of 64 locks for well under a microsecond, and awaits nothing. Now and then a completion does
/// moka's housekeeping for all, some tens of microseconds, without holding a lock; where completions outrun even that,
/// moka lets them sleep for 50 µs at a time.
pub struct MemoryStore {
    shards: Shards,
    finished: Finished,
    tally: Tally,
    capacity: u64,
    retention: Duration,
    slot_millis: i64,
    when_full: WhenFull,
    warn_at: u64,
    warned: AtomicBool,
    forgotten: AtomicU64,
    keys: Keys,
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
        Self {
            shards: Shards::new(),
            finished: Finished::new(capacity, settings.retention, settings.when_full),
            tally: Tally::default(),
            capacity,
            retention: settings.retention,
            slot_millis: Expiries::slot_millis(settings.retention),
            when_full: settings.when_full,
            warn_at: (capacity.saturating_mul(4) / 5).max(1),
            warned: AtomicBool::new(false),
            forgotten: AtomicU64::new(0),
            keys: Keys::default(),
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
        if let Some(done) = self.finished.find(key)
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

        self.finished.insert(claim.key, Done { print, expires_at });
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
        forgotten_early();
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
    const ENGINE: &'static str = "memory";

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
        self.keys.tell(now, || {
            let Counts { in_flight, remembered } = self.tally.counts();
            [in_flight, remembered, self.capacity]
        });
        match attempt {
            Attempt::Answered(answer) => Ok(answer),
            Attempt::Claimed(epoch, counts) => {
                if let Some(counts) = counts {
                    self.warn_if_nearly_full(counts);
                }
                Ok(Claimed::New(ClaimToken { key: *key, fingerprint, epoch, claimed_at: now }))
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

/// Half of a fingerprint: saves 8 bytes a key, and chance finds two bodies that agree in it once in 2⁶⁴ conflicts.
#[allow(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn short(fingerprint: Fingerprint) -> u64 {
    fingerprint.as_u128() as u64
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::ids::{DeliveryId, Source};

    const BODY: &[u8] = b"{}";
    const LEASE: Duration = Duration::from_secs(30);
    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn key(number: usize) -> ClaimKey {
        let source = Source::new("test").expect("a source");
        ClaimKey::for_id(&source, None, &DeliveryId::new(&format!("msg_{number}")).expect("an id"))
    }

    async fn claim(store: &MemoryStore, number: usize, now: Timestamp) -> Result<Claimed, StoreError> {
        store.claim(&key(number), Fingerprint::of(BODY), LEASE, now).await
    }

    async fn handle(store: &MemoryStore, number: usize, now: Timestamp) {
        match claim(store, number, now).await {
            Ok(Claimed::New(token)) => {
                assert_eq!(store.complete(&token, now).await.expect("answers"), Settled::Current);
            }
            other => unreachable!("{number}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn a_full_store_refuses_and_forgets_nothing() {
        let store = MemoryStore::builder().capacity(5_000).build().expect("sound");
        for number in 0..5_000 {
            handle(&store, number, START).await;
        }
        for number in 5_000..6_000 {
            assert!(matches!(claim(&store, number, START).await, Err(StoreError::Full)));
        }
        assert_eq!(store.finished.settle(), 5_000);
        let last = START.saturating_add(store.retention() - Duration::from_millis(1));
        for number in 0..5_000 {
            assert!(matches!(claim(&store, number, last).await, Ok(Claimed::Done)), "{number}");
        }
        assert_eq!((store.len(), store.forgotten()), (5_000, 0));
    }

    #[tokio::test]
    async fn room_is_given_back_after_the_retention_without_waiting_for_moka() {
        let store = MemoryStore::builder().capacity(2_000).build().expect("sound");
        let mut now = START;
        for _ in 0..4 {
            for number in 0..2_000 {
                handle(&store, number, now).await;
            }
            assert!(matches!(claim(&store, 2_000, now).await, Err(StoreError::Full)));
            // And a slot of time, by which room may be late.
            now = now.saturating_add(store.retention() + store.retention() / 64);
        }
        assert!(store.finished.settle() <= 2_000 + 2_000 / 16 + 1_024);
    }

    #[tokio::test]
    async fn claims_in_flight_take_room_until_they_are_released() {
        let store = MemoryStore::builder().capacity(1).build().expect("sound");
        let Ok(Claimed::New(token)) = claim(&store, 1, START).await else {
            unreachable!("it is empty");
        };
        assert!(matches!(claim(&store, 2, START).await, Err(StoreError::Full)));
        assert!(matches!(claim(&store, 1, START).await, Ok(Claimed::InFlight { .. })));
        store.abandon(&token);
        assert!(store.is_empty());
        assert!(matches!(claim(&store, 2, START).await, Ok(Claimed::New(_))));
    }

    #[tokio::test]
    async fn a_takeover_takes_no_further_room() {
        let store = MemoryStore::builder().capacity(1).build().expect("sound");
        let mut now = START;
        for _ in 0..3 {
            assert!(matches!(claim(&store, 1, now).await, Ok(Claimed::New(_))));
            assert_eq!(store.len(), 1);
            now = now.saturating_add(LEASE);
        }
    }

    #[tokio::test]
    async fn claims_whose_holders_died_do_not_stay_for_ever() {
        let store = MemoryStore::builder().capacity(100).build().expect("sound");
        for number in 0..100 {
            assert!(matches!(claim(&store, number, START).await, Ok(Claimed::New(_))));
        }
        assert!(matches!(claim(&store, 100, START).await, Err(StoreError::Full)));
        let later = START.saturating_add(store.retention() + LEASE);
        for number in 100..200 {
            assert!(matches!(claim(&store, number, later).await, Ok(Claimed::New(_))));
        }
        assert!(matches!(claim(&store, 200, later).await, Err(StoreError::Full)));
    }

    #[tokio::test]
    async fn a_store_that_may_forget_forgets_the_oldest_and_says_so() {
        let store = MemoryStore::builder().capacity(1_000).when_full(WhenFull::ForgetOldest).build().expect("sound");
        for number in 0..1_500 {
            handle(&store, number, START).await;
        }
        assert_eq!(store.finished.settle(), 1_000);
        assert_eq!((store.len(), store.forgotten()), (1_000, 500));
        for number in 500..1_500 {
            assert!(matches!(claim(&store, number, START).await, Ok(Claimed::Done)), "{number}");
        }
        assert!(matches!(claim(&store, 499, START).await, Ok(Claimed::New(_))));
    }

    #[tokio::test]
    async fn reading_does_not_save_a_key_from_being_forgotten() {
        let store = MemoryStore::builder().capacity(100).when_full(WhenFull::ForgetOldest).build().expect("sound");
        for number in 0..100 {
            handle(&store, number, START).await;
        }
        for _ in 0..100 {
            assert!(matches!(claim(&store, 0, START).await, Ok(Claimed::Done)));
        }
        handle(&store, 100, START).await;
        store.finished.settle();
        assert!(matches!(claim(&store, 0, START).await, Ok(Claimed::New(_))));
    }

    #[test]
    fn warnings_name_the_setting_and_do_not_flood() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let subscriber = tracing_subscriber::fmt().with_writer(Log(Arc::clone(&log))).finish();
        tracing::subscriber::with_default(subscriber, || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let store =
                    MemoryStore::builder().capacity(10).when_full(WhenFull::ForgetOldest).build().expect("sound");
                for number in 0..20 {
                    handle(&store, number, START).await;
                }
            });
        });
        let log = String::from_utf8(log.lock().expect("sound").clone()).expect("text");
        assert_eq!(log.matches("80 % full: raise its `capacity`").count(), 1, "{log}");
        // 10 were forgotten: told at 1, 2, 4 and 8.
        assert_eq!(log.matches("forgot a key within its retention").count(), 4, "{log}");
    }

    #[derive(Clone)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("sound").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn many_threads_leave_the_count_exact() {
        let store = MemoryStore::builder().capacity(4_004).build().expect("sound");
        let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    runtime().block_on(async {
                        for number in 0..3_000 {
                            let Ok(Claimed::New(token)) = claim(store, thread * 10_000 + number, START).await else {
                                unreachable!("there is room for what is not released");
                            };
                            let settled = match number % 3 {
                                0 => store.complete(&token, START).await,
                                _ => store.release(&token, START).await,
                            };
                            assert_eq!(settled.expect("answers"), Settled::Current);
                        }
                    });
                });
            }
        });
        assert_eq!(store.len(), 4_000);
        assert_eq!(store.finished.settle(), 4_000);
    }
}
