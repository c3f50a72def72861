//! Never lost, never twice: a receiver that is killed, for real and in the middle of its work, and what comes of it.
//!
//! Run it: `cargo run --example durable`
//!
//! This program is the provider. It starts itself again as the receiver, with its workers, over a file of SQLite; sends
//! it deliveries; kills it with `kill -9` while they are being worked on; starts it again; and looks into the file.

mod common;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Failure, listen, now, post};
use countersign::inbox::{InboxStore, SqliteEffects, rusqlite};
use countersign::kycgenie::{self, Event};
use countersign::{Delivery, Inbox, Keyring, Message, Receiver, Secret, Signer, SqliteInbox, handlers};
use rusqlite::Connection;

const PATH: &str = "/webhooks/kycgenie";
const SECRET: &str = "whsec_ZHVyYWJsZS1leGFtcGxlLXNlY3JldA=="; // "durable-example-secret"
const DELIVERIES: usize = 200;

/// Books each screening. What it writes is committed together with the completion of the delivery, or not at all.
struct Ledger;

#[handlers(Event, effects = SqliteEffects)]
impl Ledger {
    #[on(Screening)]
    async fn book(&self, delivery: &Delivery, effects: &mut SqliteEffects) {
        let id = delivery.id().map(ToString::to_string);
        // Stands for the work: asking another service, say.
        tokio::time::sleep(Duration::from_millis(5)).await;
        effects.write(move |transaction| {
            transaction.execute("INSERT INTO booking (delivery) VALUES (?1)", [id])?;
            Ok(())
        });
    }

    #[otherwise]
    async fn rest(&self) {}
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    if let Some(file) = std::env::args().nth(1) {
        return receive(Path::new(&file)).await;
    }
    let file = std::env::temp_dir().join(format!("countersign-durable-{}.sqlite", std::process::id()));
    let store = SqliteInbox::open(&file)?;
    // A table of the program's own, in the same file. There is no unique constraint: what is booked twice is there twice.
    let ledger = Connection::open(&file)?;
    ledger.execute_batch("CREATE TABLE booking (delivery TEXT)")?;

    let mut acknowledged = 0_i64;
    let mut deaths = 0;
    let mut receiver = Process::start(&file)?;
    println!("{DELIVERIES} deliveries, to a receiver that is killed three times meanwhile\n");
    for number in 0..DELIVERIES {
        // The provider sends a delivery until it is acknowledged, and every fifth once more.
        for _ in 0..=usize::from(number % 5 == 0) {
            while deliver(receiver.addr, number).await.ok() != Some(200) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        acknowledged += 1;
        if number % 60 == 59 {
            receiver.kill()?;
            deaths += 1;
            let stats = store.stats().await?;
            println!(
                "kill -9 number {deaths}: {acknowledged} acknowledged; the file holds {} done, {} running, {} pending",
                stats.done, stats.running, stats.pending
            );
            receiver = Process::start(&file)?;
        }
    }
    println!("\nall acknowledged; what the dead processes were working on is taken up when their leases have run out");
    while store.stats().await?.done < DELIVERIES as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    receiver.kill()?;

    let count = |query| ledger.query_row(query, [], |row| row.get::<_, i64>(0));
    let booked = count("SELECT count(DISTINCT delivery) FROM booking")?;
    let twice = count("SELECT count(*) FROM booking")? - booked;
    println!("\nacknowledged {acknowledged}, booked {booked}, lost {}, doubled {twice}", acknowledged - booked);
    drop((store, ledger));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    if (booked, twice) == (DELIVERIES as i64, 0) { Ok(()) } else { Err("not what was promised".into()) }
}

/// The receiver: verify, keep, answer; and the workers behind it.
async fn receive(file: &Path) -> Result<(), Failure> {
    let inbox = Inbox::new(SqliteInbox::open(file)?);
    // The lease says how long after the death of a process its work is taken up; 30 s unless set.
    let workers = inbox.transactional_workers(Ledger).lease(Duration::from_secs(1)).start()?;
    let receiver = Receiver::builder(kycgenie::scheme(), Keyring::single(Secret::new(SECRET)?)).inbox(inbox).build()?;
    let (addr, server) = listen(0, move || receiver.at(PATH))?;
    println!("{addr}");
    server.await?;
    workers.drain(Duration::from_secs(20)).await;
    Ok(())
}

async fn deliver(addr: SocketAddr, number: usize) -> Result<u16, Failure> {
    let body = format!(r#"{{"event":"screening.completed","data":{{"entity_id":"ent_{number}"}}}}"#);
    let signer = Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(SECRET)?))?;
    let headers = signer.sign(&Message::new(body.as_bytes(), now()?).id(&format!("msg_{number}")))?;
    Ok(post(addr, PATH, headers, body).await?.0)
}

/// This program again, as the receiver.
struct Process {
    child: Child,
    addr: SocketAddr,
}

impl Process {
    fn start(file: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?).arg(file).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        Ok(Self { child, addr: line.trim().parse()? })
    }

    /// `kill -9` on Unix: nothing is told, nothing flushed.
    fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
