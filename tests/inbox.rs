//! From the request to the effect: a receiver with an inbox, and workers.

#![cfg(all(feature = "actix", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;
mod inbox_common;
#[path = "common/scripted.rs"]
mod scripted;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::{Event, NOW, Probe, Server, Setup, keyring, scheme, signed, signed_with};
use countersign::inbox::rusqlite::Connection;
use countersign::inbox::{
    Backoff, Entry, Inbox, InboxStore, Query, Replay, SqliteEffects, SqliteInbox, State, TransactionalHandlers, Wanted,
};
use countersign::testing::FakeClock;
use countersign::{
    Clock, Delivery, Disposition, Fingerprint, HandlerError, Handlers, Keyring, NoHandlers, Outcome, Receiver,
    RequestView, Scheme, Secret, SystemClock, Verifier,
};
use futures_util::FutureExt;
use inbox_common::{Folder, until};
use scripted::Scripted;
use tokio::sync::Semaphore;

type Durable = Receiver<NoHandlers, Inbox<Event, SqliteInbox>>;

const PROMPT: Backoff = Backoff { shortest: Duration::from_millis(1), longest: Duration::from_millis(20) };

fn inbox(folder: &Folder) -> Inbox<Event, SqliteInbox> {
    Inbox::new(SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_millis(50)).open().unwrap())
}

fn receiver(inbox: &Inbox<Event, SqliteInbox>) -> Durable {
    Receiver::builder(scheme(), keyring()).inbox(inbox.clone()).clock(FakeClock::at(NOW)).build().unwrap()
}

/// Receives a signed delivery without HTTP, and gives the status.
async fn deliver(receiver: &Durable, id: &str, body: impl Into<String>) -> u16 {
    let body: String = body.into();
    let post = signed(id, body.clone());
    receiver.receive(RequestView::new(&post.headers, body), NOW).await.status()
}

fn job(run: &str) -> String {
    common::job(run)
}

async fn entries(inbox: &Inbox<Event, SqliteInbox>, state: State) -> Vec<Entry> {
    inbox.store().list(Query::of(state)).await.unwrap()
}

async fn until_count(inbox: &Inbox<Event, SqliteInbox>, state: State, count: usize) {
    until(&format!("{count} {}", state.as_str()), async || entries(inbox, state).await.len() == count).await;
}

