//! Workers beside a clock and a store that do as a test says.

#![cfg(all(feature = "actix", feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod inbox_common;
#[path = "common/scripted.rs"]
mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Event, NOW, Probe};
use countersign::inbox::{
    Accepted, Entry, Inbox, InboxStore, Query, SqliteEffects, SqliteInbox, State, TransactionalHandlers, Wanted,
    WorkersMistake,
};
use countersign::testing::FakeClock;
use countersign::{Clock, Delivery, Handlers, Outcome};
use inbox_common::{Folder, incoming, until};
use scripted::{Answer, Scripted};

const LEASE: Duration = Duration::from_secs(30);

/// Puts a delivery in that says `run`, due at [`NOW`].
async fn keep<S: InboxStore>(store: &S, id: &str, run: &str) {
    let mut incoming = incoming(id);
    incoming.delivery.raw = common::job(run).into();
    incoming.fingerprint = countersign::Fingerprint::of(&incoming.delivery.raw);
    assert_eq!(store.accept(incoming, NOW).await.unwrap(), Accepted::New, "{id}");
}

async fn entries<S: InboxStore>(store: &S, state: State) -> Vec<Entry> {
    store.list(Query::of(state)).await.unwrap()
}

async fn until_count<S: InboxStore>(store: &S, state: State, count: usize) {
    until(&format!("{count} {}", state.as_str()), async || entries(store, state).await.len() == count).await;
}

fn open(folder: &Folder) -> SqliteInbox {
    SqliteInbox::open(folder.file()).unwrap()
}

/// The same as after a suspended machine, or a disk that hung for longer than a lease.
#[tokio::test]
async fn a_clock_that_steps_forward_has_no_worker_take_what_it_holds() {
    let (probe, folder, clock) = (Probe::default(), Folder::new(), FakeClock::at(NOW));
    let store = open(&folder);
    let inbox = Inbox::<Event, _>::new(store.clone()).clock(clock.clone());
    let workers = inbox.workers(probe.clone()).lease(LEASE).start().unwrap();
    keep(&store, "held", "gate").await;
    probe.started().await;
    clock.advance(Duration::from_hours(1));
    keep(&store, "next", "ok").await;
    until_count(&store, State::Done, 1).await;
    assert_eq!((probe.runs("held"), probe.runs("next")), (1, 1), "it is at work here");
    probe.open_gate(1);
    until_count(&store, State::Done, 2).await;
    assert_eq!(entries(&store, State::Done).await[0].attempts, 1);
    workers.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_a_claim_tells_after_its_leases_have_run_out_is_leased_anew_before_it_runs() {
    let (probe, folder, clock) = (Probe::default(), Folder::new(), FakeClock::at(NOW));
    let stalled = clock.clone();
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "claim" if stalled.now() == NOW => {
            let clock = stalled.clone();
            Answer::Late(Box::pin(async move {
                clock.advance(LEASE * 2);
            }))
        }
        _ => Answer::Good,
    });
    keep(&store, "late", "gate").await;
    let inbox = Inbox::<Event, _>::new(store.clone()).clock(clock.clone());
    let workers = inbox.workers(probe.clone()).lease(LEASE).start().unwrap();
    probe.started().await;
    let running = entries(&store, State::Running).await;
    assert!(running[0].due_at > Some(clock.now()), "it runs under a lease that is over: {running:?}");
    probe.open_gate(1);
    until_count(&store, State::Done, 1).await;
    assert_eq!((probe.runs("late"), entries(&store, State::Done).await[0].attempts), (1, 1));
    workers.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_somebody_took_before_a_late_claim_was_told_of_it_does_not_run_here() {
    let (probe, folder, clock) = (Probe::default(), Folder::new(), FakeClock::at(NOW));
    let (stalled, thief, stolen) = (clock.clone(), open(&folder), Arc::new(AtomicBool::new(false)));
    let done = Arc::clone(&stolen);
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "claim" if stalled.now() == NOW => {
            let (clock, thief, done) = (stalled.clone(), thief.clone(), Arc::clone(&done));
            Answer::Late(Box::pin(async move {
                let now = clock.advance(LEASE * 2);
                let batch = thief.claim(Wanted { limit: 9, lease: LEASE * 9, max_attempts: 20 }, now).await.unwrap();
                assert_eq!(batch.leased.len(), 1);
                done.store(true, Ordering::SeqCst);
            }))
        }
        _ => Answer::Good,
    });
    keep(&store, "taken", "ok").await;
    let inbox = Inbox::<Event, _>::new(store.clone()).clock(clock.clone());
    let workers = inbox.workers(probe.clone()).lease(LEASE).start().unwrap();
    until("the theft", async || stolen.load(Ordering::SeqCst)).await;
    keep(&store, "ours", "ok").await;
    until_count(&store, State::Done, 1).await;
    workers.drain(Duration::from_secs(5)).await;
    assert_eq!((probe.runs("taken"), probe.runs("ours")), (0, 1));
}

