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
    async fn by_mut(&mut self) {}

    #[on(Onboarding)]
    async fn by_value(self) {}

    #[on(Test)]
    async fn typed(self: std::sync::Arc<Self>) {}

    #[otherwise]
    async fn none(delivery: &Delivery) {}
}

// What asks for the trait does not fail as well.
fn main() {
    fn handles(_: impl countersign::Handlers) {}
    handles(Compliance);
}
