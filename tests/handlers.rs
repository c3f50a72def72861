//! What the macros write, through a whole receiver.
#![cfg(feature = "macros")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering};

use countersign::{
    Delivery, Envelope, EventType, Handlers, Interest, Keyring, Message, Outcome, PayloadError, RawPayload, Receiver,
    RequestView, Scheme, Secret, Signer, Timestamp, Variant, WebhookEvent, handlers,
};

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn keyring() -> Keyring {
    Keyring::single(Secret::new("whsec_aGFuZGxlcnMtdGVzdC1zZWNyZXQ=").unwrap())
}

/// Sends `body`, signed; gives the status.
async fn send<H: Handlers>(receiver: &Receiver<H>, id: &str, body: &str) -> u16 {
    let signer = Signer::new(Scheme::standard_webhooks(), keyring()).unwrap();
    let headers = signer.sign(&Message::new(body.as_bytes(), NOW).id(id)).unwrap();
    receiver.receive(RequestView::new(&headers, body.to_owned()), NOW).await.status()
}

fn receiver<H: Handlers>(handlers: H) -> Receiver<H> {
    Receiver::builder(Scheme::standard_webhooks(), keyring()).handlers(handlers).build().unwrap()
}

#[derive(Debug, WebhookEvent)]
#[event(tag = "event", content = "data")]
enum Event {
    #[event("a")]
    A(#[allow(dead_code, reason = "only its decoding is of interest")] u32),
    #[event("b")]
    B,
}

#[derive(Default)]
struct Undecoded {
    runs: AtomicU32,
}

#[handlers(Event)]
impl Undecoded {
    #[on(A)]
    async fn a(&self, _delivery: &Delivery) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }

    #[otherwise]
    async fn rest(&self) {
        self.runs.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn no_handler_runs_for_a_body_that_is_not_json_even_if_it_takes_no_payload() {
    let receiver = receiver(Undecoded::default());
    let broken = [
        r#"{"event":"a","data":"#,
        r#"{"event":"a","data":[1,}"#,
        r#"{"event":"b","data":1} x"#,
        r#"{"event":"new","data":nul}"#,
        r#"{"event":"a","data":1,"event":"b"}"#,
    ];
    for (at, body) in broken.into_iter().enumerate() {
        assert_eq!(send(&receiver, &format!("msg_{at}"), body).await, 400, "{body}");
    }
    assert_eq!(receiver.handlers().runs.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_payload_that_no_handler_takes_may_have_any_shape() {
    let receiver = receiver(Undecoded::default());
    for (at, data) in ["1", "null", r#""text""#, r#"{"deep":[[[{}]]]}"#].into_iter().enumerate() {
        let body = format!(r#"{{"event":"a","data":{data}}}"#);
        assert_eq!(send(&receiver, &format!("msg_{at}"), &body).await, 200, "{body}");
    }
    assert_eq!(receiver.handlers().runs.load(Ordering::Relaxed), 4);
}

/// Written by hand, with a name that is no event type.
struct Odd;

impl WebhookEvent for Odd {
    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };
    const VARIANTS: &'static [Variant] = &[Variant::event("Odd", "payment succeeded")];

    fn decode(_: &EventType, _: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(Some(Self))
    }
}

struct Indifferent;

impl Handlers for Indifferent {
    type Event = Odd;

    fn interest(&self, event_type: &EventType) -> Interest {
        if event_type.as_str() == "wanted" { Interest::Payload } else { Interest::Nothing }
    }

    async fn handle(&self, _: Odd, _: &Delivery) -> Outcome {
        Outcome::Handled
    }
}

#[tokio::test]
async fn a_name_that_is_no_event_type_is_malformed_and_no_panic() {
    assert_eq!(send(&receiver(Indifferent), "msg_1", r#"{"event":"payment succeeded","data":1}"#).await, 400);
}

#[tokio::test]
async fn an_event_that_interests_nobody_is_done() {
    assert_eq!(send(&receiver(Indifferent), "msg_1", r#"{"event":"unwanted","data":1}"#).await, 200);
}
