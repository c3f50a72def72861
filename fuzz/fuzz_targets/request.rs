//! A whole request through a whole receiver: one byte chooses the scheme and whether the request is signed, eight are
//! the moment, then come lines of `name: value`, an empty line and the body.
//!
//! What is not signed is never accepted, whatever it holds; what is signed ends in an answer of the table.
#![no_main]

use std::cell::OnceCell;

use countersign::{
    Delivery, Envelope, EventType, Handlers, Keyring, MemoryStore, Message, Outcome, PayloadError, RawPayload, Receiver,
    RequestView, Scheme, Secret, Signer, Timestamp, Unknown, Variant, WebhookEvent, kycgenie,
};
use libfuzzer_sys::fuzz_target;

enum Event {
    Counted(#[allow(dead_code)] Vec<u64>),
    Unknown(#[allow(dead_code)] Unknown),
}

impl WebhookEvent for Event {
    const ENVELOPE: Envelope = Envelope {
        tag: Some("event"),
        content: Some("data"),
    };
    const VARIANTS: &'static [Variant] = &[Variant::event("Counted", "counted"), Variant::unknown("Unknown")];

    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(Some(match event_type.as_str() {
            "counted" => Self::Counted(payload.decode()?),
            _ => Self::Unknown(Unknown::new(event_type.clone(), payload)),
        }))
    }
}

struct Count;

impl Handlers for Count {
    type Event = Event;

    async fn handle(&self, event: Event, delivery: &Delivery) -> Outcome {
        assert!(delivery.event_type().is_some());
        match event {
            Event::Counted(_) => Outcome::Handled,
            Event::Unknown(_) => Outcome::Unhandled,
        }
    }
}

struct Gate {
    receiver: Receiver<Count, MemoryStore>,
    signer: Signer,
}

fn gate(scheme: Scheme) -> Gate {
    let keyring = Keyring::single(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
    let signer = Signer::new(scheme.clone(), keyring.clone()).unwrap();
    let receiver = Receiver::builder(scheme, keyring)
        .dedupe(MemoryStore::builder().capacity(4096).build().unwrap())
        .handlers(Count)
        .build()
        .unwrap();
    Gate { receiver, signer }
}

fn gates() -> Vec<Gate> {
    // Signs headers, one of them behind the body.
    let own = Scheme::builder("acme")
        .signature_header("x-acme-signature")
        .separator(';')
        .prefix("v1=")
        .timestamp_element("t=")
        .id_pointer("/data/id")
        .event_type_header("x-acme-event")
        .content("{header:x-acme-event}:{timestamp}:{body} {header:x-acme-url}")
        .build()
        .unwrap();
    let schemes = Scheme::presets().into_iter().chain([kycgenie::scheme(), own]);
    schemes.map(gate).collect()
}

thread_local! {
    static GATES: OnceCell<(tokio::runtime::Runtime, Vec<Gate>)> = const { OnceCell::new() };
}

fn parts(data: &[u8]) -> (Vec<(&str, &[u8])>, &[u8]) {
    let mut headers = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.is_empty() {
            return (headers, rest);
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':')
            && let Ok(name) = std::str::from_utf8(&line[..colon])
        {
            let value = &line[colon + 1..];
            headers.push((name, value.strip_prefix(b" ").unwrap_or(value)));
        }
    }
    (headers, rest)
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let Some((now, data)) = data.split_first_chunk::<8>() else { return };
    let now = Timestamp::from_millis(i64::from_le_bytes(*now));
    let (headers, body) = parts(data);
    GATES.with(|cell| {
        let (runtime, gates) = cell.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            (runtime, gates())
        });
        let gate = &gates[usize::from(choice >> 1) % gates.len()];
        let texts: Vec<(&str, &str)> = headers
            .iter()
            .filter_map(|(name, value)| Some((*name, std::str::from_utf8(value).ok()?)))
            .collect();
        let message = Message::new(body, now).id("msg_1").event_type("counted").headers(&texts);
        let signed = if choice & 1 == 1 { gate.signer.sign(&message).ok() } else { None };
        let headers = match &signed {
            Some(signed) => signed.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
            None => headers,
        };
        let answer = runtime.block_on(gate.receiver.receive(RequestView::new(&headers, body.to_vec()), now));
        assert!(signed.is_some() || matches!(answer.status(), 400 | 401), "{answer:?}");
        assert!(matches!(answer.status(), 200 | 400 | 401 | 409 | 500 | 503), "{answer:?}");
    });
});
