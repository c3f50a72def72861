//! The process that is killed: a receiver and its workers over one inbox.

use std::fmt::Debug;
use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::dev::Service;
use actix_web::{App, HttpServer};
use countersign::inbox::{Backoff, Inbox, SqliteInbox, TransactionalHandlers, TransactionalStore};
use countersign::kycgenie::Event;
use countersign::{Keyring, PostgresInbox, Receiver, Scheme, Secret};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::ledger::{Ledger, Pen, entity};
use crate::place::{Address, Place, Promise};

/// Short: what a process leaves behind is waited for in each round, and that is most of the round.
pub(crate) const LEASE: Duration = Duration::from_millis(400);
/// Where nobody dies: no lease runs out, however slow the machine is, so that each attempt is one that was meant.
pub(crate) const LONG_LEASE: Duration = Duration::from_mins(10);
pub(crate) const MAX_ATTEMPTS: u32 = 6;
/// Short, so that what fails is soon dead.
const BACKOFF: Backoff = Backoff { shortest: Duration::from_millis(20), longest: Duration::from_millis(200) };
pub(crate) const PATH: &str = "/hook";
pub(crate) const SECRET: &str = "whsec_Y3Jhc2gtdGVzdA==";

const ADDRESS: &str = "COUNTERSIGN_CRASH_ADDRESS";
const DIE_AT: &str = "COUNTERSIGN_CRASH_DIE_AT";
const DRAINED_FOR: &str = "COUNTERSIGN_CRASH_DRAIN_MS";
const LEASED_FOR: &str = "COUNTERSIGN_CRASH_LEASE_MS";
const LOG: &str = "COUNTERSIGN_CRASH_LOG";
const STAYS: &str = "COUNTERSIGN_CRASH_STAYS";
const WORKERS: &str = "COUNTERSIGN_CRASH_WORKERS";

/// What the lines begin with in which it says at its end which deliveries it could not keep and why, which of its handlers
/// never ended, and which requests it has begun.
const REFUSED: &str = "REFUSED ";
const HELD: &str = "HELD ";
const BEGUN: &str = "BEGUN ";
static REASONS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static BEGUN_IDS: Mutex<String> = Mutex::new(String::new());

/// What the child is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Orders<'a> {
    /// At which boundary it dies, and when it has come there how often: `of:at:nth`.
    pub(crate) die_at: Option<&'a str>,
    /// How long its handlers may go on when it is asked to end.
    pub(crate) drain: Duration,
    pub(crate) lease: Duration,
    /// Whether some handlers never end.
    pub(crate) stays: bool,
    /// How it works on what it receives, if it does.
    pub(crate) works: Option<Promise>,
}

/// What it says of itself at its end.
#[derive(Debug)]
pub(crate) struct Told {
    /// The ids of all requests that it has begun to answer, one for each of them.
    pub(crate) begun: Vec<String>,
    /// The ids of those whose handlers were running and would never have ended.
    pub(crate) held: Vec<String>,
    /// Why it could not keep a delivery, for each that was refused.
    pub(crate) refused: Vec<String>,
}

