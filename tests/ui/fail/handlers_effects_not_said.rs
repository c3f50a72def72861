#![allow(unused_variables)]

use countersign::inbox::SqliteEffects;
use countersign::{Delivery, WebhookEvent, handlers};

#[derive(WebhookEvent)]
enum Event {
    #[event("screening.completed")]
    Completed(u32),
    #[event(group)]
    Onboarding(Onboarding),
    #[event("test")]
    Test,
    #[event(unknown)]
    Unknown(countersign::Unknown),
}

#[derive(WebhookEvent)]
enum Onboarding {
    #[event("onboarding.created")]
    Created(String),
    #[event("onboarding.ended")]
    Ended(String),
}

struct Ledger;

#[handlers(Event)]
impl Ledger {
    #[on(Completed)]
    async fn completed(&self, id: u32, delivery: &Delivery, effects: &mut SqliteEffects) {}

    #[otherwise]
    async fn rest(&self, effects: &mut SqliteEffects) {}
}

fn main() {}
