//! What the macros write, run: here and not in `tests/`, since a `Delivery` cannot be made outside of the crate.

#![deny(warnings)]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::fmt;
use std::sync::Mutex;

use bytes::Bytes;
use serde::Deserialize;

use crate::{
    Delivery, Envelope, EventType, HandlerError, Handlers, Interest, Outcome, PayloadError, ResultExt, Unknown,
    Variant, VariantKind, WebhookEvent, handlers,
};

#[derive(Debug, Deserialize, PartialEq)]
struct Screening {
    id: u32,
}

#[derive(Debug, PartialEq, WebhookEvent)]
#[event(tag = "event", content = "data")]
enum Event {
    #[event("screening.completed")]
    ScreeningCompleted(Screening),
    #[event("screening.failed")]
    ScreeningFailed(Screening),
    #[event(group)]
    Onboarding(Onboarding),
    #[event("test")]
    Test,
    #[event(unknown)]
    Unknown(Unknown),
}

#[derive(Debug, PartialEq, WebhookEvent)]
enum Onboarding {
    #[event("onboarding.created")]
    Created(u8),
    #[event(group)]
    Review(Review),
}

#[derive(Debug, PartialEq, WebhookEvent)]
enum Review {
    #[event("onboarding.review.started")]
    Started,
    #[event("onboarding.review.ended")]
    Ended(String),
}

/// An enum without an envelope, a group or an unknown arm.
#[derive(Debug, PartialEq, WebhookEvent)]
enum Flat {
    #[event("ping")]
    Ping,
    #[event("push")]
    Push(u8),
}

