//! The two engines, and what they do by themselves.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::inbox::rusqlite::{Connection, params};
use countersign::inbox::tokio_postgres::{self, Client, NoTls};
use countersign::inbox::{SqliteInbox, TransactionalStore};
use countersign::{Clock, PostgresInbox, SystemClock};

use crate::servers::Postgres;
use crate::{Book, block_on, body, incoming, runtime};

/// An inbox of its own, empty, in one of the engines; gone when it is dropped.
pub(crate) trait Engine {
    const NAME: &'static str;
    type Store: TransactionalStore<Effects: Book> + Clone;

    fn new() -> Self;

    fn store(&mut self) -> Self::Store;

    /// How many commits there have been that accepted something.
    fn commits(&mut self) -> u64;

    /// How many connections at once insert when the engine is measured by itself.
    const WRITERS: &'static [usize];

    /// What the engine can do by itself: the same tables, rows and settings, `batch` rows a commit, `writers` connections
    /// and nothing else. In rows a second.
    fn raw(&mut self, writers: usize, batch: usize, run: Duration) -> f64;

    /// Adds `rows` deliveries in a state: 0 pending, 3 done.
    fn fill(&mut self, rows: u64, state: u8);

    /// Where it is, for [`Engine::open`] in another process.
    fn address(&self) -> String;

    /// The store of another process.
    fn open(address: &str) -> Self::Store;

    /// Whether anything is pending or running.
    fn is_at_work(&mut self) -> bool;

    /// How much room it takes on the disk.
    fn mib(&mut self) -> u64;
}

pub(crate) struct OnSqlite {
    place: Place,
    reader: Option<Connection>,
}

impl Engine for OnSqlite {
    const NAME: &'static str = "SQLite";
    // Its own limit: there is one writer.
    const WRITERS: &'static [usize] = &[1];
    type Store = SqliteInbox;

    fn new() -> Self {
        count_commits();
        Self { place: Place::new(), reader: None }
    }

    fn store(&mut self) -> SqliteInbox {
        let store = SqliteInbox::open(self.place.file()).expect("an inbox");
        let reader = Connection::open(self.place.file()).expect("open");
        reader.execute_batch("CREATE TABLE booking (key TEXT)").expect("a table");
        self.reader = Some(reader);
        store
    }

    fn commits(&mut self) -> u64 {
        COMMITS.load(Ordering::Relaxed)
    }

    fn raw(&mut self, _one: usize, batch: usize, run: Duration) -> f64 {
        let place = Place::new();
        drop(SqliteInbox::open(place.file()).expect("tables"));
        let mut connection = Connection::open(place.file()).expect("open");
        connection.pragma_update(None, "synchronous", "FULL").expect("set");
        let body = body();
        let started = Instant::now();
        let mut rows = 0_u64;
        while started.elapsed() < run {
            let tx = connection.transaction().expect("a transaction");
            for _ in 0..batch {
                rows += 1;
                insert(&tx, rows, 0, &body);
            }
            tx.commit().expect("committed");
        }
        rows as f64 / started.elapsed().as_secs_f64()
    }

    fn fill(&mut self, rows: u64, state: u8) {
        fill(self.place.file(), rows, state);
    }

    fn address(&self) -> String {
        self.place.file().to_str().expect("UTF-8").to_owned()
    }

    fn open(address: &str) -> SqliteInbox {
        SqliteInbox::open(address).expect("an inbox")
    }

    fn is_at_work(&mut self) -> bool {
        let any = "SELECT EXISTS (SELECT 1 FROM countersign_inbox WHERE state = 0) \
                   OR EXISTS (SELECT 1 FROM countersign_inbox WHERE state = 1)";
        self.reader.as_ref().expect("open").query_row(any, [], |row| row.get(0)).expect("an answer")
    }

    fn mib(&mut self) -> u64 {
        std::fs::metadata(self.place.file()).map_or(0, |file| file.len()) / (1024 * 1024)
    }
}

pub(crate) struct OnPostgres {
    url: String,
    admin: Client,
}

/// With settings as a server would have them that is more than a test's: what the private one has would fit 16 MB.
const SETTINGS: [&str; 3] = ["shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=15min"];

const AT_WORK: &str = "SELECT EXISTS (SELECT FROM countersign.inbox WHERE state = 0) \
                       OR EXISTS (SELECT FROM countersign.inbox WHERE state = 1)";

impl Engine for OnPostgres {
    const NAME: &'static str = "PostgreSQL";
    // As many as the inbox inserts with, and one.
    const WRITERS: &'static [usize] = &[3, 1];
    type Store = PostgresInbox;

    fn new() -> Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let server = SERVER.get_or_init(|| Postgres::with(&SETTINGS)).url();
        let database = format!("bench_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = format!("{}/{database}", server.rsplit_once('/').expect("a URL").0);
        let admin = block_on(async {
            connect(&server).await.batch_execute(&format!("CREATE DATABASE {database}")).await.expect("a database");
            let admin = connect(&url).await;
            admin.batch_execute("CREATE TABLE booking (key text)").await.expect("a table");
            admin
        });
        Self { url, admin }
    }

    fn store(&mut self) -> PostgresInbox {
        Self::open(&self.url)
    }

    fn address(&self) -> String {
        self.url.clone()
    }

