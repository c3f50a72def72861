//! Putting a PostgreSQL store together, and what must hold of the server.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_postgres::Error;

use super::layout;
use super::statements::Statements;
use super::{Inner, PostgresStore};
use crate::remote::postgres::{Link, Pooled, Server, Timeouts, is_schema, quoted};
use crate::remote::{
    DEFAULT_RESPONSE_TIMEOUT, DEFAULT_RETENTION, Health, Later, Listed, MAX_RESPONSE_TIMEOUT, MAX_RETENTION,
    MIN_RESPONSE_TIMEOUT, MIN_RETENTION, Nonces, TooLate, reason,
};

/// Builds a [`PostgresStore`]. What to decide, in this order: which server, in which schema, for how long, and on how
/// many connections.
#[must_use = "a builder does nothing until `build` is called"]
pub struct PostgresStoreBuilder {
    server: Server,
    schema: String,
    retention: Duration,
    connections: usize,
    response_timeout: Duration,
    unflushed_commits: bool,
}

impl PostgresStoreBuilder {
    pub(super) fn for_url(url: &str) -> Self {
        Self::new(Server::at(url))
    }

    pub(super) fn for_pool(pool: Pool) -> Self {
        Self::new(Server::Theirs(pool))
    }

    fn new(server: Server) -> Self {
        Self {
            server,
            schema: "countersign".to_owned(),
            retention: DEFAULT_RETENTION,
            connections: 8,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            unflushed_commits: false,
        }
    }

    /// The schema that the table `claims` is in: a name of 1 to 63 bytes, quoted wherever it is used; `countersign`
    /// unless told. Receivers that share claims have the same schema; programs that must not, have two.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// For how long something done is remembered: a millisecond to a year; 80 hours unless told.
    ///
    /// Reckon with 300 bytes of disk for each delivery of one retention, indexes included (262 were measured with PostgreSQL
    /// 15 and 500,000 of them, vacuumed).
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How many connections the store's own pool has at most: 1 to 1,000; 8 unless told. `build` opens
    /// them, so that the first burst need not. A pool of the program's own is
    /// as large as it is.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// How long an answer may take, waiting for a connection included, before the store counts as away: 10 to 900 ms, so
    /// that the sender has its 503 within a second; 500 ms unless told. No lock is asked for more than twice, nor for
    /// longer than a third of it each time.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// Accepts a server with `synchronous_commit = off`, which may lose the last claims when it crashes, so that
    /// duplicates run again.
    pub fn danger_unflushed_commits(mut self) -> Self {
        self.unflushed_commits = true;
        self
    }

    /// Connects, checks the server, and creates schema and table unless they are there. Within ten seconds.
    ///
    /// # Errors
    ///
    /// When a setting is out of its range (all of them at once), the server cannot be reached or does not flush its
    /// commits, or the table can neither be found nor created.
    pub async fn build(self) -> Result<PostgresStore, PostgresStoreError> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            return Err(PostgresStoreError::Settings(mistakes));
        }
        let home = Handle::try_current().map_err(PostgresStoreError::unreachable)?;
        let pool = match &self.server {
            Server::Ours(Ok(config)) => {
                let wait = self.response_timeout;
                let timeouts = Timeouts { turn: Some(wait), answer: wait, statements: true };
                let (connections, settings) = (self.connections, &[][..]);
                let pooled = Pooled { config, home, connections, timeouts, settings, clean: false };
                pooled.build().map_err(PostgresStoreError::unreachable)?
            }
            Server::Ours(Err(())) => return Err(PostgresStoreError::Settings(vec![PostgresStoreMistake::Url])),
            Server::Theirs(pool) => pool.clone(),
        };
        let prepare = async {
            let mut client = pool.get().await.map_err(PostgresStoreError::unreachable)?;
            if !self.unflushed_commits {
                check_commits(&client).await?;
            }
            layout::ensure(&mut client, &self.schema).await
        };
        timeout(BUILD_LIMIT, prepare).await.map_err(|_| PostgresStoreError::unreachable(TooLate(BUILD_LIMIT)))??;
        let statements = Statements::new(&quoted(&self.schema), self.response_timeout / 3);
        let own_pool = matches!(self.server, Server::Ours(_));
        if own_pool {
            warm_up(&pool, self.connections, &statements).await;
        }
        let health = Some(Health::new("postgres", "the dedupe store"));
        let inner = Inner {
            link: Link { pool, own: own_pool, response_timeout: self.response_timeout, health },
            statements,
            schema: self.schema,
            retention: self.retention,
            nonces: Nonces::new().map_err(PostgresStoreError::unreachable)?,
            later: Later::here(),
            next_prune: Mutex::new(Instant::now()),
        };
        Ok(PostgresStore { inner: Arc::new(inner) })
    }

    fn mistakes(&self) -> Vec<PostgresStoreMistake> {
        let mut mistakes = Vec::new();
        if self.server.is_unreadable() {
            mistakes.push(PostgresStoreMistake::Url);
        }
        if !is_schema(&self.schema) {
            mistakes.push(PostgresStoreMistake::Schema { given: self.schema.clone() });
        }
        if !(MIN_RETENTION..=MAX_RETENTION).contains(&self.retention) {
            mistakes.push(PostgresStoreMistake::Retention { given: self.retention });
        }
        if !(1..=1_000).contains(&self.connections) {
            mistakes.push(PostgresStoreMistake::Connections { given: self.connections });
        }
        if !(MIN_RESPONSE_TIMEOUT..=MAX_RESPONSE_TIMEOUT).contains(&self.response_timeout) {
            mistakes.push(PostgresStoreMistake::ResponseTimeout { given: self.response_timeout });
        }
        mistakes
    }
}

