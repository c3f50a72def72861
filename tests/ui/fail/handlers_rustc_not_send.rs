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
    async fn completed(&self, id: u32) {
        let id = std::rc::Rc::new(id);
        std::future::ready(()).await;
        drop(id);
    }

    #[otherwise]
    async fn rest(&self) {}
}

fn main() {}
