//! Puts an inbox on PostgreSQL together, and says what must hold of the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::{Config, Error};

use super::accept::Accepts;
use super::columns::salt_of;
use super::layout;
use super::rope::{Rope, Way};
use super::statements::Statements;
use super::{Inner, PostgresInbox};
use crate::inbox::Bell;
use crate::remote::postgres::{Link, Pooled, Server, Timeouts, is_schema, quoted};
use crate::remote::{
    DEFAULT_RESPONSE_TIMEOUT, DEFAULT_RETENTION, Health, Later, MAX_RETENTION, MIN_RESPONSE_TIMEOUT, MIN_RETENTION,
    TooLate, reason,
};

/// Builds a [`PostgresInbox`]. What to decide, in this order: which server, in which schema, for how long it remembers,
/// and on how many connections.
#[must_use = "a builder does nothing until `build` is called"]
pub struct PostgresInboxBuilder {
    server: Server,
    schema: String,
    retention: Duration,
    keep_dead: Option<Duration>,
    queue: usize,
    connections: usize,
    response_timeout: Duration,
    unflushed_commits: bool,
    existing: bool,
}

impl PostgresInboxBuilder {
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
            keep_dead: None,
            queue: 4096,
            connections: 8,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            unflushed_commits: false,
            existing: false,
        }
    }

    /// The schema that the tables are in: a name of 1 to 63 bytes, quoted wherever it is used; `countersign` unless told.
    /// Receivers and workers of one inbox have the same schema.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// For how long a delivery that is done is remembered, with its body: a millisecond to a year; 80 hours unless told.
    /// A receiver refuses to be built where it is shorter than the sender retries.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// For how long the dead are kept; for ever unless told. Never shorter than the retention: their ids are remembered
    /// by them.
    pub fn keep_dead(mut self, keep: Duration) -> Self {
        self.keep_dead = Some(keep);
        self
    }

    /// How many deliveries may wait to be written, in this process, before further ones are refused (503); 4096 unless
    /// told.
    pub fn queue(mut self, deliveries: usize) -> Self {
        self.queue = deliveries;
        self
    }

    /// How many connections the inbox has at most, beside the one that listens: 2 to 1,000; 8 unless told. A pool of the
    /// program's own is as large as it is.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// How long an answer may take, waiting for a connection included, before the inbox counts as away: 10 ms to 10 s;
    /// 500 ms unless told, so that a sender has its 503 within a second. No lock is asked for more than twice, nor for
    /// longer than a third of it each time. Operators' questions may take 10 s.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// Accepts a server with `synchronous_commit = off` or `fsync = off`, which may lose what was acknowledged when it
    /// crashes. For tests.
    pub fn danger_unflushed_commits(mut self) -> Self {
        self.unflushed_commits = true;
        self
    }

    /// Opens an inbox that is there, or none: neither a schema nor a table is made. For tools, whose mistyped URL would
    /// otherwise be an empty inbox.
    pub fn existing(mut self) -> Self {
        self.existing = true;
        self
    }

    /// Connects, checks the server, and makes the tables unless they are there. Within ten seconds.
    ///
    /// # Errors
    ///
    /// When a setting is out of its range (all of them at once), the server cannot be reached or does not flush its
    /// commits, or the tables can neither be found nor made, or are of a newer program.
    pub async fn build(self) -> Result<PostgresInbox, PostgresInboxError> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            return Err(PostgresInboxError::Settings(mistakes));
        }
        let home = Handle::try_current().map_err(PostgresInboxError::unreachable)?;
        let pool = match &self.server {
            Server::Ours(Ok(config)) => self.pool(config, home.clone())?,
            Server::Ours(Err(())) => return Err(PostgresInboxError::Settings(vec![PostgresInboxMistake::Url])),
            Server::Theirs(pool) => pool.clone(),
        };
        let prepare = async {
            let mut client = pool.get().await.map_err(PostgresInboxError::unreachable)?;
            check(&client, self.unflushed_commits).await?;
            if self.existing {
                return layout::expect(&client, &self.schema).await;
            }
            layout::ensure(&mut client, &self.schema).await
        };
        timeout(BUILD_LIMIT, prepare).await.map_err(|_| PostgresInboxError::unreachable(TooLate(BUILD_LIMIT)))??;
        let bell = Bell::default();
        let way = match &self.server {
            Server::Ours(Ok(config)) => Way::Own(listening(config, self.response_timeout)),
            _ => Way::Pool(pool.clone()),
        };
        let size = pool.status().max_size;
        let inner = Inner {
            rope: Rope::hang(way, bell.clone(), &self.schema, &home),
            bell,
            statements: Statements::new(&quoted(&self.schema), self.response_timeout / 3),
            accepts: Accepts::new(self.queue, WRITERS.min(size / 2).max(1), home),
            link: Link {
                pool,
                own: matches!(self.server, Server::Ours(_)),
                response_timeout: self.response_timeout,
                health: Health::new("postgres", "the inbox"),
            },
            later: Later::here(),
            salt: salt_of(&self.schema),
            schema: self.schema,
            retention: self.retention,
            keep_dead: self.keep_dead,
        };
        Ok(PostgresInbox { inner: Arc::new(inner) })
    }

    fn pool(&self, config: &Config, home: Handle) -> Result<Pool, PostgresInboxError> {
        let wait = self.response_timeout;
        let timeouts = Timeouts { turn: Some(wait), answer: wait, statements: true };
        let (connections, settings) = (self.connections, PLANS);
        let pooled = Pooled { config, home, connections, timeouts, settings, clean: false };
        pooled.build().map_err(PostgresInboxError::unreachable)
    }

    fn mistakes(&self) -> Vec<PostgresInboxMistake> {
        let mut mistakes = Vec::new();
        if self.server.is_unreadable() {
            mistakes.push(PostgresInboxMistake::Url);
        }
        if !is_schema(&self.schema) {
            mistakes.push(PostgresInboxMistake::Schema { given: self.schema.clone() });
        }
        if !(MIN_RETENTION..=MAX_RETENTION).contains(&self.retention) {
            mistakes.push(PostgresInboxMistake::Retention { given: self.retention });
        }
        if let Some(given) = self.keep_dead.filter(|keep| *keep < self.retention) {
            mistakes.push(PostgresInboxMistake::KeepDead { given });
        }
        if self.queue == 0 {
            mistakes.push(PostgresInboxMistake::Queue);
        }
        if !(2..=1_000).contains(&self.connections) {
            mistakes.push(PostgresInboxMistake::Connections { given: self.connections });
        }
        if !(MIN_RESPONSE_TIMEOUT..=MAX_RESPONSE_TIMEOUT).contains(&self.response_timeout) {
            mistakes.push(PostgresInboxMistake::ResponseTimeout { given: self.response_timeout });
        }
        mistakes
    }
}

