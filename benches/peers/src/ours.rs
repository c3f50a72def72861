//! The library as its users use it. Event and handlers are what the macros write, by hand.

use countersign::{
    Delivery, Envelope, EventType, Forgetful, Handlers, Interest, Key, KeyId, Keyring, MemoryStore, NoHandlers, Outcome,
    PayloadError, RawPayload, Receiver, Scheme, Secret, Unknown, Variant, Verifier, WebhookEvent,
};

use crate::payload::{Case, Onboarding, Screening};

#[allow(dead_code, reason = "payloads are decoded to be timed, not read")]
pub enum Event {
    ScreeningCompleted(Screening),
    OnboardingCreated(Onboarding),
    CaseOpened(Case),
    Unknown(Unknown),
}

impl WebhookEvent for Event {
    const ENVELOPE: Envelope = Envelope {
        tag: Some("event"),
        content: Some("data"),
    };
    const VARIANTS: &'static [Variant] = &[
        Variant::event("ScreeningCompleted", "screening.completed"),
        Variant::event("OnboardingCreated", "onboarding.created"),
        Variant::event("CaseOpened", "case.opened"),
        Variant::unknown("Unknown"),
    ];

    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(Some(match event_type.as_str() {
            "screening.completed" => Self::ScreeningCompleted(payload.decode()?),
            "onboarding.created" => Self::OnboardingCreated(payload.decode()?),
            "case.opened" => Self::CaseOpened(payload.decode()?),
            _ => Self::Unknown(Unknown::new(event_type.clone(), payload)),
        }))
    }
}

/// Wants every payload.
pub struct All;

impl All {
    async fn screening_completed(&self, screening: Screening) -> Outcome {
        std::hint::black_box(screening);
        Outcome::Handled
    }
}

impl Handlers for All {
    type Event = Event;

    async fn handle(&self, event: Event, _: &Delivery) -> Outcome {
        match event {
            Event::ScreeningCompleted(screening) => self.screening_completed(screening).await,
            Event::OnboardingCreated(_) | Event::CaseOpened(_) | Event::Unknown(_) => Outcome::Handled,
        }
    }
}

/// Wants the payload of another type than the one that is sent.
pub struct Other;

impl Handlers for Other {
    type Event = Event;

    fn interest(&self, event_type: &EventType) -> Interest {
        if event_type.as_str() == "case.opened" { Interest::Payload } else { Interest::Nothing }
    }

    async fn handle(&self, _: Event, _: &Delivery) -> Outcome {
        Outcome::Handled
    }
}

/// A ring whose first key is the one that signs, and `more` that do not.
fn keyring(secret: &str, more: usize) -> Keyring {
    let secrets = std::iter::once(secret.to_owned()).chain((0..more).map(|at| format!("whsec_b3RoZXI{at}")));
    let keys = secrets.enumerate().map(|(at, secret)| {
        let id = KeyId::new(&format!("key-{at}")).expect("an id");
        Key::new(id, Secret::new(secret).expect("a secret"))
    });
    Keyring::new(keys).expect("a keyring")
}

pub fn verifier(secret: &str, more_keys: usize) -> Verifier {
    Verifier::new(Scheme::standard_webhooks(), keyring(secret, more_keys)).expect("a verifier")
}

pub fn verify_only(secret: &str) -> Receiver<NoHandlers, Forgetful> {
    Receiver::builder(Scheme::standard_webhooks(), keyring(secret, 0))
        .danger_without_dedupe()
        .build()
        .expect("a receiver")
}

/// A receiver whose middleware verifies and claims.
pub fn guarding(secret: &str, capacity: usize) -> Receiver {
    let store = MemoryStore::builder().capacity(capacity).build().expect("a store");
    Receiver::builder(Scheme::standard_webhooks(), keyring(secret, 0))
        .dedupe(store)
        .build()
        .expect("a receiver")
}

pub fn pipeline<H: Handlers>(secret: &str, more_keys: usize, capacity: usize, handlers: H) -> Receiver<H> {
    let store = MemoryStore::builder().capacity(capacity).build().expect("a store");
    Receiver::builder(Scheme::standard_webhooks(), keyring(secret, more_keys))
        .dedupe(store)
        .handlers(handlers)
        .build()
        .expect("a receiver")
}

pub fn without_dedupe<H: Handlers>(secret: &str, handlers: H) -> Receiver<H, Forgetful> {
    Receiver::builder(Scheme::standard_webhooks(), keyring(secret, 0))
        .danger_without_dedupe()
        .handlers(handlers)
        .build()
        .expect("a receiver")
}
