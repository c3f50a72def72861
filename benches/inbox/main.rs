//! What the durable inbox costs, on SQLite and on PostgreSQL.
//!
//! `cargo bench --all-features --bench inbox` prints Markdown: the machine; acknowledged deliveries a second over HTTP
//! beside the engine's own rate and inline mode; worker throughput; and what both cost beside 10,000 rows and beside
//! 1,000,000. Each figure is the median of rounds that are run by turns. `COUNTERSIGN_BENCH_SHORT=1` takes a minute or two
//! and says nothing about a million rows; `-- http`, `-- work` or `-- rows` runs one part, `-- sqlite` or `-- postgres` one
//! engine.
//!
//! The files of SQLite are made in `COUNTERSIGN_BENCH_DIR`, or in the current directory, those of a private PostgreSQL in
//! the folder for temporary files (`TMPDIR`): a file system in memory would say nothing.

mod engine;
mod http;
#[path = "../../tests/common/servers.rs"]
mod servers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::inbox::{
    Accepted, Inbox, InboxStore, Incoming, PostgresEffects, SqliteEffects, StoredDelivery, TransactionalHandlers,
    Wanted,
};
use countersign::kycgenie::Event;
use countersign::{
    Authenticated, ClaimKey, Clock, Delivery, DeliveryId, EventType, Fingerprint, HandlerError, Handlers, KeyId,
    Outcome, Settled, Source, SystemClock,
};
use futures_util::future::join_all;

use engine::{Engine, OnPostgres, OnSqlite};

const CONNECTIONS: usize = 64;
const BODY: usize = 1024;
/// Tells a process of its own which inbox to open: `engine count address`.
const OPEN: &str = "COUNTERSIGN_BENCH_OPEN";

/// How much is done, for a figure to hold or for a look.
#[derive(Clone, Copy)]
struct Extent {
    rounds: usize,
    run: Duration,
    backlog: usize,
    many_rows: u64,
    accepts: usize,
}

fn main() {
    if let Ok(opened) = std::env::var(OPEN) {
        return print_memory(&opened);
    }
    let parts: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let wanted = |name: &str, all: &[&str]| {
        let named = |part: &String| all.contains(&part.as_str());
        !parts.iter().any(named) || parts.iter().any(|part| part == name)
    };
    let short = std::env::var_os("COUNTERSIGN_BENCH_SHORT").is_some();
    let extent = if short {
        Extent { rounds: 1, run: Duration::from_secs(2), backlog: 5_000, many_rows: 100_000, accepts: 2_000 }
    } else {
        Extent { rounds: 3, run: Duration::from_secs(8), backlog: 20_000, many_rows: 1_000_000, accepts: 4_000 }
    };
    machine();
    let engines = ["sqlite", "postgres"];
    for (name, part) in
        [("http", http::print as fn(Extent, bool, bool)), ("work", work as fn(Extent, bool, bool)), ("rows", rows)]
    {
        if wanted(name, &["http", "work", "rows"]) {
            part(extent, wanted("sqlite", &engines), wanted("postgres", &engines));
        }
    }
    machine();
}

/// What the figures are of: the processors, and whether anything else was running.
fn machine() {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model.to_owned());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "\n{cores} cores of {}; load average {load}\n",
        model.unwrap_or_else(|| "an unknown processor".to_owned())
    );
}

/// Handles everything at once, by doing nothing.
#[derive(Clone, Copy)]
struct Nothing;

impl Handlers for Nothing {
    type Event = Event;

    async fn handle(&self, _event: Event, _delivery: &Delivery) -> Outcome {
        Outcome::Handled
    }
}

/// Books each delivery in the database of the inbox.
#[derive(Clone, Copy)]
struct Ledger;

trait Book: Send + 'static {
    fn book(&mut self, key: String) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

impl Book for SqliteEffects {
    async fn book(&mut self, key: String) -> Result<(), HandlerError> {
        self.write(move |tx| {
            tx.prepare_cached("INSERT INTO booking VALUES (?1)")?.execute([key])?;
            Ok(())
        });
        Ok(())
    }
}