/// Writes nothing, and waits a little.
#[derive(Clone, Default)]
struct Brief(Arc<AtomicUsize>);

impl TransactionalHandlers<SqliteEffects> for Brief {
    type Event = Event;

    async fn handle(&self, _event: Event, _delivery: &Delivery, _effects: &mut SqliteEffects) -> Outcome {
        self.0.fetch_add(1, Ordering::SeqCst);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        Outcome::Handled
    }
}

/// As where more handlers are at work than have connections.
#[tokio::test]
async fn what_a_handler_waits_for_before_it_runs_is_not_its_time() {
    let (brief, folder) = (Brief::default(), Folder::new());
    let limit = Duration::from_secs(1);
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "begin" => Answer::Late(Box::pin(tokio::time::sleep(limit * 3 / 2))),
        _ => Answer::Good,
    });
    keep(&store, "waits", "ok").await;
    let inbox = Inbox::<Event, _>::new(store.clone());
    let workers = inbox.transactional_workers(brief.clone()).time_limit(limit).max_attempts(1).start().unwrap();
    until("an end", async || entries(&store, State::Done).await.len() + entries(&store, State::Dead).await.len() > 0)
        .await;
    assert_eq!(entries(&store, State::Dead).await, []);
    workers.drain(Duration::from_secs(5)).await;
}

/// However often the store is away when a handler would begin.
#[tokio::test]
async fn what_could_not_begin_has_used_up_no_attempt() {
    let (brief, folder, begun) = (Brief::default(), Folder::new(), AtomicUsize::new(0));
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "begin" if begun.fetch_add(1, Ordering::SeqCst) < 2 => Answer::Fails,
        _ => Answer::Good,
    });
    keep(&store, "patient", "ok").await;
    let inbox = Inbox::<Event, _>::new(store.clone());
    let workers = inbox.transactional_workers(brief.clone()).max_attempts(1).start().unwrap();
    until("an end", async || entries(&store, State::Done).await.len() + entries(&store, State::Dead).await.len() > 0)
        .await;
    assert_eq!(entries(&store, State::Dead).await, []);
    assert_eq!((entries(&store, State::Done).await[0].attempts, brief.0.load(Ordering::SeqCst)), (1, 1));
    workers.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn draining_does_not_wait_for_what_cannot_begin() {
    let (brief, folder, begins) = (Brief::default(), Folder::new(), Arc::new(AtomicUsize::new(0)));
    let begun = Arc::clone(&begins);
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "begin" => {
            begun.fetch_add(1, Ordering::SeqCst);
            Answer::Fails
        }
        _ => Answer::Good,
    });
    keep(&store, "waits", "ok").await;
    let inbox = Inbox::<Event, _>::new(store.clone());
    let workers = inbox.transactional_workers(brief).start().unwrap();
    until("a begin", async || begins.load(Ordering::SeqCst) > 0).await;
    let drained = workers.drain(Duration::ZERO).await;
    assert_eq!((drained.finished, drained.released), (0, 1));
    assert_eq!(entries(&store, State::Pending).await[0].attempts, 0);
}

/// Holds something for as long as it runs, which is for ever.
#[derive(Clone, Default)]
struct Holds(Arc<AtomicBool>);

struct Guard(Arc<AtomicBool>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Handlers for Holds {
    type Event = Event;

    async fn handle(&self, _event: Event, _delivery: &Delivery) -> Outcome {
        let _guard = Guard(Arc::clone(&self.0));
        self.0.store(true, Ordering::SeqCst);
        std::future::pending().await
    }
}

/// Its locks, its open transaction: the next run would meet them.
#[tokio::test]
async fn a_handler_that_is_cut_short_is_gone_before_its_delivery_is_given_back() {
    let (holds, folder, seen) = (Holds::default(), Folder::new(), Arc::new(AtomicUsize::new(0)));
    let (held, releases) = (Arc::clone(&holds.0), Arc::clone(&seen));
    let store = Scripted::new(open(&folder), move |operation| {
        if operation == "release" {
            assert!(!held.load(Ordering::SeqCst), "the handler holds it still");
            releases.fetch_add(1, Ordering::SeqCst);
        }
        Answer::Good
    });
    keep(&store, "hangs", "ok").await;
    let inbox = Inbox::<Event, _>::new(store.clone());
    let workers = inbox.workers(holds.clone()).start().unwrap();
    until("the handler", async || holds.0.load(Ordering::SeqCst)).await;
    let drained = workers.drain(Duration::ZERO).await;
    assert_eq!((drained.released, seen.load(Ordering::SeqCst)), (1, 1));
}

/// What is asked again after a lost answer is told that the lease is over, by whose doing it cannot tell.
#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_not_told_as_a_lost_lease() {
    let (probe, folder, asked) = (Probe::default(), Folder::new(), AtomicUsize::new(0));
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "complete" if asked.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Lost,
        _ => Answer::Good,
    });
    keep(&store, "done", "gate").await;
    let inbox = Inbox::<Event, _>::new(store.clone());
    let workers = inbox.workers(probe.clone()).start().unwrap();
    probe.started().await;
    let (drained, ()) = tokio::join!(workers.drain(Duration::from_secs(20)), async { probe.open_gate(1) });
    assert_eq!((drained.finished, entries(&store, State::Done).await.len()), (1, 1));
}

