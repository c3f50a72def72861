//! The README's receiver, with handlers, against `countersign sandbox`: what two terminals show.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use actix_web::{App, HttpServer};
use countersign::kycgenie::{self, Event, Onboarding, Screening, ScreeningPayload};
use countersign::{Delivery, HandlerError, Keyring, Receiver, Secret, handlers};

use crate::support::cli;

struct Compliance {
    ran: Arc<Mutex<Vec<String>>>,
}

#[handlers(Event)]
impl Compliance {
    #[on(Screening::Completed)]
    async fn cleared(&self, _screening: ScreeningPayload, delivery: &Delivery) -> Result<(), HandlerError> {
        self.note("cleared", delivery);
        Ok(())
    }

    #[on(Onboarding)]
    async fn onboarding(&self, _event: Onboarding, delivery: &Delivery) {
        self.note("onboarding", delivery);
    }

    #[otherwise]
    async fn rest(&self, _event: Event, delivery: &Delivery) {
        self.note("rest", delivery);
    }
}

impl Compliance {
    fn note(&self, handler: &str, delivery: &Delivery) {
        let event_type = delivery.event_type().map(ToString::to_string).unwrap_or_default();
        self.ran.lock().expect("a lock").push(format!("{handler}({event_type})"));
    }
}

#[test]
fn the_receiver_of_the_readme_receives_from_the_sandbox() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hook = format!("http://{}/webhooks/kycgenie", socket.local_addr().expect("an address"));

    // The first terminal.
    let args = ["--json", "sandbox", "--bind", "127.0.0.1:0", "--speed", "1000", "--subscribe", &hook];
    let mut sandbox = cli(args).shows_secrets().start();
    let started = sandbox.object();
    let secret = started["subscription"]["secret"].as_str().expect("a secret").to_owned();

    // The second one.
    let ran = Arc::new(Mutex::new(Vec::new()));
    let handlers = Compliance { ran: Arc::clone(&ran) };
    let keyring = Keyring::single(Secret::new(secret).expect("a secret"));
    let receiver = Receiver::builder(kycgenie::scheme(), keyring).handlers(handlers).build().expect("a receiver");
    let (sender, handle) = mpsc::channel();
    let served = thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let app = move || App::new().service(receiver.at("/webhooks/kycgenie"));
            let server = HttpServer::new(app).workers(1).disable_signals().listen(socket).expect("a server").run();
            sender.send(server.handle()).expect("a test");
            server.await
        })
    });
    let handle = handle.recv().expect("a server");

    let url = started["url"].as_str().expect("a URL");
    for event_type in ["screening.completed", "onboarding.expired", "case.opened", "moon.rose"] {
        let done = cli(["--json", "trigger", event_type, "--url", url, "--wait"]).run().good().json();
        assert_eq!(done["delivered"], 1, "{event_type}");
    }
    let ran = ran.lock().expect("a lock").clone();
    let expected =
        ["cleared(screening.completed)", "onboarding(onboarding.expired)", "rest(case.opened)", "rest(moon.rose)"];
    assert_eq!(ran, expected, "each is handled once");
    actix_web::rt::System::new().block_on(handle.stop(true));
    served.join().expect("a server").expect("it ends well");
    sandbox.interrupt().good();
}