impl Book for PostgresEffects {
    async fn book(&mut self, key: String) -> Result<(), HandlerError> {
        self.execute("INSERT INTO booking VALUES ($1)", &[&key]).await?;
        Ok(())
    }
}

impl<T: Book> TransactionalHandlers<T> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut T) -> Outcome {
        match effects.book(delivery.effect_key().to_string()).await {
            Ok(()) => Outcome::Handled,
            Err(error) => Outcome::Retry(error),
        }
    }
}

fn work(extent: Extent, sqlite: bool, postgres: bool) {
    println!("Workers: {} deliveries of {BODY} bytes that wait, 64 handlers at once.\n", extent.backlog);
    println!("| | deliveries/s |\n|---|---|");
    if sqlite {
        work_on::<OnSqlite>(extent);
    }
    if postgres {
        work_on::<OnPostgres>(extent);
    }
}

fn work_on<E: Engine>(extent: Extent) {
    for transactional in [false, true] {
        let rates = (0..extent.rounds).map(|_| {
            let mut engine = E::new();
            let store = engine.store();
            block_on(accept(&store, "work", extent.backlog));
            extent.backlog as f64 / work_off(&mut engine, &store, transactional).as_secs_f64()
        });
        let rate = median(rates.collect());
        let name = if transactional { "exactly once, one row written" } else { "at least once, no work" };
        println!("| {}, {name} | {rate:.0} |", E::NAME);
    }
}

fn rows(extent: Extent, sqlite: bool, postgres: bool) {
    println!(
        "\nBy rows that are there already: {} accepted, 64 in flight, then worked on; by turns, medians of 7.\n",
        extent.accepts
    );
    println!("| | rows | accept µs | work µs | on disk MiB | a process of its own MiB |\n|---|---|---|---|---|---|");
    let of = |state| {
        let sqlite = sqlite.then(|| rows_on::<OnSqlite>(extent, state));
        [sqlite, postgres.then(|| rows_on::<OnPostgres>(extent, state))]
    };
    let ratios = [of(3), of(0)];
    println!("\n| ratio, many rows to few (goal 1.20) | accept | work |\n|---|---|---|");
    for Ratio { name, accept, work } in ratios.into_iter().flatten().flatten() {
        let (flat_accept, flat_work) = (verdict(accept <= 1.2), verdict(work <= 1.2));
        println!("| {name} | {accept:.2}: {flat_accept} | {work:.2}: {flat_work} |");
    }
}

struct Ratio {
    name: String,
    accept: f64,
    work: f64,
}

/// Beside rows that are done, or that are a backlog.
fn rows_on<E: Engine>(extent: Extent, state: u8) -> Ratio {
    let mut places = [10_000, extent.many_rows].map(|rows| {
        let mut engine = E::new();
        let store = engine.store();
        engine.fill(rows, state);
        (rows, engine, store, Vec::new(), Vec::new())
    });
    for round in 0..7 {
        // So that neither is always the one that comes after the other.
        if round % 2 == 1 {
            places.reverse();
        }
        for (_, engine, store, accepted, worked) in &mut places {
            accepted.push(block_on(accept(store, &format!("rows_{round}"), extent.accepts)).as_secs_f64());
            let work = match state {
                0 => block_on(lease_and_complete(store, extent.accepts)),
                _ => work_off(engine, store, false),
            };
            worked.push(work.as_secs_f64());
        }
        if round % 2 == 1 {
            places.reverse();
        }
    }
    let each = 1e6 / extent.accepts as f64;
    let name = format!("{}, beside rows that are {}", E::NAME, if state == 0 { "pending" } else { "done" });
    let costs = places.map(|(rows, mut engine, store, accepted, worked)| {
        drop(store);
        let (accepted, worked) = (median(accepted) * each, median(worked) * each);
        let memory = memory_of(&engine, extent.accepts);
        println!("| {name} | {rows} | {accepted:.1} | {worked:.1} | {} | {memory} |", engine.mib());
        (accepted, worked)
    });
    Ratio { name, accept: costs[1].0 / costs[0].0, work: costs[1].1 / costs[0].1 }
}

