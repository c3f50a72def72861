#![deny(warnings, missing_docs, missing_debug_implementations, unreachable_pub, unused_qualifications)]
#![deny(rust_2018_idioms, unused, non_local_definitions, clippy::all, clippy::pedantic)]
#![forbid(unsafe_code)]
//! Nothing that the macros write is in the way of strict lints.

use countersign::inbox::SqliteEffects;
use countersign::{Delivery, Outcome, Unknown, WebhookEvent, handlers};

/// Events.
#[derive(Debug, WebhookEvent)]
#[event(tag = "event", content = "data")]
pub enum Event {
    /// A payload.
    #[event("screening.completed")]
    Completed(u32),
    /// A group.
    #[event(group)]
    Onboarding(Onboarding),
    /// No payload.
    #[event("test")]
    Test,
    /// The rest.
    #[event(unknown)]
    Unknown(Unknown),
}

/// A group.
#[derive(Debug, WebhookEvent)]
pub enum Onboarding {
    /// A payload.
    #[event("onboarding.created")]
    Created(String),
    /// No payload.
    #[event("onboarding.ended")]
    Ended,
}

/// Handlers.
#[derive(Debug)]
pub struct Compliance;

#[handlers(Event)]
impl Compliance {
    #[on(Completed)]
    async fn completed(&self, id: u32, delivery: &Delivery) -> Result<(), std::io::Error> {
        println!("{id} {delivery:?}");
        std::future::ready(Ok(())).await
    }

    /// A handler may be public.
    #[on(Onboarding::Created)]
    pub async fn created(&self, name: String) -> Outcome {
        drop(name);
        std::future::ready(Outcome::Handled).await
    }

    #[on(Onboarding::Ended | Test)]
    async fn ended(&self) {
        std::future::ready(()).await;
    }

    #[otherwise]
    async fn rest(&self, event: Event) {
        drop(event);
        std::future::ready(()).await;
    }
}

/// Handlers that write.
#[derive(Debug)]
pub struct Ledger;

#[handlers(Event, effects = SqliteEffects)]
impl Ledger {
    #[on(Completed)]
    async fn completed(&self, id: u32, delivery: &Delivery, effects: &mut SqliteEffects) -> Result<(), std::io::Error> {
        println!("{id} {delivery:?} {effects:?}");
        std::future::ready(Ok(())).await
    }

    #[on(Onboarding | Test)]
    async fn ended(&self, effects: &mut SqliteEffects) {
        effects.write(|_| Ok(()));
        std::future::ready(()).await;
    }
}

fn main() {
    fn handles(_: impl countersign::Handlers) {}
    fn writes(_: impl countersign::inbox::TransactionalHandlers<SqliteEffects>) {}
    handles(Compliance);
    writes(Ledger);
}
