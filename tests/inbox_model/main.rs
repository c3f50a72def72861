//! Both stores beside a model that is small enough to be obviously right, through random sequences of everything that an
//! inbox can be asked: clocks that step either way, leases that are over before they begin, stale leases used again, one
//! key under several bodies, and two handles that take turns.
//!
//! After each step all that can be seen is compared: the answer, every entry, the numbers of each state. `PROPTEST_CASES`
//! says how many sequences; the short form is for every run.

#![cfg(all(feature = "postgres", feature = "sqlite"))]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../inbox_common/mod.rs"]
mod inbox_common;
mod model;
#[path = "../common/servers.rs"]
mod servers;
mod steps;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::inbox::{InboxStore, Lease, PostgresInbox, Query, SqliteInbox, Wanted};
use countersign::{Settled, Timestamp};
use model::{Model, Wrong};
use proptest::collection::vec;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use servers::Postgres;
use steps::{Step, What, Which, step};

const RETENTION: Duration = Duration::from_millis(200);
const KEEP_DEAD: Duration = Duration::from_millis(300);
const START: Timestamp = Timestamp::from_secs(1_790_000_000);

/// Two handles to one store that is empty, and the model.
struct Pair<S> {
    stores: [S; 2],
    model: Model,
    leases: Vec<Lease>,
    now: Timestamp,
}

impl<S: InboxStore> Pair<S> {
    fn new(stores: [S; 2], keep_dead: Option<Duration>) -> Self {
        Self { stores, model: Model::new(RETENTION, keep_dead), leases: Vec::new(), now: START }
    }

    async fn run(&mut self, steps: &[Step]) -> Result<(), Wrong> {
        for (at, step) in steps.iter().enumerate() {
            self.now = step.pass.after(self.now);
            self.take(step).await.map_err(|wrong| format!("step {at}, {step:?} at {}: {wrong}", self.now))?;
        }
        Ok(())
    }

    /// One of the leases that there have ever been: a good one, as far as there is one, or any.
    fn lease(&self, which: Which) -> Option<Lease> {
        let good: Vec<&Lease> = self.leases.iter().filter(|lease| self.model.is_current(lease)).collect();
        let all: Vec<&Lease> = self.leases.iter().collect();
        let among = if which.any || good.is_empty() { all } else { good };
        (!among.is_empty()).then(|| *among[which.index.index(among.len())])
    }

