//! What the sandbox knows: one SQLite database, in memory or in a file.

mod deliveries;
mod idempotency;
mod logs;
mod open;
mod subscriptions;
mod tenants;

use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Transaction};
use uuid::Uuid;

use crate::sandbox::SandboxError;
use crate::time::Timestamp;

pub(super) use deliveries::{Claimed, Done, Due, NewEvents, Place, Unretried};
pub(super) use idempotency::{Answered, Claim};
pub(super) use logs::{LogRow, Page};
pub(super) use subscriptions::{Changes, NewSubscription, Subscription};
pub(super) use tenants::Tenant;

/// The database. Every use is short and one transaction; it is used from blocking threads or for well under a
/// millisecond.
pub(super) struct Store {
    connection: Mutex<Connection>,
}

/// What SQLite says when it cannot do as asked.
pub(super) type StoreError = rusqlite::Error;

impl Store {
    /// Runs `work` as one transaction, which is undone when it fails.
    pub(super) fn transact<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        // A panic inside a transaction rolls it back when it unwinds.
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction()?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

impl From<StoreError> for SandboxError {
    /// Keeps what SQLite says, which names tables and columns and never a value.
    fn from(error: StoreError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// Times are stored as microseconds since the Unix epoch.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_millis().saturating_mul(1000)
}

/// A UUID in a column.
fn uuid(row: &rusqlite::Row<'_>, column: &str) -> Result<Uuid, StoreError> {
    row.get(column).map(Uuid::from_bytes)
}
