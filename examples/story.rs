//! The whole story without an account: a sandbox plays the provider, the typed client sets it up, and a receiver takes
//! what comes. Every event once, a rotation under load, every fault, the log, and a retry by hand.
//!
//! Run it: `cargo run --example story --features client,sandbox`

mod common;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::{Failure, id, listen_on};
use countersign::kycgenie::client::{ApiKey, Client, DeliveryStatus, LogEntry, NewWebhook};
use countersign::kycgenie::{self, Event};
use countersign::sandbox::{Attempt, Fault, Faults, Sandbox, Strike, Trigger};
use countersign::{
    Delivery, HandlerError, Key, KeyId, Keyring, Receiver, Variant, VariantKind, WebhookEvent, handlers,
};

const PATH: &str = "/webhooks/kycgenie";
const PATIENCE: Duration = Duration::from_secs(60);

/// Counts how often each delivery was handled.
#[derive(Clone, Default)]
struct Ledger {
    handled: Arc<Mutex<BTreeMap<String, usize>>>,
    database_is_away: Arc<AtomicBool>,
}

#[handlers(Event)]
impl Ledger {
    #[otherwise]
    async fn book(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        if self.database_is_away.load(Ordering::SeqCst) {
            return Err(HandlerError::retryable("the database is away"));
        }
        let mut handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        *handled.entry(id(delivery).to_owned()).or_default() += 1;
        Ok(())
    }
}

impl Ledger {
    /// How many of these were handled exactly once.
    fn once(&self, deliveries: &[String]) -> usize {
        let handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        deliveries.iter().filter(|id| handled.get(*id) == Some(&1)).count()
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    // The provider. Its waits pass a hundred times faster than in life; the times that it signs are the real ones.
    let sandbox = Sandbox::builder().speed(100.0).start().await?;
    let client = Client::builder(ApiKey::new(sandbox.test_key())?).base_url(sandbox.url()).build()?;

    // The address first: the provider wants it, and then shows the secret, once.
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let url = format!("http://{}{PATH}", listener.local_addr()?);
    let webhook = client.create(&NewWebhook::new("all", &url)).await?;
    println!("provider  {}\nreceiver  {url}\n", sandbox.url());

    let ledger = Ledger::default();
    let keyring = Keyring::new([Key::new(KeyId::new("first")?, webhook.secret)])?;
    let receiver = Receiver::builder(kycgenie::scheme(), keyring.clone()).handlers(ledger.clone()).build()?;
    let server = listen_on(listener, move || receiver.at(PATH))?;
    let handle = server.handle();
    actix_web::rt::spawn(server);

    println!("1. Every event type");
    let mut deliveries = Vec::new();
    for event_type in event_types(Event::VARIANTS) {
        deliveries.extend(sandbox.trigger(&Trigger::new(event_type)).await?.delivery_ids);
    }
    sandbox.settled(PATIENCE).await?;
    println!("   {} of {} handled exactly once\n", ledger.once(&deliveries), deliveries.len());

    println!("2. Three rotations under load");
    let load = Trigger::new("screening.completed").count(600).rate(300.0);
    let rotations = async {
        for _ in 0..3 {
            actix_web::rt::time::sleep(Duration::from_millis(400)).await;
            let rotated = client.rotate_into(&webhook.id, &keyring, Duration::from_secs(3600)).await?;
            println!("   the provider signs with a new secret: key {}", rotated.key_id);
        }
        Ok::<_, Failure>(())
    };
    let before = sandbox.attempts(0).last().map_or(0, |attempt| attempt.number);
    let (triggered, rotated) = futures_util::future::join(sandbox.trigger(&load), rotations).await;
    rotated?;
    let triggered = triggered?;
    sandbox.settled(PATIENCE).await?;
    let attempts = sandbox.attempts(before);
    let refused = attempts.iter().filter(|attempt| attempt.status == Some(401)).count();
    let once = ledger.once(&triggered.delivery_ids);
    println!("   {once} of {} handled exactly once, {refused} answered 401\n", triggered.deliveries);

    println!("3. Everything that can go wrong on the way");
    println!("   {:<18} {:<12} {:<16} handled once", "fault", "answers", "then, genuine");
    for fault in Fault::ALL {
        let count = if fault == Fault::Reorder { 4 } else { 1 };
        sandbox.set_faults(Faults::seeded(7).with(fault, Strike::next(1)).slow(Duration::from_millis(300)))?;
        let before = sandbox.attempts(0).last().map_or(0, |attempt| attempt.number);
        let triggered = sandbox.trigger(&Trigger::new("case.opened").count(count)).await?;
        sandbox.settled(PATIENCE).await?;
        let attempts = sandbox.attempts(before);
        let answers = |struck: bool| {
            let of = attempts.iter().filter(|attempt| attempt.faults.contains(&fault) == struck);
            of.map(answer).collect::<Vec<_>>().join(" ")
        };
        let once = format!("{} of {}", ledger.once(&triggered.delivery_ids), triggered.deliveries);
        println!("   {:<18} {:<12} {:<16} {once}", fault.as_str(), answers(true), answers(false));
    }
    sandbox.set_faults(Faults::none())?;

    println!("\n4. A delivery that fails for good, and a retry by hand");
    ledger.database_is_away.store(true, Ordering::SeqCst);
    let failed = sandbox.trigger(&Trigger::new("alert.created")).await?;
    sandbox.settled(PATIENCE).await?;
    let row = newest_failed(&client).await?;
    println!("   in the log: {} {} at attempt {}", row.event_type, row.status, row.attempt_number.unwrap_or(0));
    ledger.database_is_away.store(false, Ordering::SeqCst);
    client.retry(&row.id).await?;
    sandbox.settled(PATIENCE).await?;
    println!("   after the retry: {} of 1 handled exactly once", ledger.once(&failed.delivery_ids));

    handle.stop(true).await;
    sandbox.stop().await;
    Ok(())
}

/// The types of `variants` and of the groups in it.
fn event_types(variants: &'static [Variant]) -> Vec<&'static str> {
    let types = |variant: &Variant| match variant.kind {
        VariantKind::Event(event_type) => vec![event_type],
        VariantKind::Group(variants) => event_types(variants),
        VariantKind::Unknown => Vec::new(),
    };
    variants.iter().flat_map(types).collect()
}

fn answer(attempt: &Attempt) -> String {
    attempt.status.map_or_else(|| "none".to_owned(), |status| status.to_string())
}

async fn newest_failed(client: &Client) -> Result<LogEntry, Failure> {
    let mut logs = client.logs();
    while let Some(row) = logs.try_next().await? {
        if row.status == DeliveryStatus::Failed {
            return Ok(row);
        }
    }
    Err("nothing in the log has failed".into())
}
