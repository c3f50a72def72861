//! More than one machine: three receivers and two workers as processes of their own, one inbox in PostgreSQL, and a
//! provider that sends to one address.
//!
//! Run it: `cargo run --example fleet --features postgres,sandbox`
//!
//! It takes the URL of a PostgreSQL as its argument or in `COUNTERSIGN_POSTGRES`, and works there in a schema that it
//! removes at the end; otherwise it starts a server of its own from the machine's packages (Debian's are installed where they
//! are missing and it runs as root, and it says so).
//!
//! While 2,000 events come in, a receiver and a worker are killed with `kill -9` and started again, and then all receivers are
//! restarted one after the other, gracefully. At the end what the provider's log calls delivered is held against the
//! inbox and the books.
//!
//! [`receive`] and [`work`] are the two programs; all the rest is the stage for them.

#[path = "../common/mod.rs"]
mod common;
mod fleet;
mod ports;
#[path = "../../tests/common/servers.rs"]
mod servers;
mod verdict;

use std::time::{Duration, Instant};

use common::{Failure, listen};
use countersign::inbox::{InboxStore, PostgresEffects, tokio_postgres};
use countersign::kycgenie::{self, Event};
use countersign::sandbox::{Assumptions, Sandbox, Trigger};
use countersign::{Delivery, DeliveryId, HandlerError, Inbox, Keyring, PostgresInbox, Receiver, handlers};
use fleet::{Fleet, Place};
use servers::Postgres;
use tokio::signal::unix::{SignalKind, signal};

const PATH: &str = "/webhooks/kycgenie";
const EVENTS: u64 = 2_000;
const A_SECOND: f64 = 250.0;
const PATIENCE: Duration = Duration::from_secs(60);

/// A receiver: verify, keep, answer. Any number of them share the inbox; which one a delivery reaches makes no difference.
async fn receive(place: &Place, port: u16) -> Result<(), Failure> {
    let store = PostgresInbox::builder(&place.url).schema(&place.schema).build().await?;
    let receiver = Receiver::builder(kycgenie::scheme(), Keyring::from_env("KYCGENIE_WEBHOOK_SECRET")?)
        .inbox(Inbox::<Event, _>::new(store))
        .build()?;
    let (_, server) = listen(port, move || receiver.at(PATH))?;
    println!("ready");
    server.await?; // until SIGTERM; what is being answered then is answered
    Ok(())
}

/// A worker: takes out of the inbox what is due. Two never have the same delivery, unless one was too slow or is dead.
async fn work(place: &Place) -> Result<(), Failure> {
    let store = PostgresInbox::builder(&place.url).schema(&place.schema).build().await?;
    let ledger = Ledger { insert: format!("INSERT INTO {}.booking (delivery) VALUES ($1)", place.schema) };
    let workers = Inbox::new(store)
        .transactional_workers(ledger)
        .lease(Duration::from_secs(2)) // how long after its death its work is taken up by another; 30 s unless set
        .start()?;
    println!("ready");
    signal(SignalKind::terminate())?.recv().await;
    workers.drain(Duration::from_secs(20)).await;
    Ok(())
}

/// Books each delivery, in the transaction that completes it: both are committed, or neither is.
struct Ledger {
    insert: String,
}

#[handlers(Event, effects = PostgresEffects)]
impl Ledger {
    #[otherwise]
    async fn book(&self, delivery: &Delivery, effects: &mut PostgresEffects) -> Result<(), HandlerError> {
        // Stands for the work: asking another service, say.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let id = delivery.id().map(DeliveryId::as_str);
        effects.execute(&self.insert, &[&id]).await.map_err(HandlerError::retryable)?;
        Ok(())
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    match fleet::role()? {
        fleet::Role::Receiver(place, port) => receive(&place, port).await,
        fleet::Role::Worker(place) => work(&place).await,
        fleet::Role::Stage(url) => {
            // It ends with this function.
            let (_server, url) = match url {
                Some(url) => (None, url),
                None => {
                    println!("no PostgreSQL was named: a server of this example's own is started");
                    let server = Postgres::start();
                    let url = server.url();
                    (Some(server), url)
                }
            };
            stage(Place { url, schema: format!("countersign_fleet_{}", std::process::id()) }).await
        }
    }
}

async fn stage(place: Place) -> Result<(), Failure> {
    let started = Instant::now();
    let store = PostgresInbox::builder(&place.url).schema(&place.schema).build().await?;
    let (books, connection) = tokio_postgres::connect(&place.url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    // There is no unique constraint: what is booked twice is there twice.
    books.batch_execute(&format!("CREATE TABLE {}.booking (delivery text)", place.schema)).await?;

    // The provider. Its waits pass twenty times faster than in life, and it does not give up after three attempts.
    let mut assumptions = Assumptions::default();
    assumptions.max_attempts = 50;
    let sandbox = Sandbox::builder().speed(20.0).assumptions(assumptions).start().await?;
    let list = ports::free(3)?;
    let front = ports::spread(list.clone()).await?;
    let secret = fleet::subscribe(&sandbox, &format!("http://{front}{PATH}"))?;
    println!("provider  {}\nport list {front} -> {list:?}\n", sandbox.url());

    let mut fleet = Fleet::start(&place, &secret, &list, 2)?;
    println!("{:>6.1} s  3 receivers and 2 workers are ready", started.elapsed().as_secs_f64());
    let tell = async |what: &str| -> Result<(), Failure> {
        let (sent, kept) = (sandbox.status(), store.stats().await?);
        let at = started.elapsed().as_secs_f64();
        println!(
            "{at:>6.1} s  {what:<42}{:>5} acknowledged {:>5} done {:>4} pending {:>3} running",
            sent.delivered, kept.done, kept.pending, kept.running
        );
        Ok(())
    };

    let load = Trigger::new("screening.completed").count(EVENTS).rate(A_SECOND);
    let events = async {
        sandbox.trigger(&load).await?;
        Ok::<(), Failure>(sandbox.settled(PATIENCE).await?)
    };
    let incidents = async {
        let pause = || tokio::time::sleep(Duration::from_secs(1));
        pause().await;
        tell("all is well").await?;
        fleet.receivers[0].kill()?;
        fleet.workers[0].kill()?;
        tell("kill -9: receiver 1 and worker 1").await?;
        pause().await;
        fleet.receivers[0].start()?;
        fleet.workers[0].start()?;
        tell("both are started again").await?;
        pause().await;
        for at in 0..fleet.receivers.len() {
            fleet.receivers[at].restart_gracefully().await?;
            tell(&format!("SIGTERM: receiver {} has ended, and is back", at + 1)).await?;
        }
        Ok::<(), Failure>(())
    };
    let (sent, done) = futures_util::future::join(events, incidents).await;
    sent?;
    done?;
    tell("the provider has sent everything").await?;
    let waiting = Instant::now();
    while verdict::unfinished(&store.stats().await?) > 0 && waiting.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tell("the workers have come to an end").await?;
    drop(fleet);

    let sound = verdict::give(EVENTS, &sandbox, &store, &books, &place.schema).await?;
    println!("in {:.1} s", started.elapsed().as_secs_f64());
    sandbox.stop().await;
    books.batch_execute(&format!("DROP SCHEMA {} CASCADE", place.schema)).await?;
    if sound { Ok(()) } else { Err("not what was promised".into()) }
}
