//! What every case of the suite begins with: a store, a key of its own, and what it expects of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::dedupe::{ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Settled};
use crate::ids::{DeliveryId, Source};
use crate::time::{Clock, SystemClock, Timestamp};

/// A store and a key that nobody has used before.
pub(super) struct Case<S> {
    pub(super) store: Arc<S>,
    pub(super) key: ClaimKey,
    pub(super) start: Timestamp,
}

impl<S: DedupeStore> Case<S> {
    pub(super) fn new(store: Arc<S>) -> Self {
        let source = Source::new(&unique()).expect("a source");
        let id = DeliveryId::new("msg_1").expect("an id");
        Self::of(store, ClaimKey::for_id(&source, None, &id))
    }

    pub(super) fn of(store: Arc<S>, key: ClaimKey) -> Self {
        Self { store, key, start: SystemClock.now() }
    }

    pub(super) async fn claim(&self, body: &[u8], now: Timestamp) -> Claimed {
        let claimed = self.store.claim(&self.key, Fingerprint::of(body), LEASE, now).await;
        claimed.expect(ANSWERS)
    }

    pub(super) async fn new_claim(&self, body: &[u8], now: Timestamp) -> ClaimToken {
        match self.claim(body, now).await {
            Claimed::New(token) => token,
            other => not("new", &other),
        }
    }

    pub(super) async fn expect_in_flight(&self, now: Timestamp, end: Timestamp) {
        match self.claim(A, now).await {
            Claimed::InFlight { until } => assert_eq!(until, end, "the end of the lease"),
            other => not("in flight", &other),
        }
    }

    pub(super) async fn expect_done(&self, body: &[u8], now: Timestamp) {
        match self.claim(body, now).await {
            Claimed::Done => {}
            other => not("done", &other),
        }
    }

    pub(super) async fn expect_conflict(&self, body: &[u8], now: Timestamp) {
        match self.claim(body, now).await {
            Claimed::Conflict => {}
            other => not("a conflict", &other),
        }
    }

    pub(super) async fn complete(&self, token: &ClaimToken, now: Timestamp) -> Settled {
        self.store.complete(token, now).await.expect(ANSWERS)
    }

    pub(super) async fn release(&self, token: &ClaimToken, now: Timestamp) -> Settled {
        self.store.release(token, now).await.expect(ANSWERS)
    }

    /// How many of 64 claims in as many tasks are new.
    pub(super) async fn claims_at_once(&self, now: Timestamp) -> usize {
        let tasks = (0..64).map(|_| {
            let (store, key) = (Arc::clone(&self.store), self.key);
            tokio::spawn(async move { store.claim(&key, Fingerprint::of(A), LEASE, now).await })
        });
        let claims = join_all(tasks.collect::<Vec<_>>()).await;
        let claims = claims.into_iter().map(|claim| claim.expect("no claim panics"));
        claims
            .filter(|claim| match claim {
                Ok(claimed) => matches!(claimed, Claimed::New(_)),
                Err(error) => unreachable!("{ANSWERS}: {error}"),
            })
            .count()
    }
}

#[track_caller]
#[allow(clippy::panic, reason = "a failed case is a failed test")]
pub(super) fn not(expected: &str, found: &Claimed) -> ! {
    panic!("expected {expected}, found {found:?}")
}

/// A name that no earlier run has used, so that a store which outlives the run can be tested again.
pub(super) fn unique() -> String {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).expect("the system has randomness");
    format!("conformance-{:032x}", u128::from_le_bytes(nonce))
}

pub(super) const A: &[u8] = br#"{"event":"screening.completed"}"#;
pub(super) const B: &[u8] = br#"{"event":"screening.completed","data":null}"#;
pub(super) const ANSWERS: &str = "the store answers";
pub(super) const LEASE: Duration = Duration::from_secs(30);
pub(super) const ROUNDS: usize = 8;
pub(super) const TICK: Duration = Duration::from_millis(1);
