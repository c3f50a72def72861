//! Opening the state, and saying what is wrong with a file that is none.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use crate::sandbox::store::{Store, StoreError};
use crate::sandbox::{SandboxError, StateProblem};

/// Marks a file as ours in SQLite's header: "csbx".
const APPLICATION_ID: i64 = 0x6373_6278;

/// The schema that this version writes. Raise it with every change that an older version could not work with.
const SCHEMA: i64 = 1;

/// How long another sandbox may take to let go of the file: one that was dropped a moment ago still closes it.
const PATIENCE: Duration = Duration::from_secs(1);

impl Store {
    /// Opens the state in `path`, or a new one in memory. A file is this process's alone until it is closed.
    pub(in crate::sandbox) fn open(path: Option<&Path>) -> Result<Self, SandboxError> {
        match path {
            None => Ok(Connection::open_in_memory().and_then(Self::prepare)?),
            Some(path) => {
                Self::open_file(path).map_err(|problem| SandboxError::State { path: path.to_owned(), problem })
            }
        }
    }

    fn open_file(path: &Path) -> Result<Self, StateProblem> {
        create_private(path).map_err(|error| StateProblem::Sqlite(error.to_string()))?;
        let connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        // Before anything is read, and so before anything of somebody else's is changed.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (application, schema) = (number("application_id")?, number("user_version")?);
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let new = (application, schema, tables) == (0, 0, 0);
        if !new && application != APPLICATION_ID {
            return Err(StateProblem::NotASandbox);
        }
        if schema > SCHEMA {
            return Err(StateProblem::Newer { found: schema, known: SCHEMA });
        }
        Ok(Self::prepare(connection)?)
    }

    fn prepare(mut connection: Connection) -> Result<Self, StoreError> {
        // A killed process loses nothing that was committed; a power cut may lose the last moments, which a sandbox bears.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        let transaction = connection.transaction()?;
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        // What a killed process was still working on: nobody will settle it.
        transaction.execute("DELETE FROM idempotency WHERE status IS NULL", [])?;
        transaction.commit()?;
        Ok(Self { connection: Mutex::new(connection) })
    }
}

/// The file holds keys and secrets: nobody else reads it.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

impl From<StoreError> for StateProblem {
    fn from(error: StoreError) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse,
            Some(ErrorCode::NotADatabase) => Self::NotASandbox,
            _ => Self::Sqlite(error.to_string()),
        }
    }
}
