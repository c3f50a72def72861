//! Handlers that run before the answer, under claims in a store.

use std::time::{Duration, Instant};

use countersign::{DedupeStore, PostgresStore, Receiver, RedisStore};

use crate::book::{Book, Run};
use crate::common::{self, Probe, Server, Setup};
use crate::senders::Senders;
use crate::servers::{Outage, Postgres, Redis};
use crate::{Away, through};

/// What a receiver allows a handler unless told, and ten seconds: `Settings::lease` in `src/receiver/builder.rs`.
const LEASE: Duration = Duration::from_secs(25);
/// Within which time of being back a store records the completions that it could not before.
const RECORDED: Duration = Duration::from_secs(5);
/// What may lie between a claim's beginning and that of its run.
const UNSURE: Duration = Duration::from_secs(1);

pub(crate) fn on_postgres() {
    let mut server = Postgres::start();
    let url = server.url();
    through_every_outage("claims in PostgreSQL", &mut server, async || {
        PostgresStore::builder(&url).build().await.unwrap()
    });
}

pub(crate) fn on_redis() {
    let mut server = Redis::durable();
    let url = server.url();
    through_every_outage("claims in Redis", &mut server, async || RedisStore::builder(&url).build().await.unwrap());
}

fn through_every_outage<O: Outage, S: DedupeStore>(name: &str, server: &mut O, store: impl AsyncFnOnce() -> S) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = runtime.block_on(store());
    let book = Book::open();
    let receiver = Receiver::builder(common::scheme(), common::keyring()).handlers(book.clone()).dedupe(store);
    let receiver = receiver.build().unwrap();
    let http = Server::configured(Setup::default(), &Probe::default(), move |config| {
        config.service(receiver.at(common::PATH));
    });
    let senders = Senders::start(http.addr);
    let seen = through(name, server, &senders, true);
    let acknowledged = senders.end();

    let lost = book.unhandled(&acknowledged);
    assert!(lost.is_empty(), "{name}: acknowledged and not handled: {lost:?}");
    let runs = book.runs();
    let twice: Vec<_> = runs.iter().filter(|(_, runs)| runs.len() > 1).collect();
    for (id, runs) in &twice {
        assert!(runs.windows(2).all(|pair| may_be_followed(pair, &seen.away)), "{name}: {id} ran twice: {runs:?}");
    }
    println!(
        "{name}: {} acknowledged, 0 of them not handled; {} ran again because nobody could record in time that they were \
         done",
        acknowledged.len(),
        twice.len()
    );

    // What is done is remembered: the sender's late duplicates run nothing.
    let before: usize = runs.values().map(Vec::len).sum();
    for id in acknowledged.iter().take(200) {
        let started = Instant::now();
        while Senders::send_once(http.addr, id) != Some(200) {
            assert!(started.elapsed() < LEASE, "{name}: {id} was acknowledged and is refused");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let after: usize = book.runs().values().map(Vec::len).sum();
    assert_eq!(after, before, "{name}: duplicates of what is done were handled");
    seen.judge_times();
}

/// Whether a second run is what an outage excuses: the store was away when the first one ended, so that its completion
/// could not be recorded, and it was still away, or hardly back, when the lease of the first had run out.
fn may_be_followed(pair: &[Run], away: &[Away]) -> bool {
    let [first, second] = pair else { return true };
    let excuses = |away: &Away| {
        let ended_meanwhile = first.ended + UNSURE > away.from && first.ended < away.until;
        ended_meanwhile && first.started + LEASE < away.until + RECORDED
    };
    away.iter().any(excuses) && second.started - first.started + UNSURE >= LEASE
}
