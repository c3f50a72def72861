//! Which inbox: named on the command line or by the environment, and opened only where there is one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use countersign::inbox::tokio_postgres::Config;
use countersign::inbox::{Entry, InboxStore as _, PostgresInboxError, Query, Replay, State, Stats, StoredDelivery};
use countersign::{PostgresInbox, SqliteInbox, Timestamp};

use crate::exit::Failure;
use crate::moment;
use crate::output::{Out, masked};
use crate::secrets::{Hidden, warn_of_argument};
use crate::shell;

const FILE_VARIABLE: &str = "COUNTERSIGN_INBOX_SQLITE";
const URL_VARIABLE: &str = "COUNTERSIGN_INBOX_POSTGRES";

/// The schema that receivers use unless told otherwise.
const SCHEMA: &str = "countersign";

/// How long a lock of a receiver on the file is waited for, and an answer of the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many connections are opened to a server: a few, for it has others to serve.
const CONNECTIONS: usize = 4;

/// Where the inbox is.
#[derive(Args, Clone)]
#[command(next_help_heading = "Inbox (default: COUNTERSIGN_INBOX_SQLITE or COUNTERSIGN_INBOX_POSTGRES)")]
pub(crate) struct PlaceArgs {
    /// The file of an inbox on SQLite
    #[arg(long, global = true, value_name = "FILE")]
    sqlite: Option<PathBuf>,

    /// The URL of the database of an inbox on PostgreSQL. Others on this machine see arguments: one with a password
    /// belongs into COUNTERSIGN_INBOX_POSTGRES
    #[arg(long, global = true, value_name = "URL", conflicts_with = "sqlite")]
    postgres: Option<Hidden>,

    /// On PostgreSQL: the schema that the inbox is in
    #[arg(long, global = true, value_name = "NAME", default_value = SCHEMA)]
    schema: String,
}

/// An inbox that was named.
pub(super) enum Place {
    Postgres {
        url: Hidden,
        schema: String,
        /// Whether it was said, and not set.
        said: bool,
    },
    Sqlite {
        path: PathBuf,
        said: bool,
    },
}

/// For how long an inbox remembers, where something is to be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) retention: Duration,
    pub(super) keep_dead: Option<Duration>,
    /// Whether the inbox is to remember for no longer than that, whatever it has remembered for until now.
    pub(super) forget_early: bool,
}

/// An open inbox of either engine.
pub(super) enum Store {
    Postgres(PostgresInbox),
    Sqlite(SqliteInbox),
}

impl PlaceArgs {
    pub(super) fn place(&self, out: &Out) -> Result<Place, Failure> {
        let schema = self.schema.clone();
        if let Some(url) = &self.postgres {
            if holds_password(url.expose()) {
                warn_of_argument("--postgres with a password", URL_VARIABLE, out);
            }
            return Ok(Place::Postgres { url: url.clone(), schema, said: true });
        }
        if let Some(path) = self.sqlite.clone() {
            return Ok(Place::Sqlite { path, said: true });
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        match (set(FILE_VARIABLE), set(URL_VARIABLE)) {
            (Some(path), None) => Ok(Place::Sqlite { path: path.into(), said: false }),
            (None, Some(url)) => {
                let url = url.to_str().and_then(|url| url.parse().ok()).ok_or_else(|| {
                    Failure::unusable(format!("{URL_VARIABLE} is not UTF-8"), "set it to the URL of the database")
                })?;
                Ok(Place::Postgres { url, schema, said: false })
            }
            (Some(_), Some(_)) => Err(Failure::usage(
                format!("both {FILE_VARIABLE} and {URL_VARIABLE} are set"),
                "unset one of them, or say which with --sqlite or --postgres",
            )),
            (None, None) => Err(Failure::usage(
                "it is not said which inbox",
                format!("give --sqlite FILE or --postgres URL, or set {FILE_VARIABLE} or {URL_VARIABLE}"),
            )),
        }
    }
}

/// Asked of who will read it: a list of settings may have spaces around its `=`, and a URL any letter as `%70`.
fn holds_password(url: &str) -> bool {
    masked(url) != url || url.parse::<Config>().is_ok_and(|config| config.get_password().is_some())
}

/// What a role must be granted to look into an inbox on PostgreSQL and to act on it.
fn grants(url: &Hidden, schema: &str) -> String {
    let config = url.expose().parse::<Config>().unwrap_or_default();
    let role = config.get_user().map_or_else(|| "…".to_owned(), name);
    let schema = name(schema);
    format!(
        "where a right is missing, the role of this URL needs:\n  \
         GRANT USAGE ON SCHEMA {schema} TO {role};\n  \
         GRANT USAGE ON SEQUENCE {schema}.inbox_numbers TO {role};\n  \
         GRANT SELECT ON {schema}.inbox_schema TO {role};\n  \
         GRANT SELECT, UPDATE ON {schema}.inbox_retention TO {role};\n  \
         GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.inbox, {schema}.inbox_delivery TO {role};"
    )
}

/// A name in SQL, whatever it holds.
fn name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

impl Place {
    pub(super) async fn open(&self) -> Result<Store, Failure> {
        self.open_with(None).await
    }