/// Works on `count` of many by hand, in leases of 64: workers would go on to the end.
async fn lease_and_complete<S: InboxStore>(store: &S, count: usize) -> Duration {
    let started = Instant::now();
    let mut done = 0;
    while done < count {
        let wanted = Wanted { limit: CONNECTIONS, lease: Duration::from_secs(30), max_attempts: 20 };
        let leased = store.claim(wanted, SystemClock.now()).await.expect("leased").leased;
        let ends = join_all(leased.iter().map(|leased| store.complete(&leased.lease, SystemClock.now()))).await;
        done += ends.into_iter().map(|ended| ended.expect("completed")).filter(|end| *end == Settled::Current).count();
    }
    started.elapsed()
}

/// What a process takes that opens the inbox, accepts some and works on them.
fn memory_of<E: Engine>(engine: &E, count: usize) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().expect("this program"));
    let output = command.env(OPEN, format!("{} {count} {}", E::NAME, engine.address())).output().expect("it ran");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn print_memory(opened: &str) {
    let mut words = opened.splitn(3, ' ');
    let mut word = || words.next().expect("three words");
    let (engine, count, address) = (word(), word().parse().expect("a number"), word());
    async fn accept_and_work<S: InboxStore + Clone>(store: S, count: usize) {
        accept(&store, "memory", count).await;
        lease_and_complete(&store, count).await;
    }
    match engine {
        OnSqlite::NAME => block_on(accept_and_work(OnSqlite::open(address), count)),
        _ => {
            let store = OnPostgres::open(address);
            block_on(accept_and_work(store, count));
        }
    }
    println!("{:.0}", resident());
}

/// Whether a goal was reached.
fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "NOT REACHED" }
}

/// Accepts `count` deliveries with 64 in flight.
async fn accept<S: InboxStore + Clone>(store: &S, name: &str, count: usize) -> Duration {
    let deliveries: Vec<_> = (0..count).map(|number| incoming(&format!("{name}_{number}"))).collect();
    let started = Instant::now();
    let deliveries = Arc::new(std::sync::Mutex::new(deliveries));
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (store, deliveries) = (store.clone(), Arc::clone(&deliveries));
            tokio::spawn(async move {
                loop {
                    let next = deliveries.lock().expect("sound").pop();
                    let Some(next) = next else { return };
                    let accepted = store.accept(next, SystemClock.now()).await.expect("kept");
                    assert_eq!(accepted, Accepted::New);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task");
    }
    started.elapsed()
}

fn work_off<E: Engine>(engine: &mut E, store: &E::Store, transactional: bool) -> Duration {
    let inbox = Inbox::new(store.clone());
    let started = Instant::now();
    let workers = block_on(async {
        if transactional {
            inbox.transactional_workers(Ledger).concurrency(64).start().expect("workers")
        } else {
            inbox.workers(Nothing).concurrency(64).start().expect("workers")
        }
    });
    while engine.is_at_work() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let taken = started.elapsed();
    block_on(workers.drain(Duration::from_secs(5)));
    taken
}

fn body() -> String {
    let frame = r#"{"event":"screening.completed","data":{"entity_id":"ent_7","text":""}}"#;
    let text = "x".repeat(BODY - frame.len());
    frame.replace("\"\"", &format!("\"{text}\""))
}

fn incoming(id: &str) -> Incoming {
    let source = Source::new("bench").expect("a source");
    let delivery_id = DeliveryId::new(id).expect("an id");
    let raw = bytes::Bytes::from(body());
    let now = SystemClock.now();
    Incoming {
        key: ClaimKey::for_id(&source, None, &delivery_id),
        fingerprint: Fingerprint::of(&raw),
        entity: None,
        delivery: StoredDelivery {
            source,
            tenant: None,
            id: Some(delivery_id),
            event_type: Some(EventType::from_static("screening.completed")),
            timestamp: Some(now),
            received_at: now,
            key_id: KeyId::new("env").expect("an id"),
            authenticated: Authenticated::from_bits(7),
            content_digest: None,
            headers: vec![("webhook-signature".to_owned(), vec![b'x'; 47]), ("webhook-id".to_owned(), vec![b'x'; 20])],
            raw,
        },
    }
}

/// One runtime for all: connections of a store live on the one that they were opened on.
fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
