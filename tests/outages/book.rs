//! Handlers that write each of their runs down, in a database that no outage touches.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::inbox::rusqlite::Connection;
use countersign::{Delivery, Handlers, Outcome};

use crate::common::Event;
use crate::inbox_common::Folder;

/// How long a handler takes, so that some are at work whenever something happens.
const WORK: Duration = Duration::from_millis(5);

/// A clone is another handle to the same book.
#[derive(Clone)]
pub(crate) struct Book {
    connection: Arc<Mutex<Connection>>,
    opened: Instant,
    _folder: Arc<Folder>,
}

/// A run, in time since the book was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
}

impl Book {
    pub(crate) fn open() -> Self {
        let folder = Folder::new();
        let connection = Connection::open(folder.path().join("book.sqlite")).unwrap();
        let setup =
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE run (id TEXT, started INT, ended INT)";
        connection.execute_batch(setup).unwrap();
        Self { connection: Arc::new(Mutex::new(connection)), opened: Instant::now(), _folder: Arc::new(folder) }
    }

    /// Works, and writes it down.
    pub(crate) async fn work(&self, delivery: &Delivery) {
        let started = self.opened.elapsed();
        tokio::time::sleep(WORK).await;
        let id = delivery.id().unwrap().as_str();
        let times = [started, self.opened.elapsed()].map(|time| i64::try_from(time.as_micros()).unwrap());
        let connection = self.connection.lock().unwrap();
        let mut insert = connection.prepare_cached("INSERT INTO run VALUES (?1, ?2, ?3)").unwrap();
        insert.execute((id, times[0], times[1])).unwrap();
    }

    /// Every run of every delivery, in their order.
    pub(crate) fn runs(&self) -> HashMap<String, Vec<Run>> {
        let connection = self.connection.lock().unwrap();
        let mut rows = connection.prepare("SELECT id, started, ended FROM run ORDER BY started").unwrap();
        let at = |micros: i64| self.opened + Duration::from_micros(micros.try_into().unwrap());
        let rows = rows.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, Run { started: at(row.get(1)?), ended: at(row.get(2)?) }))
        });
        let mut runs = HashMap::<_, Vec<_>>::new();
        for row in rows.unwrap() {
            let (id, run) = row.unwrap();
            runs.entry(id).or_default().push(run);
        }
        runs
    }

    /// Those of `ids` that were never handled.
    pub(crate) fn unhandled<'a>(&self, ids: &'a HashSet<String>) -> Vec<&'a String> {
        let runs = self.runs();
        ids.iter().filter(|id| !runs.contains_key(*id)).collect()
    }
}

impl Handlers for Book {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery) -> Outcome {
        self.work(delivery).await;
        Outcome::Handled
    }
}