impl Default for Orders<'_> {
    fn default() -> Self {
        let drain = Duration::from_secs(10);
        Self { die_at: None, drain, lease: LEASE, stays: false, works: Some(Promise::ExactlyOnce) }
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
        command.env(WORKERS, orders.works.map_or("", Promise::as_str)).stdin(Stdio::piped());
        command.env(LEASED_FOR, orders.lease.as_millis().to_string());
        command.env(DRAINED_FOR, orders.drain.as_millis().to_string());
        command.env(STAYS, if orders.stays { "1" } else { "0" });
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

    /// Asks it to end, and waits until it has. If it did so by itself: what it says.
    pub(crate) fn terminate(mut self) -> Option<Told> {
        self.signal("TERM");
        let [refused, held, begun] = [REFUSED, HELD, BEGUN].map(|word| self.hear(word));
        let success = self.process.wait().unwrap().success();
        let list = |text: Option<String>, at: char| -> Option<Vec<String>> {
            let parts = text.as_ref()?.split(at).map(str::trim).filter(|part| !part.is_empty());
            Some(parts.map(str::to_owned).collect())
        };
        let told = Told { begun: list(begun, ' ')?, held: list(held, ' ')?, refused: list(refused, '|')? };
        success.then_some(told)
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

/// Ends this process, if it was told to do so when it has come here as often.
pub(crate) fn reached(step: &str, place: &str) {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let Ok(die_at) = std::env::var(DIE_AT) else { return };
    let (boundary, nth) = die_at.rsplit_once(':').unwrap();
    let (of, at) = boundary.split_once(':').unwrap();
    if (step, place) == (of, at) && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == nth.parse::<u64>().unwrap() {
        // No destructor runs, nothing is flushed: as with SIGKILL, and exactly here.
        std::process::abort();
    }
}

/// Keeps why a delivery was refused: the sender is told 503 and no more.
struct Reasons;

/// The words of an event, and its error.
#[derive(Default)]
struct Words {
    message: String,
    error: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" => self.error = format!("{value:?}"),
            _ => {}
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Reasons {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        if words.message.starts_with("the inbox cannot keep the delivery") {
            REASONS.lock().unwrap().push(words.error);
        }
    }
}

pub(crate) fn run_if_told() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    countersign::testing::inbox::on_step(reached);
    let log = std::env::var_os(LOG).map(|_| {
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
        log.with_filter(LevelFilter::INFO)
    });
    tracing_subscriber::registry().with(Reasons.with_filter(LevelFilter::ERROR)).with(log).init();
    actix_web::rt::System::new().block_on(async {
        let address = Address::read(&address);
        match &address {
            Address::Sqlite(file) => receive(SqliteInbox::open(file).unwrap(), &address).await,
            Address::Postgres { url, schema } => {
                let inbox = PostgresInbox::builder(url).schema(schema.as_str());
                receive(inbox.build().await.unwrap(), &address).await;
            }
        }
    });
    // What runs the tests would report to a parent that has stopped listening.
    std::process::exit(0);
}

fn told_ms(name: &str) -> Duration {
    Duration::from_millis(std::env::var(name).unwrap().parse().unwrap())
}

async fn receive<S: TransactionalStore>(store: S, address: &Address)
where
    Ledger: TransactionalHandlers<S::Effects, Event = Event>,
{
    let inbox =
        Inbox::<Event, _>::new(store).in_order_by(|delivery| entity(delivery.id()?.as_str()).map(str::to_owned));
    let keyring = Keyring::single(Secret::new(SECRET).unwrap());
    let receiver = Receiver::builder(Scheme::standard_webhooks(), keyring).inbox(inbox.clone()).build().unwrap();
    let mut held = None;
    let workers = match Promise::read(&std::env::var(WORKERS).unwrap()) {
        None => None,
        Some(promise) => {
            let ledger = Ledger::new(Pen::open(address, promise).await, std::env::var(STAYS).unwrap() == "1");
            held = Some(ledger.held.clone());
            let lease = told_ms(LEASED_FOR);
            Some(match promise {
                Promise::AtLeastOnce => {
                    let workers = inbox.workers(ledger).lease(lease).max_attempts(MAX_ATTEMPTS);
                    workers.concurrency(64).backoff(BACKOFF).start().unwrap()
                }
                Promise::ExactlyOnce => {
                    let workers = inbox.transactional_workers(ledger).lease(lease).max_attempts(MAX_ATTEMPTS);
                    workers.concurrency(64).backoff(BACKOFF).start().unwrap()
                }
            })
        }
    };
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
        workers.drain(told_ms(DRAINED_FOR)).await;
    }
    println!("{REFUSED}{}", REASONS.lock().unwrap().join("|"));
    println!("{HELD}{}", held.map(|held| held.lock().unwrap().join(" ")).unwrap_or_default());
    println!("{BEGUN}{}", BEGUN_IDS.lock().unwrap());
    std::io::stdout().flush().unwrap();
}
