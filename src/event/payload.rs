//! A payload that is still JSON, and the events that stay that way.

use std::cell::Cell;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, DeserializeOwned, IgnoredAny};

use crate::event::{EnvelopeError, PayloadError};
use crate::ids::EventType;

/// The payload of an event as it stands in the body.
#[derive(Clone, Copy)]
pub struct RawPayload<'a>(&'a Place<'a>);

impl<'a> RawPayload<'a> {
    pub(super) fn new(place: &'a Place<'a>) -> Self {
        Self(place)
    }

    /// The JSON text; `null` when the envelope has no payload, or one that is not JSON. No handler sees an event of
    /// the latter kind.
    #[must_use]
    pub fn json(&self) -> &'a str {
        self.0.bytes().and_then(|json| std::str::from_utf8(json).ok()).unwrap_or("null")
    }

    /// The body that the payload came in.
    pub(crate) fn body(&self) -> &'a Bytes {
        self.0.body
    }

    /// The JSON text's bytes, without a copy.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        match self.0.bytes() {
            Some(json) if std::str::from_utf8(json).is_ok() => self.0.body.slice_ref(json),
            _ => Bytes::from_static(b"null"),
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

/// The length of the body that it stands in.
impl fmt::Debug for RawPayload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawPayload").field("body_len", &self.0.body.len()).finish_non_exhaustive()
    }
}

/// Where in a body the payload stands. Its end is known once somebody has read it.
pub(super) struct Place<'a> {
    body: &'a Bytes,
    /// `None` when the body has no payload.
    begin: Option<usize>,
    end: Cell<Option<usize>>,
}

impl<'a> Place<'a> {
    /// A payload that begins at `begin`, or behind white space there.
    pub(super) fn from(body: &'a Bytes, begin: usize) -> Self {
        let space = body[begin..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        Self { body, begin: Some(begin + space), end: Cell::new(None) }
    }

    /// No payload.
    pub(super) fn null(body: &'a Bytes) -> Self {
        Self { body, begin: None, end: Cell::new(None) }
    }

    pub(super) fn body(&self) -> &'a Bytes {
        self.body
    }

    pub(super) fn ends_at(&self, end: usize) {
        self.end.set(Some(end));
    }

    /// Where the payload ends; `None` where there is none that is JSON.
    pub(super) fn end(&self) -> Option<usize> {
        if self.end.get().is_none() {
            // It notes down the end.
            let _ = self.read::<IgnoredAny>();
        }
        self.end.get()
    }

    /// Where the mistake is in a payload that is not JSON.
    pub(super) fn mistake(&self) -> EnvelopeError {
        let begin = self.begin.unwrap_or_default();
        match serde_json::from_slice::<IgnoredAny>(&self.body[begin..]) {
            Err(error) => EnvelopeError::not_json(self.body, begin, &error),
            Ok(_) => EnvelopeError::not_json_at(self.body, begin),
        }
    }

    fn bytes(&self) -> Option<&'a [u8]> {
        Some(&self.body[self.begin?..self.end()?])
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        let Some(begin) = self.begin else {
            return serde_json::from_str("null").map_err(|error| PayloadError::from(&error));
        };
        let mut values = serde_json::Deserializer::from_slice(&self.body[begin..]).into_iter();
        let value = values.next().unwrap_or_else(|| Err(de::Error::custom("no value")));
        let value = value.map_err(|error| PayloadError::from(&error))?;
        self.ends_at(begin + values.byte_offset());
        Ok(value)
    }
}

/// The length only.
impl fmt::Debug for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("body_len", &self.body.len()).field("begin", &self.begin).finish_non_exhaustive()
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
        payload.0.read()
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
        Self { event_type, payload: payload.to_bytes() }
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
