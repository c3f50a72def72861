//! What the durable inbox on SQLite costs.
//!
//! `cargo bench --bench inbox` prints four tables: acknowledged deliveries a second over HTTP beside the engine's own
//! rate and inline mode; worker throughput; and what both cost in a file of 10,000 and of 1,000,000 rows. The file is made
//! in `COUNTERSIGN_BENCH_DIR`, or in the current directory: a file system in memory would say nothing.
//! `-- http`, `-- work` or `-- rows` runs one part.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use countersign::inbox::rusqlite::{Connection, params};
use countersign::inbox::{
    Accepted, Inbox, InboxStore, Incoming, SqliteEffects, SqliteInbox, StoredDelivery, TransactionalHandlers,
};
use countersign::kycgenie::Event;
use countersign::{
    Authenticated, ClaimKey, Clock, Delivery, DeliveryId, EventType, Fingerprint, Handlers, KeyId, Keyring, Message,
    Mode, Outcome, Receiver, Scheme, Secret, Signer, Source, SystemClock,
};

const CONNECTIONS: usize = 64;
const BODY: usize = 1024;
const RUN: Duration = Duration::from_secs(8);
const SECRET: &str = "whsec_YmVuY2g=";

fn main() {
    let part = std::env::args().skip(1).find(|arg| arg != "--bench");
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    count_commits();
    if wanted("http") {
        http();
    }
    if wanted("work") {
        work();
    }
    if wanted("rows") {
        rows();
    }
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

/// Books each delivery in the file of the inbox.
#[derive(Clone, Copy)]
struct Ledger;

impl TransactionalHandlers<SqliteEffects> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut SqliteEffects) -> Outcome {
        let key = delivery.effect_key().to_string();
        effects.write(move |tx| {
            tx.prepare_cached("INSERT INTO booking VALUES (?1)")?.execute([key])?;
            Ok(())
        });
        Outcome::Handled
    }
}

fn http() {
    println!(
        "\nOver HTTP: {BODY} bytes, {CONNECTIONS} connections, closed loop, one server thread, this process sends\n"
    );
    println!("{:<34} {:>10} {:>9} {:>9} {:>9}", "", "acks/s", "p50 ms", "p99 ms", "a commit");
    let keyring = || Keyring::single(Secret::new(SECRET).expect("a secret"));
    let builder = || Receiver::builder(Scheme::standard_webhooks(), keyring());
    let inline = load(&builder().handlers(Nothing).build().expect("sound"));
    println!(
        "{:<34} {:>10.0} {:>9.2} {:>9.2} {:>9}",
        "inline, memory store, no work", inline.rate, inline.p50, inline.p99, ""
    );
    let place = Place::new();
    let inbox = Inbox::<Event, _>::new(SqliteInbox::open(place.file()).expect("an inbox"));
    take_commits();
    let durable = load(&builder().inbox(inbox.clone()).build().expect("sound"));
    let shared = durable.acks as f64 / take_commits() as f64;
    println!("{:<34} {:>10.0} {:>9.2} {:>9.2} {:>9.1}", "inbox", durable.rate, durable.p50, durable.p99, shared);
    drop((inbox, place));
    let batch = shared.round().max(1.0) as usize;
    let raw = raw(batch);
    println!("{:<34} {raw:>10.0} {:>9} {:>9} {batch:>9}", "the same rows, SQLite alone", "", "");
    println!(
        "\nratio to SQLite alone {:.2} (goal 0.60), to inline {:.2}; p99 {:.1} ms (goal 50)",
        durable.rate / raw,
        durable.rate / inline.rate,
        durable.p99
    );
}

fn work() {
    const COUNT: usize = 20_000;
    println!("\nWorkers: {COUNT} deliveries of {BODY} bytes that wait, 64 handlers at once\n");
    for transactional in [false, true] {
        let place = Place::new();
        let store = SqliteInbox::open(place.file()).expect("an inbox");
        Connection::open(place.file())
            .expect("open")
            .execute_batch("CREATE TABLE booking (key TEXT)")
            .expect("a table");
        let runtime = runtime();
        runtime.block_on(accept(&store, "work", COUNT));
        let taken = runtime.block_on(work_off(&store, transactional));
        let name = if transactional { "exactly once, one row written" } else { "at least once, no work" };
        println!("{name:<34} {:>10.0} deliveries/s", COUNT as f64 / taken.as_secs_f64());
    }
}

