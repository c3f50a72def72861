//! Everything that the macros write, written by hand.
//!
//! Run it: `cargo run --example macroless`

use actix_web::{App, HttpServer};
use countersign::{
    Delivery, Envelope, EventType, Handlers, IntoOutcome, Keyring, Message, Outcome, PayloadError, RawPayload,
    Receiver, Secret, Signer, Timestamp, Unknown, Variant, WebhookEvent, kycgenie,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Screening {
    screening_id: String,
}

#[derive(Debug)]
enum Event {
    ScreeningCompleted(Screening),
    Unknown(Unknown),
}

impl WebhookEvent for Event {
    const ENVELOPE: Envelope = Envelope {
        tag: Some("event"),
        content: Some("data"),
    };
    const VARIANTS: &'static [Variant] = &[
        Variant::event("ScreeningCompleted", "screening.completed"),
        Variant::unknown("Unknown"),
    ];

    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(Some(match event_type.as_str() {
            "screening.completed" => Self::ScreeningCompleted(payload.decode()?),
            _ => Self::Unknown(Unknown::new(event_type.clone(), payload)),
        }))
    }
}

struct Compliance;

impl Compliance {
    async fn cleared(&self, screening: Screening, delivery: &Delivery) -> Result<(), std::io::Error> {
        println!("{} is cleared, says {:?}", screening.screening_id, delivery.id());
        Ok(())
    }
}

impl Handlers for Compliance {
    type Event = Event;

    async fn handle(&self, event: Event, delivery: &Delivery) -> Outcome {
        match event {
            Event::ScreeningCompleted(screening) => self.cleared(screening, delivery).await.into_outcome(),
            Event::Unknown(_) => Outcome::Unhandled,
        }
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let secret = || Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let receiver = Receiver::builder(kycgenie::scheme(), Keyring::single(secret()?))
        .handlers(Compliance)
        .build()?;
    let server = HttpServer::new(move || App::new().service(receiver.at("/webhooks/kycgenie")))
        .workers(1)
        .bind(("127.0.0.1", 0))?;
    println!("listening on {:?}", server.addrs());
    let addr = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);

    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs() as i64;
    let body = br#"{"event":"screening.completed","data":{"screening_id":"scr_1"}}"#;
    let signer = Signer::new(kycgenie::scheme(), Keyring::single(secret()?))?;
    let headers = signer.sign(&Message::new(body, Timestamp::from_secs(now)).id("msg_1"))?;
    let mut request = format!(
        "POST /webhooks/kycgenie HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in &headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    for _ in 0..2 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(addr).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        println!("{}", answer);
    }
    handle.stop(true).await;
    Ok(())
}