/// The connection that listens: nothing that it does need be on the disk.
fn listening(config: &Config, limit: Duration) -> Box<Config> {
    let mut config = config.clone();
    if config.get_application_name().is_none() {
        config.application_name("countersign");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(limit);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNACKNOWLEDGED);
    }
    config.keepalives_idle(UNACKNOWLEDGED);
    let options = config.get_options().unwrap_or_default();
    let options = format!("{options} -c synchronous_commit=off");
    config.options(options);
    Box::new(config)
}

/// Refuses a server that answers before a commit would outlast a crash, or that cannot hold what is sent.
///
/// `local`, `remote_write` and `remote_apply` wait for this server's disk as `on` does, and differ in what they wait for
/// beside that.
async fn check(client: &Client, unflushed_commits: bool) -> Result<(), PostgresInboxError> {
    let settings = client
        .query_one(
            "SELECT current_setting('synchronous_commit'), current_setting('fsync'), current_setting('server_encoding')",
            &[],
        )
        .await?;
    let (commit, fsync, encoding): (&str, &str, &str) =
        (settings.try_get(0)?, settings.try_get(1)?, settings.try_get(2)?);
    if encoding != "UTF8" {
        return Err(PostgresInboxError::Encoding { found: encoding.to_owned() });
    }
    match (commit, fsync) {
        _ if unflushed_commits => Ok(()),
        ("off", _) => Err(PostgresInboxError::UnflushedCommits { setting: "synchronous_commit" }),
        (_, "off") => Err(PostgresInboxError::UnflushedCommits { setting: "fsync" }),
        _ => Ok(()),
    }
}

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
    #[error("the inbox's tables cannot be set up: {}", reason(.0))]
    Migration(#[from] Error),
    /// There is no inbox in this schema, and it was to be there.
    #[error("there is no inbox in the schema `{schema}` of this database: nothing has been made in its place")]
    Missing {
        /// The schema.
        schema: String,
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
    #[error("PostgreSQL cannot be reached: {}", reason(.0.as_ref()))]
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
    fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
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

struct Listed<'a>(&'a [PostgresInboxMistake]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for PostgresInboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresInboxBuilder")
            .field("schema", &self.schema)
            .field("retention", &self.retention)
            .field("keep_dead", &self.keep_dead)
            .field("queue", &self.queue)
            .field("connections", &self.connections)
            .field("response_timeout", &self.response_timeout)
            .field("unflushed_commits", &self.unflushed_commits)
            .finish_non_exhaustive()
    }
}

const BUILD_LIMIT: Duration = Duration::from_secs(10);
const MAX_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many statements of accepts are under way at most: while one waits for the disk, the next is under way.
const WRITERS: usize = 3;
/// After how long the kernel gives up a connection whose other side does not acknowledge.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);
/// Every statement goes by an index. A plan that was made while the tables were small would read all of them, and be kept
/// after they have grown.
const PLANS: &[&str] = &["enable_seqscan=off", "enable_hashjoin=off", "enable_mergejoin=off", "jit=off"];
