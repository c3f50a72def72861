//! What every case of the suite begins with: a store of its own, and deliveries that nobody has sent before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::dedupe::{ClaimKey, Fingerprint, Settled};
use crate::ids::{DeliveryId, EventType, KeyId, Source, TenantId};
use crate::inbox::{
    Accepted, Batch, Entry, InboxStore, Incoming, Lease, Leased, Query, State, Stats, StoredDelivery, Wanted,
};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::verify::Authenticated;

pub(super) const ANSWERS: &str = "the inbox answers";
pub(super) const LEASE: Duration = Duration::from_secs(30);
pub(super) const MAX_ATTEMPTS: u32 = 3;
pub(super) const TICK: Duration = Duration::from_millis(1);

pub(super) struct Case<S> {
    pub(super) store: Arc<S>,
    pub(super) start: Timestamp,
}

impl<S: InboxStore> Case<S> {
    pub(super) fn new(store: Arc<S>) -> Self {
        Self { store, start: SystemClock.now() }
    }

    pub(super) fn after(&self, pause: Duration) -> Timestamp {
        self.start.saturating_add(pause)
    }

    pub(super) async fn accept(&self, incoming: &Incoming, now: Timestamp) -> Accepted {
        self.store.accept(incoming.clone(), now).await.expect(ANSWERS)
    }

    /// Accepts a delivery of this id, which is new.
    pub(super) async fn keep(&self, id: &str) -> Incoming {
        self.keep_of(id, None).await
    }

    pub(super) async fn keep_of(&self, id: &str, entity: Option<&str>) -> Incoming {
        let incoming = Incoming { entity: entity.map(str::to_owned), ..incoming(id, self.start) };
        assert_eq!(self.accept(&incoming, self.start).await, Accepted::New, "{id}");
        incoming
    }

    pub(super) async fn batch(&self, limit: usize, now: Timestamp) -> Batch {
        let wanted = Wanted { limit, lease: LEASE, max_attempts: MAX_ATTEMPTS };
        self.store.claim(wanted, now).await.expect(ANSWERS)
    }

    /// Claims all that is due, and gives the ids.
    pub(super) async fn claim_all(&self, now: Timestamp) -> Vec<Leased> {
        self.batch(100, now).await.leased
    }

    /// Claims all that is due, which is one delivery.
    pub(super) async fn claim_one(&self, now: Timestamp) -> Leased {
        let mut leased = self.claim_all(now).await;
        assert_eq!(leased.len(), 1, "one delivery is due");
        leased.remove(0)
    }

    pub(super) async fn expect_nothing_due(&self, now: Timestamp) {
        let leased = self.claim_all(now).await;
        assert!(leased.is_empty(), "nothing is due: {leased:?}");
    }

    pub(super) async fn complete(&self, lease: &Lease, now: Timestamp) -> Settled {
        self.store.complete(lease, now).await.expect(ANSWERS)
    }

    pub(super) async fn dead(&self, lease: &Lease, now: Timestamp) -> Settled {
        self.store.dead(lease, "hopeless", now).await.expect(ANSWERS)
    }

    pub(super) async fn stats(&self) -> Stats {
        self.store.stats().await.expect(ANSWERS)
    }

    pub(super) async fn entry(&self, number: i64) -> Entry {
        self.store.show(number).await.expect(ANSWERS).expect("an entry of this number").0
    }

    pub(super) async fn expect_state(&self, number: i64, state: State) {
        assert_eq!(self.entry(number).await.state, state);
    }

    pub(super) async fn list(&self, query: Query) -> Vec<Entry> {
        self.store.list(query).await.expect(ANSWERS)
    }
}

/// A delivery with everything that a delivery can have.
pub(super) fn incoming(id: &str, now: Timestamp) -> Incoming {
    let source = Source::new("conformance").expect("a source");
    let tenant = TenantId::new("acme").expect("a tenant");
    let delivery_id = DeliveryId::new(id).expect("an id");
    let raw = Bytes::from(format!("{{\"event\":\"a.b\",\"data\":{{\"id\":\"{id}\",\"text\":\"\u{fffd}\\u0000\"}}}}"));
    Incoming {
        key: ClaimKey::for_id(&source, Some(&tenant), &delivery_id),
        fingerprint: Fingerprint::of(&raw),
        entity: None,
        delivery: StoredDelivery {
            source,
            tenant: Some(tenant),
            id: Some(delivery_id),
            event_type: Some(EventType::from_static("a.b")),
            timestamp: Some(Timestamp::from_secs(now.as_secs())),
            received_at: now,
            key_id: KeyId::new("2026-11").expect("a key id"),
            authenticated: Authenticated { body: true, id: true, timestamp: true, event_type: false },
            content_digest: None,
            headers: vec![("x-signature".to_owned(), b"t=1,v1=\xff\x00".to_vec()), ("x-empty".to_owned(), Vec::new())],
            raw,
        },
    }
}

/// The same id with another body.
pub(super) fn altered(incoming: &Incoming) -> Incoming {
    let raw = Bytes::from_static(b"{}");
    let fingerprint = Fingerprint::of(&raw);
    Incoming { fingerprint, delivery: StoredDelivery { raw, ..incoming.delivery.clone() }, ..incoming.clone() }
}

pub(super) fn ids(leased: &[Leased]) -> Vec<String> {
    leased.iter().map(|leased| leased.delivery.id.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
}
