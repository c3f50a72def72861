//! What many do to one inbox at once, from two handles as two processes have them, is written down and checked: nothing is
//! leased to two at a time, no token comes twice, an entity's deliveries neither overlap nor change places, nothing is
//! stranded, and the numbers add up.
//!
//! Three seconds each; `COUNTERSIGN_HISTORY_SECONDS=60 cargo test --all-features --test inbox_history -- --nocapture` has a
//! longer look.

#![cfg(all(feature = "postgres", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod inbox_common;
#[path = "common/servers.rs"]
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::inbox::{Accepted, InboxStore, Lease, PostgresInbox, Query, Replay, SqliteInbox, Wanted};
use countersign::{Clock, Settled, SystemClock, Timestamp};
use inbox_common::{Folder, incoming};
use servers::Postgres;

const LEASE: Duration = Duration::from_millis(80);
const MAX_ATTEMPTS: u32 = 1_000;
const TASKS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// One lease, and what became of it. The moments are those of one clock.
#[derive(Clone, Debug)]
struct Run {
    lease: Lease,
    entity: Option<String>,
    /// From when it is leased, as the store was told, and until when at most.
    from: Timestamp,
    until: Timestamp,
    returned: Instant,
    settled: Option<(Instant, How)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Completed,
    Dead,
    GivenBack,
    /// The store could not say.
    Unknown,
}

#[derive(Default)]
struct History {
    runs: Vec<Run>,
    accepted: u64,
}

/// Any numbers, the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 31)) % sides
    }
}

async fn act<S: InboxStore>(store: Arc<S>, task: u64, end: Instant) -> History {
    let mut dice = Dice(task);
    let mut history = History::default();
    let mut held: Vec<usize> = Vec::new();
    // However slow the machine is: enough for something to have happened.
    while Instant::now() < end || (history.runs.len() < 20 && Instant::now() < end + PATIENCE) {
        let now = SystemClock.now();
        match dice.roll(10) {
            0..=2 => {
                // Each is sent by two of them, and one of four has no entity.
                let id = dice.roll(1 << 20);
                let id = format!("msg_{}_{}", (task + dice.roll(2)) % TASKS, id % 4096);
                let mut one = incoming(&id);
                let entity = id.bytes().map(u64::from).sum::<u64>() % 8;
                one.entity = (entity < 6).then(|| format!("ent_{entity}"));
                if let Ok(Accepted::New) = store.accept(one, now).await {
                    history.accepted += 1;
                }
            }
            3..=5 => {
                let wanted = Wanted { limit: 1 + dice.roll(4) as usize, lease: LEASE, max_attempts: MAX_ATTEMPTS };
                let Ok(batch) = store.claim(wanted, now).await else { continue };
                for leased in batch.leased {
                    let entity = leased.delivery.id.as_ref().map(|id| id.as_str().to_owned());
                    let sum = entity.unwrap_or_default().bytes().map(u64::from).sum::<u64>() % 8;
                    held.push(history.runs.len());
                    history.runs.push(Run {
                        lease: leased.lease,
                        entity: (sum < 6).then(|| format!("ent_{sum}")),
                        from: now,
                        until: now.saturating_add(LEASE),
                        returned: Instant::now(),
                        settled: None,
                    });
                }
            }
            6 if !held.is_empty() => {
                let leases: Vec<Lease> = held.iter().map(|at| history.runs[*at].lease).collect();
                let Ok(extended) = store.extend(&leases, LEASE, now).await else { continue };
                for (at, settled) in held.iter().zip(extended) {
                    if settled == Settled::Current {
                        history.runs[*at].until = now.saturating_add(LEASE);
                    }
                }
            }
            7..=8 if !held.is_empty() => {
                let at = held.swap_remove(dice.roll(held.len() as u64) as usize);
                let run = &mut history.runs[at];
                let begun = Instant::now();
                let (settled, how) = match dice.roll(12) {
                    0 => (store.release(&run.lease, now).await, How::GivenBack),
                    1 => {
                        let due = now.saturating_add(Duration::from_millis(dice.roll(20)));
                        (store.retry(&run.lease, due, "busy", now).await, How::GivenBack)
                    }
                    2 if run.entity.is_none() => (store.dead(&run.lease, "no", now).await, How::Dead),
                    // It is let go without a word, as by a process that dies.
                    3 => continue,
                    _ => (store.complete(&run.lease, now).await, How::Completed),
                };
                run.settled = match settled {
                    Ok(Settled::Current) => Some((begun, how)),
                    Ok(Settled::Superseded) => None,
                    Err(_) => Some((begun, How::Unknown)),
                };
            }
            9 if dice.roll(20) == 0 => drop(store.replay(Replay::AllDead, now).await),
            _ => tokio::task::yield_now().await,
        }
    }
    history
}

