//! `countersign inbox` beside a receiver and its workers that run on the same inbox.

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use actix_web::{App, HttpServer};
use countersign::kycgenie::{self, Event};
use countersign::{HandlerError, Inbox, Keyring, Receiver, Secret, SqliteInbox, handlers};

use crate::support::{Ran, SECRET, cli, folder, until, with_secret};

/// A ledger that is locked for ever, until it is not.
#[derive(Clone, Default)]
struct Ledger {
    open: Arc<AtomicBool>,
    booked: Arc<AtomicUsize>,
}

#[handlers(Event)]
impl Ledger {
    #[on(Screening)]
    async fn book(&self) -> Result<(), HandlerError> {
        if !self.open.load(Ordering::SeqCst) {
            return Err(HandlerError::permanent("the ledger is locked"));
        }
        self.booked.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    #[otherwise]
    async fn rest(&self) {
        self.booked.fetch_add(1, Ordering::SeqCst);
    }
}

/// A receiver with its workers; it ends with the value.
struct Receiving {
    url: String,
    handle: actix_web::dev::ServerHandle,
    served: Option<thread::JoinHandle<()>>,
}

fn receiving(file: &Path, ledger: Ledger) -> Receiving {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", socket.local_addr().expect("an address"));
    let file = file.to_owned();
    let (sender, handle) = mpsc::channel();
    let served = thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let inbox = Inbox::new(SqliteInbox::open(file).expect("an inbox"));
            let workers = inbox.workers(ledger).start().expect("workers");
            let keyring = Keyring::single(Secret::new(SECRET).expect("a secret"));
            let receiver = Receiver::builder(kycgenie::scheme(), keyring).inbox(inbox).build().expect("a receiver");
            let app = move || App::new().service(receiver.at("/hook"));
            let server = HttpServer::new(app).workers(1).disable_signals().listen(socket).expect("a server").run();
            sender.send(server.handle()).expect("a test");
            server.await.expect("it ends well");
            workers.drain(Duration::from_secs(20)).await;
        });
    });
    Receiving { url, handle: handle.recv().expect("a server"), served: Some(served) }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        actix_web::rt::System::new().block_on(self.handle.stop(true));
        if let Some(served) = self.served.take() {
            drop(served.join());
        }
    }
}

#[test]
fn an_operator_looks_replays_and_prunes_while_deliveries_come_in() {
    let file = folder("inbox-running").join("inbox.sqlite");
    let ledger = Ledger::default();
    let receiver = receiving(&file, ledger.clone());
    let inbox = |args: &[&str]| -> Ran {
        cli(["--json", "inbox"].iter().chain(args)).env("COUNTERSIGN_INBOX_SQLITE", &file).run()
    };
    let stats = || inbox(&["stats"]).good().json();

    let dead = r#"{"event":"screening.completed","data":{"entity_id":"ent_7","passport":"P-8872"}}"#;
    with_secret(["send", &receiver.url, dead, "--id", "msg_dead"]).run().good();
    until("it is given up", || Some(stats()).filter(|stats| stats["dead"] == 1));
    let letters = inbox(&["dead"]);
    assert_eq!((letters.code, &letters.json()["last_error"]), (Some(1), &"the ledger is locked".into()));
    let number = letters.json()["number"].to_string();

    // What is kept is what was sent: it verifies still.
    let shown = cli(["inbox", "show", &number, "--headers", "--body", "--reveal"]);
    let request = shown.env("COUNTERSIGN_INBOX_SQLITE", &file).run().good().stdout;
    assert!(request.ends_with(dead), "{request}");
    with_secret(["verify", "-", "--any-age"]).input(request).run().good();
    let hidden = cli(["inbox", "show", &number, "--headers", "--body"]);
    let hidden = hidden.env("COUNTERSIGN_INBOX_SQLITE", &file).run().good().stdout;
    assert_eq!(with_secret(["verify", "-", "--any-age"]).input(hidden).run().code, Some(1), "no signature in it");

    // The cause is mended, and deliveries come in meanwhile.
    ledger.open.store(true, Ordering::SeqCst);
    let (url, load) = (receiver.url.clone(), 200);
    let sender = thread::spawn(move || {
        let body = r#"{"event":"case.opened","data":{}}"#;
        with_secret(["--json", "send", &url, body, "--repeat", "200", "--fresh"]).run().good()
    });
    assert_eq!(inbox(&["replay", &number]).good().json()["replayed"].as_array().map(Vec::len), Some(1));
    for args in [&["list", "--newest"][..], &["prune"], &["dead"], &["stats"], &["show", &number]] {
        let ran = inbox(args);
        assert!(matches!(ran.code, Some(0 | 1)) && ran.stderr.is_empty(), "{args:?}: {ran:#?}");
    }
    sender.join().expect("all of them are acknowledged");
    let all = until("all of them are done", || Some(stats()).filter(|stats| stats["done"] == load + 1));
    assert_eq!((&all["dead"], &all["pending"], &all["oldest"]), (&0.into(), &0.into(), &serde_json::Value::Null));
    assert_eq!(ledger.booked.load(Ordering::SeqCst), load + 1, "each is handled once");

    // What is done runs again where that is meant.
    assert_eq!(inbox(&["replay", &number]).code, Some(2));
    inbox(&["replay", &number, "--yes"]).good();
    until("it runs again", || (ledger.booked.load(Ordering::SeqCst) == load + 2).then_some(()));
}
