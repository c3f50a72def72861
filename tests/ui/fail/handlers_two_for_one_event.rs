#![allow(unused_variables)]

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

struct Compliance;

#[handlers(Event)]
impl Compliance {
    #[on(Completed)]
    async fn first(&self, id: u32) {}

    #[on(Test | Completed)]
    async fn second(&self) {}

    #[on(Unknown)]
    async fn third(&self) {}

    #[on(Unknown)]
    async fn fourth(&self) {}

    #[otherwise]
    async fn rest(&self) {}
}

fn main() {}