    fn open(address: &str) -> PostgresInbox {
        block_on(PostgresInbox::builder(address).response_timeout(Duration::from_secs(5)).build()).expect("an inbox")
    }

    fn commits(&mut self) -> u64 {
        // Each row tells which transaction made it; what the server counts would have the notifications among it.
        let query = "SELECT count(DISTINCT xmin::text) FROM countersign.inbox_delivery";
        let row = block_on(self.admin.query_one(query, &[])).expect("a count");
        row.get::<_, i64>(0).unsigned_abs()
    }

    fn raw(&mut self, writers: usize, batch: usize, run: Duration) -> f64 {
        let mut other = Self::new();
        drop(other.store());
        let started = Instant::now();
        let writing = (0..writers).map(|writer| runtime().spawn(insert_many(other.url.clone(), writer, batch, run)));
        let writing: Vec<_> = writing.collect();
        let rows: usize = writing.into_iter().map(|writer| block_on(writer).expect("a writer")).sum();
        rows as f64 / started.elapsed().as_secs_f64()
    }

    fn fill(&mut self, rows: u64, state: u8) {
        let finished = if state == 3 { "due" } else { "NULL" };
        let now = SystemClock.now().as_millis();
        let fill = format!(
            "SET synchronous_commit = off;
             INSERT INTO countersign.inbox_delivery (number, claim_key, fingerprint, received_at, signed_at, source,
                 delivery_id, event_type, key_id, authenticated, headers, body)
                 SELECT n, sha256(n::text::bytea), substr(sha256(n::text::bytea), 1, 16), {now}, {now}, 'bench',
                 'fill_' || n, 'screening.completed', 'env', 7, repeat('x', 300), convert_to('{}', 'UTF8')
                 FROM generate_series(1, {rows}) AS n;
             INSERT INTO countersign.inbox (number, state, due_at, finished_at, token)
                 SELECT n, {state}, due, {finished}, substr(sha256(n::text::bytea), 1, 16)
                 FROM generate_series(1, {rows}) AS n, (VALUES ({now}::bigint)) AS now (due);
             SELECT setval('countersign.inbox_numbers', {rows});
             SET synchronous_commit = on",
            body()
        );
        block_on(async {
            self.admin.batch_execute(&fill).await.expect("filled");
            self.admin.batch_execute("VACUUM ANALYZE").await.expect("cleaned");
            self.admin.batch_execute("CHECKPOINT").await.expect("on the disk");
        });
    }

    fn is_at_work(&mut self) -> bool {
        block_on(self.admin.query_one(AT_WORK, &[])).expect("an answer").get(0)
    }

    fn mib(&mut self) -> u64 {
        let size = block_on(self.admin.query_one("SELECT pg_database_size(current_database())", &[]));
        size.expect("a size").get::<_, i64>(0).unsigned_abs() / (1024 * 1024)
    }
}

/// Inserts rows for a while, each with all that a delivery brings. Tells how many.
async fn insert_many(url: String, writer: usize, batch: usize, run: Duration) -> usize {
    let client = connect(&url).await;
    let insert = "WITH rows AS (
            SELECT nextval('countersign.inbox_numbers') AS number, * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[],
                $4::text[], $5::text[], $6::bytea[]) AS one (claim_key, nonce, at, id, headers, body)
        ),
        kept AS (
            INSERT INTO countersign.inbox_delivery (number, claim_key, fingerprint, received_at, signed_at, source,
                delivery_id, event_type, key_id, authenticated, headers, body)
            SELECT number, claim_key, nonce, at, at, 'bench', id, 'screening.completed', 'env', 7, headers, body
            FROM rows ORDER BY claim_key
        )
        INSERT INTO countersign.inbox (number, state, due_at, token) SELECT number, 0, at, nonce FROM rows";
    let statement = client.prepare(insert).await.expect("prepared");
    let (body, headers) = (body(), "x".repeat(300));
    let started = Instant::now();
    let mut rows = 0_usize;
    while started.elapsed() < run {
        let ids: Vec<String> = (rows..rows + batch).map(|row| format!("raw_{writer}_{row}")).collect();
        let keys: Vec<_> = ids.iter().map(|id| incoming(id).key).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
        let nonces: Vec<&[u8]> = keys.iter().map(|key| &key[..16]).collect();
        let times = vec![SystemClock.now().as_millis(); batch];
        let (headers, bodies) = (vec![headers.as_str(); batch], vec![body.as_bytes(); batch]);
        client.execute(&statement, &[&keys, &nonces, &times, &ids, &headers, &bodies]).await.expect("inserted");
        rows += batch;
    }
    rows
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("connected");
    tokio::spawn(connection);
    client
}

fn fill(path: &Path, rows: u64, state: u8) {
    let mut connection = Connection::open(path).expect("open");
    connection.pragma_update(None, "synchronous", "OFF").expect("set");
    let body = body();
    for chunk in 0..rows.div_ceil(10_000) {
        let tx = connection.transaction().expect("a transaction");
        for number in (chunk * 10_000)..((chunk + 1) * 10_000).min(rows) {
            insert(&tx, number, state, &body);
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

static COMMITS: AtomicU64 = AtomicU64::new(0);

/// Counts the commits of SQLite's writing thread: runs of `committing` that are followed by `committed`.
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
