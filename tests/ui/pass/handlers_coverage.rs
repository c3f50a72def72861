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
// Everything has one handler but for the unknown arm, which needs none.
impl Compliance {
    #[on(Completed)]
    async fn completed(&self, id: u32) {
        println!("{id}");
    }

    #[on(Onboarding::Created | Onboarding::Ended)]
    async fn onboarding(&self, name: String) {
        println!("{name}");
    }

    // Named by the full path, too.
    #[countersign::on(Test)]
    async fn test(&self) {}

    // No handler: left alone.
    #[allow(dead_code)]
    fn helper(&self) {}
}

// A block that is not compiled brings nothing that is.
#[handlers(Missing)]
#[cfg(any())]
impl Missing {
    #[on(Missing)]
    async fn missing(&self) {}
}

fn main() {
    fn handles(_: impl countersign::Handlers) {}
    handles(Compliance);
}
