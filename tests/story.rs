//! The whole story, over real sockets: a sandbox plays the provider, the typed client sets it up, a receiver takes what
//! comes; every event once, rotations under load, every fault, the log, and a retry by hand.

#![cfg(all(feature = "client", feature = "macros", feature = "sandbox"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../examples/common/mod.rs"]
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::listen_on;
use countersign::kycgenie::client::{ApiKey, Client, CreatedWebhook, DeliveryStatus, NewWebhook, WebhookId};
use countersign::kycgenie::{self, Event};
use countersign::sandbox::{Assumptions, Attempt, Fault, Faults, Sandbox, Strike, Trigger};
use countersign::{Clock, Delivery, HandlerError, Key, KeyId, Keyring, Receiver, Secret, SystemClock, handlers};

const LISTED: &str = include_str!("data/kycgenie-event-types.txt");
const PATH: &str = "/webhooks/kycgenie";
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts how often each delivery was handled to its end.
#[derive(Clone, Default)]
struct Ledger(Arc<Book>);

#[derive(Default)]
struct Book {
    /// How often, by delivery id.
    handled: Mutex<BTreeMap<String, usize>>,
    /// The events' types, in the order in which they were handled.
    types: Mutex<Vec<String>>,
    /// Whether every event fails, as when a database is away.
    fails: AtomicBool,
}

#[handlers(Event)]
impl Ledger {
    #[otherwise]
    async fn book(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        if self.0.fails.load(Ordering::SeqCst) {
            return Err(HandlerError::retryable("the database is away"));
        }
        *self.0.handled.lock().unwrap().entry(delivery.id().unwrap().to_string()).or_default() += 1;
        self.0.types.lock().unwrap().push(delivery.event_type().unwrap().to_string());
        Ok(())
    }
}

/// A sandbox, a client of it, and a receiver that is subscribed to everything.
struct Stage {
    sandbox: Sandbox,
    client: Client,
    ledger: Ledger,
    keyring: Keyring,
    webhook: WebhookId,
    server: actix_web::dev::ServerHandle,
    seen: u64,
}

impl Stage {
    async fn set() -> Self {
        let mut assumptions = Assumptions::default();
        assumptions.timeout = Duration::from_secs(30);
        assumptions.backoff_jitter = false;
        // An hour of waits passes in a second or so; jitter would only make that a matter of luck.
        let sandbox = Sandbox::builder().speed(100.0).assumptions(assumptions).start().await.unwrap();
        let key = ApiKey::new(sandbox.test_key()).unwrap();
        let client = Client::builder(key).base_url(sandbox.url()).build().unwrap();

        // The address first: the provider wants it, and then shows the secret that the receiver needs.
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let CreatedWebhook { id: webhook, secret, .. } = client.create(&NewWebhook::new("all", url)).await.unwrap();

        let ledger = Ledger::default();
        let keyring = Keyring::new([Key::new(KeyId::new("first").unwrap(), secret)]).unwrap();
        let receiver = Receiver::builder(kycgenie::scheme(), keyring.clone()).handlers(ledger.clone()).build().unwrap();
        let server = listen_on(listener, move || receiver.at(PATH)).unwrap();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { sandbox, client, ledger, keyring, webhook, server: handle, seen: 0 }
    }

    async fn settled(&self) {
        self.sandbox.settled(PATIENCE).await.unwrap();
    }

    /// The attempts since this was last asked.
    fn attempts(&mut self) -> Vec<Attempt> {
        let attempts = self.sandbox.attempts(self.seen);
        self.seen = attempts.last().map_or(self.seen, |last| last.number);
        attempts
    }

    /// Every one of these deliveries was handled once.
    #[track_caller]
    fn assert_once(&self, deliveries: &[String]) {
        let handled = self.ledger.0.handled.lock().unwrap();
        for id in deliveries {
            assert_eq!(handled.get(id), Some(&1), "{id}");
        }
    }

    async fn strike(self) {
        self.server.stop(true).await;
        self.sandbox.stop().await;
    }
}

