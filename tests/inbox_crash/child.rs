//! The process that is killed: a receiver and its workers over one file.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::{App, HttpServer};
use countersign::inbox::{Inbox, SqliteEffects, SqliteInbox, TransactionalHandlers};
use countersign::kycgenie::Event;
use countersign::{Delivery, Keyring, Outcome, Receiver, Scheme, Secret};

use crate::inbox_common::Folder;

pub(crate) const LEASE: Duration = Duration::from_secs(1);
pub(crate) const MAX_ATTEMPTS: u32 = 6;
pub(crate) const PATH: &str = "/hook";
pub(crate) const SECRET: &str = "whsec_Y3Jhc2gtdGVzdA==";

const FILE: &str = "COUNTERSIGN_CRASH_FILE";
const DIE_AT: &str = "COUNTERSIGN_CRASH_DIE_AT";
const WORKERS: &str = "COUNTERSIGN_CRASH_WORKERS";

/// The child, as its parent sees it. Dropping it kills it.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) addr: SocketAddr,
}

impl Child {
    /// Starts it, and waits for its port.
    pub(crate) fn start(folder: &Folder, die_at: Option<&str>, workers: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_child", "--nocapture"]).env(FILE, folder.file()).env_remove(DIE_AT);
        command.env(WORKERS, if workers { "1" } else { "0" });
        if let Some(die_at) = die_at {
            command.env(DIE_AT, die_at);
        }
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port =
            lines.map_while(Result::ok).find_map(|line| line.split_once("PORT ").map(|(_, port)| port.to_owned()));
        // One that dies of what it found at its start has no port to tell.
        let port = port.map_or(1, |port| port.trim().parse().unwrap());
        Self { process, addr: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Asks it to end, waits until it has, and tells whether it did so by itself.
    pub(crate) fn terminate(mut self) -> bool {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().unwrap().success()
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

/// Writes an effect for each delivery; one is the death of its process.
struct Ledger;

impl TransactionalHandlers<SqliteEffects> for Ledger {
    type Event = Event;

    async fn handle(&self, _event: Event, delivery: &Delivery, effects: &mut SqliteEffects) -> Outcome {
        let id = delivery.id().unwrap().to_string();
        tokio::time::sleep(Duration::from_millis(1)).await;
        if id == "aborts" {
            std::process::abort();
        }
        effects.write(move |tx| {
            tx.execute("INSERT INTO effect VALUES (?1)", [id])?;
            Ok(())
        });
        Outcome::Handled
    }
}

pub(crate) fn run_if_told() {
    let Ok(file) = std::env::var(FILE) else { return };
    if let Ok(die_at) = std::env::var(DIE_AT) {
        let (boundary, nth) = die_at.rsplit_once(':').unwrap();
        let (of, at) = boundary.split_once(':').unwrap();
        let (of, at, nth) = (of.to_owned(), at.to_owned(), nth.parse::<u64>().unwrap());
        let seen = AtomicU64::new(0);
        countersign::testing::inbox::on_step(move |step, place| {
            if step == of && place == at && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                // No destructor runs, nothing is flushed: as with SIGKILL, and exactly here.
                std::process::abort();
            }
        });
    }
    actix_web::rt::System::new().block_on(async {
        let inbox = Inbox::<Event, _>::new(SqliteInbox::open(file).unwrap());
        let keyring = Keyring::single(Secret::new(SECRET).unwrap());
        let receiver = Receiver::builder(Scheme::standard_webhooks(), keyring).inbox(inbox.clone()).build().unwrap();
        let workers = (std::env::var(WORKERS).unwrap() == "1").then(|| {
            inbox.transactional_workers(Ledger).lease(LEASE).max_attempts(MAX_ATTEMPTS).concurrency(64).start()
        });
        let server = HttpServer::new(move || App::new().service(receiver.at(PATH))).workers(1);
        let server = server.bind(("127.0.0.1", 0)).unwrap();
        println!("PORT {}", server.addrs()[0].port());
        std::io::stdout().flush().unwrap();
        // Until SIGTERM, which ends it gracefully; or until it is killed.
        server.run().await.unwrap();
        if let Some(workers) = workers {
            workers.drain(Duration::from_secs(10)).await;
        }
        // What runs the tests would report to a parent that has stopped listening.
        std::process::exit(0);
    });
}