fn decode<E: WebhookEvent>(event_type: &str, json: &'static str) -> Result<Option<E>, PayloadError> {
    let envelope = Envelope { tag: None, content: Some("data") };
    let body = Bytes::from(format!(r#"{{"data":{json}}}"#));
    let opened = envelope.open(&body, Some(EventType::new(event_type).unwrap()), |_| None).unwrap();
    E::decode(&opened.event_type, opened.payload())
}

/// What a receiver does with an event: decode it if a handler wants it, and hand it on.
async fn receive<H: Handlers>(handlers: &H, event_type: &str, json: &'static str) -> Outcome {
    let event_type = EventType::new(event_type).unwrap();
    let delivery = Delivery::for_test(Some(event_type.clone()));
    match handlers.interest(&event_type) {
        Interest::Delivery => return handlers.handle_undecoded(&delivery).await,
        Interest::Nothing => return Outcome::Unhandled,
        Interest::Payload => {}
    }
    match decode::<H::Event>(event_type.as_str(), json).unwrap() {
        Some(event) => handlers.handle(event, &delivery).await,
        None => Outcome::Unhandled,
    }
}

/// What was called.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, line: impl fmt::Display) {
        self.0.lock().unwrap().push(line.to_string());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn the_envelope_and_the_variants_are_constants() {
    assert_eq!(Event::ENVELOPE.tag, Some("event"));
    assert_eq!(Event::ENVELOPE.content, Some("data"));
    assert_eq!((Flat::ENVELOPE.tag, Flat::ENVELOPE.content), (None, None));
    let names: Vec<_> = Event::VARIANTS.iter().map(|variant| variant.name).collect();
    assert_eq!(names, ["ScreeningCompleted", "ScreeningFailed", "Onboarding", "Test", "Unknown"]);
    assert_eq!(Event::VARIANTS[2].kind, VariantKind::Group(Onboarding::VARIANTS));
    assert_eq!(
        Review::VARIANTS,
        [Variant::event("Started", "onboarding.review.started"), Variant::event("Ended", "onboarding.review.ended"),]
    );
}

#[test]
fn each_type_decodes_into_its_variant() {
    let completed = Event::ScreeningCompleted(Screening { id: 7 });
    assert_eq!(decode("screening.completed", r#"{"id":7}"#), Ok(Some(completed)));
    assert_eq!(decode("onboarding.created", "3"), Ok(Some(Event::Onboarding(Onboarding::Created(3)))));
    let ended = Event::Onboarding(Onboarding::Review(Review::Ended("x".to_owned())));
    assert_eq!(decode("onboarding.review.ended", r#""x""#), Ok(Some(ended)));
    assert!(decode::<Event>("onboarding.created", r#""x""#).is_err());
}

#[test]
fn a_unit_variant_does_not_look_at_its_payload() {
    assert_eq!(decode("test", "not json"), Ok(Some(Event::Test)));
    assert_eq!(decode("ping", "not json"), Ok(Some(Flat::Ping)));
}

#[test]
fn an_unknown_type_is_a_value_or_none() {
    let Ok(Some(Event::Unknown(unknown))) = decode("brand.new", "[1]") else {
        panic!("not the unknown arm");
    };
    assert_eq!(unknown.event_type(), &EventType::from_static("brand.new"));
    assert_eq!(&unknown.payload()[..], b"[1]");
    assert_eq!(decode::<Flat>("brand.new", "[1]"), Ok(None));
}

#[derive(Default)]
struct Nested(Log);

#[handlers(Event)]
impl Nested {
    #[on(ScreeningCompleted | ScreeningFailed)]
    async fn screened(&self, Screening { id }: Screening, delivery: &Delivery) -> Result<(), HandlerError> {
        self.0.add(format_args!("{} {id}", delivery.event_type().unwrap()));
        Ok(())
    }

    #[on(Onboarding::Review)]
    async fn review(&self, review: Review) -> Outcome {
        self.0.add(format_args!("{review:?}"));
        Outcome::Unhandled
    }

    #[on(Onboarding::Created)]
    async fn created(&self, number: u8) {
        self.helper(number);
    }

    #[otherwise]
    async fn rest(&self, event: Event) {
        self.0.add(format_args!("{event:?}"));
    }

    fn helper(&self, number: u8) {
        self.0.add(number);
    }
}

#[tokio::test]
async fn each_event_finds_its_handler() {
    let nested = Nested::default();
    assert!(matches!(receive(&nested, "screening.completed", r#"{"id":1}"#).await, Outcome::Handled));
    assert!(matches!(receive(&nested, "screening.failed", r#"{"id":2}"#).await, Outcome::Handled));
    assert!(matches!(receive(&nested, "onboarding.review.started", "").await, Outcome::Unhandled));
    assert!(matches!(receive(&nested, "onboarding.created", "3").await, Outcome::Handled));
    assert!(matches!(receive(&nested, "test", "").await, Outcome::Handled));
    assert!(matches!(receive(&nested, "brand.new", "[]").await, Outcome::Handled));
    let unknown = "Unknown(Unknown { event_type: \"brand.new\", payload_len: 2 })";
    assert_eq!(nested.0.take(), ["screening.completed 1", "screening.failed 2", "Started", "3", "Test", unknown]);
}

#[tokio::test]
async fn a_handler_is_an_ordinary_method() {
    let nested = Nested::default();
    nested.created(5).await;
    assert_eq!(nested.0.take(), ["5"]);
}

/// Handlers without an event, and the unknown arm as a path.
#[derive(Default)]
struct Undecoded(Log);

#[handlers(Event)]
impl Undecoded {
    #[on(ScreeningCompleted)]
    async fn completed(&self, screening: Screening) {
        self.0.add(screening.id);
    }

    #[on(ScreeningFailed | Onboarding::Review)]
    async fn short(&self, delivery: &Delivery) {
        self.0.add(format_args!("short {}", delivery.event_type().unwrap()));
    }

    #[on(Unknown)]
    async fn unknown(&self) {
        self.0.add("unknown");
    }

    #[otherwise]
    async fn rest(&self, event: Event) {
        self.0.add(format_args!("rest {event:?}"));
    }
}

#[tokio::test]
async fn what_no_handler_takes_is_not_decoded() {
    let undecoded = Undecoded::default();
    for (event_type, wanted) in [
        ("screening.completed", true),
        ("screening.failed", false),
        ("onboarding.review.started", false),
        ("onboarding.review.ended", false),
        ("onboarding.created", true),
        ("test", true),
        ("brand.new", false),
    ] {
        assert_eq!(
            undecoded.interest(&EventType::new(event_type).unwrap()) == Interest::Payload,
            wanted,
            "{event_type}"
        );
    }
    for event_type in ["screening.failed", "onboarding.review.ended", "brand.new"] {
        assert!(matches!(receive(&undecoded, event_type, "not json").await, Outcome::Handled));
    }
    receive(&undecoded, "test", "").await;
    assert_eq!(undecoded.0.take(), ["short screening.failed", "short onboarding.review.ended", "unknown", "rest Test"]);
}

#[tokio::test]
async fn a_handler_without_an_event_is_reached_through_handle_too() {
    let undecoded = Undecoded::default();
    let delivery = Delivery::for_test(Some(EventType::from_static("x")));
    undecoded.handle(Event::ScreeningFailed(Screening { id: 1 }), &delivery).await;
    undecoded.handle(Event::Onboarding(Onboarding::Review(Review::Started)), &delivery).await;
    assert_eq!(undecoded.0.take(), ["short x", "short x"]);
    let untyped = undecoded.handle_undecoded(&Delivery::for_test(None)).await;
    assert!(matches!(untyped, Outcome::Unhandled));
    let wanted = Delivery::for_test(Some(EventType::from_static("screening.completed")));
    assert!(matches!(undecoded.handle_undecoded(&wanted).await, Outcome::Unhandled));
    assert_eq!(undecoded.0.take(), [""; 0]);
}

/// `#[otherwise]` without an event: only what another handler takes is decoded.
#[derive(Default)]
struct Rest(Log);

#[handlers(Event)]
impl Rest {
    #[on(Test)]
    async fn test(&self) -> Result<(), std::io::Error> {
        self.0.add("test");
        Err(std::io::Error::other("down"))
    }

    #[on(Onboarding)]
    async fn onboarding(&self, event: Onboarding) -> Result<(), std::io::Error> {
        self.0.add(format_args!("{event:?}"));
        Ok(())
    }

    #[otherwise]
    async fn rest(&self, delivery: &Delivery) {
        self.0.add(format_args!("rest {}", delivery.event_type().unwrap()));
    }
}

#[tokio::test]
async fn otherwise_without_an_event_takes_all_the_rest_undecoded() {
    let rest = Rest::default();
    assert_eq!(rest.interest(&EventType::from_static("onboarding.created")), Interest::Payload);
    for event_type in ["test", "screening.failed", "brand.new"] {
        assert_eq!(rest.interest(&EventType::new(event_type).unwrap()), Interest::Delivery);
        receive(&rest, event_type, "not json").await;
    }
    receive(&rest, "onboarding.created", "1").await;
    assert_eq!(rest.0.take(), ["test", "rest screening.failed", "rest brand.new", "Created(1)"]);
}

/// All that a handler may return, in a generic block with bounds in both places.
struct Generic<D, T> {
    db: D,
    _marker: std::marker::PhantomData<fn() -> T>,
}

trait Db {
    fn load(&self, id: u32) -> Result<u32, std::num::ParseIntError>;
}

struct Fake;

impl Db for Fake {
    fn load(&self, id: u32) -> Result<u32, std::num::ParseIntError> {
        if id == 0 { "x".parse() } else { Ok(id) }
    }
}

#[handlers(Event)]
impl<D: Db + Send + Sync + 'static, T> Generic<D, T>
where
    T: 'static,
{
    #[on(ScreeningCompleted)]
    async fn completed(&self, screening: Screening) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.db.load(screening.id)?;
        Ok(())
    }

    #[on(ScreeningFailed)]
    async fn failed(&self, screening: Screening) -> Result<(), HandlerError> {
        self.db.load(screening.id).permanent()?;
        Ok(())
    }

    #[on(Onboarding)]
    async fn onboarding(&self, event: Onboarding) -> Outcome {
        match event {
            Onboarding::Created(_) => Outcome::Handled,
            Onboarding::Review(_) => Outcome::Unhandled,
        }
    }

    #[on(Test)]
    async fn test(&self) {}
}

#[tokio::test]
async fn each_return_type_becomes_an_outcome() {
    let generic = Generic::<_, u8> { db: Fake, _marker: std::marker::PhantomData };
    assert!(matches!(receive(&generic, "screening.completed", r#"{"id":1}"#).await, Outcome::Handled));
    assert!(matches!(receive(&generic, "screening.completed", r#"{"id":0}"#).await, Outcome::Retry(_)));
    assert!(matches!(receive(&generic, "screening.failed", r#"{"id":0}"#).await, Outcome::Permanent(_)));
    assert!(matches!(receive(&generic, "onboarding.created", "0").await, Outcome::Handled));
    assert!(matches!(receive(&generic, "onboarding.review.started", "").await, Outcome::Unhandled));
    assert!(matches!(receive(&generic, "test", "").await, Outcome::Handled));
    // The arm for unknown types needs no handler.
    assert!(matches!(receive(&generic, "brand.new", "0").await, Outcome::Unhandled));
}

#[tokio::test]
async fn one_handler_may_take_everything() {
    #[derive(Default)]
    struct All(Log);

    #[handlers(Event)]
    impl All {
        #[otherwise]
        async fn all(&self, event: Event) {
            self.0.add(format_args!("{event:?}"));
        }
    }

    struct Count(Mutex<u32>);

    #[handlers(Flat)]
    impl Count {
        #[otherwise]
        async fn count(&self) {
            *self.0.lock().unwrap() += 1;
        }
    }

    let all = All::default();
    receive(&all, "test", "").await;
    assert_eq!(all.0.take(), ["Test"]);
    let count = Count(Mutex::new(0));
    receive(&count, "push", "not json").await;
    receive(&count, "brand.new", "not json").await;
    count.handle(Flat::Push(1), &Delivery::for_test(None)).await;
    assert_eq!(*count.0.lock().unwrap(), 3);
}

#[tokio::test]
async fn full_coverage_and_otherwise_go_together() {
    #[derive(Default)]
    struct Full(Log);

    #[handlers(Flat)]
    impl Full {
        #[on(Ping)]
        async fn ping(&self) {
            self.0.add("ping");
        }

        #[on(Push)]
        async fn push(&self, count: u8, delivery: &Delivery) {
            self.0.add(format_args!("{count} {:?}", delivery.event_type()));
        }

        #[otherwise]
        async fn rest(&self, flat: Flat) {
            self.0.add(format_args!("{flat:?}"));
        }
    }

    let full = Full::default();
    receive(&full, "ping", "").await;
    receive(&full, "push", "1").await;
    assert_eq!(full.0.take(), ["ping", "1 Some(\"push\")"]);
}

/// Enums and handlers that a macro of the user's writes: names in the expansion must not take part in its hygiene.
mod written_by_a_macro {
    use super::*;

    macro_rules! provider {
        ($event:ident { $($variant:ident($payload:ty) = $event_type:literal,)* } for $handlers:ident, $output:ty) => {
            #[derive(Debug, WebhookEvent)]
            #[event(tag = "event")]
            enum $event {
                $(#[event($event_type)] $variant($payload),)*
                #[event(unknown)]
                Unknown(#[allow(dead_code)] Unknown),
            }

            struct $handlers;

            #[handlers($event)]
            impl $handlers {
                $(
                    #[on($variant)]
                    async fn one(&self, _event: $payload, _delivery: &Delivery) -> $output {}
                )*
            }
        };
    }

    provider! { Event { Only(Screening) = "only", } for Written, () }

    #[tokio::test]
    async fn it_compiles_and_runs() {
        let event = Event::Only(Screening { id: 1 });
        let outcome = Written.handle(event, &Delivery::for_test(None)).await;
        assert!(matches!(outcome, Outcome::Handled));
    }
}
