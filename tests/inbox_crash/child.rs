//! The process that is killed: a receiver and its workers over one inbox.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::dev::Service;
use actix_web::{App, HttpServer};
use countersign::inbox::{
    Backoff, Inbox, PostgresEffects, SqliteEffects, SqliteInbox, TransactionalHandlers, TransactionalStore,
};
use countersign::kycgenie::Event;
use countersign::{Delivery, HandlerError, Keyring, Outcome, PostgresInbox, Receiver, Scheme, Secret};

use crate::place::{Address, Place};

/// Short: what a process leaves behind is waited for in each round, and that is most of the round.
pub(crate) const LEASE: Duration = Duration::from_millis(400);
/// Where nobody dies: no lease runs out, however slow the machine is, so that each attempt is one that was meant.
pub(crate) const LONG_LEASE: Duration = Duration::from_mins(10);
pub(crate) const MAX_ATTEMPTS: u32 = 6;
/// Short, so that what fails is soon dead.
const BACKOFF: Backoff = Backoff { shortest: Duration::from_millis(20), longest: Duration::from_millis(200) };
/// What the ids begin with of which a handler says once in each process that they are to be tried again, and of those of
/// which it says that no try can mend them.
pub(crate) const AGAIN: &str = "again_";
pub(crate) const NEVER: &str = "never_";
pub(crate) const PATH: &str = "/hook";
pub(crate) const SECRET: &str = "whsec_Y3Jhc2gtdGVzdA==";

const ADDRESS: &str = "COUNTERSIGN_CRASH_ADDRESS";
const DIE_AT: &str = "COUNTERSIGN_CRASH_DIE_AT";
const LEASED_FOR: &str = "COUNTERSIGN_CRASH_LEASE_MS";
const LOG: &str = "COUNTERSIGN_CRASH_LOG";
const WORKERS: &str = "COUNTERSIGN_CRASH_WORKERS";

/// What the line begins with in which it says at its end what it has begun.
const BEGUN: &str = "BEGUN ";
static BEGUN_IDS: Mutex<String> = Mutex::new(String::new());

/// What the child is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders<'a> {
    /// At which boundary it dies, and when it has come there how often: `of:at:nth`.
    pub(crate) die_at: Option<&'a str>,
    pub(crate) lease: Duration,
    /// Whether it works on what it receives.
    pub(crate) works: bool,
}

impl Default for Orders<'_> {
    fn default() -> Self {
        Self { die_at: None, lease: LEASE, works: true }
    }
}

/// The child, as its parent sees it. Dropping it kills it.
pub(crate) struct Child {
    process: std::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) addr: SocketAddr,
}

impl Child {
    /// Starts it, and waits for its port.
    pub(crate) fn start(place: &Place, orders: &Orders<'_>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_child", "--nocapture"]).env(ADDRESS, place.address()).env_remove(DIE_AT);
        command.env(WORKERS, if orders.works { "1" } else { "0" }).stdin(Stdio::piped());
        command.env(LEASED_FOR, orders.lease.as_millis().to_string());
        if let Some(die_at) = orders.die_at {
            command.env(DIE_AT, die_at);
        }
        // What the children log, for whoever looks into a failure.
        let log =
            std::env::var_os(LOG).map(|file| std::fs::File::options().create(true).append(true).open(file).unwrap());
        let mut process =
            command.stdout(Stdio::piped()).stderr(log.map_or_else(Stdio::null, Stdio::from)).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut child = Self { process, lines, addr: SocketAddr::from(([127, 0, 0, 1], 1)) };
        // One that dies of what it found at its start has no port to tell.
        if let Some(port) = child.hear("PORT ") {
            child.addr.set_port(port.trim().parse().unwrap());
        }
        child
    }

    /// Waits for a line of it with `word` in it, and gives what stands behind that.
    pub(crate) fn hear(&mut self, word: &str) -> Option<String> {
        let mut lines = self.lines.by_ref().map_while(Result::ok);
        lines.find_map(|line| line.split_once(word).map(|(_, rest)| rest.to_owned()))
    }

