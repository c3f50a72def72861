//! Puts an inbox on PostgreSQL together, and says what must hold of the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::Config;

use super::accept::Accepts;
use super::columns::salt_of;
use super::effects::Stage;
use super::error::{PostgresInboxError, PostgresInboxMistake};
use super::layout;
use super::retention;
use super::rope::{Rope, Way};
use super::statements::Statements;
use super::{Inner, PostgresInbox};
use crate::inbox::Bell;
use crate::inbox::row::warn_of_shorter;
use crate::remote::postgres::{Link, Pooled, Server, Timeouts, is_schema, quoted};
use crate::remote::{
    DEFAULT_RESPONSE_TIMEOUT, DEFAULT_RETENTION, Health, Later, MAX_RETENTION, MIN_RESPONSE_TIMEOUT, MIN_RETENTION,
    TooLate, UNACKNOWLEDGED,
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
    handler_connections: usize,
    handler_pool: Option<Pool>,
    existing: bool,
    forget_early: bool,
    response_timeout: Duration,
    unflushed_commits: bool,
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
            handler_connections: 16,
            handler_pool: None,
            existing: false,
            forget_early: false,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            unflushed_commits: false,
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
    ///
    /// The inbox remembers for the longest retention that any process has come with, and records that: one that is shorter
    /// than what is recorded is warned about, and changes nothing.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// For how long the dead are kept; for ever unless told. Never shorter than the retention: their ids are remembered
    /// by them. So they are kept for as long as the inbox remembers, where that is longer.
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

    /// How many connections the inbox has at most to lease, to settle and to answer questions: 2 to 1,000; 8 unless told.
    /// Beside these are three that accept, so that no swarm of workers holds them up, and one that listens. A pool of the
    /// program's own is as large as it is.
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most;
        self
    }

    /// How many connections handlers may have at once that write in the transaction of the completion
    /// ([`transactional_workers`](crate::inbox::Inbox::transactional_workers)): 1 to 1,000; 16 unless told. They are apart
    /// from the others, so that deliveries are accepted however long handlers take, and are opened when they are needed.
    /// Workers may run more handlers at once than there are connections: those wait for their turn.
    pub fn handler_connections(mut self, most: usize) -> Self {
        self.handler_connections = most;
        self
    }

    /// The pool that such handlers have their connections of, which may be of another role: the program's own, for which
    /// the inbox sets nothing. With [`with_pool`](PostgresInbox::with_pool) it is the same pool unless told, and
    /// handlers have half of it at most.
    pub fn handler_pool(mut self, pool: Pool) -> Self {
        self.handler_pool = Some(pool);
        self
    }

    /// Opens an inbox that is there, or none: neither schema nor tables are made or changed. For tools, whose mistyped
    /// schema would otherwise be an empty inbox, and which must not bring up an inbox to their own version while receivers
    /// of the older one run on it.
    pub fn existing(mut self) -> Self {
        self.existing = true;
        self
    }

    /// How long an accept may take, waiting for a connection included, before the inbox counts as away: 10 ms to 10 s;
    /// 500 ms unless told, so that a sender has its 503 within a second. No lock is waited for longer than a third of it at
    /// a time. What workers ask for may take 5 s, or as long as this where it is longer; operators' questions may take 10 s.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// Has the inbox remember for no longer than the retention that is told here, although another process has come with a
    /// longer one; until one does so again. What senders deliver again after that runs twice.
    pub fn danger_forget_early(mut self) -> Self {
        self.forget_early = true;
        self
    }

    /// Accepts a server with `synchronous_commit = off` or `fsync = off`, which may lose what was acknowledged when it
    /// crashes. For tests.
    pub fn danger_unflushed_commits(mut self) -> Self {
        self.unflushed_commits = true;
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
            Server::Ours(Ok(config)) => self.pool(config, home.clone(), self.connections, self.patience())?,
            Server::Ours(Err(())) => return Err(PostgresInboxError::Settings(vec![PostgresInboxMistake::Url])),
            Server::Theirs(pool) => pool.clone(),
        };
        let prepare = async {
            let mut client = pool.get().await.map_err(PostgresInboxError::no_connection)?;
            check(&client, self.unflushed_commits).await?;
            layout::ensure(&mut client, &self.schema, self.existing).await?;
            let (raise, lower) = (!self.existing, self.forget_early);
            let recorded = retention::record(&mut client, &self.schema, self.retention, raise, lower).await;
            recorded.map_err(PostgresInboxError::Migration)
        };
        let recorded = timeout(BUILD_LIMIT, prepare)
            .await
            .map_err(|_| PostgresInboxError::unreachable(TooLate(BUILD_LIMIT)))??;
        if !self.existing {
            warn_of_shorter(self.retention, recorded);
        }
        let stage = self.stage(&pool, home.clone())?;
        let bell = Bell::default();
        let way = match &self.server {
            Server::Ours(Ok(config)) => {
                let timeouts = Timeouts { turn: None, answer: self.response_timeout, statements: false };
                // Nothing that it does need be on the disk.
                let mut config = timeouts.harden(config, &["synchronous_commit=off"]);
                // It may hear nothing for hours.
                config.keepalives_idle(UNACKNOWLEDGED);
                Way::Own(Box::new(config))
            }
            _ => Way::Pool(pool.clone()),
        };
        let salt = salt_of(&self.schema);
        // What workers ask for in swarms, such as completions, must not keep accepts waiting for a connection.
        let (accepting, writers) = match &self.server {
            Server::Ours(Ok(config)) => (self.pool(config, home.clone(), WRITERS, self.response_timeout)?, WRITERS),
            _ => (pool.clone(), WRITERS.min(pool.status().max_size / 2).max(1)),
        };
        let own = matches!(self.server, Server::Ours(_));
        let link = |pool, response_timeout, health| Link { pool, own, response_timeout, health };
        let health = Some(Health::new("postgres", "the inbox"));
        let inner = Inner {
            rope: Rope::hang(way, bell.clone(), &self.schema, &home),
            bell,
            statements: Statements::new(&quoted(&self.schema), salt, self.response_timeout / 3),
            accepts: Accepts::new(link(accepting, self.response_timeout, health), self.queue, writers, home),
            link: link(pool, self.patience(), None),
            later: Later::here(),
            salt,
            stage,
            schema: self.schema,
            retention: self.retention,
            keep_dead: self.keep_dead,
        };
        Ok(PostgresInbox { inner: Arc::new(inner) })
    }

    fn stage(&self, pool: &Pool, home: Handle) -> Result<Stage, PostgresInboxError> {
        let (pool, turns, own) = match (&self.handler_pool, &self.server) {
            (Some(theirs), _) => (theirs.clone(), theirs.status().max_size, false),
            (None, Server::Ours(Ok(config))) => {
                let timeouts = Timeouts { turn: None, answer: self.patience(), statements: false };
                let (connections, home) = (self.handler_connections, home.clone());
                let pooled = Pooled { config, home, connections, timeouts, settings: &[], clean: true };
                (pooled.build().map_err(PostgresInboxError::unreachable)?, connections, true)
            }
            (None, _) => (pool.clone(), (pool.status().max_size / 2).max(1), false),
        };
        Ok(Stage { pool, own, turns: Arc::new(Semaphore::new(turns)), home })
    }

    /// How long the workers wait for an answer. No sender waits with them, and what they give up is done twice.
    fn patience(&self) -> Duration {
        self.response_timeout.max(WORK_TIMEOUT)
    }

    fn pool(
        &self,
        config: &Config,
        home: Handle,
        connections: usize,
        wait: Duration,
    ) -> Result<Pool, PostgresInboxError> {
        let timeouts = Timeouts { turn: Some(wait), answer: wait, statements: true };
        let pooled = Pooled { config, home, connections, timeouts, settings: PLANS, clean: false };
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
        if !(1..=1_000).contains(&self.handler_connections) {
            mistakes.push(PostgresInboxMistake::HandlerConnections { given: self.handler_connections });
        }
        if !(MIN_RESPONSE_TIMEOUT..=MAX_RESPONSE_TIMEOUT).contains(&self.response_timeout) {
            mistakes.push(PostgresInboxMistake::ResponseTimeout { given: self.response_timeout });
        }
        mistakes
    }
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

impl fmt::Debug for PostgresInboxBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresInboxBuilder")
            .field("schema", &self.schema)
            .field("retention", &self.retention)
            .field("keep_dead", &self.keep_dead)
            .field("queue", &self.queue)
            .field("connections", &self.connections)
            .field("handler_connections", &self.handler_connections)
            .field("existing", &self.existing)
            .field("forget_early", &self.forget_early)
            .field("response_timeout", &self.response_timeout)
            .field("unflushed_commits", &self.unflushed_commits)
            .finish_non_exhaustive()
    }
}

/// A busy server takes longer for the one answer or the other, and no sender waits for these.
const WORK_TIMEOUT: Duration = Duration::from_secs(5);
const BUILD_LIMIT: Duration = Duration::from_secs(10);
const MAX_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many statements of accepts are under way at most: while one waits for the disk, the next is under way.
const WRITERS: usize = 3;
/// Every statement goes by an index. A plan that was made while the tables were small would read all of them, and be kept
/// after they have grown.
const PLANS: &[&str] = &["enable_seqscan=off", "enable_hashjoin=off", "enable_mergejoin=off", "jit=off"];
