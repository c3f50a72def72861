//! Everything that the macros write, written by hand.
//!
//! Run it: `cargo run --example macroless`

mod common;

use std::time::Duration;

use common::{Failure, id, now, post, serve};
use countersign::inbox::{InboxStore, SqliteEffects, TransactionalHandlers, rusqlite};
use countersign::{
    Delivery, Envelope, EventType, Handlers, Inbox, Interest, IntoOutcome, Keyring, Message, Outcome, PayloadError,
    RawPayload, Receiver, Secret, Signer, SqliteInbox, Unknown, Variant, WebhookEvent, kycgenie,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Screening {
    screening_id: String,
}

/// What `#[derive(WebhookEvent)]` takes: an enum of events, with a group and an arm for what is not known.
#[derive(Debug)]
enum Event {
    ScreeningCompleted(Screening),
    Onboarding(Onboarding),
    Unknown(Unknown),
}

#[derive(Debug)]
enum Onboarding {
    Created,
}

/// What `#[derive(WebhookEvent)]` writes.
impl WebhookEvent for Event {
    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };
    const VARIANTS: &'static [Variant] = &[
        Variant::event("ScreeningCompleted", "screening.completed"),
        Variant::group("Onboarding", Onboarding::VARIANTS),
        Variant::unknown("Unknown"),
    ];

    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        if event_type.as_str() == "screening.completed" {
            return Ok(Some(Self::ScreeningCompleted(payload.decode()?)));
        }
        if let Some(event) = Onboarding::decode(event_type, payload)? {
            return Ok(Some(Self::Onboarding(event)));
        }
        Ok(Some(Self::Unknown(Unknown::new(event_type.clone(), payload))))
    }
}

impl WebhookEvent for Onboarding {
    const ENVELOPE: Envelope = Envelope { tag: None, content: None };
    const VARIANTS: &'static [Variant] = &[Variant::event("Created", "onboarding.created")];

    fn decode(event_type: &EventType, _: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok((event_type.as_str() == "onboarding.created").then_some(Self::Created))
    }
}

struct Compliance;

/// What a user writes between `#[handlers(Event)]` and its end.
impl Compliance {
    async fn cleared(&self, screening: Screening, delivery: &Delivery) -> Result<(), std::io::Error> {
        println!("  {} is cleared, says {}", screening.screening_id, id(delivery));
        Ok(())
    }

    async fn onboarding(&self, event: Onboarding) {
        println!("  onboarding: {event:?}");
    }

    async fn rest(&self, event: Event) {
        if let Event::Unknown(unknown) = event {
            println!("  nobody knows {} yet: {} bytes", unknown.event_type(), unknown.payload().len());
        }
    }
}

/// What `#[handlers(Event)]` writes. It also checks at compile time that each event has one handler.
impl Handlers for Compliance {
    type Event = Event;

    async fn handle(&self, event: Event, delivery: &Delivery) -> Outcome {
        match event {
            Event::ScreeningCompleted(screening) => self.cleared(screening, delivery).await.into_outcome(),
            Event::Onboarding(event) => {
                self.onboarding(event).await;
                Outcome::Handled
            }
            event => {
                self.rest(event).await;
                Outcome::Handled
            }
        }
    }
}

/// The screenings that are cleared, in the database of an inbox.
struct Ledger;

/// What a user writes between `#[handlers(Event, effects = SqliteEffects)]` and its end.
impl Ledger {
    async fn cleared(&self, screening: Screening, effects: &mut SqliteEffects) {
        effects.write(move |transaction| {
            transaction.execute("INSERT INTO cleared (screening) VALUES (?1)", [screening.screening_id])?;
            Ok(())
        });
    }

    async fn rest(&self) {}
}

/// What `#[handlers(Event, effects = SqliteEffects)]` writes.
impl TransactionalHandlers<SqliteEffects> for Ledger {
    type Event = Event;

    /// Only a screening's payload is worth decoding.
    fn interest(&self, event_type: &EventType) -> Interest {
        match event_type.as_str() {
            "screening.completed" => Interest::Payload,
            _ => Interest::Delivery,
        }
    }

    async fn handle(&self, event: Event, _: &Delivery, effects: &mut SqliteEffects) -> Outcome {
        match event {
            Event::ScreeningCompleted(screening) => self.cleared(screening, effects).await,
            _ => self.rest().await,
        }
        Outcome::Handled
    }

    async fn handle_undecoded(&self, _: &Delivery, _: &mut SqliteEffects) -> Outcome {
        self.rest().await;
        Outcome::Handled
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let keyring = Keyring::single(Secret::new("whsec_bWFjcm9sZXNzLWV4YW1wbGUtc2VjcmV0")?);
    let receiver = Receiver::builder(kycgenie::scheme(), keyring.clone()).handlers(Compliance).build()?;
    let (addr, server) = serve(move || receiver.at("/webhooks/kycgenie"))?;

    let signer_keys = keyring.clone();
    let signer = Signer::new(kycgenie::scheme(), keyring)?;
    for (id, body) in [
        ("msg_1", r#"{"event":"screening.completed","data":{"screening_id":"scr_1"}}"#),
        ("msg_2", r#"{"event":"onboarding.created","data":{}}"#),
        ("msg_3", r#"{"event":"sanctions.updated","data":{"lists":3}}"#),
    ] {
        let headers = signer.sign(&Message::new(body.as_bytes(), now()?).id(id))?;
        let (status, _) = post(addr, "/webhooks/kycgenie", headers, body).await?;
        println!("{id}: {status}");
    }
    server.stop(true).await;

    // The same deliveries, kept first and worked on later.
    let file = std::env::temp_dir().join(format!("countersign-macroless-{}.sqlite", std::process::id()));
    let inbox = Inbox::new(SqliteInbox::open(&file)?);
    let ledger = rusqlite::Connection::open(&file)?;
    ledger.execute_batch("CREATE TABLE cleared (screening TEXT)")?;
    let workers = inbox.transactional_workers(Ledger).start()?;
    let receiver = Receiver::builder(kycgenie::scheme(), signer_keys).inbox(inbox.clone()).build()?;
    let (addr, server) = serve(move || receiver.at("/webhooks/kycgenie"))?;
    let body = r#"{"event":"screening.completed","data":{"screening_id":"scr_1"}}"#;
    let headers = signer.sign(&Message::new(body.as_bytes(), now()?).id("msg_1"))?;
    let (status, _) = post(addr, "/webhooks/kycgenie", headers, body).await?;
    while inbox.store().stats().await?.done < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cleared: i64 = ledger.query_row("SELECT count(*) FROM cleared", [], |row| row.get(0))?;
    println!("msg_1, from the inbox: {status}, {cleared} cleared");
    server.stop(true).await;
    workers.drain(Duration::from_secs(20)).await;
    drop((inbox, ledger));
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", file.display()));
    }
    Ok(())
}
