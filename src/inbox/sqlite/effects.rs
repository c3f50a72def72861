//! What a handler writes into the inbox's own database, together with the completion.

use std::fmt;
use std::panic::AssertUnwindSafe;

use rusqlite::Transaction;

use super::SqliteInbox;
use super::write::{Settle, settle};
use crate::dedupe::Settled;
use crate::dispatch::HandlerError;
use crate::inbox::store::{CommitError, InboxError, Lease, TransactionalStore};
use crate::time::Timestamp;

/// What a handler hands over to be written in the transaction that completes its delivery.
///
/// SQLite has one writer at a time, so a transaction that stayed open while a handler waits for something else would
/// keep every delivery from being accepted. A handler therefore does its waiting first, and hands over what is to be
/// written; that then runs at once, on the writing thread: whether the lease is still good is looked at, the writes run
/// in the order in which they were handed over, the delivery is marked as done, and all of it is committed together. A
/// write that fails, or panics, undoes them all, and the delivery is tried again.
///
/// A write can read what is in the database, and decide by it, with nobody else writing in between. Keep it short; do not
/// commit or roll back in it.
#[derive(Default)]
pub struct SqliteEffects {
    writes: Vec<Write>,
}

type Write = Box<dyn FnOnce(&Transaction<'_>) -> Result<(), HandlerError> + Send>;

impl SqliteEffects {
    /// Hands over what is to be written, by this crate's `rusqlite` ([`inbox::rusqlite`](crate::inbox::rusqlite)).
    ///
    /// ```
    /// # use countersign::inbox::SqliteEffects;
    /// # fn handle(effects: &mut SqliteEffects) {
    /// effects.write(|transaction| {
    ///     transaction.execute("UPDATE account SET balance = balance + ?1 WHERE id = ?2", (100, "acct_7"))?;
    ///     Ok(())
    /// });
    /// # }
    /// ```
    pub fn write(&mut self, write: impl FnOnce(&Transaction<'_>) -> Result<(), HandlerError> + Send + 'static) {
        self.writes.push(Box::new(write));
    }
}

impl TransactionalStore for SqliteInbox {
    type Effects = SqliteEffects;

    async fn begin(&self, _lease: &Lease) -> Result<SqliteEffects, InboxError> {
        Ok(SqliteEffects::default())
    }

    async fn commit(&self, lease: &Lease, effects: SqliteEffects, now: Timestamp) -> Result<Settled, CommitError> {
        let lease = *lease;
        let next = |applied: &Applied| matches!(applied, Ok((_, true)));
        let done = self.inner.writer.attempt("complete", next, move |tx, _| apply(tx, &lease, effects, now)).await;
        let (settled, _next) = done?.map_err(CommitError::Effect)?;
        Ok(settled)
    }
}

type Applied = Result<(Settled, bool), HandlerError>;

/// Completes, and runs the writes if the lease was good; a write that fails undoes both and nothing else.
fn apply(tx: &Transaction<'_>, lease: &Lease, effects: SqliteEffects, now: Timestamp) -> rusqlite::Result<Applied> {
    tx.execute_batch("SAVEPOINT countersign_effects")?;
    let settled = settle(tx, lease, &Settle::Complete, now)?;
    if settled.0 == Settled::Current {
        for write in effects.writes {
            // What it worked on is undone.
            let written = std::panic::catch_unwind(AssertUnwindSafe(|| write(tx)));
            let written = written.unwrap_or_else(|_panic| Err(HandlerError::retryable("a write panicked")));
            if tx.is_autocommit() {
                // It has ended the transaction; so will the caller find, and fail the others that were in it.
                return Ok(Err(HandlerError::permanent("a write ended the transaction")));
            }
            if let Err(error) = written {
                tx.execute_batch("ROLLBACK TO countersign_effects; RELEASE countersign_effects")?;
                return Ok(Err(error));
            }
        }
    }
    tx.execute_batch("RELEASE countersign_effects")?;
    Ok(Ok(settled))
}

/// How many writes there are; what they hold is the handler's.
impl fmt::Debug for SqliteEffects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteEffects").field("writes", &self.writes.len()).finish()
    }
}