    pub(super) async fn open_with(&self, memory: Option<Memory>) -> Result<Store, Failure> {
        match self {
            Self::Postgres { url, schema, .. } => {
                let mut builder = PostgresInbox::builder(url.expose()).schema(schema).existing();
                builder = builder.connections(CONNECTIONS).response_timeout(PATIENCE);
                if let Some(Memory { retention, keep_dead, forget_early }) = memory {
                    builder = builder.retention(retention);
                    builder = if let Some(keep) = keep_dead { builder.keep_dead(keep) } else { builder };
                    builder = if forget_early { builder.danger_forget_early() } else { builder };
                }
                Ok(Store::Postgres(builder.build().await.map_err(|reason| match reason {
                    PostgresInboxError::Migration(_) => Failure::InboxTables { reason, grants: grants(url, schema) },
                    reason => reason.into(),
                })?))
            }
            Self::Sqlite { path, .. } => {
                let mut builder = SqliteInbox::builder(path).existing().busy_timeout(PATIENCE);
                if let Some(Memory { retention, keep_dead, forget_early }) = memory {
                    builder = builder.retention(retention);
                    builder = if let Some(keep) = keep_dead { builder.keep_dead(keep) } else { builder };
                    builder = if forget_early { builder.danger_forget_early() } else { builder };
                }
                Ok(Store::Sqlite(builder.open()?))
            }
        }
    }

    /// How it is named on a command line that follows.
    pub(super) fn option(&self) -> String {
        match self {
            Self::Postgres { url, schema, said } => {
                let schema = if schema == SCHEMA { String::new() } else { shell::option("schema", schema) };
                match said {
                    true if holds_password(url.expose()) => format!(" --postgres URL{schema}"),
                    true => shell::option("postgres", url.expose()) + &schema,
                    false => schema,
                }
            }
            Self::Sqlite { path, said: true } => shell::option("sqlite", path),
            Self::Sqlite { said: false, .. } => String::new(),
        }
    }
}

impl Store {
    pub(super) async fn stats(&self) -> Result<Stats, Failure> {
        Ok(match self {
            Self::Postgres(store) => store.stats().await,
            Self::Sqlite(store) => store.stats().await,
        }?)
    }

    pub(super) async fn list(&self, query: Query) -> Result<Vec<Entry>, Failure> {
        Ok(match self {
            Self::Postgres(store) => store.list(query).await,
            Self::Sqlite(store) => store.list(query).await,
        }?)
    }

    pub(super) async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, Failure> {
        Ok(match self {
            Self::Postgres(store) => store.show(number).await,
            Self::Sqlite(store) => store.show(number).await,
        }?)
    }

    /// The entry of this number, without its headers and body.
    pub(super) async fn entry(&self, number: i64) -> Result<Option<Entry>, Failure> {
        let mut found = self.list(Query::all().after(number.saturating_sub(1)).limit(1)).await?;
        Ok(found.pop().filter(|entry| entry.number == number))
    }

    /// The entry that the waiting ones of this entity are behind.
    pub(super) async fn at_work_on(&self, entity: &str) -> Result<Option<Entry>, Failure> {
        for state in [State::Running, State::Pending] {
            let found = self.list(Query::of(state).entity(entity).limit(1)).await?.pop();
            if found.is_some() {
                return Ok(found);
            }
        }
        // It has ended meanwhile.
        Ok(None)
    }

    /// Whether it was replayed.
    pub(super) async fn replay(&self, number: i64) -> Result<bool, Failure> {
        let (what, now) = (Replay::One(number), moment::now());
        let replayed = match self {
            Self::Postgres(store) => store.replay(what, now).await,
            Self::Sqlite(store) => store.replay(what, now).await,
        };
        Ok(replayed? > 0)
    }

    /// For how long the inbox remembers, by what its receivers and workers have opened it with.
    pub(super) async fn longest_retention(&self) -> Result<Duration, Failure> {
        Ok(match self {
            Self::Postgres(store) => store.longest_retention().await,
            Self::Sqlite(store) => store.longest_retention().await,
        }?)
    }

    pub(super) async fn prune(&self, limit: usize, now: Timestamp) -> Result<u64, Failure> {
        Ok(match self {
            Self::Postgres(store) => store.prune(limit, now).await,
            Self::Sqlite(store) => store.prune(limit, now).await,
        }?)
    }
}
