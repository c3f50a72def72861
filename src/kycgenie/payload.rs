//! Payloads: what is published as typed optional fields, and the rest as it came.
//!
//! Source of every field: the vendor's Webhooks API reference, or its Python SDK where the field says so.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::event::{FromPayload, PayloadError, RawPayload};
use crate::json::member;

/// The JSON of a payload, of which any field can be read.
#[derive(Clone, PartialEq, Eq)]
pub struct Data {
    json: Bytes,
}

impl Data {
    /// The JSON as it came.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The field called `name`, where there is one and it is a `T`.
    ///
    /// ```
    /// # fn read(screening: countersign::kycgenie::ScreeningPayload) {
    /// let entity: Option<String> = screening.data().field("entity_id");
    /// # }
    /// ```
    #[must_use]
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        field(&self.json, name)
    }

    /// The whole payload as a type of one's own.
    ///
    /// # Errors
    ///
    /// When the JSON does not fit `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        serde_json::from_slice(&self.json).map_err(|error| PayloadError::from(&error))
    }
}

/// The length only.
impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("len", &self.json.len()).finish_non_exhaustive()
    }
}

/// Defines payload types: their published fields, and [`Data`].
macro_rules! payloads {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
            data: Data,
        }

        impl $name {
            /// The whole payload: every field, published or not.
            #[must_use]
            pub fn data(&self) -> &Data {
                &self.data
            }
        }

        impl FromPayload for $name {
            fn from_payload(payload: RawPayload<'_>) -> Result<Self, PayloadError> {
                $(let $field = published(payload, stringify!($field));)*
                Ok(Self { $($field,)* data: Data { json: payload.to_bytes() } })
            }
        }
    )*};
}

payloads! {
    /// The payload of `alert.*`. Nothing of it is published.
    AlertPayload {}

    /// The payload of `response.autoflag_completed`. With a test key no analysis runs, and it says so.
    AutoflagPayload {
        /// Whether the event is simulated: `true` with a test key ("Test autoflag events are simulated").
        simulated: bool,
    }

    /// The payload of `batch.*`. Nothing of it is published.
    BatchPayload {}

    /// The payload of `case.*`. Nothing of it is published.
    CasePayload {}

    /// The payload of `response.check_answers_completed`.
    CheckAnswersPayload {
        /// The response's id, a UUID (SDK 1.0.0, `check_answers`).
        response_id: String,
        /// How many answers were checked (SDK 1.0.0, `check_answers`).
        answers_checked: u64,
    }

    /// The payload of `report.client_report_generated`.
    ClientReportPayload {
        /// The document to download (SDK, `download_client_report`; where in the body it stands is not said).
        document_id: String,
    }

    /// The payload of `non_document.*`. Nothing of it is published.
    NonDocumentPayload {}

    /// The payload of `onboarding.*`. Nothing of it is published.
    OnboardingPayload {}

    /// The payload of those `response.*` events that have no type of their own. Nothing of it is published.
    ResponsePayload {}

    /// The payload of `screening.*`. Nothing of it is published.
    ScreeningPayload {}

    /// The payload of `test`. Nothing of it is published.
    TestPayload {}

    /// The payload of `verification.*`. Nothing of it is published.
    VerificationPayload {}
}

/// A published field: in the payload or, since its place is not always published, beside it in the envelope.
fn published<T: DeserializeOwned>(payload: RawPayload<'_>, name: &str) -> Option<T> {
    field(payload.json().as_bytes(), name).or_else(|| field(payload.body(), name))
}

fn field<T: DeserializeOwned>(json: &[u8], name: &str) -> Option<T> {
    serde_json::from_str(member(json, name)?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Envelope;

    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };

    fn decode<T: FromPayload>(payload: &str) -> T {
        let body = Bytes::from(format!(r#"{{"event":"x","data":{payload}}}"#));
        ENVELOPE.open(&body, None, |_| None).unwrap().payload().decode().unwrap()
    }

    #[test]
    fn published_fields_are_typed_and_the_rest_is_readable() {
        let payload: CheckAnswersPayload = decode(r#"{"response_id":"r1","answers_checked":42,"new":{"a":[1]}}"#);
        assert_eq!(payload.response_id.as_deref(), Some("r1"));
        assert_eq!(payload.answers_checked, Some(42));
        assert_eq!(payload.data().field::<serde_json::Value>("new").unwrap()["a"][0], 1);
        assert_eq!(payload.data().field::<String>("missing"), None);
    }

    #[test]
    fn no_shape_of_a_payload_fails() {
        for payload in ["null", "7", "[]", "{}", r#"{"answers_checked":"42","response_id":null}"#] {
            let decoded: CheckAnswersPayload = decode(payload);
            assert_eq!((&decoded.response_id, decoded.answers_checked), (&None, None), "{payload}");
            assert_eq!(decoded.data().json(), payload);
        }
    }

    #[test]
    fn a_field_whose_place_is_not_published_is_found_beside_the_payload_too() {
        let body = Bytes::from_static(br#"{"event":"x","data":{"flags":0},"simulated":true}"#);
        let opened = ENVELOPE.open(&body, None, |_| None).unwrap();
        let payload: AutoflagPayload = opened.payload().decode().unwrap();
        assert_eq!(payload.simulated, Some(true));
    }
}
