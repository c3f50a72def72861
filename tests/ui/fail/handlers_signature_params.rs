#![allow(unused_variables)]

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

struct Compliance;

#[handlers(Event)]
impl Compliance {
    #[on(Completed)]
    async fn three(&self, id: u32, delivery: &Delivery, more: u8) {}

    #[on(Test)]
    async fn order(&self, delivery: &Delivery, id: u32) {}

    #[on(Onboarding)]
    async fn reference(&self, event: &Onboarding) {}

    #[on(Onboarding::Created)]
    async fn both_references(&self, event: &String, delivery: &Delivery) {}

    #[on(Onboarding::Ended)]
    async fn two_events(&self, event: String, other: String) {}

    #[on(Unknown)]
    async fn by_value(&self, event: countersign::Unknown, delivery: Delivery) {}

    #[otherwise]
    async fn mutable(&self, delivery: &mut Delivery) {}
}

fn main() {}
