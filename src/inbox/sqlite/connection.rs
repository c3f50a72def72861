//! The database file: opened so that a commit is on the disk, or not opened at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::keys::{self, Keys};

/// The version of the schema that this program reads and writes.
const VERSION: i64 = 2;

/// What `PRAGMA synchronous` says when every commit waits for the disk.
const FULL: i64 = 2;

/// How many KiB of pages a writing connection keeps in memory, as `PRAGMA cache_size` has it: negative.
const CACHE: i64 = -32 * 1024;

/// Where the database is, and how long a lock of another process is waited for.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) busy_timeout: Duration,
}

/// A connection that may write, and what it knows of the file.
pub(super) struct Writing {
    connection: Connection,
    keys: Keys,
}

/// Why a database cannot serve as an inbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteInboxError {
    /// The file's directory, or the file, could not be made.
    #[error("the inbox `{}` cannot be opened: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database does not write ahead: it is in memory, or on a file system that cannot share memory.
    #[error(
        "the inbox `{}` cannot keep a write-ahead log (its journal mode is `{mode}`): it must be a file on a local disk",
        path.display()
    )]
    JournalMode {
        /// The file.
        path: PathBuf,
        /// The mode that SQLite gave instead.
        mode: String,
    },
    /// The file, or the file system that it is on, is read-only.
    #[error("the inbox `{}` is read-only", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// A setting is out of its range.
    #[error("`{setting}` cannot be {given}; set it to {works}, for example")]
    Setting {
        /// The builder's method.
        setting: &'static str,
        /// What it was set to.
        given: String,
        /// What would work.
        works: &'static str,
    },
    /// SQLite could not do as asked.
    #[error("the inbox `{}` cannot be opened: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The database does not wait for the disk at a commit, though it was told to.
    #[error("the inbox `{}` would not wait for the disk: `synchronous` is {synchronous}, not {FULL}", path.display())]
    Synchronous {
        /// The file.
        path: PathBuf,
        /// What the pragma says.
        synchronous: i64,
    },
    /// A newer program has made the tables.
    #[error("the inbox `{}` has the schema {version}; this program knows {VERSION}: run the newer program", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The schema's version.
        version: i64,
    },
}

impl Writing {
    pub(super) fn parts(&mut self) -> (&mut Connection, &mut Keys) {
        (&mut self.connection, &mut self.keys)
    }
}

impl Place {
    /// Opens the database to write, makes the tables where there are none, and checks that commits reach the disk.
    pub(super) fn open(&self) -> Result<Writing, SqliteInboxError> {
        make_private(&self.path).map_err(|source| SqliteInboxError::File { path: self.path.clone(), source })?;
        let failed = |source| SqliteInboxError::Sqlite { path: self.path.clone(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        connection.busy_timeout(self.busy_timeout).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        // SQLite opens a file that it may not write all the same.
        if connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
            return Err(SqliteInboxError::ReadOnly { path: self.path.clone() });
        }
        let mode = journal_mode(&connection).map_err(failed)?;
        if mode != "wal" {
            return Err(SqliteInboxError::JournalMode { path: self.path.clone(), mode });
        }
        let synchronous = self.settle_synchronous(&connection).map_err(failed)?;
        if synchronous != FULL {
            return Err(SqliteInboxError::Synchronous { path: self.path.clone(), synchronous });
        }
        let version = migrate(&mut connection).map_err(failed)?;
        if version != VERSION {
            return Err(SqliteInboxError::Version { path: self.path.clone(), version });
        }
        Ok(Writing { connection, keys: Keys::default() })
    }

    /// A connection to read from, for one question.
    pub(super) fn read(&self) -> rusqlite::Result<Connection> {
        // Readers of a write-ahead log write to its index, so this one may write as far as the file is concerned.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    /// Asks for commits that wait for the disk, and reads back what was given.
    fn settle_synchronous(&self, connection: &Connection) -> rusqlite::Result<i64> {
        connection.pragma_update(None, "synchronous", "FULL")?;
        // On macOS, and only there, an `fsync` does not wait for the disk unless this is set.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "cache_size", CACHE)?;
        connection.pragma_query_value(None, "synchronous", |row| row.get(0))
    }
}

fn journal_mode(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
}

/// Makes the tables where there are none, changes those of an older program, and tells their version.
fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    const IS_THERE: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'countersign_inbox_schema'";
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row(IS_THERE, [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(include_str!("schema.sql"))?;
    }
    let version = || transaction.query_row("SELECT max(version) FROM countersign_inbox_schema", [], |row| row.get(0));
    if version()? == 1 {
        transaction.execute_batch(include_str!("from_1_to_2.sql"))?;
        keys::enter_all(&transaction)?;
    }
    let version = version()?;
    transaction.commit()?;
    Ok(version)
}

/// Makes the file, where there is none, for its owner alone: it holds what was sent. SQLite gives the files beside it
/// the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            // What is not there and cannot be made may be a name that SQLite knows, such as ":memory:"; it will say.
            if path.exists() { Ok(()) } else { Err(error) }
        }
        _ => Ok(()),
    }
}