#[test]
fn the_durable_column_of_the_status_table_over_http() {
    let folder = Folder::new();
    let inbox = inbox(&folder);
    let receiver = receiver(&inbox);
    let probe = Probe::default();
    let server = {
        let receiver = receiver.clone();
        Server::configured(Setup::default(), &probe, move |config| {
            config.service(receiver.at(common::PATH));
        })
    };
    let rows = || {
        let connection = Connection::open(folder.file()).unwrap();
        connection.query_row("SELECT count(*) FROM countersign_inbox", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let status = |post: &common::raw::Post| server.post(post).status;
    // Nothing that is not verified, and nothing that cannot be worked on, is kept.
    let forged = signed_with(&scheme(), &Keyring::single(Secret::new("whsec_AAAA").unwrap()), "msg_1", NOW, job("ok"));
    assert_eq!(status(&forged), 401);
    assert_eq!(status(&signed("msg_1", "{\"event\":\"job\"")), 400);
    assert_eq!(status(&signed("msg_1", "[]")), 400);
    assert_eq!(rows(), 0);
    assert_eq!(status(&signed("msg_1", job("ok"))), 200);
    assert_eq!(rows(), 1);
    assert_eq!(status(&signed("msg_1", job("ok"))), 200, "a duplicate of what has not run is kept already");
    assert_eq!(status(&signed("msg_1", job("fail"))), 409, "another body");
    assert_eq!(status(&signed("msg_2", "{\"event\":\"novelty\"}")), 200);
    assert_eq!(rows(), 2);
    let blocker = Connection::open(folder.file()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let response = server.post(&signed("msg_3", job("ok")));
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
    blocker.execute_batch("ROLLBACK").unwrap();
    assert_eq!(rows(), 2);
    assert_eq!(status(&signed("msg_3", job("ok"))), 200, "well again by itself");
    receiver.drain();
    assert_eq!(status(&signed("msg_4", job("ok"))), 503);
    assert_eq!(probe.all_runs(), 0, "nobody is at work");
    let outcomes: Vec<_> = probe.dispositions().into_iter().flatten().collect();
    let expected = [
        "rejected",
        "malformed",
        "malformed",
        "accepted",
        "duplicate",
        "conflict",
        "accepted",
        "store_unavailable",
        "accepted",
        "overloaded",
    ];
    assert_eq!(outcomes, expected);
}

#[tokio::test]
async fn the_same_handlers_run_inline_and_from_the_inbox() {
    async fn both<H: Handlers<Event = Event> + Clone>(handlers: H, folder: &Folder) -> Inbox<Event, SqliteInbox> {
        let inline = Receiver::builder(scheme(), keyring()).handlers(handlers.clone()).build().unwrap();
        let post = signed("msg_1", job("ok"));
        assert_eq!(inline.receive(RequestView::new(&post.headers, post.body.clone()), NOW).await.status(), 200);
        let inbox = inbox(folder);
        let workers = inbox.workers(handlers).start().unwrap();
        assert_eq!(deliver(&receiver(&inbox), "msg_1", job("ok")).await, 200);
        until_count(&inbox, State::Done, 1).await;
        workers.drain(Duration::from_secs(5)).await;
        inbox
    }
    let (probe, folder) = (Probe::default(), Folder::new());
    both(probe.clone(), &folder).await;
    assert_eq!(probe.runs("msg_1"), 2, "once inline and once from the inbox");
}

#[cfg(feature = "macros")]
mod with_macros {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use countersign::inbox::{Inbox, SqliteInbox, State};
    use countersign::kycgenie::{Event, Screening, ScreeningPayload};
    use countersign::testing::FakeClock;
    use countersign::{Delivery, HandlerError, Receiver, RequestView, handlers};

    use super::common::{NOW, keyring, scheme, signed};
    use super::inbox_common::{Folder, until};
    use super::{InboxStore, Query};

    #[derive(Clone, Default)]
    struct Compliance(Arc<Mutex<Vec<String>>>);

    #[handlers(Event)]
    impl Compliance {
        #[on(Screening::Completed)]
        async fn cleared(&self, screening: ScreeningPayload, delivery: &Delivery) -> Result<(), HandlerError> {
            let entity: String = screening.data().field("entity_id").ok_or("a screening without an entity")?;
            self.0.lock().unwrap().push(format!("cleared {entity} {}", delivery.effect_key()));
            Ok(())
        }

        #[otherwise]
        async fn rest(&self, delivery: &Delivery) {
            self.0.lock().unwrap().push(format!("rest {}", delivery.event_type().unwrap()));
        }
    }

    #[tokio::test]
    async fn one_impl_block_runs_inline_and_from_the_inbox_unchanged() {
        let (inline, durable, folder) = (Compliance::default(), Compliance::default(), Folder::new());
        let inbox = Inbox::<Event, _>::new(SqliteInbox::open(folder.file()).unwrap());
        let workers = inbox.workers(durable.clone()).concurrency(1).start().unwrap();
        let builder = || Receiver::builder(scheme(), keyring()).clock(FakeClock::at(NOW));
        let now_or_later =
            (builder().handlers(inline.clone()).build().unwrap(), builder().inbox(inbox.clone()).build().unwrap());
        for (id, body) in [
            ("msg_1", r#"{"event":"screening.completed","data":{"entity_id":"ent_7"}}"#),
            ("msg_2", r#"{"event":"onboarding.completed","data":{}}"#),
            ("msg_3", r#"{"event":"sanctions.updated","data":{}}"#),
        ] {
            let post = signed(id, body);
            let request = RequestView::new(&post.headers, post.body.clone());
            assert_eq!(now_or_later.0.receive(request.clone(), NOW).await.status(), 200);
            assert_eq!(now_or_later.1.receive(request, NOW).await.status(), 200);
        }
        let done = Query::of(State::Done);
        until("three done", async || inbox.store().list(done.clone()).await.unwrap().len() == 3).await;
        workers.drain(Duration::from_secs(5)).await;
        assert_eq!(*inline.0.lock().unwrap(), *durable.0.lock().unwrap());
        assert_eq!(inline.0.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn what_always_fails_is_dead_after_exactly_the_maximum_and_nobody_else_is_affected() {
    let (probe, folder) = (Probe::default(), Folder::new());
    let inbox = inbox(&folder);
    let receiver = receiver(&inbox);
    let workers = inbox.workers(probe.clone()).max_attempts(4).backoff(PROMPT).concurrency(2).start().unwrap();
    for (id, body) in [
        ("fails", job("fail")),
        ("panics", job("panic")),
        ("panics_at_once", job("panic_at_once")),
        ("hopeless", job("permanent")),
        ("decoding_panics", job("panic_in_decode")),
        ("undecodable", job("nonsense")),
        ("unknown", r#"{"event":"novelty"}"#.to_owned()),
        ("nobodys", r#"{"event":"nobody's"}"#.to_owned()),
        ("once", job("fail_once")),
        ("good", job("ok")),
    ] {
        assert_eq!(deliver(&receiver, id, body).await, 200);
    }
    until_count(&inbox, State::Dead, 6).await;
    until_count(&inbox, State::Done, 4).await;
    workers.drain(Duration::from_secs(5)).await;
    let dead = entries(&inbox, State::Dead).await;
    let of = |id: &str| dead.iter().find(|entry| entry.delivery_id.as_ref().unwrap().as_str() == id).unwrap();
    for (id, attempts, error) in [
        ("fails", 4, "the database is away"),
        ("panics", 4, "the handler panicked"),
        ("panics_at_once", 4, "the handler panicked"),
        ("hopeless", 1, "no such customer"),
        ("decoding_panics", 4, "decoding panicked"),
        ("undecodable", 4, "the payload does not decode"),
    ] {
        assert_eq!(of(id).attempts, attempts, "{id}");
        assert!(of(id).last_error.as_deref().unwrap().starts_with(error), "{:?}", of(id));
    }
    assert_eq!((probe.runs("fails"), probe.runs("hopeless"), probe.runs("once"), probe.runs("good")), (4, 1, 2, 1));
    // Kept with the body, and replayed when it is asked for.
    let number = of("fails").number;
    let (_, kept) = inbox.store().show(number).await.unwrap().unwrap();
    assert_eq!(kept.raw, job("fail"));
    assert_eq!(inbox.store().replay(Replay::One(number), SystemClock.now()).await.unwrap(), 1);
    let workers = inbox.workers(probe.clone()).max_attempts(2).backoff(PROMPT).start().unwrap();
    until("two more runs", async || probe.runs("fails") == 6).await;
    until_count(&inbox, State::Dead, 6).await;
    workers.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn workers_wake_up_at_once_and_for_what_is_due_without_looking_all_the_time() {
    let (probe, folder) = (Probe::default(), Folder::new());
    let inbox = inbox(&folder);
    let receiver = receiver(&inbox);
    let hour = Duration::from_hours(1);
    let pause = Backoff { shortest: Duration::from_millis(300), longest: Duration::from_millis(600) };
    let (counted, claims) = Scripted::counting(inbox.store().clone(), "claim");
    let workers = Inbox::new(counted).workers(probe.clone()).look_every(hour).backoff(pause).start().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let accepted = Instant::now();
    assert_eq!(deliver(&receiver, "bell", job("fail_once")).await, 200);
    probe.started().await;
    probe.started().await;
    assert!(accepted.elapsed() >= pause.shortest, "not before the pause is over");
    until_count(&inbox, State::Done, 1).await;
    let asked = claims.load(Ordering::SeqCst);
    assert!(asked <= 12, "the store was asked {asked} times for one delivery, two runs and a pause of 300 ms");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let in_vain = claims.load(Ordering::SeqCst) - asked;
    assert!(in_vain <= 3, "the store was asked {in_vain} times in a second in which there was nothing to do");
    workers.drain(Duration::from_secs(5)).await;
}

/// Those that end one after the other do not put off the moment at which the workers look by themselves.
#[tokio::test]
async fn what_another_process_accepted_is_found_though_others_keep_ending() {
    let (probe, folder) = (Probe::default(), Folder::new());
    let ours = inbox(&folder);
    let look = Duration::from_millis(700);
    for number in 0..6 {
        assert_eq!(deliver(&receiver(&ours), &format!("msg_{number}"), job("gate")).await, 200);
    }
    let workers = ours.workers(probe.clone()).look_every(look).concurrency(16).start().unwrap();
    for _ in 0..6 {
        probe.started().await;
    }
    assert_eq!(deliver(&receiver(&inbox(&folder)), "theirs", job("ok")).await, 200);
    for _ in 0..6 {
        tokio::time::sleep(look / 2).await;
        if probe.runs("theirs") > 0 {
            break;
        }
        probe.open_gate(1);
    }
    assert_eq!(probe.runs("theirs"), 1, "it waited until the last of them had ended");
    probe.open_gate(6);
    workers.drain(Duration::from_secs(5)).await;
}

/// As on a disk that hangs: what is leased unknown to us is due again when its lease has run out.
#[tokio::test]
async fn draining_does_not_wait_for_a_store_that_does_not_answer() {
    let folder = Folder::new();
    let store = SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_mins(2)).open().unwrap();
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let workers = Inbox::<Event, _>::new(store.clone()).workers(Probe::default()).start().unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let drained = tokio::time::timeout(Duration::from_secs(30), workers.drain(Duration::ZERO)).await;
    other.execute_batch("ROLLBACK").unwrap();
    drop(store);
    assert!(drained.is_ok(), "it waits for the store");
}

#[tokio::test]
async fn no_more_run_at_once_than_were_allowed() {
    let (probe, folder) = (Probe::default(), Folder::new());
    let inbox = inbox(&folder);
    let receiver = receiver(&inbox);
    let workers = inbox.workers(probe.clone()).concurrency(3).start().unwrap();
    for number in 0..10 {
        assert_eq!(deliver(&receiver, &format!("msg_{number}"), job("gate")).await, 200);
    }
    for _ in 0..3 {
        probe.started().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(probe.all_runs(), 3);
    assert_eq!(entries(&inbox, State::Running).await.len(), 3, "no more than can be worked on is leased");
    probe.open_gate(10);
    until_count(&inbox, State::Done, 10).await;
    workers.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_lease_is_renewed_for_as_long_as_its_handler_runs() {
    let (probe, folder, clock) = (Probe::default(), Folder::new(), FakeClock::at(NOW));
    let inbox = inbox(&folder).clock(clock.clone());
    let lease = Duration::from_millis(300);
    let workers = inbox.workers(probe.clone()).lease(lease).start().unwrap();
    assert_eq!(deliver(&receiver(&inbox), "slow", job("gate")).await, 200);
    probe.started().await;
    let held_until = async || entries(&inbox, State::Running).await[0].due_at;
    for _ in 0..4 {
        let former = held_until().await;
        let now = clock.advance(lease * 2 / 3);
        until("the lease to be renewed", async || held_until().await > former).await;
        // As another process would ask.
        let wanted = Wanted { limit: 1, lease, max_attempts: 9 };
        assert_eq!(inbox.store().claim(wanted, now).await.unwrap().leased.len(), 0, "somebody else took it");
    }
    probe.open_gate(1);
    until_count(&inbox, State::Done, 1).await;
    assert_eq!((probe.runs("slow"), entries(&inbox, State::Done).await[0].attempts), (1, 1));
    workers.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn draining_lets_handlers_end_and_gives_back_what_takes_too_long() {
    let (probe, folder) = (Probe::default(), Folder::new());
    let inbox = inbox(&folder);
    let receiver = receiver(&inbox);
    let workers = inbox.workers(probe.clone()).start().unwrap();
    assert_eq!(deliver(&receiver, "ends", job("gate")).await, 200);
    assert_eq!(deliver(&receiver, "hangs", job("hang_once")).await, 200);
    probe.started().await;
    probe.started().await;
    let mut drain = pin!(workers.drain(Duration::from_secs(4)));
    assert!((&mut drain).now_or_never().is_none(), "it has begun, and waits");
    assert_eq!(deliver(&receiver, "late", job("ok")).await, 200, "the inbox goes on accepting");
    probe.open_gate(1);
    let drained = drain.await;
    assert_eq!((drained.finished, drained.released), (1, 1));
    let pending = entries(&inbox, State::Pending).await;
    assert_eq!(pending.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [0, 0], "no attempt was lost");
    assert_eq!(entries(&inbox, State::Running).await, [], "no lease is left behind");
    let workers = inbox.workers(probe.clone()).start().unwrap();
    until_count(&inbox, State::Done, 3).await;
    assert_eq!((probe.runs("ends"), probe.runs("hangs"), probe.runs("late")), (1, 2, 1));
    workers.drain(Duration::from_secs(5)).await;
}

/// Counts what runs at once, by entity, and the order.
#[derive(Clone, Default)]
struct Orderly(Arc<Mutex<HashMap<String, Seen>>>);

/// Whether one is running, and which have begun.
type Seen = (bool, Vec<String>);

impl Handlers for Orderly {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery) -> Outcome {
        let id = delivery.id().unwrap().to_string();
        let entity = id[..1].to_owned();
        {
            let mut seen = self.0.lock().unwrap();
            let (running, order) = seen.entry(entity.clone()).or_default();
            assert!(!*running, "two of {entity} at once");
            *running = true;
            order.push(id);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.lock().unwrap().get_mut(&entity).unwrap().0 = false;
        Outcome::Handled
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deliveries_of_one_entity_run_in_order_and_one_at_a_time() {
    let folder = Folder::new();
    let store = SqliteInbox::open(folder.file()).unwrap();
    let inbox = Inbox::new(store).in_order_by_pointer("/data/entity");
    let receiver = receiver(&inbox);
    let orderly = Orderly::default();
    let workers = inbox.workers(orderly.clone()).concurrency(8).start().unwrap();
    for number in 0..20 {
        for entity in ["a", "b", "c"] {
            let body = format!(r#"{{"event":"job","data":{{"run":"ok","entity":"{entity}"}}}}"#);
            assert_eq!(deliver(&receiver, &format!("{entity}{number:02}"), body).await, 200);
        }
    }
    until_count(&inbox, State::Done, 60).await;
    workers.drain(Duration::from_secs(5)).await;
    for (entity, (_, order)) in &*orderly.0.lock().unwrap() {
        let expected: Vec<_> = (0..20).map(|number| format!("{entity}{number:02}")).collect();
        assert_eq!(order, &expected);
    }
}

/// Writes an effect, after it has waited as it was told to.
struct Ledger {
    runs: Arc<AtomicUsize>,
    wait: Wait,
}

enum Wait {
    /// Blocks its thread until it is let go, as a frozen process would.
    Frozen(Mutex<mpsc::Receiver<()>>),
    /// Waits as a handler should.
    Gate(Arc<Semaphore>),
}

impl TransactionalHandlers<SqliteEffects> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut SqliteEffects) -> Outcome {
        self.runs.fetch_add(1, Ordering::SeqCst);
        match &self.wait {
            Wait::Frozen(let_go) => let_go.lock().unwrap().recv().unwrap(),
            Wait::Gate(gate) => gate.acquire().await.unwrap().forget(),
        }
        let id = delivery.effect_key().to_string();
        effects.write(move |tx| {
            tx.execute("INSERT INTO effect VALUES (?1)", [id])?;
            Ok(())
        });
        Outcome::Handled
    }
}

async fn until_run(runs: &AtomicUsize, count: usize) {
    until(&format!("run {count}"), async || runs.load(Ordering::SeqCst) == count).await;
}

#[test]
fn a_handler_that_froze_past_its_lease_changes_nothing_when_it_goes_on() {
    let folder = Folder::new();
    let inbox = inbox(&folder);
    let file = Connection::open(folder.file()).unwrap();
    file.execute_batch("CREATE TABLE effect (id TEXT)").unwrap();
    let effects = || file.query_row("SELECT count(*) FROM effect", [], |row| row.get::<_, i64>(0)).unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let (let_go, wait) = mpsc::channel();
    // A process of its own, as far as the inbox is concerned: another handle on the file, and a runtime that freezes.
    let frozen = std::thread::spawn({
        let ledger = Ledger { runs: Arc::clone(&runs), wait: Wait::Frozen(Mutex::new(wait)) };
        let (inbox, runs) = (self::inbox(&folder), Arc::clone(&runs));
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let workers = inbox.transactional_workers(ledger).lease(Duration::from_millis(200)).start().unwrap();
                until_run(&runs, 2).await;
                workers.drain(Duration::from_secs(5)).await
            })
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(deliver(&receiver(&inbox), "msg_1", job("ok")).await, 200);
        until_run(&runs, 1).await;
        let gate = Arc::new(Semaphore::new(0));
        let ledger = Ledger { runs: Arc::clone(&runs), wait: Wait::Gate(Arc::clone(&gate)) };
        let workers = inbox.transactional_workers(ledger).look_every(Duration::from_millis(20)).start().unwrap();
        until_run(&runs, 2).await;
        // The second is at work, and holds the delivery, when the first goes on and comes to its end.
        let_go.send(()).unwrap();
        let drained = tokio::task::spawn_blocking(|| frozen.join().unwrap()).await.unwrap();
        assert_eq!(drained.finished, 0, "its completion does not count: {drained:?}");
        let running = entries(&inbox, State::Running).await;
        assert_eq!(running.iter().map(|entry| entry.attempts).collect::<Vec<_>>(), [2], "it has changed nothing");
        assert_eq!(effects(), 0, "and written nothing");
        gate.add_permits(1);
        until_count(&inbox, State::Done, 1).await;
        workers.drain(Duration::from_secs(5)).await;
    });
    assert_eq!(effects(), 1, "one effect of two runs");
}

#[tokio::test]
async fn what_was_forged_in_the_file_is_found_out_when_it_is_verified_again() {
    let (probe, folder) = (Probe::default(), Folder::new());
    let inbox = inbox(&folder);
    let receiver = receiver(&inbox);
    for id in ["genuine", "damaged", "forged"] {
        assert_eq!(deliver(&receiver, id, job("ok")).await, 200);
    }
    let file = Connection::open(folder.file()).unwrap();
    let other = job("fail");
    let set = "UPDATE countersign_inbox_payload SET body = CAST(?1 AS BLOB) WHERE number = \
               (SELECT number FROM countersign_inbox WHERE delivery_id = ?2)";
    for id in ["damaged", "forged"] {
        file.execute(set, (&other, id)).unwrap();
    }
    let fingerprint = Fingerprint::of(other.as_bytes()).as_u128().to_le_bytes();
    let set = "UPDATE countersign_inbox SET fingerprint = ?1 WHERE delivery_id = 'forged'";
    file.execute(set, [fingerprint]).unwrap();
    let verifier = Verifier::new(scheme(), keyring()).unwrap();
    let workers = inbox.workers(probe.clone()).verify_again(verifier).start().unwrap();
    until_count(&inbox, State::Dead, 2).await;
    until_count(&inbox, State::Done, 1).await;
    workers.drain(Duration::from_secs(5)).await;
    let dead = entries(&inbox, State::Dead).await;
    let errors: Vec<_> = dead.iter().map(|entry| entry.last_error.as_deref().unwrap()).collect();
    assert_eq!(errors[0], "the stored body is not the one that was accepted");
    assert_eq!(errors[1], "the stored delivery does not verify: wrong_signature");
    assert_eq!((probe.all_runs(), probe.runs("genuine")), (1, 1));
}

/// Notes down the effect keys, and fails the first time.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<Vec<String>>>);

impl Handlers for Keys {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery) -> Outcome {
        let mut keys = self.0.lock().unwrap();
        keys.push(delivery.effect_key().to_string());
        if keys.len() == 1 { Outcome::Retry(HandlerError::retryable("busy")) } else { Outcome::Handled }
    }
}

#[tokio::test]
async fn the_effect_key_is_the_same_in_every_run_and_another_for_every_delivery() {
    let (keys, folder) = (Keys::default(), Folder::new());
    let inbox = inbox(&folder);
    let receiver = receiver(&inbox);
    let workers = inbox.workers(keys.clone()).backoff(PROMPT).start().unwrap();
    assert_eq!(deliver(&receiver, "msg_1", job("ok")).await, 200);
    until_count(&inbox, State::Done, 1).await;
    assert_eq!(deliver(&receiver, "msg_2", job("ok")).await, 200);
    until_count(&inbox, State::Done, 2).await;
    workers.drain(Duration::from_secs(5)).await;
    let inline = Receiver::builder(scheme(), keyring()).handlers(keys.clone()).build().unwrap();
    let post = signed("msg_1", job("ok"));
    inline.receive(RequestView::new(&post.headers, post.body.clone()), NOW).await;
    let keys = keys.0.lock().unwrap();
    assert_eq!(keys.len(), 4);
    assert_eq!((&keys[0], &keys[0]), (&keys[1], &keys[3]), "tried again, and inline");
    assert_ne!(keys[0], keys[2]);
    assert_eq!(keys[0].len(), 64);
}

/// Where only the body is signed, the body is what a delivery is known by: its inline twin is in `tests/identity.rs`.
#[tokio::test]
async fn a_body_that_is_replayed_under_fresh_ids_is_one_row_and_runs_once() {
    let (keys, folder) = (Keys::default(), Folder::new());
    let inbox = inbox(&folder);
    let receiver = Receiver::builder(Scheme::github(), keyring()).inbox(inbox.clone()).clock(FakeClock::at(NOW));
    let receiver = receiver.build().unwrap();
    let post = signed_with(&Scheme::github(), &keyring(), "delivery-0", NOW, job("ok"));
    let replays = (1..50).map(|index| post.clone().set("x-github-delivery", &format!("delivery-{index}")));
    // Without any id, and as another type of event, which is not signed either.
    let others = [post.clone().without("x-github-delivery"), post.clone().set("x-github-event", "push")];
    for post in std::iter::once(post.clone()).chain(replays).chain(others) {
        let view = RequestView::new(&post.headers, post.body.clone());
        assert_eq!(receiver.receive(view, NOW).await.status(), 200);
    }
    let stats = inbox.store().stats().await.unwrap();
    assert_eq!((stats.pending, stats.running, stats.waiting, stats.done, stats.dead), (1, 0, 0, 0, 0));
    let workers = inbox.workers(keys.clone()).backoff(PROMPT).start().unwrap();
    until_count(&inbox, State::Done, 1).await;
    // What is done is known as well.
    let late = post.set("x-github-delivery", "late");
    assert_eq!(receiver.receive(RequestView::new(&late.headers, late.body.clone()), NOW).await.status(), 200);
    workers.drain(Duration::from_secs(5)).await;
    assert_eq!(inbox.store().stats().await.unwrap().done, 1);
    let runs: HashSet<String> = keys.0.lock().unwrap().iter().cloned().collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
}

#[test]
fn an_inbox_that_forgets_before_the_sender_does_is_refused() {
    let folder = Folder::new();
    let store = SqliteInbox::builder(folder.file()).retention(Duration::from_hours(1)).open().unwrap();
    let inbox = Inbox::<Event, _>::new(store);
    let refused = Receiver::builder(scheme(), keyring()).inbox(inbox).build().unwrap_err();
    assert!(refused.to_string().contains("`retention` of 3600 s is too short"), "{refused}");
}

/// Without the slash it would order nothing, and nobody would be told.
#[test]
fn every_mistake_in_the_settings_of_an_inbox_is_found_when_its_receiver_is_built() {
    let folder = Folder::new();
    let build = |inbox: Inbox<Event, SqliteInbox>| Receiver::builder(scheme(), keyring()).inbox(inbox).build();
    for pointer in ["data/entity_id", "", "/data~2", "/~"] {
        let refused = build(inbox(&folder).in_order_by_pointer(pointer).answer_within(Duration::ZERO)).unwrap_err();
        let mistakes: Vec<_> = refused.mistakes().collect();
        assert_eq!(mistakes.len(), 2, "{pointer}: {mistakes:?}");
        let says = format!("`in_order_by_pointer` is {pointer:?}");
        assert!(mistakes[0].starts_with(&says) && mistakes[0].ends_with("such as \"/data/entity_id\""), "{refused}");
        assert!(mistakes[1].starts_with("`answer_within` is zero"), "{refused}");
    }
    assert!(build(inbox(&folder).in_order_by_pointer("/data/entity_id")).is_ok());
    let by_code = inbox(&folder).in_order_by_pointer("data").in_order_by(|_| None);
    assert!(build(by_code).is_ok(), "what is not used is not wrong");
}

#[test]
fn a_store_that_does_not_answer_is_not_waited_for() {
    let folder = Folder::new();
    let store = SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_secs(30)).open().unwrap();
    let inbox = Inbox::<Event, _>::new(store).answer_within(Duration::from_millis(100));
    let receiver = receiver(&inbox);
    let blocker = Connection::open(folder.file()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(deliver(&receiver, "msg_1", job("ok")).await, 503);
        blocker.execute_batch("ROLLBACK").unwrap();
        // It may have been kept all the same; then what comes back is a duplicate.
        assert_eq!(deliver(&receiver, "msg_1", job("ok")).await, 200);
        assert_eq!(inbox.store().stats().await.unwrap().pending, 1);
    });
}

#[test]
fn accepted_is_answered_200() {
    let answer = Disposition::Accepted.answer(Duration::from_secs(5));
    assert_eq!((answer.status(), answer.retry_after()), (200, None));
}
