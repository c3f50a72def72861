//! Effects that are committed together with the completion.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use futures_util::future::join_all;
use futures_util::{FutureExt, TryFutureExt};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, NoTls, Row};

use super::columns::hex;
use super::rows::read;
use super::{Inner, PostgresInbox};
use crate::dedupe::Settled;
use crate::dispatch::HandlerError;
use crate::inbox::row::{DONE, tokens};
use crate::inbox::step;
use crate::inbox::store::{CommitError, InboxError, Lease, TransactionalStore};
use crate::remote::postgres::{is_lost, is_refused};
use crate::time::Timestamp;

/// An open transaction, in which a handler writes: what it has written is committed together with the completion of its
/// delivery, or not at all.
///
/// It is a [`tokio_postgres::Client`] (this crate's is [`inbox::tokio_postgres`](crate::inbox::tokio_postgres)) whose
/// transaction has begun, under `READ COMMITTED`; nothing else uses the connection meanwhile.
///
/// ```no_run
/// # use countersign::inbox::PostgresEffects;
/// # async fn handle(effects: &mut PostgresEffects) -> Result<(), countersign::HandlerError> {
/// effects.execute("UPDATE account SET balance = balance + $1 WHERE id = $2", &[&100_i64, &"acct_7"]).await?;
/// # Ok(())
/// # }
/// ```
///
/// - **Do not end the transaction**: the delivery would be given up, since nobody can tell any more what belongs to it.
///   For a part that may fail, `SAVEPOINT` and `ROLLBACK TO`.
/// - A statement that fails ends the transaction for all that come after it, as ever with PostgreSQL. A handler that
///   goes on all the same is tried again, and nothing of it is kept.
/// - **Neither the inbox's timeouts nor its locks are on it**: a statement may take as long as the handler may
///   ([`time_limit`](crate::inbox::WorkersBuilder::time_limit)), and the delivery itself is not locked, so its duplicates
///   are answered at once. Set a `statement_timeout` or a `lock_timeout` with `SET LOCAL` where you want one.
/// - When it is dropped, by a panic, at the end of the time limit, or because the lease was lost, it is rolled back, and
///   what the server is doing for it is cancelled. On connections of the program's own ([`handler_pool`]) it is not
///   cancelled, since how they are made is not known here, and goes on until its end: set a `statement_timeout` and
///   `client_connection_check_interval` there.
///
/// [`handler_pool`]: crate::inbox::PostgresInboxBuilder::handler_pool
pub struct PostgresEffects {
    object: Arc<Object>,
    /// What is set within this transaction and no other.
    mark: String,
    /// Nothing is open any more.
    ended: bool,
    own: bool,
    home: Handle,
    turn: Arc<OwnedSemaphorePermit>,
}

/// The connections of handlers, apart from those of accepts: however long handlers take, deliveries are accepted.
pub(super) struct Stage {
    pub(super) pool: Pool,
    /// Whether the pool is ours.
    pub(super) own: bool,
    /// How many handlers may have a connection at once; the others wait for their turn.
    pub(super) turns: Arc<Semaphore>,
    pub(super) home: Handle,
}

impl Deref for PostgresEffects {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.object
    }
}

impl TransactionalStore for PostgresInbox {
    type Effects = PostgresEffects;

    async fn begin(&self, _lease: &Lease) -> Result<PostgresEffects, InboxError> {
        self.inner.begin_effects().await
    }

    async fn commit(
        &self,
        lease: &Lease,
        mut effects: PostgresEffects,
        now: Timestamp,
    ) -> Result<Settled, CommitError> {
        step::reached("complete", "committing");
        let inner = &self.inner;
        let limit = COMMIT_LIMIT.max(inner.link.response_timeout);
        let committed = timeout(limit, inner.commit_effects(lease, &effects, now)).await;
        let error = match committed {
            Ok(Ok(next)) => {
                effects.ended = true;
                step::reached("complete", "committed");
                inner.ring_if(next);
                return Ok(Settled::Current);
            }
            Ok(Err(error)) if is_refused(&error) && !effects.object.is_closed() => {
                // It may have refused before the commit was sent; then the transaction is open, and rolled back by the end
                // of the effects.
                return verdict(error);
            }
            Ok(Err(error)) => InboxError::unavailable(error),
            Err(_elapsed) => InboxError::TooSlow(limit),
        };
        drop(effects);
        inner.found_done(lease, error).await
    }
}

