//! A receiver that keeps what comes in, and workers behind it whose effects are in the same database.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use countersign::inbox::{PostgresEffects, TransactionalHandlers};
use countersign::{Delivery, HandlerError, Inbox, Outcome, PostgresInbox, Receiver};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::book::Book;
use crate::common::{self, Event, Probe, Server, Setup};
use crate::senders::Senders;
use crate::servers::Postgres;
use crate::{PATIENCE, through};

/// How long after a worker has lost sight of a delivery another one takes it up.
const LEASE: Duration = Duration::from_secs(2);

/// Writes down each run, and into the transaction an effect.
struct Ledger(Book);

impl TransactionalHandlers<PostgresEffects> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut PostgresEffects) -> Outcome {
        self.0.work(delivery).await;
        let id = delivery.id().unwrap().as_str();
        match effects.execute("INSERT INTO effect VALUES ($1)", &[&id]).await {
            Ok(_) => Outcome::Handled,
            Err(error) => Outcome::Retry(HandlerError::retryable(error)),
        }
    }
}

pub(crate) fn on_postgres() {
    let name = "the inbox in PostgreSQL";
    let mut server = Postgres::start();
    let url = server.url();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let inbox = runtime.block_on(async {
        let inbox = PostgresInbox::builder(&url).build().await.unwrap();
        // There is no unique constraint: what was done twice is there twice.
        client(&url).await.batch_execute("CREATE TABLE effect (id text NOT NULL)").await.unwrap();
        Inbox::<Event, _>::new(inbox)
    });
    let book = Book::open();
    let workers = {
        let _on = runtime.enter();
        inbox.transactional_workers(Ledger(book.clone())).lease(LEASE).start().unwrap()
    };
    let receiver = Receiver::builder(common::scheme(), common::keyring()).inbox(inbox).build().unwrap();
    let http = Server::configured(Setup::default(), &Probe::default(), move |config| {
        config.service(receiver.at(common::PATH));
    });
    let senders = Senders::start(http.addr);
    let seen = through(name, &mut server, &senders, false);
    let acknowledged = senders.end();

    let started = Instant::now();
    let checker = Checker::new(&runtime, &url);
    while checker.unfinished() > 0 {
        assert!(started.elapsed() < PATIENCE, "{name}: {} are left", checker.unfinished());
        std::thread::sleep(Duration::from_millis(20));
    }
    let all_done = started.elapsed();
    runtime.block_on(workers.drain(PATIENCE));
    checker.check(name, &acknowledged);
    let again = book.runs().values().filter(|runs| runs.len() > 1).count();
    println!(
        "{name}: {} acknowledged, 0 lost, 0 effects doubled, all worked on {all_done:?} after the last acknowledgement; \
         {again} ran again because their commit was cut off",
        acknowledged.len()
    );
    seen.judge_times();
}

/// Looks into the database, and knows nothing of how it came to be so.
struct Checker<'a> {
    runtime: &'a Runtime,
    client: Client,
}

impl<'a> Checker<'a> {
    fn new(runtime: &'a Runtime, url: &str) -> Self {
        Self { runtime, client: runtime.block_on(client(url)) }
    }

    fn unfinished(&self) -> i64 {
        let query = "SELECT count(*) FROM countersign.inbox WHERE state < 3";
        self.runtime.block_on(self.client.query_one(query, &[])).unwrap().get(0)
    }

    fn check(&self, when: &str, acknowledged: &HashSet<String>) {
        let rows = |query: &str| self.runtime.block_on(self.client.query(query, &[])).unwrap();
        let halves = "SELECT number FROM countersign.inbox FULL JOIN countersign.inbox_delivery USING (number)
                      WHERE inbox.state IS NULL OR inbox_delivery.body IS NULL";
        assert_eq!(rows(halves).len(), 0, "{when}: half a record");
        let kept = "SELECT delivery_id, state FROM countersign.inbox JOIN countersign.inbox_delivery USING (number)";
        let mut states = HashMap::new();
        for row in rows(kept) {
            let (id, state): (String, i16) = (row.get(0), row.get(1));
            assert!(states.insert(id.clone(), state).is_none(), "{when}: {id} was kept twice");
        }
        let lost: Vec<_> = acknowledged.iter().filter(|id| !states.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{when}: acknowledged and lost: {lost:?}");
        let mut effects = HashMap::new();
        for row in rows("SELECT id, count(*) FROM effect GROUP BY id") {
            effects.insert(row.get::<_, String>(0), row.get::<_, i64>(1));
        }
        let doubled: Vec<_> = effects.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "{when}: effects that are there twice: {doubled:?}");
        for (id, state) in &states {
            assert_eq!((*state, effects.contains_key(id)), (3, true), "{when}: {id} is done and has its effect");
        }
        assert_eq!(effects.len(), states.len(), "{when}: effects of nothing");
    }
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
