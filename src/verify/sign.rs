//! Signing: the inverse of verifying, from the same scheme value.

use std::fmt;

use crate::crypto::MacKey;
use crate::keyring::{Keyring, KeyringError};
use crate::scheme::{EventTypeSource, IdSource, Part, Scheme, TimestampSource};
use crate::time::Timestamp;

/// Signs deliveries as a provider does: for tests, sandboxes and tools.
#[derive(Clone, Debug)]
pub struct Signer {
    scheme: Scheme,
    keyring: Keyring,
}

/// A delivery to be signed.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    id: Option<&'a str>,
    event_type: Option<&'a str>,
    timestamp: Timestamp,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

/// Why a delivery cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The scheme lists one signature and the keyring would give several.
    #[error("the scheme `{0}` has no separator, so it cannot list a signature for each key")]
    CannotList(String),
    /// The signed time does not fit into twelve digits of seconds.
    #[error("the time must be between 1970 and the year 33658")]
    InvalidTimestamp,
    /// The scheme needs a piece that the message does not have.
    #[error("the scheme needs {0}: give the message one")]
    Missing(String),
    /// No key is active at the message's time.
    #[error("no key of the keyring is active at the message's time")]
    NoActiveKey,
}

impl<'a> Message<'a> {
    /// A message with this body, signed at this time.
    #[must_use]
    pub fn new(body: &'a [u8], timestamp: Timestamp) -> Self {
        Self { id: None, event_type: None, timestamp, headers: &[], body }
    }

    /// The same with a delivery id for the header that the scheme names.
    #[must_use]
    pub fn id(self, id: &'a str) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The same with an event type for the header that the scheme names.
    #[must_use]
    pub fn event_type(self, event_type: &'a str) -> Self {
        Self { event_type: Some(event_type), ..self }
    }

    /// The same with further headers, for a scheme that signs them.
    #[must_use]
    pub fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }
}

/// The body's length and the headers' names, never what they hold.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("timestamp", &self.timestamp)
            .field("headers", &names)
            .field("body_len", &self.body.len())
            .finish()
    }
}

impl Signer {
    /// A signer of `scheme` with the keys of `keyring`.
    ///
    /// # Errors
    ///
    /// When a secret is not written as the scheme says secrets are.
    pub fn new(scheme: Scheme, keyring: Keyring) -> Result<Self, KeyringError> {
        keyring.bind(scheme.secret_format())?;
        Ok(Self { scheme, keyring })
    }

    /// The headers that make `message` a signed delivery: under the primary key.
    ///
    /// # Errors
    ///
    /// When the message lacks what the scheme signs, or no key is active.
    pub fn sign(&self, message: &Message<'_>) -> Result<Vec<(String, String)>, SignError> {
        let keys = self.keyring.snapshot();
        let (_, key) = keys.primary(message.timestamp).ok_or(SignError::NoActiveKey)?;
        self.headers(message, [key])
    }

    /// The same with one signature under each active key, as a sender in rotation writes.
    ///
    /// # Errors
    ///
    /// As [`Signer::sign`], and when several keys are active and the scheme cannot list signatures.
    pub fn sign_with_all(&self, message: &Message<'_>) -> Result<Vec<(String, String)>, SignError> {
        let keys = self.keyring.snapshot();
        let keys: Vec<_> = keys.active(message.timestamp).map(|(_, key)| key).collect();
        match keys.len() {
            0 => Err(SignError::NoActiveKey),
            2.. if self.scheme.signature().separator.is_none() => {
                Err(SignError::CannotList(self.scheme.name().to_string()))
            }
            _ => self.headers(message, keys),
        }
    }

    fn headers<'k>(
        &self,
        message: &Message<'_>,
        keys: impl IntoIterator<Item = &'k MacKey>,
    ) -> Result<Vec<(String, String)>, SignError> {
        let scheme = &self.scheme;
        let mut headers = Vec::with_capacity(4);
        let seconds = message.timestamp.as_secs();
        let mut items = Vec::with_capacity(2);
        match scheme.timestamp() {
            TimestampSource::None => {}
            _ if !(0..=999_999_999_999).contains(&seconds) => return Err(SignError::InvalidTimestamp),
            TimestampSource::Element(prefix) => items.push(format!("{prefix}{seconds}")),
            TimestampSource::Header(name) => headers.push((name.as_str().to_owned(), seconds.to_string())),
        }
        if let IdSource::Header(name) = scheme.id() {
            match message.id {
                Some(id) => headers.push((name.as_str().to_owned(), id.to_owned())),
                None if scheme.signs_id() => return Err(SignError::Missing(format!("an id for `{}`", name.as_str()))),
                None => {}
            }
        }
        if let EventTypeSource::Header(name) = scheme.event_type() {
            let missing = || SignError::Missing(format!("an event type for `{}`", name.as_str()));
            headers.push((name.as_str().to_owned(), message.event_type.ok_or_else(missing)?.to_owned()));
        }
        headers.extend(message.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())));
        for key in keys {
            let mut mac = key.start();
            for part in scheme.content().parts() {
                match part {
                    Part::Body => mac.update(message.body),
                    Part::Header(name) => {
                        let value = headers.iter().find(|(key, _)| key == name.as_str()).map(|(_, value)| value);
                        let missing = || SignError::Missing(format!("a header `{}`", name.as_str()));
                        mac.update(value.ok_or_else(missing)?.as_bytes());
                    }
                    Part::Id => mac.update(message.id.unwrap_or_default().as_bytes()),
                    Part::Literal(text) => mac.update(text.as_bytes()),
                    Part::Timestamp => mac.update(seconds.to_string().as_bytes()),
                }
            }
            let signature = scheme.signature();
            items.push(format!("{}{}", signature.prefix, signature.encoding.encode(&mac.tag())));
        }
        let separator = scheme.signature().separator.map(String::from).unwrap_or_default();
        headers.push((scheme.signature().header.as_str().to_owned(), items.join(&separator)));
        Ok(headers)
    }
}