    async fn take(&mut self, step: &Step) -> Result<(), Wrong> {
        let now = self.now;
        let failed = |error| format!("it failed: {error}");
        let number = |index: proptest::sample::Index, model: &Model| match model.rows.len() {
            0 => 1,
            rows => model.rows[index.index(rows)].number,
        };
        let handle = usize::from(step.handle);
        match &step.what {
            What::Accept(sent) => {
                let incoming = sent.incoming(now);
                let accepted = self.stores[handle].accept(incoming.clone(), now).await.map_err(failed)?;
                let newest = self.stores[handle].list(Query::all().newest_first().limit(1)).await.map_err(failed)?;
                self.model.accept(&incoming, now, accepted, newest.first().map(|entry| entry.number))?;
            }
            What::Claim { limit, lease, max_attempts } => {
                let wanted = Wanted { limit: *limit, lease: *lease, max_attempts: *max_attempts };
                let batch = self.stores[handle].claim(wanted, now).await.map_err(failed)?;
                let entries = self.stores[handle].list(Query::all()).await.map_err(failed)?;
                self.leases.extend(batch.leased.iter().map(|leased| leased.lease));
                self.model.claim(wanted, now, &batch, &entries)?;
            }
            What::Extend { which, lease } => {
                let leases: Vec<Lease> = which.iter().filter_map(|which| self.lease(*which)).collect();
                let extended = self.stores[handle].extend(&leases, *lease, now).await.map_err(failed)?;
                same(&extended, &self.model.extend(&leases, *lease, now))?;
            }
            What::Complete(which) => {
                let Some(lease) = self.lease(*which) else { return Ok(()) };
                let settled = self.stores[handle].complete(&lease, now).await.map_err(failed)?;
                same(&settled, &self.model.complete(&lease, now))?;
            }
            What::Retry { which, pass, error } => {
                let Some(lease) = self.lease(*which) else { return Ok(()) };
                let due = pass.after(now);
                let settled = self.stores[handle].retry(&lease, due, error, now).await.map_err(failed)?;
                same(&settled, &self.model.retry(&lease, due, error))?;
            }
            What::Dead { which, error } => {
                let Some(lease) = self.lease(*which) else { return Ok(()) };
                let settled = self.stores[handle].dead(&lease, error, now).await.map_err(failed)?;
                same(&settled, &self.model.dead(&lease, error, now))?;
            }
            What::Release(which) => {
                let Some(lease) = self.lease(*which) else { return Ok(()) };
                let settled = self.stores[handle].release(&lease, now).await.map_err(failed)?;
                same(&settled, &self.model.release(&lease, now))?;
            }
            What::Forge(which) => {
                let Some(lease) = self.lease(*which) else { return Ok(()) };
                let forged = Lease { token: lease.token ^ 1, ..lease };
                let settled = self.stores[handle].complete(&forged, now).await.map_err(failed)?;
                same(&settled, &Settled::Superseded)?;
            }
            What::Replay(one) => {
                let what = match one {
                    Some(index) => countersign::inbox::Replay::One(number(*index, &self.model)),
                    None => countersign::inbox::Replay::AllDead,
                };
                let replayed = self.stores[handle].replay(what, now).await.map_err(failed)?;
                same(&replayed, &self.model.replay(what, now))?;
            }
            What::Prune(limit) => {
                let pruned = self.stores[handle].prune(*limit, now).await.map_err(failed)?;
                let entries = self.stores[handle].list(Query::all()).await.map_err(failed)?;
                self.model.prune(*limit, now, pruned, &entries)?;
            }
            What::List(asked) => {
                let query = asked.query(now, |index| number(index, &self.model));
                let entries = self.stores[handle].list(query.clone()).await.map_err(failed)?;
                let numbers: Vec<i64> = entries.iter().map(|entry| entry.number).collect();
                same(&numbers, &self.model.list(&query))?;
            }
            What::Ping => self.stores[handle].ping().await.map_err(failed)?,
        }
        // By the other handle, which has not made the change.
        let other = &self.stores[1 - handle];
        let entries = other.list(Query::all()).await.map_err(failed)?;
        self.model.compare(&entries, &other.stats().await.map_err(failed)?)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(answer: &T, right: &T) -> Result<(), Wrong> {
    if answer == right { Ok(()) } else { Err(format!("the answer is {answer:?}, and should be {right:?}")) }
}

/// Runs sequences: `short` of them, unless `PROPTEST_CASES` says how many.
fn check(short: u32, mut run: impl FnMut(&[Step]) -> Result<(), Wrong>) {
    let config = Config { failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { short };
    let mut runner = TestRunner::new(Config { cases, ..config });
    let run = std::cell::RefCell::new(&mut run);
    let ran = runner.run(&vec(step(), 1..60), |steps| (run.borrow_mut())(&steps).map_err(TestCaseError::fail));
    if let Err(error) = ran {
        panic!("{error}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// In memory where the system has such a place: none of this is about the disk.
fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = parent.join(format!("countersign-model-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn the_inbox_on_sqlite_does_what_the_model_does() {
    let (runtime, folder) = (runtime(), place());
    let next = AtomicU64::new(0);
    check(300, |steps| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let keep_dead = number.is_multiple_of(2).then_some(KEEP_DEAD);
        let file = folder.join(format!("{number}.sqlite"));
        let open = || {
            let builder = SqliteInbox::builder(&file).retention(RETENTION);
            let builder = if let Some(keep) = keep_dead { builder.keep_dead(keep) } else { builder };
            builder.open().unwrap()
        };
        let mut pair = Pair::new([open(), open()], keep_dead);
        let ran = runtime.block_on(pair.run(steps));
        drop(pair);
        for end in ["", "-wal", "-shm"] {
            std::fs::remove_file(format!("{}{end}", file.display())).ok();
        }
        ran
    });
    std::fs::remove_dir_all(folder).ok();
}

#[test]
fn the_inbox_on_postgresql_does_what_the_model_does() {
    let server = Postgres::with(&["fsync=off", "synchronous_commit=off", "full_page_writes=off"]);
    let runtime = runtime();
    let (stores, sweeper) = runtime.block_on(async {
        let mut stores = Vec::new();
        for (schema, keep_dead) in [("one", None), ("two", Some(KEEP_DEAD))] {
            let mut handles = Vec::new();
            for _ in 0..2 {
                let builder = PostgresInbox::builder(&server.url()).schema(schema).retention(RETENTION).connections(2);
                let builder = builder.response_timeout(Duration::from_secs(10)).danger_unflushed_commits();
                let builder = if let Some(keep) = keep_dead { builder.keep_dead(keep) } else { builder };
                handles.push(builder.build().await.unwrap());
            }
            stores.push((handles, keep_dead, schema));
        }
        let (sweeper, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        (stores, sweeper)
    });
    let next = AtomicU64::new(0);
    check(60, |steps| {
        let (handles, keep_dead, schema) = &stores[next.fetch_add(1, Ordering::Relaxed) as usize % 2];
        runtime.block_on(async {
            let sweep = format!("DELETE FROM {schema}.inbox; DELETE FROM {schema}.inbox_delivery");
            sweeper.batch_execute(&sweep).await.unwrap();
            Pair::new([handles[0].clone(), handles[1].clone()], *keep_dead).run(steps).await
        })
    });
}
