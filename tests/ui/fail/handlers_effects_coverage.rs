#![allow(unused_variables)]

use countersign::inbox::SqliteEffects;
use countersign::{WebhookEvent, handlers};

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

struct Missing;

#[handlers(Event, effects = SqliteEffects)]
impl Missing {
    #[on(Completed)]
    async fn completed(&self, id: u32, effects: &mut SqliteEffects) {}
}

struct Twice;

#[handlers(Event, effects = SqliteEffects)]
impl Twice {
    #[on(Onboarding)]
    async fn group(&self, event: Onboarding) {}

    #[on(Onboarding::Created)]
    async fn member(&self, effects: &mut SqliteEffects) {}

    #[otherwise]
    async fn rest(&self) {}
}

fn main() {}
