//! Where the inbox is, for the two engines: a file, or a schema of a server that all tests of this program share.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::PostgresInbox;
use countersign::inbox::tokio_postgres::{self, Client, NoTls};
use countersign::inbox::{SqliteInbox, rusqlite};
use tokio::runtime::Runtime;

use crate::inbox_common::Folder;
use crate::servers::Postgres;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Postgres,
    Sqlite,
}

pub(crate) enum Place {
    Postgres { url: String, schema: String },
    Sqlite(Folder),
}

/// What a process is told of it.
pub(crate) enum Address {
    Postgres { url: String, schema: String },
    Sqlite(String),
}

/// What is promised of the effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// The handlers write them by themselves.
    AtLeastOnce,
    /// They are committed together with the completion.
    ExactlyOnce,
}

/// Writes an effect: its id, its entity, and the last effect of that which was there before.
pub(crate) const INSERT_INTO_FILE: &str = "INSERT INTO effect (id, entity, seen) VALUES (?1, ?2, ?3)";
pub(crate) const INSERT_INTO_SERVER: &str = "INSERT INTO {schema}.effect (id, entity, seen) VALUES ($1, $2, $3)";

/// No constraint: were one doubled, it would be seen. The places rise, within an entity in the order of the effects.
const EFFECTS_OF_FILE: &str = "CREATE TABLE effect (place INTEGER PRIMARY KEY, id TEXT, entity TEXT, seen INTEGER);
    CREATE INDEX effect_of ON effect (entity, place);";
const EFFECTS_OF_SERVER: &str =
    "CREATE TABLE {schema}.effect (place bigserial PRIMARY KEY, id text, entity text, seen bigint);
    CREATE INDEX ON {schema}.effect (entity, place);";

/// One effect.
pub(crate) struct Effect {
    pub(crate) id: String,
    pub(crate) place: i64,
    /// The place of the last effect of the same entity that was there when the handler began.
    pub(crate) seen: Option<i64>,
}

/// One delivery, as it is kept.
pub(crate) struct Row {
    pub(crate) number: i64,
    pub(crate) id: String,
    pub(crate) state: i64,
    pub(crate) attempts: i64,
    pub(crate) finished_at: Option<i64>,
}

/// All that there is, at one moment.
pub(crate) struct Snapshot {
    pub(crate) rows: Vec<Row>,
    pub(crate) effects: Vec<Effect>,
    /// The numbers of records of which a part is missing.
    pub(crate) halves: Vec<i64>,
}

/// A connection past the inbox.
pub(crate) enum Database {
    Postgres { runtime: Runtime, client: Client, schema: String },
    Sqlite(rusqlite::Connection),
}

impl Place {
    pub(crate) fn new(engine: Engine) -> Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match engine {
            Engine::Sqlite => Self::Sqlite(Folder::new()),
            Engine::Postgres => {
                let url = SERVER.get_or_init(Postgres::start).url();
                let schema = format!("crash_{}", NEXT.fetch_add(1, Ordering::Relaxed));
                Self::Postgres { url, schema }
            }
        }
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::Postgres { url, schema } => format!("{url} {schema}"),
            Self::Sqlite(folder) => folder.file().to_str().unwrap().to_owned(),
        }
    }
}

impl Promise {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at_least_once",
            Self::ExactlyOnce => "exactly_once",
        }
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::AtLeastOnce, Self::ExactlyOnce].into_iter().find(|promise| promise.as_str() == text)
    }

    /// Where the effects of an inbox in `file` are.
    pub(crate) fn file_of_effects(self, file: &Path) -> PathBuf {
        match self {
            Self::AtLeastOnce => file.with_file_name("effects.sqlite"),
            Self::ExactlyOnce => file.to_owned(),
        }
    }
}

impl Address {
    pub(crate) fn read(text: &str) -> Self {
        match text.split_once(' ') {
            Some((url, schema)) => Self::Postgres { url: url.to_owned(), schema: schema.to_owned() },
            None => Self::Sqlite(text.to_owned()),
        }
    }
}

