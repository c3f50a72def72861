//! What the sandbox knows: one SQLite database, in memory or in a file.

mod deliveries;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

pub(super) use deliveries::{Claimed, Done, Due, NewEvents, Place, Unfinished, Unretried};
use rusqlite::{Connection, Transaction};

/// The database. Every use is short and one transaction; it is used from blocking threads or for well under a
/// millisecond.
pub(super) struct Store {
    connection: Mutex<Connection>,
}

/// What SQLite says when it cannot do as asked.
pub(super) type StoreError = rusqlite::Error;

impl Store {
    /// Opens the state in `path`, or a new one in memory.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, StoreError> {
        let connection = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        // A killed process loses nothing that was committed; a power cut may lose the last moments, which a sandbox bears.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(include_str!("schema.sql"))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

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
