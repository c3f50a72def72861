use countersign::inbox::{Inbox, SqliteEffects, SqliteInbox};
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

struct Plain;

#[handlers(Event)]
impl Plain {
    #[otherwise]
    async fn all(&self, delivery: &Delivery) {
        let _ = delivery;
    }
}

struct Ledger;

#[handlers(Event, effects = SqliteEffects)]
impl Ledger {
    #[otherwise]
    async fn all(&self, effects: &mut SqliteEffects) {
        let _ = effects;
    }
}

fn start(inbox: Inbox<Event, SqliteInbox>) {
    let _ = inbox.transactional_workers(Plain);
    let _ = inbox.workers(Ledger);
}

fn main() {}