fn rows() {
    const COUNT: usize = 4_000;
    const ROUNDS: usize = 7;
    println!(
        "\nBy rows that the file holds already: {COUNT} accepted, then worked on; {ROUNDS} rounds by turns, medians\n"
    );
    println!("{:<14} {:>12} {:>12} {:>10} {:>10}", "rows", "accept µs", "work µs", "file MiB", "RSS MiB");
    let mut files = [10_000_u64, 1_000_000].map(|rows| {
        let place = Place::new();
        let store = SqliteInbox::open(place.file()).expect("an inbox");
        fill(place.file(), rows);
        (rows, place, store, Vec::new(), Vec::new())
    });
    let runtime = runtime();
    for round in 0..ROUNDS {
        for (_, _, store, accepted, worked) in &mut files {
            accepted.push(runtime.block_on(accept(store, &format!("rows_{round}"), COUNT)));
            worked.push(runtime.block_on(work_off(store, false)));
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6 / COUNT as f64
    };
    let costs = files.map(|(rows, place, _store, mut accepted, mut worked)| {
        let (accepted, worked) = (median(&mut accepted), median(&mut worked));
        let size = std::fs::metadata(place.file()).map_or(0, |file| file.len()) / (1024 * 1024);
        println!("{rows:<14} {accepted:>12.1} {worked:>12.1} {size:>10} {:>10}", resident());
        (accepted, worked)
    });
    println!(
        "\nratio: accept {:.2}, work {:.2} (goal 1.20); both files are open in this process",
        costs[1].0 / costs[0].0,
        costs[1].1 / costs[0].1
    );
}

/// Accepts `count` deliveries with 64 in flight.
async fn accept(store: &SqliteInbox, name: &str, count: usize) -> Duration {
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

async fn work_off(store: &SqliteInbox, transactional: bool) -> Duration {
    let inbox = Inbox::new(store.clone());
    let started = Instant::now();
    let workers = if transactional {
        inbox.transactional_workers(Ledger).concurrency(64).start()
    } else {
        inbox.workers(Nothing).concurrency(64).start()
    };
    let reader = Connection::open(store.path()).expect("open");
    let left = "SELECT (SELECT count(*) FROM countersign_inbox WHERE state = 0) + \
                (SELECT count(*) FROM countersign_inbox WHERE state = 1)";
    while reader.query_row(left, [], |row| row.get::<_, i64>(0)).expect("a count") > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let taken = started.elapsed();
    workers.drain(Duration::from_secs(5)).await;
    taken
}

struct Load {
    acks: usize,
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Serves `receiver`, and sends to it over 64 connections for a while.
fn load<H: Send + Sync + 'static, S: Mode<H>>(receiver: &Receiver<H, S>) -> Load {
    let receiver = receiver.clone();
    let (tell, told) = mpsc::channel();
    let server = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || App::new().service(receiver.at("/hook"))).workers(1).disable_signals();
            let server = server.bind(("127.0.0.1", 0)).expect("a port");
            let addr = server.addrs()[0];
            let server = server.run();
            tell.send((addr, server.handle())).expect("told");
            server.await.expect("served");
        });
    });
    let (addr, handle) = told.recv().expect("a port");
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|sender| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || send(addr, sender, &stop))
        })
        .collect();
    std::thread::sleep(RUN);
    stop.store(true, Ordering::SeqCst);
    let mut times: Vec<Duration> = senders.into_iter().flat_map(|sender| sender.join().expect("a sender")).collect();
    let taken = started.elapsed();
    drop(handle.stop(false));
    server.join().expect("a server");
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    Load { acks: times.len(), rate: times.len() as f64 / taken.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}

fn send(addr: SocketAddr, sender: usize, stop: &AtomicBool) -> Vec<Duration> {
    let keyring = Keyring::single(Secret::new(SECRET).expect("a secret"));
    let signer = Signer::new(Scheme::standard_webhooks(), keyring).expect("a signer");
    let mut stream = TcpStream::connect(addr).expect("connected");
    stream.set_nodelay(true).expect("set");
    let body = body();
    let mut times = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("msg_{sender}_{number}");
        let headers = signer.sign(&Message::new(body.as_bytes(), SystemClock.now()).id(&id)).expect("signed");
        let mut request = format!("POST /hook HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += &body;
        let started = Instant::now();
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = [0; 1024];
        let count = stream.read(&mut answer).expect("an answer");
        times.push(started.elapsed());
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..count]));
    }
    times
}

