//! The inbox in a PostgreSQL database, for any number of machines.

mod accept;
mod builder;
mod claim;
mod columns;
mod effects;
mod error;
mod extend;
mod known;
mod layout;
mod operate;
mod retention;
mod rope;
mod rows;
mod settle;
mod statements;

pub use builder::PostgresInboxBuilder;
pub use effects::PostgresEffects;
pub use error::{PostgresInboxError, PostgresInboxMistake};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Pool;

use self::accept::Accepts;
use self::effects::Stage;
use self::rope::Rope;
use self::settle::Settle;
use self::statements::Statements;
use crate::dedupe::Settled;
use crate::inbox::step;
use crate::inbox::{
    Accepted, Batch, Bell, Entry, InboxError, InboxStore, Incoming, Lease, Query, Replay, Stats, Wanted,
};
use crate::remote::Later;
use crate::remote::postgres::{Failure, Link, Trouble};
use crate::time::Timestamp;
use crate::verify::StoredDelivery;

#[doc = include_str!("../../docs/postgres_inbox.md")]
///
/// A clone is another handle to the same.
#[derive(Clone)]
pub struct PostgresInbox {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    stage: Stage,
    statements: Statements,
    accepts: Accepts,
    bell: Bell,
    rope: Rope,
    later: Later,
    schema: String,
    /// What makes the locks of this schema its own.
    salt: i64,
    retention: Duration,
    keep_dead: Option<Duration>,
}

impl PostgresInbox {
    /// Starts with the server's address: `postgres://user:password@host:port/database`, or `key=value` pairs.
    ///
    /// The inbox makes connections of its own, without TLS; for TLS, see [`PostgresInbox::with_pool`].
    pub fn builder(url: &str) -> PostgresInboxBuilder {
        PostgresInboxBuilder::for_url(url)
    }

    /// Starts with a pool of the program's own, such as one with TLS.
    ///
    /// Its connections are taken as they are: set `statement_timeout` and TCP timeouts there, so that what the inbox has
    /// given up ends at the server as well. They cannot listen: what other processes accept is found when the workers
    /// look by themselves ([`look_every`](crate::inbox::WorkersBuilder::look_every)); other processes are told all the
    /// same.
    pub fn with_pool(pool: Pool) -> PostgresInboxBuilder {
        PostgresInboxBuilder::for_pool(pool)
    }

    /// For how long the inbox remembers what is done: the longest retention that a receiver or worker has come with, and
    /// what every process keeps to that has a shorter one.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached.
    pub async fn longest_retention(&self) -> Result<Duration, InboxError> {
        self.inner.longest_retention().await
    }
}

impl InboxStore for PostgresInbox {
    const ENGINE: &'static str = "postgres";

    async fn accept(&self, incoming: Incoming, now: Timestamp) -> Result<Accepted, InboxError> {
        accept::accept(&self.inner, incoming, now).await
    }

    async fn claim(&self, wanted: Wanted, now: Timestamp) -> Result<Batch, InboxError> {
        claim::claim(&self.inner, wanted, now).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration, now: Timestamp) -> Result<Vec<Settled>, InboxError> {
        self.inner.extend(leases, now.saturating_add(lease), now).await
    }

    async fn complete(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.inner.settle("complete", lease, &Settle::Complete, now).await
    }

    async fn retry(&self, lease: &Lease, due: Timestamp, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.inner.settle("retry", lease, &Settle::Retry { due, error }, now).await
    }

    async fn dead(&self, lease: &Lease, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.inner.settle("dead", lease, &Settle::Dead { error }, now).await
    }

    async fn release(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.inner.settle("release", lease, &Settle::Release, now).await
    }

    async fn list(&self, query: Query) -> Result<Vec<Entry>, InboxError> {
        self.inner.list(&query).await
    }

    async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, InboxError> {
        self.inner.show(number).await
    }

    async fn replay(&self, what: Replay, now: Timestamp) -> Result<u64, InboxError> {
        step::reached("replay", "committing");
        let replayed = self.inner.replay(what, now).await?;
        step::reached("replay", "committed");
        Ok(replayed)
    }

    async fn prune(&self, limit: usize, now: Timestamp) -> Result<u64, InboxError> {
        step::reached("prune", "committing");
        let pruned = self.inner.prune(limit, now).await?;
        step::reached("prune", "committed");
        Ok(pruned)
    }

    async fn stats(&self) -> Result<Stats, InboxError> {
        self.inner.stats().await
    }

    /// Commits a write that leaves no row, and waits for the disk: a server in recovery, or told to be read-only, refuses
    /// it.
    async fn ping(&self) -> Result<(), InboxError> {
        step::reached("ping", "committing");
        self.inner.row(&self.inner.statements.ping, &[]).await?;
        step::reached("ping", "committed");
        Ok(())
    }

    fn bell(&self) -> &Bell {
        &self.inner.bell
    }

    fn retention(&self) -> Duration {
        self.inner.retention
    }
}

impl Inner {
    /// Rings here and in every other process.
    fn ring_if(&self, something: bool) {
        if something {
            self.bell.ring();
            self.rope.pull();
        }
    }
}

impl From<Trouble> for InboxError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::TooLate(late) => Self::TooSlow(late.0),
            other => Self::unavailable(other),
        }
    }
}

impl From<Failure> for InboxError {
    fn from(failure: Failure) -> Self {
        failure.trouble.into()
    }
}

/// Shows what it is called and never how to get in.
impl fmt::Debug for PostgresInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { link, schema, retention, keep_dead, .. } = &*self.inner;
        f.debug_struct("PostgresInbox")
            .field("schema", schema)
            .field("retention", retention)
            .field("keep_dead", keep_dead)
            .field("response_timeout", &link.response_timeout)
            .field("connections", &link.pool.status().size)
            .finish_non_exhaustive()
    }
}
