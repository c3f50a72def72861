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
    #[on()]
    async fn empty(&self) {}

    #[on]
    async fn bare(&self) {}

    #[on("screening.completed")]
    async fn string(&self) {}

    #[on(Completed, Test)]
    async fn comma(&self) {}

    #[on(Completed |)]
    async fn trailing(&self) {}

    #[on(Onboarding<u8>)]
    async fn generic(&self) {}

    #[on(Event::Completed)]
    async fn prefixed(&self) {}

    #[otherwise(Test)]
    async fn rest(&self) {}
}

// What asks for the trait does not fail as well.
fn main() {
    fn handles(_: impl countersign::Handlers) {}
    handles(Compliance);
}
