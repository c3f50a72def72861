//! A payload that is still JSON, and the events that stay that way.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::event::PayloadError;
use crate::ids::EventType;

/// The payload of an event as it stands in the body.
#[derive(Clone, Copy)]
pub struct RawPayload<'a> {
    json: &'a str,
    body: &'a Bytes,
}

impl<'a> RawPayload<'a> {
    /// `json` as the payload of `body`; they share memory where the one is a part of the other.
    pub(crate) fn new(json: &'a str, body: &'a Bytes) -> Self {
        Self { json, body }
    }

    /// The JSON text; `null` when the envelope has no payload.
    #[must_use]
    pub fn json(&self) -> &'a str {
        self.json
    }

    /// The body that the payload came in.
    pub(crate) fn body(&self) -> &'a Bytes {
        self.body
    }

    /// The JSON text's bytes, without a copy where it is a part of the body.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let json = self.json.as_bytes();
        if self.body.as_ptr_range().contains(&json.as_ptr()) {
            self.body.slice_ref(json)
        } else {
            Bytes::copy_from_slice(json)
        }
    }

    /// The payload as a typed value.
    ///
    /// # Errors
    ///
    /// When the JSON does not fit `T`.
    pub fn decode<T: FromPayload>(self) -> Result<T, PayloadError> {
        T::from_payload(self)
    }
}

/// The length only.
impl fmt::Debug for RawPayload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPayload")
            .field("len", &self.json.len())
            .finish_non_exhaustive()
    }
}

/// A type that a payload decodes into: everything that serde deserializes, and types that keep the raw JSON.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be decoded from an event's payload",
    note = "write `#[derive(serde::Deserialize)]` on it; it must own its data"
)]
pub trait FromPayload: Sized {
    /// Decodes `payload`.
    ///
    /// # Errors
    ///
    /// When the JSON does not fit.
    fn from_payload(payload: RawPayload<'_>) -> Result<Self, PayloadError>;
}

impl<T: DeserializeOwned> FromPayload for T {
    fn from_payload(payload: RawPayload<'_>) -> Result<Self, PayloadError> {
        serde_json::from_str(payload.json).map_err(|error| PayloadError::from(&error))
    }
}

/// An event of a type that the enum does not know: its name, and its payload as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Unknown {
    event_type: EventType,
    payload: Bytes,
}

impl Unknown {
    /// An event that is kept as it came.
    #[must_use]
    pub fn new(event_type: EventType, payload: RawPayload<'_>) -> Self {
        Self {
            event_type,
            payload: payload.to_bytes(),
        }
    }

    /// The type's name.
    #[must_use]
    pub fn event_type(&self) -> &EventType {
        &self.event_type
    }

    /// The payload's JSON.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The payload as a typed value.
    ///
    /// # Errors
    ///
    /// When the JSON does not fit `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        serde_json::from_slice(&self.payload).map_err(|error| PayloadError::from(&error))
    }
}

/// The type's name and the payload's length.
impl fmt::Debug for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unknown")
            .field("event_type", &self.event_type)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}
