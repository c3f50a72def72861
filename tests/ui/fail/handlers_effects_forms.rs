#![allow(unused_variables)]

use countersign::inbox::SqliteEffects;
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

struct Key;

#[handlers(Event, effect = SqliteEffects)]
impl Key {
    // What is wrong with the line above is not said again of this one.
    #[otherwise]
    async fn all(&self, effects: &mut SqliteEffects) {}
}

struct Nothing;

#[handlers(Event,)]
impl Nothing {
    #[otherwise]
    async fn all(&self) {}
}

struct Reference;

#[handlers(Event, effects = &mut SqliteEffects)]
impl Reference {
    #[otherwise]
    async fn all(&self) {}
}

struct NoValue;

#[handlers(Event, effects)]
impl NoValue {
    #[otherwise]
    async fn all(&self) {}
}

struct More;

#[handlers(Event, effects = SqliteEffects, effects = SqliteEffects)]
impl More {
    #[otherwise]
    async fn all(&self) {}
}

fn main() {}