#[actix_web::test]
async fn every_event_type_is_handled_once_and_the_log_tells_it() {
    let stage = Stage::set().await;
    let mut deliveries = Vec::new();
    let types: Vec<_> = LISTED.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(types.len(), 37);
    for event_type in &types {
        let triggered = stage.sandbox.trigger(&Trigger::new(*event_type)).await.unwrap();
        assert_eq!(triggered.deliveries, 1, "{event_type}");
        deliveries.extend(triggered.delivery_ids);
    }
    stage.settled().await;
    stage.assert_once(&deliveries);
    let handled: BTreeSet<String> = stage.ledger.0.types.lock().unwrap().iter().cloned().collect();
    assert_eq!(handled, types.iter().map(ToString::to_string).collect());

    // The test endpoint goes the same way, and tells how it went.
    let webhook = stage.client.get(&stage.webhook).await.unwrap();
    let tested = stage.client.test(&webhook.webhook_url).await.unwrap();
    assert_eq!((tested.success, tested.http_status_code), (true, Some(200)), "{tested:?}");
    stage.keyring.replace([Key::new(KeyId::new("wrong").unwrap(), Secret::new("whsec_d3Jvbmc=").unwrap())]).unwrap();
    let tested = stage.client.test(&webhook.webhook_url).await.unwrap();
    assert_eq!((tested.success, tested.http_status_code), (false, Some(401)), "{tested:?}");

    let mut logged = BTreeSet::new();
    let mut logs = stage.client.logs();
    while let Some(row) = logs.try_next().await.unwrap() {
        if row.http_status_code == Some(401) {
            continue; // the second test
        }
        assert_eq!(
            (&row.status, row.http_status_code, row.attempt_number),
            (&DeliveryStatus::Delivered, Some(200), Some(1))
        );
        logged.insert(row.event_type);
    }
    assert_eq!(logged, handled);
    let stats = webhook.stats.unwrap();
    assert_eq!(
        (stats.total_deliveries, stats.successful_deliveries, stats.failed_deliveries),
        (Some(37), Some(37), Some(0))
    );
    stage.strike().await;
}

#[actix_web::test]
async fn rotations_under_load_lose_nothing_double_nothing_and_answer_nothing_with_401() {
    const ROTATIONS: usize = 5;
    let mut stage = Stage::set().await;
    let load = Trigger::new("screening.completed").count(1_000).rate(400.0);
    let rotations = async {
        for _ in 0..ROTATIONS {
            actix_web::rt::time::sleep(Duration::from_millis(300)).await;
            let overlap = Duration::from_secs(3600);
            stage.client.rotate_into(&stage.webhook, &stage.keyring, overlap).await.unwrap();
        }
    };
    let (triggered, ()) = futures_util::future::join(stage.sandbox.trigger(&load), rotations).await;
    let triggered = triggered.unwrap();
    stage.settled().await;
    assert_eq!(triggered.deliveries, 1_000);
    stage.assert_once(&triggered.delivery_ids);
    assert_eq!(stage.ledger.0.handled.lock().unwrap().len(), 1_000);
    assert_eq!(stage.keyring.keys().len(), ROTATIONS + 1);
    assert_eq!(stage.keyring.rotating_until(), None);
    let statuses: BTreeSet<_> = stage.attempts().iter().map(|attempt| attempt.status).collect();
    assert!(statuses.is_subset(&BTreeSet::from([Some(200), Some(503)])), "{statuses:?}");
    stage.strike().await;
}