/// What SQLite can do by itself: the same tables, the same rows and settings, `batch` rows a commit, one thread and
/// nothing else. In rows a second.
fn raw(batch: usize) -> f64 {
    let place = Place::new();
    drop(SqliteInbox::open(place.file()).expect("tables"));
    let mut connection = Connection::open(place.file()).expect("open");
    connection.pragma_update(None, "synchronous", "FULL").expect("set");
    let body = body();
    let started = Instant::now();
    let mut rows = 0_u64;
    while started.elapsed() < RUN {
        let tx = connection.transaction().expect("a transaction");
        for _ in 0..batch {
            rows += 1;
            insert(&tx, rows, 0, &body);
        }
        tx.commit().expect("committed");
    }
    rows as f64 / started.elapsed().as_secs_f64()
}

/// `rows` deliveries that are done.
fn fill(path: &Path, rows: u64) {
    let mut connection = Connection::open(path).expect("open");
    connection.pragma_update(None, "synchronous", "OFF").expect("set");
    let body = body();
    for chunk in 0..rows.div_ceil(10_000) {
        let tx = connection.transaction().expect("a transaction");
        for number in (chunk * 10_000)..((chunk + 1) * 10_000).min(rows) {
            insert(&tx, number, 3, &body);
        }
        tx.commit().expect("committed");
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("checkpointed");
    // What was written without waiting would otherwise be on its way to the disk while the commits are timed.
    std::fs::File::open(path).and_then(|file| file.sync_all()).expect("on the disk");
}

fn insert(tx: &Connection, number: u64, state: u8, body: &str) {
    let incoming = incoming(&format!("fill_{number}"));
    let now = SystemClock.now().as_millis();
    let finished = (state == 3).then_some(now);
    let row = "INSERT INTO countersign_inbox (claim, fingerprint, state, due_at, finished_at, received_at, signed_at, \
               source, delivery_id, event_type, key_id, authenticated) VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?4, ?6, ?7, ?8, ?9, 7)";
    let fingerprint = incoming.fingerprint.as_u128().to_le_bytes();
    let id = format!("fill_{number}");
    let values = params![
        incoming.key.as_bytes(),
        fingerprint,
        state,
        now,
        finished,
        "standard-webhooks",
        id,
        "screening.completed",
        "env"
    ];
    let number = tx.prepare_cached(row).expect("prepared").insert(values).expect("inserted");
    let hash = incoming.key.as_bytes().first_chunk().copied().map(i64::from_le_bytes).expect("32 bytes");
    tx.prepare_cached("INSERT INTO countersign_inbox_key VALUES (?1, ?2, ?3)")
        .expect("prepared")
        .execute(params![number >> 13, hash, number])
        .expect("inserted");
    let payload = "INSERT INTO countersign_inbox_payload VALUES (?1, ?2, ?3)";
    tx.prepare_cached(payload)
        .expect("prepared")
        .execute(params![number, "x".repeat(300), body.as_bytes()])
        .expect("inserted");
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

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

static COMMITS: AtomicU64 = AtomicU64::new(0);

/// Counts the commits of the writing thread: runs of `committing` that are followed by `committed`.
fn count_commits() {
    let within = AtomicBool::new(false);
    countersign::testing::inbox::on_step(move |_, at| match at {
        "committing" => within.store(true, Ordering::Relaxed),
        "committed" if within.swap(false, Ordering::Relaxed) => {
            COMMITS.fetch_add(1, Ordering::Relaxed);
        }
        _ => {}
    });
}

fn take_commits() -> u64 {
    COMMITS.swap(0, Ordering::Relaxed)
}

/// Resident memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// A folder on a disk; gone when it is dropped.
struct Place(PathBuf, PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let root = std::env::var_os("COUNTERSIGN_BENCH_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let name = format!("inbox-bench-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("inbox.sqlite");
        Self(folder, file)
    }

    fn file(&self) -> &Path {
        &self.1
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
