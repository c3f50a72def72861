//! A preset for another provider: GitHub signs the body alone, names the event in a header, and publishes a test
//! vector, which is sent here.
//!
//! Run it: `cargo run --example github`

mod common;

use common::{Failure, post, serve};
use countersign::{
    Delivery, Keyring, Message, Receiver, RequestView, Scheme, Secret, Signer, Timestamp, Unknown, Verifier,
    WebhookEvent, handlers,
};
use serde::Deserialize;

/// "Validating webhook deliveries" in GitHub's documents: secret, body, and the header that they give.
const SECRET: &str = "It's a Secret to Everybody";
const BODY: &str = "Hello, World!";
const HEADER: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

/// GitHub has no envelope: the type stands in a header and the whole body is the payload.
#[derive(Debug, WebhookEvent)]
enum Event {
    #[event("ping")]
    Ping(Ping),
    #[event(unknown)]
    Unknown(Unknown),
}

#[derive(Debug, Deserialize)]
struct Ping {
    zen: String,
}

struct Printer;

#[handlers(Event)]
impl Printer {
    #[on(Ping)]
    async fn ping(&self, ping: Ping, delivery: &Delivery) {
        // What GitHub's signature covers is the body alone: neither id nor type is proved.
        println!("  ping {:?}; the signature covers {:?}", ping.zen, delivery.authenticated());
    }

    #[otherwise]
    async fn rest(&self, event: Event) {
        if let Event::Unknown(unknown) = event {
            println!("  {} is not for us", unknown.event_type());
        }
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let keyring = Keyring::single(Secret::new(SECRET)?);

    // The vector of the documents is not JSON, so it is verified without a receiver around.
    let verifier = Verifier::new(Scheme::github(), keyring.clone())?;
    let headers = [("x-hub-signature-256", HEADER), ("x-github-event", "push")];
    let verified = verifier.verify(&RequestView::new(&headers, BODY), Timestamp::UNIX_EPOCH)?;
    println!("GitHub's own vector is verified, with key {}", verified.key_id());

    let receiver = Receiver::builder(Scheme::github(), keyring.clone()).handlers(Printer).build()?;
    let (addr, server) = serve(move || receiver.at("/webhooks/github"))?;
    let signer = Signer::new(Scheme::github(), keyring)?;
    let body = r#"{"zen":"Keep it logically awesome."}"#;
    for id in ["72d3162e-cc78-11e3-81ab-4c9367dc0958", "another-id-for-the-same-body"] {
        let message = Message::new(body.as_bytes(), Timestamp::UNIX_EPOCH).id(id).event_type("ping");
        let (status, _) = post(addr, "/webhooks/github", signer.sign(&message)?, body).await?;
        println!("delivery {id}: {status}");
    }
    println!("one handler ran: a body that is sent again under another id is the same delivery");
    server.stop(true).await;
    Ok(())
}
