//! An inbox that counts how often it is asked for work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::inbox::{
    Accepted, Batch, Bell, Entry, InboxError, InboxStore, Incoming, Lease, Query, Replay, SqliteInbox, Stats,
    StoredDelivery, Wanted,
};
use countersign::{Settled, Timestamp};

/// Another handle to an inbox, for workers whose claims are counted.
pub(crate) struct Counted {
    store: SqliteInbox,
    claims: Arc<AtomicU64>,
}

impl Counted {
    pub(crate) fn new(store: SqliteInbox, claims: Arc<AtomicU64>) -> Self {
        Self { store, claims }
    }
}

impl InboxStore for Counted {
    async fn accept(&self, incoming: Incoming, now: Timestamp) -> Result<Accepted, InboxError> {
        self.store.accept(incoming, now).await
    }

    async fn claim(&self, wanted: Wanted, now: Timestamp) -> Result<Batch, InboxError> {
        self.claims.fetch_add(1, Ordering::SeqCst);
        self.store.claim(wanted, now).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration, now: Timestamp) -> Result<Vec<Settled>, InboxError> {
        self.store.extend(leases, lease, now).await
    }

    async fn complete(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.store.complete(lease, now).await
    }

    async fn retry(&self, lease: &Lease, due: Timestamp, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.store.retry(lease, due, error, now).await
    }

    async fn dead(&self, lease: &Lease, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.store.dead(lease, error, now).await
    }

    async fn release(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.store.release(lease, now).await
    }

    async fn list(&self, query: Query) -> Result<Vec<Entry>, InboxError> {
        self.store.list(query).await
    }

    async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, InboxError> {
        self.store.show(number).await
    }

    async fn replay(&self, what: Replay, now: Timestamp) -> Result<u64, InboxError> {
        self.store.replay(what, now).await
    }

    async fn prune(&self, limit: usize, now: Timestamp) -> Result<u64, InboxError> {
        self.store.prune(limit, now).await
    }

    async fn stats(&self) -> Result<Stats, InboxError> {
        self.store.stats().await
    }

    async fn ping(&self) -> Result<(), InboxError> {
        self.store.ping().await
    }

    fn bell(&self) -> &Bell {
        self.store.bell()
    }

    fn retention(&self) -> Duration {
        self.store.retention()
    }
}
