//! No delivery is answered 200 before it is kept: over real sockets, while another connection keeps the commit from
//! happening.

#![cfg(all(feature = "actix", feature = "postgres", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod inbox_common;
#[path = "common/servers.rs"]
mod servers;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use countersign::inbox::tokio_postgres::{self, NoTls};
use countersign::inbox::{Inbox, InboxStore, rusqlite::Connection};
use countersign::kycgenie::Event;
use countersign::{Clock, Keyring, Message, PostgresInbox, Receiver, Scheme, Secret, Signer, SqliteInbox, SystemClock};
use inbox_common::Folder;
use servers::Postgres;

const PATIENCE: Duration = Duration::from_secs(60);

fn keyring() -> Keyring {
    Keyring::single(Secret::new("whsec_YW5zd2VyLXRlc3Q=").unwrap())
}

/// Serves a receiver over `store`; it ends with the process.
fn serve<S: InboxStore>(store: S) -> SocketAddr {
    let inbox = Inbox::<Event, _>::new(store).answer_within(PATIENCE);
    let receiver = Receiver::builder(Scheme::standard_webhooks(), keyring()).inbox(inbox).build().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || App::new().service(receiver.at("/hook"))).workers(1).disable_signals();
            let server = server.bind(("127.0.0.1", 0)).unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    told.recv().unwrap()
}

fn send(addr: SocketAddr, id: &str) -> TcpStream {
    let body = r#"{"event":"screening.completed","data":{"entity_id":"ent_7"}}"#;
    let signer = Signer::new(Scheme::standard_webhooks(), keyring()).unwrap();
    let headers = signer.sign(&Message::new(body.as_bytes(), SystemClock.now()).id(id)).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "POST /hook HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The answer, to its end.
fn answer(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn on_sqlite_nothing_is_answered_before_the_commit() {
    let folder = Folder::new();
    let store = SqliteInbox::builder(folder.file()).busy_timeout(PATIENCE).open().unwrap();
    let addr = serve(store);
    let other = Connection::open(folder.file()).unwrap();
    let kept = || other.query_row("SELECT count(*) FROM countersign_inbox", [], |row| row.get::<_, i64>(0)).unwrap();
    let (verified, seen) = mpsc::channel();
    countersign::testing::inbox::on_step(move |of, at| {
        if (of, at) == ("accept", "verified") {
            // The other test comes here too, and perhaps later than this one ends.
            verified.send(()).ok();
        }
    });
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // A delivery, and the same again while the first waits for its commit.
    let mut both = [(); 2].map(|()| {
        let stream = send(addr, "msg_1");
        seen.recv_timeout(PATIENCE).unwrap();
        stream
    });
    for stream in &mut both {
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let early = stream.read(&mut [0]);
        let waits = matches!(&early, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(waits, "an answer before the commit: {early:?}");
    }
    assert_eq!(kept(), 0);
    other.execute_batch("ROLLBACK").unwrap();
    for stream in &mut both {
        let answer = answer(stream);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(kept(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_nothing_is_answered_200_before_the_commit() {
    let server = Postgres::start();
    let addr = serve(PostgresInbox::builder(&server.url()).build().await.unwrap());
    let (mut other, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    // Commits are possible, but for the last row.
    let lock = other.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE countersign.inbox IN EXCLUSIVE MODE").await.unwrap();
    let mut both = ["msg_1", "msg_1"].map(|id| send(addr, id));
    for stream in &mut both {
        let answer = tokio::task::block_in_place(|| answer(stream));
        assert!(answer.starts_with("HTTP/1.1 503"), "an answer before the commit: {answer}");
        assert!(answer.to_ascii_lowercase().contains("retry-after: "), "{answer}");
    }
    let kept = "SELECT count(*) FROM countersign.inbox_delivery";
    assert_eq!(lock.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 0, "no half of a record");
    lock.rollback().await.unwrap();
    for _ in 0..2 {
        let answer = tokio::task::block_in_place(|| answer(&mut send(addr, "msg_1")));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(other.query_one(kept, &[]).await.unwrap().get::<_, i64>(0), 1);
    }
}
