//! An inbox on SQLite whose answers a test decides on.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "not every test uses all of it")]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::inbox::{
    Accepted, Batch, Bell, CommitError, Entry, InboxError, InboxStore, Incoming, Lease, Query, Replay, SqliteEffects,
    SqliteInbox, Stats, StoredDelivery, TransactionalStore, Wanted,
};
use countersign::{Settled, Timestamp};

/// What becomes of one call.
pub enum Answer {
    /// It is asked, and the answer given.
    Good,
    /// Nothing is done.
    Fails,
    /// It is done, and the answer lost.
    Lost,
    /// The answer is given when this has ended.
    Late(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Asked by the name of the operation, each time.
type Script = dyn Fn(&'static str) -> Answer + Send + Sync;

/// A clone is another handle to the same.
#[derive(Clone)]
pub struct Scripted {
    pub inner: SqliteInbox,
    script: Arc<Script>,
}

impl Scripted {
    pub fn new(inner: SqliteInbox, script: impl Fn(&'static str) -> Answer + Send + Sync + 'static) -> Self {
        Self { inner, script: Arc::new(script) }
    }

    /// Does all that it is asked, and counts how often that is `operation`.
    pub fn counting(inner: SqliteInbox, operation: &'static str) -> (Self, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let store = Self::new(inner, move |asked| {
            counted.fetch_add(u64::from(asked == operation), Ordering::SeqCst);
            Answer::Good
        });
        (store, count)
    }

    async fn ask<T, E: From<InboxError>>(
        &self,
        operation: &'static str,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let away = || Err(InboxError::unavailable("away").into());
        match (self.script)(operation) {
            Answer::Good => asked.await,
            Answer::Fails => away(),
            Answer::Lost => asked.await.and_then(|_| away()),
            Answer::Late(then) => {
                let answer = asked.await;
                then.await;
                answer
            }
        }
    }
}

impl InboxStore for Scripted {
    const ENGINE: &'static str = "scripted";

    async fn accept(&self, incoming: Incoming, now: Timestamp) -> Result<Accepted, InboxError> {
        self.ask("accept", self.inner.accept(incoming, now)).await
    }

    async fn claim(&self, wanted: Wanted, now: Timestamp) -> Result<Batch, InboxError> {
        self.ask("claim", self.inner.claim(wanted, now)).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration, now: Timestamp) -> Result<Vec<Settled>, InboxError> {
        self.ask("extend", self.inner.extend(leases, lease, now)).await
    }

    async fn complete(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.ask("complete", self.inner.complete(lease, now)).await
    }

    async fn retry(&self, lease: &Lease, due: Timestamp, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.ask("retry", self.inner.retry(lease, due, error, now)).await
    }

    async fn dead(&self, lease: &Lease, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.ask("dead", self.inner.dead(lease, error, now)).await
    }

    async fn release(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.ask("release", self.inner.release(lease, now)).await
    }

    async fn list(&self, query: Query) -> Result<Vec<Entry>, InboxError> {
        self.inner.list(query).await
    }

    async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, InboxError> {
        self.inner.show(number).await
    }

    async fn replay(&self, what: Replay, now: Timestamp) -> Result<u64, InboxError> {
        self.inner.replay(what, now).await
    }

    async fn prune(&self, limit: usize, now: Timestamp) -> Result<u64, InboxError> {
        self.inner.prune(limit, now).await
    }

    async fn stats(&self) -> Result<Stats, InboxError> {
        self.inner.stats().await
    }

    async fn ping(&self) -> Result<(), InboxError> {
        self.inner.ping().await
    }

    fn bell(&self) -> &Bell {
        self.inner.bell()
    }

    fn retention(&self) -> Duration {
        self.inner.retention()
    }
}

impl TransactionalStore for Scripted {
    type Effects = SqliteEffects;

    async fn begin(&self, lease: &Lease) -> Result<SqliteEffects, InboxError> {
        self.ask("begin", self.inner.begin(lease)).await
    }

    async fn commit(&self, lease: &Lease, effects: SqliteEffects, now: Timestamp) -> Result<Settled, CommitError> {
        self.ask("commit", self.inner.commit(lease, effects, now)).await
    }
}
