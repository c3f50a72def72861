//! KYC Genie's events: all that are listed, each in its group, through a whole receiver.
#![cfg(feature = "macros")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Mutex;

use countersign::kycgenie::{self, Event};
use countersign::{
    Delivery, EventType, Handlers, Keyring, MemoryStore, Message, Receiver, RequestView, Secret, Signer, Timestamp,
    Variant, VariantKind, WebhookEvent, handlers,
};

const LISTED: &str = include_str!("data/kycgenie-event-types.txt");
const SECRET: &str = "whsec_a3ljZ2VuaWUtdGVzdC1zZWNyZXQ=";
const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn listed() -> Vec<&'static str> {
    LISTED.lines().filter(|line| !line.starts_with('#')).collect()
}

/// The event types of `variants`, each with the group it stands in.
fn known(variants: &'static [Variant], group: &'static str) -> Vec<(&'static str, &'static str)> {
    let known = |variant: &Variant| match variant.kind {
        VariantKind::Event(event_type) => vec![(group, event_type)],
        VariantKind::Group(variants) => known(variants, variant.name),
        VariantKind::Unknown => vec![],
    };
    variants.iter().flat_map(known).collect()
}

#[test]
fn exactly_the_36_listed_types_and_test_are_known() {
    let listed: BTreeSet<_> = listed().into_iter().collect();
    let known: BTreeSet<_> = known(Event::VARIANTS, "").into_iter().map(|(_, event_type)| event_type).collect();
    assert_eq!(listed.len(), 37);
    assert_eq!(known, listed);
}

#[test]
fn each_type_stands_in_the_group_of_its_prefix() {
    for (group, event_type) in known(Event::VARIANTS, "") {
        let prefix = event_type.split_once('.').map_or("", |(prefix, _)| prefix);
        assert_eq!(group.to_lowercase(), prefix.replace('_', ""), "{event_type}");
    }
}

/// Takes notes of what it is given.
#[derive(Default)]
struct Notes(Mutex<Vec<(String, Event)>>);

#[handlers(Event)]
impl Notes {
    #[otherwise]
    async fn note(&self, event: Event, delivery: &Delivery) {
        let event_type = delivery.event_type().map(EventType::to_string);
        self.0.lock().unwrap().push((event_type.unwrap(), event));
    }
}

fn receiver<H: Handlers>(handlers: H) -> Receiver<H, MemoryStore> {
    let keyring = Keyring::single(Secret::new(SECRET).unwrap());
    Receiver::builder(kycgenie::scheme(), keyring).handlers(handlers).build().unwrap()
}

async fn send<H: Handlers>(receiver: &Receiver<H, MemoryStore>, id: &str, body: &str) -> u16 {
    let signer = Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(SECRET).unwrap())).unwrap();
    let headers = signer.sign(&Message::new(body.as_bytes(), NOW).id(id)).unwrap();
    receiver.receive(RequestView::new(&headers, body.to_owned()), NOW).await.status()
}

#[tokio::test]
async fn every_listed_type_reaches_a_handler_as_a_known_event() {
    let receiver = receiver(Notes::default());
    for (at, event_type) in listed().into_iter().enumerate() {
        let body = format!(r#"{{"event":"{event_type}","data":{{"id":{at}}},"created_at":"2026-11-22"}}"#);
        assert_eq!(send(&receiver, &format!("msg_{at}"), &body).await, 200, "{event_type}");
    }
    let notes = receiver.handlers().0.lock().unwrap();
    assert_eq!(notes.iter().map(|(event_type, _)| event_type.as_str()).collect::<Vec<_>>(), listed());
    assert!(notes.iter().all(|(_, event)| !matches!(event, Event::Unknown(_))));
}

#[tokio::test]
async fn types_that_are_not_listed_are_unknown_events_with_their_bytes() {
    let receiver = receiver(Notes::default());
    for (at, event_type) in ["all", "entity_review.approved", "screening", "Screening.Completed"].iter().enumerate() {
        let body = format!(r#"{{"data": {{"a":[1, 2]}} ,"event":"{event_type}"}}"#);
        assert_eq!(send(&receiver, &format!("msg_{at}"), &body).await, 200, "{event_type}");
        let notes = receiver.handlers().0.lock().unwrap();
        let (_, Event::Unknown(unknown)) = &notes[at] else { panic!("{event_type} is known") };
        assert_eq!(unknown.event_type(), event_type);
        assert_eq!(unknown.payload(), r#"{"a":[1, 2]}"#);
    }
}

#[tokio::test]
async fn no_payload_fails_whatever_its_shape() {
    let receiver = receiver(Notes::default());
    for (at, event_type) in listed().into_iter().enumerate() {
        for data in ["null", "[]", "7", r#""text""#, r#"{"simulated":"yes","document_id":7,"answers_checked":-1}"#] {
            let body = format!(r#"{{"event":"{event_type}","data":{data}}}"#);
            assert_eq!(send(&receiver, &format!("msg_{at}_{}", data.len()), &body).await, 200, "{body}");
        }
        let body = format!(r#"{{"event":"{event_type}"}}"#);
        assert_eq!(send(&receiver, &format!("msg_{at}_none"), &body).await, 200, "{body}");
    }
}

#[tokio::test]
async fn the_published_sample_decodes() {
    // SDK 1.0.0, documentation of `check_answers`.
    let body =
        r#"{"event": "response.check_answers_completed", "data": {"response_id": "uuid", "answers_checked": 42}}"#;
    let receiver = receiver(Notes::default());
    assert_eq!(send(&receiver, "msg_1", body).await, 200);
    let notes = receiver.handlers().0.lock().unwrap();
    let Event::Response(kycgenie::Response::CheckAnswersCompleted(payload)) = &notes[0].1 else {
        panic!("another event: {:?}", notes[0])
    };
    assert_eq!((payload.response_id.as_deref(), payload.answers_checked), (Some("uuid"), Some(42)));
}
