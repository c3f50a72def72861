//! What can be wrong with the settings, and with the server.

use std::time::Duration;

use deadpool_postgres::PoolError;
use tokio_postgres::Error;

use crate::remote::{Listed, reason};

/// Why an inbox on PostgreSQL could not be built. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresInboxError {
    /// The database cannot hold every text.
    #[error("the database's encoding is {found}; make one with `ENCODING 'UTF8'` for the inbox")]
    Encoding {
        /// Its encoding.
        found: String,
    },
    /// There are tables of these names in the schema that no inbox has made.
    #[error(
        "a table `inbox`, `inbox_delivery` or `inbox_numbers` in this schema is another program's: set `schema` to a \
         name of its own"
    )]
    Layout,
    /// Schema and tables could not be looked up or made.
    #[error(
        "the inbox's tables cannot be set up: {}; where a right is missing, grant this role what the documentation of \
         `PostgresInbox` lists, or start once as one that may create tables",
        reason(.0)
    )]
    Migration(#[from] Error),
    /// There is no inbox in the schema, and it was to be there.
    #[error(
        "there is no inbox in the schema `{schema}`, and none has been made: give the database and schema of the receivers"
    )]
    Missing {
        /// The schema.
        schema: String,
    },
    /// An older program has made the tables, and they were not to be changed.
    #[error(
        "the inbox has the schema {found}, and this program works on {known}: start the newer receiver first, which \
         brings it up, or use the older command line"
    )]
    Older {
        /// The version of the tables.
        found: i32,
        /// The version that this program reads and writes.
        known: i32,
    },
    /// Settings that are out of their range, at least one.
    #[error("the PostgreSQL inbox cannot be built: {}", Listed(.0))]
    Settings(Vec<PostgresInboxMistake>),
    /// The server answers before a commit would outlast a crash.
    #[error(
        "PostgreSQL has `{setting} = off`, and may forget what was acknowledged when it crashes: set it to `on` (`ALTER \
         ROLE … SET synchronous_commit = on`; `fsync` in postgresql.conf)"
    )]
    UnflushedCommits {
        /// Which of its settings.
        setting: &'static str,
    },
    /// No connection, or the server refused it.
    #[error(
        "PostgreSQL cannot be reached: {}; check that it runs, and host, port, database, user and password",
        reason(.0.as_ref())
    )]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A newer program has made the tables.
    #[error("the inbox has the schema {found}; this program knows {known}: run the newer program")]
    Version {
        /// The version of the tables.
        found: i32,
        /// The version that this program reads and writes.
        known: i32,
    },
}

impl PostgresInboxError {
    /// The pool has no connection to give. What it says of a server's refusal is less than the refusal itself.
    pub(super) fn no_connection(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => Self::unreachable(error),
            error => Self::unreachable(error),
        }
    }

    pub(super) fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable(error.into())
    }
}

/// A setting of an inbox on PostgreSQL that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresInboxMistake {
    /// Fewer than two, or more than a server takes.
    #[error("`connections` is {given}; set it to 2 to 1000, such as 8")]
    Connections {
        /// The setting.
        given: usize,
    },
    /// None, or more than a server takes.
    #[error("`handler_connections` is {given}; set it to 1 to 1000, such as 16")]
    HandlerConnections {
        /// The setting.
        given: usize,
    },
    /// Shorter than the retention.
    #[error("`keep_dead` is {given:?}; set it to the retention or more")]
    KeepDead {
        /// The setting.
        given: Duration,
    },
    /// No room for a single delivery.
    #[error("`queue` is 0; set it to how many deliveries may wait, such as 4096")]
    Queue,
    /// Shorter than 10 ms, or longer than any sender waits.
    #[error("`response_timeout` is {given:?}; set it to 10 ms to 10 s, such as 500 ms")]
    ResponseTimeout {
        /// The setting.
        given: Duration,
    },
    /// Shorter than a millisecond, or longer than a year.
    #[error("`retention` is {given:?}; set it to a millisecond to a year, such as 80 hours")]
    Retention {
        /// The setting.
        given: Duration,
    },
    /// Empty, longer than PostgreSQL's names, or with a NUL.
    #[error("`schema` is {given:?}; set it to a name of 1 to 63 bytes, such as countersign")]
    Schema {
        /// The setting.
        given: String,
    },
    /// Not the address of a PostgreSQL server. It is not repeated here, since it may hold a password.
    #[error("the URL of PostgreSQL cannot be read; write postgres://user:password@host:5432/database")]
    Url,
}
