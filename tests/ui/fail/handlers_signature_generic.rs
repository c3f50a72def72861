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
    async fn completed<T: Send>(&self, id: T) {}

    #[on(Test)]
    async fn test(&self)
    where
        Self: Send,
    {
    }

    #[otherwise]
    async fn rest(&self, event: impl Send) {}
}

fn main() {}
