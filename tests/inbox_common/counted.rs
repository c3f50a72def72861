//! An inbox that counts how often it is asked for work, and how often effects are begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::inbox::{
    Accepted, Batch, Bell, CommitError, Entry, InboxError, InboxStore, Incoming, Lease, Query, Replay, SqliteEffects,
    SqliteInbox, Stats, StoredDelivery, TransactionalStore, Wanted,
};
use countersign::{Settled, Timestamp};

/// Another handle to an inbox, for workers that are counted.
pub(crate) struct Counted {
    pub(crate) store: SqliteInbox,
    pub(crate) claims: Arc<AtomicU64>,
    pub(crate) begun: Arc<AtomicU64>,
}

impl Counted {
    pub(crate) fn new(store: SqliteInbox) -> Self {
        Self { store, claims: Arc::default(), begun: Arc::default() }
    }
}

impl TransactionalStore for Counted {
    type Effects = SqliteEffects;

    async fn begin(&self, lease: &Lease) -> Result<SqliteEffects, InboxError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.store.begin(lease).await
    }

    async fn commit(&self, lease: &Lease, effects: SqliteEffects, now: Timestamp) -> Result<Settled, CommitError> {
        self.store.commit(lease, effects, now).await
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
