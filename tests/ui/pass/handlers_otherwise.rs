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
        println!("{id}");
    }

    #[otherwise]
    async fn rest(&self, event: Event) {
        drop(event);
    }
}

fn main() {
    fn handles(_: impl countersign::Handlers) {}
    handles(Compliance);
}