/// Opens connections and prepares what each delivery needs, as far as that is possible in a few seconds.
async fn warm_up(pool: &Pool, connections: usize, statements: &Statements) {
    let opened = async {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            let Ok(client) = pool.get().await else { return };
            for statement in [&statements.claim, &statements.complete] {
                if client.prepare_cached(statement).await.is_err() {
                    return;
                }
            }
            open.push(client);
        }
    };
    if timeout(WARM_UP_LIMIT, opened).await.is_err() {
        tracing::debug!("not all connections to PostgreSQL are open yet; the others are opened when they are needed");
    }
}

/// Refuses a server that answers before a commit would outlast a crash.
async fn check_commits(client: &Client) -> Result<(), PostgresStoreError> {
    let setting: String = client.query_one("SHOW synchronous_commit", &[]).await?.try_get(0)?;
    if setting == "off" { Err(PostgresStoreError::UnflushedCommits) } else { Ok(()) }
}

/// Why a PostgreSQL store could not be built. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresStoreError {
    /// There is a table `claims` in the schema that this version did not make.
    #[error(
        "the table `claims` in this schema is of another program or another version (its comment is {found:?}): set \
         `schema` to a name of its own"
    )]
    Layout {
        /// The comment on the table.
        found: String,
    },
    /// Schema and table could not be looked up or created.
    #[error("the table of claims cannot be set up: {}", reason(.0))]
    Migration(#[from] Error),
    /// Settings that are out of their range, at least one.
    #[error("the PostgreSQL store cannot be built: {}", Listed(.0))]
    Settings(Vec<PostgresStoreMistake>),
    /// The server answers before a commit would outlast a crash.
    #[error(
        "PostgreSQL has `synchronous_commit = off`, and may forget claims when it crashes: `ALTER ROLE … SET \
         synchronous_commit = on`, or build with `danger_unflushed_commits()`"
    )]
    UnflushedCommits,
    /// No connection, or the server refused it.
    #[error("PostgreSQL cannot be reached: {}", reason(.0.as_ref()))]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PostgresStoreError {
    fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable(error.into())
    }
}

/// A setting of a PostgreSQL store that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresStoreMistake {
    /// None, or more than a server takes.
    #[error("`connections` is {given}; set it to 1 to 1000, such as 8")]
    Connections {
        /// The setting.
        given: usize,
    },
    /// Shorter than 10 ms, or so long that a sender would wait for its 503 for more than a second.
    #[error("`response_timeout` is {given:?}; set it to 10 to 900 ms, such as 500 ms")]
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

impl fmt::Debug for PostgresStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStoreBuilder")
            .field("schema", &self.schema)
            .field("retention", &self.retention)
            .field("connections", &self.connections)
            .field("response_timeout", &self.response_timeout)
            .field("unflushed_commits", &self.unflushed_commits)
            .finish_non_exhaustive()
    }
}

const BUILD_LIMIT: Duration = Duration::from_secs(10);
const WARM_UP_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_mistake_is_reported_at_once_and_no_password_with_it() {
        let builder = PostgresStore::builder("postgres://user:hunter2@host:port/").schema("").retention(Duration::ZERO);
        let builder = builder.connections(0).response_timeout(Duration::from_secs(1));
        assert!(!format!("{builder:?}").contains("hunter2"));
        let error = builder.build().await.expect_err("five mistakes");
        let PostgresStoreError::Settings(mistakes) = &error else { unreachable!("{error}") };
        assert_eq!(mistakes.len(), 5);
        assert!(error.to_string().starts_with("the PostgreSQL store cannot be built: the URL of PostgreSQL cannot be"));
        assert!(error.to_string().ends_with("`response_timeout` is 1s; set it to 10 to 900 ms, such as 500 ms"));
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
