//! A receiver on a real port, and everything that a sender can do to it.
//!
//! Run it: `cargo run --example quickstart`
//!
//! With a port behind it, it stays and receives, for you to send to; with a key file as well, it takes the keys in there:
//! `cargo run --example quickstart -- 8080`, `cargo run --example quickstart -- 8080 keys.toml`

mod common;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::{Failure, Headers, listen, now, now_minus, post};
use countersign::kycgenie::{self, Event, Onboarding, Screening, ScreeningPayload};
use countersign::{Delivery, HandlerError, Key, KeyId, Keyring, Message, Receiver, Secret, Signer, handlers};

const PATH: &str = "/webhooks/kycgenie";

/// The secret before the rotation and the one after it: base64 behind `whsec_`, as the provider hands them out. Yours
/// comes from the environment or a file: `Keyring::from_env("KYCGENIE_WEBHOOK_SECRET")`, `Keyring::watch("keys.toml")`.
const OLD_SECRET: &str = "whsec_YW4tb2xkZXItZXhhbXBsZS1zZWNyZXQ="; // "an-older-example-secret"
const SECRET: &str = "whsec_cXVpY2tzdGFydC1leGFtcGxlLXNlY3JldA=="; // "quickstart-example-secret"

/// What handles the events. Whatever it needs, a pool of connections for one, is a field.
struct Compliance {
    ran: &'static Mutex<Vec<String>>,
}

#[handlers(Event)]
impl Compliance {
    #[on(Screening::Completed)]
    async fn cleared(&self, screening: ScreeningPayload, delivery: &Delivery) -> Result<(), HandlerError> {
        let entity: String = screening.data().field("entity_id").ok_or("a screening without an entity")?;
        self.note(format!("cleared({entity})"), delivery);
        Ok(())
    }

    #[on(Onboarding)]
    async fn onboarding(&self, event: Onboarding, delivery: &Delivery) {
        let step = if matches!(event, Onboarding::Completed(_)) { "completed" } else { "under way" };
        self.note(format!("onboarding({step})"), delivery);
    }

    #[otherwise]
    async fn rest(&self, event: Event, delivery: &Delivery) {
        let known = if matches!(event, Event::Unknown(_)) { "unknown type" } else { "known type" };
        self.note(format!("rest({known})"), delivery);
    }
}

impl Compliance {
    fn note(&self, handler: String, delivery: &Delivery) {
        println!("  handler {handler} runs for {:?}, signed with key {}", delivery.id(), delivery.key_id());
        self.ran.lock().unwrap_or_else(PoisonError::into_inner).push(handler);
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    static RAN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    // Who signs, with what; what runs. Deliveries are remembered in memory unless something else is set.
    let file = std::env::args().nth(2);
    let keyring = match &file {
        Some(file) => Keyring::watch(file)?,
        None => rotated()?,
    };
    let receiver = Receiver::builder(kycgenie::scheme(), keyring).handlers(Compliance { ran: &RAN }).build()?;

    let port = std::env::args().nth(1).map(|port| port.parse()).transpose()?;
    let (addr, server) = listen(port.unwrap_or(0), move || receiver.at(PATH))?;
    println!("listening on http://{addr}{PATH}\n");
    if port.is_some() {
        let secret = file.map_or_else(|| format!("the secret {SECRET}"), |file| format!("a key in {file}"));
        println!("sign deliveries with {secret}; stop with Ctrl-C");
        return Ok(server.await?);
    }
    let handle = server.handle();
    actix_web::rt::spawn(server);

    // From here on we are the provider.
    let with = |secret| Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(secret)?)).map_err(Failure::from);
    let (signer, old_signer, forger) = (with(SECRET)?, with(OLD_SECRET)?, with("whsec_Z3Vlc3NlZA==")?);
    let screening = r#"{"event":"screening.completed","data":{"entity_id":"ent_7","risk":"low"}}"#;
    let onboarding = r#"{"event":"onboarding.completed","data":{}}"#;
    let novelty = r#"{"event":"sanctions.updated","data":{"lists":3}}"#;

    let good = signer.sign(&Message::new(screening.as_bytes(), now()?).id("msg_1"))?;
    let forged = forger.sign(&Message::new(screening.as_bytes(), now()?).id("msg_2"))?;
    let stale = now_minus(Duration::from_secs(10 * 60))?;
    let stale = signer.sign(&Message::new(screening.as_bytes(), stale).id("msg_3"))?;
    let overlap = old_signer.sign(&Message::new(onboarding.as_bytes(), now()?).id("msg_4"))?;
    let unknown = signer.sign(&Message::new(novelty.as_bytes(), now()?).id("msg_5"))?;
    let altered = screening.replace("low", "high");
    let deliveries: [(&str, &Headers, &str); 7] = [
        ("a good delivery", &good, screening),
        ("the same again", &good, screening),
        ("the same, body altered", &good, &altered),
        ("forged: a guessed secret", &forged, screening),
        ("stale: ten minutes old", &stale, screening),
        ("signed with the old key", &overlap, onboarding),
        ("a type nobody knows yet", &unknown, novelty),
    ];

    let mut table = Vec::new();
    for (what, headers, body) in deliveries {
        let (status, _) = post(addr, PATH, headers.clone(), body).await?;
        let ran = RAN.lock().unwrap_or_else(PoisonError::into_inner).drain(..).next();
        table.push((what, status, ran));
    }

    println!("\n{:<26} {:>6}   handler", "delivery", "answer");
    println!("{}", "-".repeat(62));
    for (what, status, ran) in table {
        println!("{what:<26} {status:>6}   {}", ran.as_deref().unwrap_or("none ran"));
    }
    handle.stop(true).await;
    Ok(())
}

/// The keys after a rotation: the new one is the primary, the old one is good for another day.
fn rotated() -> Result<Keyring, Failure> {
    let keyring = Keyring::new([Key::new(KeyId::new("2026-10")?, Secret::new(OLD_SECRET)?)])?;
    let new = Key::new(KeyId::new("2026-11")?, Secret::new(SECRET)?);
    keyring.rotate(new, Duration::from_secs(24 * 60 * 60))?;
    Ok(keyring)
}
