//! What the child does for each delivery: it writes an effect.

use std::collections::HashSet;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::inbox::tokio_postgres::{self, NoTls};
use countersign::inbox::{PostgresEffects, SqliteEffects, TransactionalHandlers, rusqlite};
use countersign::kycgenie::Event;
use countersign::{Delivery, HandlerError, Handlers, Outcome};

use crate::child::reached;
use crate::place::{Address, INSERT_INTO_FILE, INSERT_INTO_SERVER, Promise};

/// What the ids begin with of which a handler says once in each process that they are to be tried again, and of those of
/// which it says that no try can mend them.
pub(crate) const AGAIN: &str = "again_";
pub(crate) const NEVER: &str = "never_";
/// Of those that take so long that their lease is renewed; and of those whose handlers come to no end, where that is asked
/// for.
pub(crate) const LONG: &str = "long_";
pub(crate) const STAYS: &str = "stays_";
/// Of those that have an entity, which stands behind that: `of_ENTITY_…`.
pub(crate) const OF: &str = "of_";

/// A lease is renewed when a third of it is over; and it is not to run out on a busy machine.
pub(crate) const LONG_RUN: Duration = Duration::from_millis(200);

/// What is worked on in the order in which it came.
pub(crate) fn entity(id: &str) -> Option<&str> {
    id.strip_prefix(OF)?.split('_').next()
}

/// Writes an effect for each delivery. One is the death of its process, some fail always, once, or for good, some take long,
/// and some have to be let go, or never end.
pub(crate) struct Ledger {
    /// What has failed once in this process.
    failed: Mutex<HashSet<String>>,
    pen: Pen,
    /// Whether some never end.
    stays: bool,
    /// Those that are running and will not end.
    pub(crate) held: Arc<Mutex<Vec<String>>>,
}

/// A connection of the handlers' own to the effects: past the inbox, and in no transaction of it.
pub(crate) enum Pen {
    Postgres { client: tokio_postgres::Client, schema: String },
    Sqlite(Arc<Mutex<rusqlite::Connection>>),
}

/// One effect.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    id: String,
    entity: Option<String>,
    /// The last effect of the entity that was there when the handler began.
    seen: Option<i64>,
}

/// What an effect is written with, in either engine.
pub(crate) trait Book: Send {
    fn book(&mut self, entry: Entry) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

impl Book for SqliteEffects {
    async fn book(&mut self, Entry { id, entity, seen }: Entry) -> Result<(), HandlerError> {
        self.write(move |tx| {
            tx.execute(INSERT_INTO_FILE, rusqlite::params![id, entity, seen])?;
            Ok(())
        });
        Ok(())
    }
}

/// With the name of the schema, which the transaction does not know.
impl Book for (&mut PostgresEffects, &str) {
    async fn book(&mut self, Entry { id, entity, seen }: Entry) -> Result<(), HandlerError> {
        let insert = INSERT_INTO_SERVER.replace("{schema}", self.1);
        self.0.execute(&insert, &[&id, &entity, &seen]).await?;
        Ok(())
    }
}

/// The effect is there before its delivery is done, and whether that will be recorded or not.
impl Book for &Pen {
    async fn book(&mut self, Entry { id, entity, seen }: Entry) -> Result<(), HandlerError> {
        match self {
            Pen::Postgres { client, schema } => {
                client.execute(&INSERT_INTO_SERVER.replace("{schema}", schema), &[&id, &entity, &seen]).await?;
            }
            Pen::Sqlite(connection) => {
                let connection = Arc::clone(connection);
                let write = move || {
                    let params = rusqlite::params![id, entity, seen];
                    connection.lock().unwrap().execute(INSERT_INTO_FILE, params).unwrap();
                };
                tokio::task::spawn_blocking(write).await.unwrap();
            }
        }
        Ok(())
    }
}

impl Pen {
    pub(crate) async fn open(address: &Address, promise: Promise) -> Self {
        match address {
            Address::Sqlite(file) => {
                let connection = rusqlite::Connection::open(promise.file_of_effects(file.as_ref())).unwrap();
                connection.busy_timeout(Duration::from_secs(20)).unwrap();
                // What is written outlasts the process, which is all that dies here.
                connection.execute_batch("PRAGMA synchronous = NORMAL").unwrap();
                Self::Sqlite(Arc::new(Mutex::new(connection)))
            }
            Address::Postgres { url, schema } => {
                let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
                tokio::spawn(connection);
                Self::Postgres { client, schema: schema.clone() }
            }
        }
    }

    /// Where the last effect of an entity is.
    async fn last_of(&self, entity: String) -> i64 {
        match self {
            Self::Postgres { client, schema } => {
                let last = format!("SELECT coalesce(max(place), 0) FROM {schema}.effect WHERE entity = $1");
                client.query_one(&last, &[&entity]).await.unwrap().get(0)
            }
            Self::Sqlite(connection) => {
                let connection = Arc::clone(connection);
                let last = "SELECT coalesce(max(place), 0) FROM effect WHERE entity = ?1";
                let read = move || connection.lock().unwrap().query_row(last, [entity], |row| row.get(0)).unwrap();
                tokio::task::spawn_blocking(read).await.unwrap()
            }
        }
    }

    fn schema(&self) -> &str {
        match self {
            Self::Postgres { schema, .. } => schema,
            Self::Sqlite(_) => "main",
        }
    }
}

impl Ledger {
    pub(crate) fn new(pen: Pen, stays: bool) -> Self {
        Self { failed: Mutex::default(), pen, stays, held: Arc::default() }
    }

    async fn run(&self, delivery: &Delivery, book: &mut impl Book) -> Outcome {
        let id = delivery.id().unwrap().to_string();
        let entity = entity(&id).map(str::to_owned);
        let seen = match &entity {
            Some(entity) => Some(self.pen.last_of(entity.clone()).await),
            None => None,
        };
        tokio::time::sleep(if id.starts_with(LONG) { LONG_RUN } else { Duration::from_millis(1) }).await;
        if id == "aborts" {
            std::process::abort();
        }
        if self.stays && id.starts_with(STAYS) {
            self.held.lock().unwrap().push(id);
            tell_that_it_is_inside();
            return std::future::pending().await;
        }
        if let Err(error) = book.book(Entry { id: id.clone(), entity, seen }).await {
            return Outcome::Retry(error);
        }
        reached("handler", "within");
        if id == "fails" || (id.starts_with(AGAIN) && self.failed.lock().unwrap().insert(id.clone())) {
            return Outcome::Retry(HandlerError::retryable("as ever"));
        }
        if id.starts_with(NEVER) {
            return Outcome::Permanent(HandlerError::permanent("there is no such account"));
        }
        if id.starts_with("freezes") {
            tell_that_it_is_inside();
            let waited = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await;
            drop(waited);
        }
        Outcome::Handled
    }
}

fn tell_that_it_is_inside() {
    println!("INSIDE");
    std::io::stdout().flush().unwrap();
}

impl Handlers for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery) -> Outcome {
        self.run(delivery, &mut &self.pen).await
    }
}

impl TransactionalHandlers<SqliteEffects> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut SqliteEffects) -> Outcome {
        self.run(delivery, effects).await
    }
}

impl TransactionalHandlers<PostgresEffects> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut PostgresEffects) -> Outcome {
        self.run(delivery, &mut (effects, self.pen.schema())).await
    }
}
