use countersign::{Delivery, Outcome, WebhookEvent, handlers};

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
    async fn event_and_delivery(&self, id: u32, delivery: &Delivery) -> Result<(), std::fmt::Error> {
        assert!(id > 0 && delivery.raw().is_empty());
        Ok(())
    }

    #[on(Onboarding)]
    async fn event(&self, event: Onboarding) -> Outcome {
        drop(event);
        Outcome::Handled
    }

    #[on(Test)]
    async fn delivery(&self, _: &countersign::Delivery) {}

    #[on(Unknown)]
    async fn nothing(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("no")?
    }
}

fn main() {
    fn handles(_: impl countersign::Handlers) {}
    handles(Compliance);
}
