//! The inbox in a file: SQLite, with a write-ahead log and every commit on the disk.
//!
//! One thread writes. What comes while it waits for the disk shares the next commit, so that many deliveries cost one
//! `fsync`; each is answered after its own commit. Readers do not wait for it.
//!
//! Several processes on one machine may have the same file open, receivers and workers alike: SQLite lets one of them
//! write at a time. They do not wake one another; a worker looks for what others have accepted once a second
//! ([`Workers`](crate::inbox::Workers)). For more than one machine this is not the store: a file on a network file
//! system is not safe.

mod builder;
mod connection;
mod effects;
mod keys;
mod read;
mod retention;
mod rows;
mod write;
mod writer;

pub use builder::SqliteInboxBuilder;
pub use connection::{SqliteInboxError, SqliteInboxMistake};
pub use effects::SqliteEffects;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::connection::Place;
use self::write::Settle;
use self::writer::Writer;
use crate::dedupe::Settled;
use crate::inbox::row::{DEAD, DONE, PENDING, bounded, tokens, write_headers};
use crate::inbox::{
    Accepted, Batch, Bell, Entry, InboxError, InboxStore, Incoming, Lease, Query, Replay, Stats, Wanted,
};
use crate::time::Timestamp;
use crate::verify::StoredDelivery;

/// How many dead are replayed in one commit, which everything else that is to be written waits for.
const REPLAYED_AT_ONCE: usize = 256;

/// An inbox in a file of SQLite. A clone is another handle to the same.
///
/// Dropping the last handle ends the writing thread, after what it was asked to write is written, and waits for that: a
/// moment, unless the disk does not answer.
#[derive(Clone)]
pub struct SqliteInbox {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    writer: Writer,
    bell: Bell,
    retention: Duration,
    keep_dead: Option<Duration>,
}

impl SqliteInbox {
    /// Opens the inbox in the file `path` with the settings of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// As [`SqliteInboxBuilder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteInboxError> {
        Self::builder(path).open()
    }

    /// An inbox in the file `path`.
    pub fn builder(path: impl AsRef<Path>) -> SqliteInboxBuilder {
        SqliteInboxBuilder::new(path.as_ref())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.place.path
    }

    /// For how long the inbox remembers what is done: the longest retention that a receiver or worker has opened it with,
    /// and what every process keeps to that has a shorter one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub async fn longest_retention(&self) -> Result<Duration, InboxError> {
        self.ask(retention::recorded).await
    }

    fn new(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    async fn settle(
        &self,
        name: &'static str,
        lease: &Lease,
        how: Settle,
        now: Timestamp,
    ) -> Result<Settled, InboxError> {
        let lease = *lease;
        let next = |(_, next): &(Settled, bool)| *next;
        let settled = self.inner.writer.run(name, next, move |tx, _| write::settle(tx, &lease, &how, now));
        Ok(settled.await?.0)
    }

    /// Those of them that are in one of these states still.
    async fn replay_these(&self, numbers: Vec<i64>, states: &'static [u8], now: Timestamp) -> Result<u64, InboxError> {
        let some = |replayed: &u64| *replayed > 0;
        self.inner.writer.run("replay", some, move |tx, _| write::replay(tx, &numbers, states, now)).await
    }

    /// Asks a question on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, InboxError> {
        let place = self.inner.place.clone();
        let asked = tokio::task::spawn_blocking(move || question(&place.read()?));
        asked.await.map_err(InboxError::unavailable)?.map_err(InboxError::unavailable)
    }
}

impl InboxStore for SqliteInbox {
    const ENGINE: &'static str = "sqlite";

    async fn accept(&self, incoming: Incoming, now: Timestamp) -> Result<Accepted, InboxError> {
        let retention = self.inner.retention;
        let headers = write_headers(&incoming.delivery.headers);
        let bytes = headers.len() + incoming.delivery.raw.len();
        let new = |(accepted, _): &(Accepted, Incoming)| *accepted == Accepted::New;
        let accepted = self.inner.writer.bounded("accept", bytes, new, move |tx, keys| {
            let accepted = write::accept(tx, keys, &incoming, &headers, retention, now)?;
            // It goes back to whoever brought it: freed here, its memory would be contended for by both threads.
            Ok((accepted, incoming))
        });
        let (accepted, _incoming) = accepted.await?;
        Ok(accepted)
    }

    async fn claim(&self, wanted: Wanted, now: Timestamp) -> Result<Batch, InboxError> {
        let tokens = tokens(wanted.limit)?;
        self.inner.writer.run("claim", |_| false, move |tx, _| write::claim(tx, wanted, &tokens, now)).await
    }

    async fn extend(&self, leases: &[Lease], lease: Duration, now: Timestamp) -> Result<Vec<Settled>, InboxError> {
        let (leases, until) = (leases.to_vec(), now.saturating_add(lease));
        self.inner.writer.run("extend", |_| false, move |tx, _| write::extend(tx, &leases, until)).await
    }

    async fn complete(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.settle("complete", lease, Settle::Complete, now).await
    }

    async fn retry(&self, lease: &Lease, due: Timestamp, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.settle("retry", lease, Settle::Retry { due, error: bounded(error) }, now).await
    }

    async fn dead(&self, lease: &Lease, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.settle("dead", lease, Settle::Dead { error: bounded(error) }, now).await
    }

    async fn release(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.settle("release", lease, Settle::Release, now).await
    }

    async fn list(&self, query: Query) -> Result<Vec<Entry>, InboxError> {
        self.ask(move |connection| read::list(connection, &query)).await
    }

    async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, InboxError> {
        self.ask(move |connection| read::show(connection, number)).await
    }

    async fn replay(&self, what: Replay, now: Timestamp) -> Result<u64, InboxError> {
        match what {
            Replay::One(number) => self.replay_these(vec![number], &[PENDING, DONE, DEAD], now).await,
            Replay::AllDead => {
                // Those that are dead now, read beside the writer: what dies again meanwhile stays where it is.
                let dead = self.ask(read::dead).await?;
                let mut replayed = 0;
                for page in dead.chunks(REPLAYED_AT_ONCE) {
                    replayed += self.replay_these(page.to_vec(), &[DEAD], now).await?;
                }
                Ok(replayed)
            }
        }
    }

    async fn prune(&self, limit: usize, now: Timestamp) -> Result<u64, InboxError> {
        let (retention, keep_dead) = (self.inner.retention, self.inner.keep_dead);
        let run =
            self.inner.writer.run("prune", |_| false, move |tx, _| write::prune(tx, limit, retention, keep_dead, now));
        run.await
    }

    async fn stats(&self) -> Result<Stats, InboxError> {
        self.ask(read::stats).await
    }

    /// Commits a write of one page, which is what finds a full disk. Refused where an accept would be.
    async fn ping(&self) -> Result<(), InboxError> {
        self.inner.writer.bounded("ping", 0, |()| false, |tx, _| write::ping(tx)).await
    }

    fn bell(&self) -> &Bell {
        &self.inner.bell
    }

    fn retention(&self) -> Duration {
        self.inner.retention
    }
}

impl fmt::Debug for SqliteInbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { place, retention, keep_dead, .. } = &*self.inner;
        f.debug_struct("SqliteInbox")
            .field("path", &place.path)
            .field("retention", retention)
            .field("keep_dead", keep_dead)
            .finish_non_exhaustive()
    }
}