#[actix_web::test]
async fn every_fault_is_answered_as_the_status_table_says_and_the_event_handled_once() {
    let mut stage = Stage::set().await;
    for fault in Fault::ALL {
        let faults = Faults::seeded(7).with(fault, Strike::next(1)).slow(Duration::from_millis(500));
        stage.sandbox.set_faults(faults.delay(Duration::from_secs(20))).unwrap();
        // The later ones overtake the one that is held back.
        let count = if fault == Fault::Reorder { 4 } else { 1 };
        let triggered = stage.sandbox.trigger(&Trigger::new("case.opened").count(count)).await.unwrap();
        stage.settled().await;
        stage.assert_once(&triggered.delivery_ids);

        let attempts = stage.attempts();
        let struck: Vec<_> = attempts.iter().filter(|attempt| attempt.faults.contains(&fault)).collect();
        let mut answers: Vec<_> = struck.iter().map(|attempt| attempt.status).collect();
        answers.sort_unstable();
        let retried = attempts.iter().any(|attempt| attempt.attempt == 2);
        let told = format!("{fault:?}: {attempts:#?}");
        match fault {
            // Not what was signed, not when, or not by whom.
            Fault::AlteredBody | Fault::FutureTimestamp | Fault::StaleTimestamp | Fault::WrongKey => {
                assert_eq!((&answers[..], retried), (&[Some(401)][..], true), "{told}");
            }
            Fault::StrippedHeader => assert_eq!((&answers[..], retried), (&[Some(401)][..], true), "{told}"),
            // Two field lines of one name are an attack on the difference between two parsers.
            Fault::DoubledHeader => assert_eq!((&answers[..], retried), (&[Some(400)][..], true), "{told}"),
            // Whether its sender still hears the answer is a matter of who closes first.
            Fault::TruncatedBody => {
                assert!(matches!(answers[..], [None | Some(400)]) && retried, "{told}");
            }
            // The receiver has worked; what comes again is a duplicate.
            Fault::DropAnswer => {
                assert!(retried, "{told}");
                assert_eq!(attempts.last().unwrap().status, Some(200), "{told}");
            }
            Fault::Duplicate => assert_eq!((&answers[..], retried), (&[Some(200), Some(200)][..], false), "{told}"),
            // Of two at one moment, the second comes while the first is worked on, or after it.
            Fault::DuplicateAtOnce => {
                assert!(matches!(answers[..], [Some(200), Some(200 | 409)]), "{told}");
            }
            Fault::Delay | Fault::SlowBody => assert_eq!((&answers[..], retried), (&[Some(200)][..], false), "{told}"),
            Fault::Reorder => {
                assert_eq!((&answers[..], retried), (&[Some(200)][..], false), "{told}");
                assert_ne!(attempts[0].delivery_id, triggered.delivery_ids[0], "{told}");
            }
            _ => panic!("a fault without an expectation: {told}"),
        }
        assert!(
            attempts.iter().filter(|attempt| attempt.attempt == 2).all(|attempt| attempt.status == Some(200)),
            "{told}"
        );
    }
    stage.strike().await;
}

#[actix_web::test]
async fn faults_that_are_mixed_under_load_lose_nothing_and_double_nothing() {
    let stage = Stage::set().await;
    let mut faults = Faults::seeded(11).slow(Duration::from_millis(300)).delay(Duration::from_secs(20));
    for fault in Fault::ALL {
        faults = faults.with(fault, Strike::probability(0.05));
    }
    stage.sandbox.set_faults(faults).unwrap();
    let triggered = stage.sandbox.trigger(&Trigger::new("response.submitted").count(400).rate(400.0)).await.unwrap();
    stage.settled().await;
    stage.assert_once(&triggered.delivery_ids);
    assert_eq!(stage.ledger.0.handled.lock().unwrap().len(), 400);
    stage.strike().await;
}

#[actix_web::test]
async fn what_has_failed_for_good_is_in_the_log_and_is_delivered_by_hand() {
    let stage = Stage::set().await;
    let before = SystemClock.now();
    stage.ledger.0.fails.store(true, Ordering::SeqCst);
    let triggered = stage.sandbox.trigger(&Trigger::new("alert.created").count(3)).await.unwrap();
    stage.settled().await;
    let failed = || async {
        let mut failed = Vec::new();
        let mut logs = stage.client.logs();
        while let Some(row) = logs.try_next().await.unwrap() {
            failed.extend((row.status == DeliveryStatus::Failed).then_some(row));
        }
        failed
    };
    let rows = failed().await;
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row.http_status_code == Some(500) && row.attempt_number == Some(3)), "{rows:?}");
    assert!(stage.ledger.0.handled.lock().unwrap().is_empty());

    stage.ledger.0.fails.store(false, Ordering::SeqCst);
    let retried = stage.client.retry(&rows[0].id).await.unwrap();
    stage.settled().await;
    assert_eq!(stage.ledger.0.handled.lock().unwrap().values().copied().collect::<Vec<_>>(), [1]);
    assert!(!retried.message.is_empty());

    // The rest in one call; what was delivered by hand meanwhile is a duplicate, and handled no second time.
    let redelivered = stage.client.redeliver_failed(before).await.unwrap();
    assert!(redelivered.retried.len() >= 2, "{redelivered:?}");
    stage.settled().await;
    stage.assert_once(&triggered.delivery_ids);
    stage.strike().await;
}
