//! What a unit test hands to a handler: an event or a payload made of JSON, and a delivery.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::event::{Envelope, FromPayload, PayloadError, RawPayload, WebhookEvent};
use crate::ids::{EventType, KeyId};
use crate::keyring::{Key, Keyring, Secret};
use crate::request::RequestView;
use crate::scheme::Scheme;
use crate::time::Timestamp;
use crate::verify::{Delivery, Message, Signer, Verifier};

/// How every [`delivery`] is signed: all of it.
const CONTENT: &str = "{id}\n{timestamp}\n{header:x-event-type}\n{body}";

/// The payload that `json` holds, decoded as that of a delivery is.
///
/// ```
/// use countersign::kycgenie::ScreeningPayload;
/// use countersign::testing;
///
/// let screening: ScreeningPayload = testing::payload(r#"{"entity_id":"ent_7"}"#)?;
/// assert_eq!(screening.data().field("entity_id"), Some("ent_7".to_owned()));
/// # Ok::<(), countersign::PayloadError>(())
/// ```
///
/// # Errors
///
/// When `json` is not JSON, or does not fit `T`.
pub fn payload<T: FromPayload>(json: &str) -> Result<T, PayloadError> {
    opened(&EventType::from_static("test"), json, T::from_payload)
}

/// The event of type `event_type` with the payload that `json` holds, decoded as that of a delivery is; `None` for a type
/// that the enum neither knows nor has an unknown arm for.
///
/// ```
/// use countersign::kycgenie::{Event, Screening};
/// use countersign::{EventType, testing};
///
/// let event = testing::event(&EventType::from_static("screening.failed"), "{}")?;
/// assert!(matches!(event, Some(Event::Screening(Screening::Failed(_)))));
/// # Ok::<(), countersign::PayloadError>(())
/// ```
///
/// # Errors
///
/// When `json` is not JSON, or the type is known and `json` does not fit its payload.
pub fn event<E: WebhookEvent>(event_type: &EventType, json: &str) -> Result<Option<E>, PayloadError> {
    opened(event_type, json, |payload| E::decode(event_type, payload))
}

/// A delivery of an event of this type in this body, for a handler that takes `&Delivery`.
///
/// It is signed and verified like any other, under a key `test` of the source `test`, so it proves nothing that a test
/// did not sign itself. Its id is `msg_test`, and it came at `now`.
///
/// ```
/// use countersign::{EventType, Timestamp, testing};
///
/// let now = Timestamp::from_secs(1_700_000_000);
/// let delivery = testing::delivery(&EventType::from_static("screening.failed"), "{}", now);
/// assert_eq!(delivery.event_type().map(|name| name.as_str()), Some("screening.failed"));
/// assert_eq!(delivery.timestamp(), Some(now));
/// ```
///
/// # Panics
///
/// When `now` is before 1970 or has more than twelve digits of seconds.
#[must_use]
pub fn delivery(event_type: &EventType, body: impl Into<Bytes>, now: Timestamp) -> Delivery {
    let body = body.into();
    let scheme = Scheme::builder("test")
        .signature_header("x-signature")
        .id_header("x-id")
        .timestamp_header("x-time")
        .event_type_header("x-event-type")
        .content(CONTENT)
        .build()
        .expect("a sound scheme");
    let secret = Secret::new("test").expect("a secret");
    let key = Key::new(KeyId::new("test").expect("an id"), secret);
    let keyring = Keyring::new([key]).expect("one key");
    let signer = Signer::new(scheme.clone(), keyring.clone()).expect("a secret of any form");
    let message = Message::new(&body, now).id("msg_test").event_type(event_type.as_str());
    let headers = signer.sign(&message).expect("a time between 1970 and the year 33658");
    let verifier = Verifier::new(scheme, keyring).expect("a secret of any form");
    let verified = verifier.verify(&RequestView::new(&headers, body.clone()), now);
    verified.expect("what was just signed").into_parts().1
}

fn opened<T>(
    event_type: &EventType,
    json: &str,
    decode: impl FnOnce(RawPayload<'_>) -> Result<T, PayloadError>,
) -> Result<T, PayloadError> {
    const ENVELOPE: Envelope = Envelope { tag: None, content: Some("payload") };
    serde_json::from_str::<IgnoredAny>(json).map_err(|error| PayloadError::from(&error))?;
    let body = Bytes::from(format!("{{\"payload\":{json}}}"));
    let opened = ENVELOPE.open(&body, Some(event_type.clone()), |_| None).map_err(|_| PayloadError::new())?;
    decode(opened.payload())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Unknown;

    #[test]
    fn a_payload_that_is_not_json_or_does_not_fit_is_refused() {
        assert_eq!(payload::<u8>(" 7 "), Ok(7));
        for bad in ["", "x", "7}", "7,\"a\":1", "256", "\"7\""] {
            assert!(payload::<u8>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_delivery_tells_what_the_test_said() {
        let event_type = EventType::from_static("a.b");
        let now = Timestamp::from_secs(1_700_000_000);
        let delivery = delivery(&event_type, &b"\xff"[..], now);
        assert_eq!(delivery.event_type(), Some(&event_type));
        assert_eq!((delivery.received_at(), delivery.timestamp()), (now, Some(now)));
        assert_eq!(delivery.raw(), &b"\xff"[..]);
        assert_eq!(delivery.id().map(AsRef::as_ref), Some("msg_test"));
        assert!(delivery.authenticated().id && delivery.authenticated().event_type);
    }

    #[cfg(feature = "macros")]
    #[test]
    fn an_event_is_decoded_as_that_of_a_delivery_is() {
        use crate::kycgenie::{Event, Screening};

        let read = |name, json| event::<Event>(&EventType::from_static(name), json).unwrap();
        assert!(matches!(read("screening.failed", "null"), Some(Event::Screening(Screening::Failed(_)))));
        let unknown: Option<Event> = read("x.y", r#"{"a":1}"#);
        assert!(matches!(unknown, Some(Event::Unknown(unknown)) if Unknown::payload(&unknown) == r#"{"a":1}"#));
    }
}
