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

#[handlers(Event, effects = SqliteEffects)]
impl Ledger {
    #[on(Completed)]
    async fn shared(&self, id: u32, effects: &SqliteEffects) {}

    #[on(Test)]
    async fn by_value(&self, effects: SqliteEffects) {}

    #[on(Onboarding::Created)]
    async fn two_events(&self, event: String, effects: &mut SqliteEffects, other: String) {}

    #[on(Onboarding::Ended)]
    async fn others(&self, event: String, effects: &mut String, delivery: &mut Delivery) {}

    #[on(Unknown)]
    async fn twice(&self, first: &mut SqliteEffects, second: &mut SqliteEffects) {}

    #[otherwise]
    fn not_async(&mut self, delivery: Delivery) {}
}

fn main() {}
