use countersign::inbox::{SqliteEffects, TransactionalHandlers};
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

struct Ledger;

#[handlers(Event, effects = SqliteEffects)]
impl Ledger {
    #[on(Completed)]
    async fn all_of_them(&self, id: u32, delivery: &Delivery, effects: &mut SqliteEffects) -> Result<(), std::fmt::Error> {
        assert!(id > 0 && delivery.raw().is_empty());
        effects.write(|_| Ok(()));
        Ok(())
    }

    #[on(Onboarding)]
    async fn in_any_order(&self, effects: &mut SqliteEffects, _: &countersign::Delivery, event: Onboarding) -> Outcome {
        effects.write(move |_| {
            drop(event);
            Ok(())
        });
        Outcome::Handled
    }

    #[on(Test)]
    async fn effects_alone(&self, _: &mut countersign::inbox::SqliteEffects) {}

    #[on(Unknown)]
    async fn nothing(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("no")?
    }
}

/// Nobody takes the effects, nor anything else.
struct Deaf;

#[handlers(Event, effects = SqliteEffects,)]
impl Deaf {
    #[otherwise]
    async fn all(&self) {}
}

/// Effects of a store of one's own, and handlers that are generic.
struct Generic<T>(T);

mod mine {
    pub struct Effects;
}

#[handlers(Event, effects = mine::Effects)]
impl<T> Generic<T>
where
    T: Send + Sync + 'static,
{
    #[otherwise]
    async fn all(&self, event: Event, effects: &mut mine::Effects) {
        drop((event, effects, &self.0));
    }
}

fn main() {
    fn handles<T>(_: impl TransactionalHandlers<T>) {}
    handles::<SqliteEffects>(Ledger);
    handles::<SqliteEffects>(Deaf);
    handles::<mine::Effects>(Generic(1));
}