impl Database {
    /// Makes the inbox and the table of the effects.
    pub(crate) fn new(place: &Place, promise: Promise) -> Self {
        match place {
            Place::Sqlite(folder) => {
                drop(SqliteInbox::open(folder.file()).unwrap());
                let effects = promise.file_of_effects(&folder.file());
                let beside = rusqlite::Connection::open(&effects).unwrap();
                beside.execute_batch(&format!("PRAGMA journal_mode = WAL; {EFFECTS_OF_FILE}")).unwrap();
                drop(beside);
                let connection = rusqlite::Connection::open(folder.file()).unwrap();
                connection.busy_timeout(Duration::from_secs(20)).unwrap();
                if promise == Promise::AtLeastOnce {
                    connection.execute("ATTACH ?1 AS beside", [effects.to_str().unwrap()]).unwrap();
                }
                Self::Sqlite(connection)
            }
            Place::Postgres { url, schema } => {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
                let runtime = runtime.unwrap();
                let client = runtime.block_on(async {
                    PostgresInbox::builder(url).schema(schema.as_str()).build().await.unwrap();
                    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
                    tokio::spawn(connection);
                    client.batch_execute(&EFFECTS_OF_SERVER.replace("{schema}", schema)).await.unwrap();
                    client
                });
                Self::Postgres { runtime, client, schema: schema.clone() }
            }
        }
    }

    pub(crate) fn count(&mut self, condition: &str) -> i64 {
        match self {
            Self::Sqlite(connection) => {
                let text = format!("SELECT count(*) FROM countersign_inbox WHERE {condition}");
                connection.query_row(&text, [], |row| row.get(0)).unwrap()
            }
            Self::Postgres { runtime, client, schema } => {
                let text = format!("SELECT count(*) FROM {schema}.inbox WHERE {condition}");
                runtime.block_on(client.query_one(&text, &[])).unwrap().get(0)
            }
        }
    }

    /// Runs statements, in which `{schema}` stands for the schema's name.
    pub(crate) fn run(&mut self, statements: &str) {
        match self {
            Self::Sqlite(connection) => connection.execute_batch(statements).unwrap(),
            Self::Postgres { runtime, client, schema } => {
                runtime.block_on(client.batch_execute(&statements.replace("{schema}", schema))).unwrap();
            }
        }
    }

    pub(crate) fn snapshot(&mut self) -> Snapshot {
        match self {
            Self::Sqlite(connection) => of_file(connection),
            Self::Postgres { runtime, client, schema } => runtime.block_on(of_server(client, schema)),
        }
    }
}

fn of_file(connection: &mut rusqlite::Connection) -> Snapshot {
    let tx = connection.transaction().unwrap();
    let integrity: String = tx.pragma_query_value(None, "quick_check", |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok", "the file is sound");
    let halves = "SELECT number FROM countersign_inbox LEFT JOIN countersign_inbox_payload USING (number) \
                  WHERE body IS NULL UNION ALL SELECT number FROM countersign_inbox_payload WHERE number NOT IN \
                  (SELECT number FROM countersign_inbox)";
    let mut halves = tx.prepare(halves).unwrap();
    let halves = halves.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut rows = tx.prepare("SELECT delivery_id, state, attempts, finished_at, number FROM countersign_inbox");
    let rows = rows.as_mut().unwrap().query_map([], |row| {
        let (id, state, attempts) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Row { id, state, attempts, finished_at: row.get(3)?, number: row.get(4)? })
    });
    let rows = rows.unwrap().map(Result::unwrap).collect();
    let mut effects = tx.prepare("SELECT id, place, seen FROM effect").unwrap();
    let effects =
        effects.query_map([], |row| Ok(Effect { id: row.get(0)?, place: row.get(1)?, seen: row.get(2)? })).unwrap();
    let effects = effects.map(Result::unwrap).collect();
    Snapshot { rows, effects, halves }
}

async fn of_server(client: &mut Client, schema: &str) -> Snapshot {
    let tx = client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).read_only(true);
    let tx = tx.start().await.unwrap();
    let halves = format!(
        "SELECT number FROM {schema}.inbox FULL JOIN {schema}.inbox_delivery USING (number) \
         WHERE state IS NULL OR body IS NULL"
    );
    let halves = tx.query(&halves, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let rows = format!(
        "SELECT delivery_id, state::bigint, attempts::bigint, finished_at, number FROM {schema}.inbox \
         JOIN {schema}.inbox_delivery USING (number)"
    );
    let rows = tx.query(&rows, &[]).await.unwrap();
    let rows = rows.iter().map(|row| {
        let (id, state, attempts) = (row.get(0), row.get(1), row.get(2));
        Row { id, state, attempts, finished_at: row.get(3), number: row.get(4) }
    });
    let effects = tx.query(&format!("SELECT id, place, seen FROM {schema}.effect"), &[]).await.unwrap();
    let effects = effects.iter().map(|row| Effect { id: row.get(0), place: row.get(1), seen: row.get(2) });
    Snapshot { rows: rows.collect(), effects: effects.collect(), halves }
}