    /// Lets the handler go on that waits for it.
    pub(crate) fn let_go(&mut self) {
        writeln!(self.process.stdin.as_mut().unwrap(), "go on").unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Asks it to end, and waits until it has. If it did so by itself: the ids of all requests that it has begun to answer,
    /// one for each of them.
    pub(crate) fn terminate(mut self) -> Option<Vec<String>> {
        self.signal("TERM");
        let begun = self.hear(BEGUN);
        let success = self.process.wait().unwrap().success();
        begun.filter(|_| success).map(|begun| begun.split_whitespace().map(str::to_owned).collect())
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SIGKILL, on Unix.
        self.process.kill().ok();
        self.process.wait().unwrap();
    }
}

/// What an effect is written with, in either engine.
trait Book: Send + 'static {
    fn book(&mut self, id: String) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

impl Book for SqliteEffects {
    async fn book(&mut self, id: String) -> Result<(), HandlerError> {
        self.write(move |tx| {
            tx.execute("INSERT INTO effect VALUES (?1)", [id])?;
            Ok(())
        });
        Ok(())
    }
}

impl Book for PostgresEffects {
    async fn book(&mut self, id: String) -> Result<(), HandlerError> {
        let schema = std::env::var(ADDRESS).unwrap();
        let schema = schema.split_once(' ').unwrap().1;
        self.execute(&format!("INSERT INTO {schema}.effect VALUES ($1)"), &[&id]).await?;
        Ok(())
    }
}

/// Writes an effect for each delivery. One is the death of its process, some fail always, once, or for good, and some have
/// to be let go.
#[derive(Default)]
struct Ledger {
    /// What has failed once in this process.
    failed: Mutex<HashSet<String>>,
}

impl<T: Book> TransactionalHandlers<T> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut T) -> Outcome {
        let id = delivery.id().unwrap().to_string();
        tokio::time::sleep(Duration::from_millis(1)).await;
        if id == "aborts" {
            std::process::abort();
        }
        if let Err(error) = effects.book(id.clone()).await {
            return Outcome::Retry(error);
        }
        reached("handler", "within");
        if id == "fails" || (id.starts_with(AGAIN) && self.failed.lock().unwrap().insert(id.clone())) {
            return Outcome::Retry(HandlerError::retryable("as ever"));
        }
        if id.starts_with(NEVER) {
            return Outcome::Permanent(HandlerError::permanent("there is no such account"));
        }
        if id.starts_with("freezes") {
            println!("INSIDE");
            std::io::stdout().flush().unwrap();
            let waited = tokio::task::spawn_blocking(|| std::io::stdin().lines().next()).await;
            drop(waited);
        }
        Outcome::Handled
    }
}

/// Ends this process, if it was told to do so when it has come here as often.
fn reached(step: &str, place: &str) {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let Ok(die_at) = std::env::var(DIE_AT) else { return };
    let (boundary, nth) = die_at.rsplit_once(':').unwrap();
    let (of, at) = boundary.split_once(':').unwrap();
    if (step, place) == (of, at) && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == nth.parse::<u64>().unwrap() {
        // No destructor runs, nothing is flushed: as with SIGKILL, and exactly here.
        std::process::abort();
    }
}

pub(crate) fn run_if_told() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    countersign::testing::inbox::on_step(reached);
    if std::env::var_os(LOG).is_some() {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    }
    actix_web::rt::System::new().block_on(async {
        match Address::read(&address) {
            Address::Sqlite(file) => receive(SqliteInbox::open(file).unwrap()).await,
            Address::Postgres { url, schema } => {
                let inbox = PostgresInbox::builder(&url).schema(schema);
                receive(inbox.build().await.unwrap()).await;
            }
        }
    });
    // What runs the tests would report to a parent that has stopped listening.
    std::process::exit(0);
}

async fn receive<S: TransactionalStore<Effects: Book>>(store: S) {
    let inbox = Inbox::<Event, _>::new(store);
    let keyring = Keyring::single(Secret::new(SECRET).unwrap());
    let receiver = Receiver::builder(Scheme::standard_webhooks(), keyring).inbox(inbox.clone()).build().unwrap();
    let lease = Duration::from_millis(std::env::var(LEASED_FOR).unwrap().parse().unwrap());
    let workers = (std::env::var(WORKERS).unwrap() == "1").then(|| {
        let workers = inbox.transactional_workers(Ledger::default());
        workers.lease(lease).max_attempts(MAX_ATTEMPTS).concurrency(64).backoff(BACKOFF).start().unwrap()
    });
    let server = HttpServer::new(move || {
        let app = App::new().wrap_fn(|request, service| {
            // From here on it is ours to answer.
            let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or("nameless");
            let mut begun = BEGUN_IDS.lock().unwrap();
            begun.push(' ');
            begun.push_str(id);
            drop(begun);
            service.call(request)
        });
        app.service(receiver.at(PATH))
    });
    let server = server.workers(1).bind(("127.0.0.1", 0)).unwrap();
    println!("PORT {}", server.addrs()[0].port());
    std::io::stdout().flush().unwrap();
    // Until SIGTERM, which ends it gracefully; or until it is killed.
    server.run().await.unwrap();
    if let Some(workers) = workers {
        workers.drain(Duration::from_secs(10)).await;
    }
    println!("{BEGUN}{}", BEGUN_IDS.lock().unwrap());
    std::io::stdout().flush().unwrap();
}