impl Inner {
    /// A connection on which a transaction has begun. Its turn is waited for as long as it takes, since it is other
    /// handlers that are waited for; the server is not.
    async fn begin_effects(&self) -> Result<PostgresEffects, InboxError> {
        let stage = &self.stage;
        let turn = Arc::clone(&stage.turns).acquire_owned().await;
        let turn = Arc::new(turn.map_err(InboxError::unavailable)?);
        let mark = tokens(1)?.first().copied().map(hex).unwrap_or_default();
        // The statement behind it makes the isolation final: under another one, what waits behind the delivery could not be
        // seen at its end.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT set_config('countersign.run', '{mark}', true)"
        );
        let deadline = self.link.deadline();
        let began = async {
            loop {
                let object = Arc::new(stage.pool.get().await.map_err(InboxError::unavailable)?);
                // Until it has begun it may have begun.
                let effects = PostgresEffects {
                    object,
                    mark: mark.clone(),
                    ended: false,
                    own: stage.own,
                    home: stage.home.clone(),
                    turn: Arc::clone(&turn),
                };
                match effects.object.batch_execute(&begin).await {
                    Ok(()) => return Ok(effects),
                    Err(error) if effects.object.is_closed() || is_lost(&error) => {}
                    Err(error) => return Err(InboxError::unavailable(error)),
                }
            }
        };
        let began = timeout_at(deadline, began).await;
        began.unwrap_or(Err(InboxError::TooSlow(self.link.response_timeout)))
    }

    /// The fence, the completion and the commit, sent in one go: a process that freezes in between holds no lock. Each
    /// fails where the one before did, and with them the transaction. Tells whether something else may be due.
    async fn commit_effects(&self, lease: &Lease, effects: &PostgresEffects, now: Timestamp) -> Result<bool, Error> {
        let (object, statements) = (&effects.object, &self.statements);
        let lock = object.prepare_cached(&statements.effects_lock).await?;
        let fence = object.prepare_cached(&statements.effects_fence).await?;
        let (token, now) = (lease.token.to_be_bytes(), now.as_millis());
        let token = token.as_slice();
        let locked: [&(dyn ToSql + Sync); 3] = [&lease.number, &token, &effects.mark];
        let fenced: [&(dyn ToSql + Sync); 4] = [&lease.number, &token, &effects.mark, &now];
        // Each is sent when it is polled first, and they are polled in this order.
        let steps = [
            object.query(&lock, &locked).boxed(),
            object.query(&fence, &fenced).boxed(),
            object.batch_execute("COMMIT").map_ok(|()| Vec::new()).boxed(),
        ];
        let mut rows = Vec::new();
        for answer in join_all(steps).await {
            rows.extend(answer?);
        }
        // The lock has no row where there is no entity.
        Ok(rows.last().is_some_and(|row| row.try_get("next").unwrap_or(true)))
    }

    /// Nobody has seen whether it was committed: looks, and leaves it open where that cannot be seen either. The run is
    /// then tried again, or found done.
    async fn found_done(&self, lease: &Lease, error: InboxError) -> Result<Settled, CommitError> {
        let token = lease.token.to_be_bytes();
        let token = token.as_slice();
        let seen = self.row(&self.statements.effects_seen, &[&lease.number, &token]).await;
        let seen = seen.and_then(|(row, _): (Row, bool)| {
            Ok((read::<Option<i16>>(&row, "state")?, read::<Option<bool>>(&row, "mine")?))
        });
        match seen {
            Ok((Some(state), Some(true))) if state == i16::from(DONE) => {
                // What is behind it was let go with it.
                self.ring_if(true);
                Ok(Settled::Current)
            }
            Ok((_, Some(false))) => Ok(Settled::Superseded),
            Ok(_) | Err(_) => Err(CommitError::Inbox(error)),
        }
    }
}

/// What the server's refusal says of the run.
fn verdict(error: Error) -> Result<Settled, CommitError> {
    let text = error.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
    let told = |mark: &str| text.contains(mark);
    if told(SUPERSEDED) {
        return Ok(Settled::Superseded);
    }
    let effect = if told(ENDED) {
        HandlerError::permanent("the handler ended the transaction that it was handed")
    } else {
        let code = error.code().cloned().unwrap_or(SqlState::INTERNAL_ERROR);
        match code.code().get(..2) {
            Some("25") => HandlerError::retryable("a statement of the handler had failed, and it went on all the same"),
            // Constraints that are looked at with the commit, and collisions with others.
            Some("23" | "40") => HandlerError::retryable(format!("the commit was refused: {text}")),
            _ => return Err(CommitError::Inbox(InboxError::unavailable(error))),
        }
    };
    Err(CommitError::Effect(effect))
}

impl Drop for PostgresEffects {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Whatever is half done on it: it goes back to the pool when it is rolled back, or else it is closed.
        let (object, turn, own) = (Arc::clone(&self.object), Arc::clone(&self.turn), self.own);
        drop(self.home.spawn(async move {
            let _turn = turn;
            let rolled_back = timeout(ROLLBACK_LIMIT, object.batch_execute("ROLLBACK")).await;
            if matches!(rolled_back, Ok(Ok(()))) {
                return;
            }
            if own && !object.is_closed() {
                // The server does not look at the connection while it is at work.
                let _ = timeout(ROLLBACK_LIMIT, object.cancel_token().cancel_query(NoTls)).await;
            }
            close(object).await;
        }));
    }
}

/// Takes a connection out of its pool, as soon as whoever drops it has dropped it.
async fn close(mut object: Arc<Object>) {
    loop {
        match Arc::try_unwrap(object) {
            Ok(object) => return drop(Object::take(object)),
            Err(shared) => object = shared,
        }
        tokio::task::yield_now().await;
    }
}

impl fmt::Debug for PostgresEffects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresEffects").finish_non_exhaustive()
    }
}

/// What statements fail with on purpose, so that the transaction does not commit.
pub(super) const SUPERSEDED: &str = "countersign: superseded";
pub(super) const ENDED: &str = "countersign: ended";

/// How long a commit may take: constraints may have much to look at.
const COMMIT_LIMIT: Duration = Duration::from_secs(5);
const ROLLBACK_LIMIT: Duration = Duration::from_millis(500);