/// That nobody had a delivery while another held it.
fn check_leases(runs: &[Run]) {
    let tokens: BTreeSet<u128> = runs.iter().map(|run| run.lease.token).collect();
    assert_eq!(tokens.len(), runs.len(), "a token comes twice");
    let mut by_number: BTreeMap<i64, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        by_number.entry(run.lease.number).or_default().push(run);
    }
    for runs in by_number.values() {
        for (at, one) in runs.iter().enumerate() {
            for other in &runs[at + 1..] {
                let beside = one.from < other.until && other.from < one.until;
                let before = |a: &Run, b: &Run| a.settled.is_some_and(|(begun, _)| begun <= b.returned);
                assert!(!beside || before(one, other) || before(other, one), "{one:?} beside {other:?}");
            }
        }
        let completed = |run: &&&Run| matches!(run.settled, Some((_, How::Completed)));
        assert!(runs.iter().filter(completed).count() <= 1, "completed twice: {runs:?}");
    }
}

/// That of an entity one at a time was held, in the order of the numbers.
fn check_entities(runs: &[Run]) {
    let mut by_entity: BTreeMap<&str, Vec<(&Run, Instant)>> = BTreeMap::new();
    for run in runs {
        if let (Some(entity), Some((begun, how))) = (&run.entity, run.settled)
            && how != How::Unknown
        {
            by_entity.entry(entity).or_default().push((run, begun));
        }
    }
    for (entity, mut runs) in by_entity {
        runs.sort_by_key(|(run, _)| run.returned);
        for pair in runs.windows(2) {
            let [(first, ended), (second, _)] = pair else { continue };
            assert!(*ended <= second.returned, "{entity}: {first:?} beside {second:?}");
            assert!(first.lease.number <= second.lease.number, "{entity}: {first:?} before {second:?}");
        }
    }
}

async fn check<S: InboxStore>(stores: [Arc<S>; 2]) {
    let seconds = std::env::var("COUNTERSIGN_HISTORY_SECONDS").map_or(3, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let tasks = (0..TASKS).map(|task| tokio::spawn(act(Arc::clone(&stores[task as usize % 2]), task, end)));
    let mut all = History::default();
    for task in tasks.collect::<Vec<_>>() {
        let history = task.await.unwrap();
        all.runs.extend(history.runs);
        all.accepted += history.accepted;
    }
    check_leases(&all.runs);
    check_entities(&all.runs);
    let store = &stores[0];
    // However much is left: it must go on.
    let mut stirred = Instant::now();
    loop {
        let now = SystemClock.now();
        let wanted = Wanted { limit: 100, lease: LEASE, max_attempts: MAX_ATTEMPTS };
        for leased in store.claim(wanted, now).await.unwrap().leased {
            let _ = store.complete(&leased.lease, now).await.unwrap();
            stirred = Instant::now();
        }
        let stats = store.stats().await.unwrap();
        if stats.pending + stats.running + stats.waiting == 0 {
            break;
        }
        assert!(stirred.elapsed() < PATIENCE, "something is stranded: {stats:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.done + stats.dead, all.accepted, "{stats:?}");
    let entries = store.list(Query::all().limit(usize::MAX)).await.unwrap();
    let ids: BTreeSet<_> = entries.iter().map(|entry| entry.delivery_id.clone()).collect();
    assert_eq!((entries.len() as u64, ids.len()), (all.accepted, entries.len()), "each id once");
    let ends = |how| all.runs.iter().filter(|run| matches!(run.settled, Some((_, ended)) if ended == how)).count();
    let (done, back, dead) = (ends(How::Completed), ends(How::GivenBack), ends(How::Dead));
    let lost = all.runs.iter().filter(|run| run.settled.is_none()).count();
    println!(
        "{seconds} s: {} accepted, {} leased: {done} completed, {back} given back, {dead} dead, {lost} lost or let go",
        all.accepted,
        all.runs.len()
    );
    assert!(done > 0 && back > 0 && lost > 0, "it was not about anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_do_at_once_to_sqlite_is_in_order() {
    let folder = Folder::new();
    let open = || SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_secs(20)).open().unwrap();
    check([Arc::new(open()), Arc::new(open())]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_do_at_once_to_postgresql_is_in_order() {
    let server = Postgres::start();
    let url = server.url();
    let open = async || {
        let builder = PostgresInbox::builder(&url).connections(6).response_timeout(Duration::from_secs(10));
        Arc::new(builder.build().await.unwrap())
    };
    check([open().await, open().await]).await;
}