/// The dead letter is there: what is asked again is told that it is nobody's lease any more.
#[cfg(feature = "metrics")]
#[tokio::test]
async fn a_dead_letter_whose_record_was_not_answered_is_counted_and_no_lease_is_lost() {
    // Everything runs on this thread, and only what runs here is counted.
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _counted = metrics::set_default_local_recorder(&recorder);
    let (folder, asked) = (Folder::new(), AtomicUsize::new(0));
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "dead" if asked.fetch_add(1, Ordering::SeqCst) == 0 => Answer::Lost,
        _ => Answer::Good,
    });
    keep(&store, "hopeless", "permanent").await;
    let workers = Inbox::<Event, _>::new(store.clone()).workers(Probe::default()).start().unwrap();
    let series = |name: &str| {
        let text = recorder.handle().render();
        text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    until("the end of the attempt", async || !series("countersign_attempts_total").is_empty()).await;
    workers.drain(Duration::from_secs(5)).await;
    let attempts = series("countersign_attempts_total");
    assert!(attempts.len() == 1 && attempts[0].contains("\"dead\"") && attempts[0].ends_with("} 1"), "{attempts:?}");
    let dead = series("countersign_dead_letters_total");
    assert!(dead.len() == 1 && dead[0].contains("\"permanent\"") && dead[0].ends_with("} 1"), "{dead:?}");
    assert_eq!(series("countersign_leases_lost_total"), [""; 0]);
}

/// As when accepts come in by the thousand, and leases cannot be taken.
#[tokio::test]
async fn a_store_that_cannot_lease_is_left_alone_however_often_the_bell_rings() {
    let (folder, claims) = (Folder::new(), Arc::new(AtomicUsize::new(0)));
    let claimed = Arc::clone(&claims);
    let store = Scripted::new(open(&folder), move |operation| match operation {
        "claim" => {
            claimed.fetch_add(1, Ordering::SeqCst);
            Answer::Fails
        }
        _ => Answer::Good,
    });
    let begun = Instant::now();
    let workers = Inbox::<Event, _>::new(store.clone()).workers(Probe::default()).start().unwrap();
    for _ in 0..100 {
        store.bell().ring();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let most = 1 + begun.elapsed().as_secs();
    assert!(claims.load(Ordering::SeqCst) as u64 <= most, "{claims:?} claims in {:?}", begun.elapsed());
    workers.drain(Duration::from_secs(5)).await;
}

#[test]
fn every_mistake_in_the_settings_of_workers_is_found_when_they_start() {
    let folder = Folder::new();
    let inbox = Inbox::<Event, _>::new(open(&folder));
    let workers = || inbox.workers(Probe::default());
    let all = workers()
        .concurrency(0)
        .max_attempts(0)
        .time_limit(Duration::ZERO)
        .lease(Duration::MAX)
        .look_every(Duration::ZERO)
        .prune_every(Duration::ZERO);
    let error = all.start().unwrap_err();
    let zero = Duration::ZERO;
    let expected = [
        WorkersMistake::Concurrency { given: 0 },
        WorkersMistake::MaxAttempts,
        WorkersMistake::TimeLimit,
        WorkersMistake::Lease { given: Duration::MAX },
        WorkersMistake::LookEvery { given: zero },
        WorkersMistake::PruneEvery { given: zero },
    ];
    assert_eq!(error.mistakes(), expected);
    for mistake in ["`concurrency` is 0; set it to 1 to 65536, such as 16; ", "`time_limit` is zero"] {
        assert!(error.to_string().contains(mistake), "{error}");
    }
    let short = Duration::from_millis(29);
    let error = workers().concurrency(65_537).lease(short).start().unwrap_err();
    let expected = [WorkersMistake::Concurrency { given: 65_537 }, WorkersMistake::Lease { given: short }];
    assert_eq!(error.mistakes(), expected);
    #[cfg(feature = "metrics")]
    {
        let error = workers().sample_every(zero).start().unwrap_err();
        assert_eq!(error.mistakes(), [WorkersMistake::SampleEvery { given: zero }]);
    }
}

/// More than can be added to a moment.
#[tokio::test]
async fn workers_take_any_length_of_time_that_is_long_enough() {
    let (probe, folder) = (Probe::default(), Folder::new());
    let store = open(&folder);
    let (max, day) = (Duration::MAX, Duration::from_hours(24));
    let workers = Inbox::<Event, _>::new(store.clone()).workers(probe.clone());
    let workers = workers.time_limit(max).lease(day).look_every(max).prune_every(max).start().unwrap();
    keep(&store, "ok", "ok").await;
    until_count(&store, State::Done, 1).await;
    workers.drain(max).await;
}
