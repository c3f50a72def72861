//! What a provider signs and where it writes it, as data.
//!
//! Signature schemes of webhook providers differ only in names, separators and encodings. One [`Scheme`] value says
//! them all; one engine verifies with it, and the same engine signs with it. A scheme reads bytes from strangers and
//! never sees a secret.
//!
//! ```
//! use countersign::{MacEncoding, Scheme};
//!
//! let scheme = Scheme::builder("acme")
//!     .signature_header("x-acme-signature") // x-acme-signature: t=1750000000,v1=5f2a…,v1=09cc…
//!     .separator(',')
//!     .prefix("v1=")
//!     .encoding(MacEncoding::Hex)
//!     .timestamp_element("t=")
//!     .content("{timestamp}.{body}")
//!     .build()?;
//! # Ok::<(), countersign::SchemeError>(())
//! ```
//!
//! The same value as TOML, for an operator to correct without recompiling ([`Scheme::from_toml`]):
//!
//! ```
//! # let scheme = countersign::Scheme::from_toml(r#"
//! name = "acme"
//! content = "{timestamp}.{body}"
//! timestamp = { element = "t=" }
//! tolerance = 300                 # seconds, both sides
//! retry_horizon = 259200          # seconds in which the sender may still come back
//!
//! [signature]
//! header = "x-acme-signature"
//! separator = ","
//! prefix = "v1="
//! encoding = "hex"
//! # "#)?;
//! # assert_eq!(countersign::Scheme::from_toml(&scheme.to_toml())?, scheme);
//! # Ok::<(), countersign::SchemeError>(())
//! ```

mod builder;
mod content;
mod error;
mod file;
mod pointer;
mod presets;
mod read;

pub use builder::SchemeBuilder;
pub(crate) use content::{Content, Part};
pub use error::{Mistakes, SchemeError};
pub(crate) use pointer::{find as find_by_pointer, points_inside};
pub use read::HeadError;
pub(crate) use read::HeadReading;
#[cfg(feature = "cli")]
pub(crate) use read::{MAX_HEADER_LEN, MAX_SIGNATURES, parse_timestamp};

use std::borrow::Cow;
use std::time::Duration;

use crate::encoding::{MacEncoding, SecretFormat};
use crate::ids::Source;

/// How one provider signs its deliveries. See the [module](self) for how to write one.
///
/// The algorithm is HMAC-SHA256 and is never read from a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    name: Source,
    signature: SignatureHeader,
    timestamp: TimestampSource,
    id: IdSource,
    event_type: EventTypeSource,
    content: Content,
    secret: SecretFormat,
    tolerance: Option<Duration>,
    retry_horizon: Duration,
}

/// Where the signatures stand, and how they are listed.
///
/// The header's value is split at `separator`, where there is one. Items that begin with `prefix` are signatures; all
/// others, such as those of a version that this scheme does not know, are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SignatureHeader {
    pub(crate) header: HeaderName,
    pub(crate) separator: Option<char>,
    pub(crate) prefix: Cow<'static, str>,
    pub(crate) encoding: MacEncoding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimestampSource {
    /// An item of the signature header that begins so, such as `t=`.
    Element(Cow<'static, str>),
    Header(HeaderName),
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdSource {
    Header(HeaderName),
    None,
    /// An RFC 6901 pointer to a string or a whole number in the body.
    Pointer(Cow<'static, str>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventTypeSource {
    Envelope,
    Header(HeaderName),
}

/// A header field's name in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderName(Cow<'static, str>);

impl HeaderName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// `None` unless `name` is an RFC 9110 token of at most 128 bytes.
    fn new(name: &str) -> Option<Self> {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let valid = (1..=128).contains(&name.len()) && name.bytes().all(is_token);
        valid.then(|| Self(Cow::Owned(name.to_ascii_lowercase())))
    }

    /// Stands in for a name that was refused, in a scheme that is never handed out.
    fn refused() -> Self {
        Self(Cow::Borrowed(""))
    }
}

impl Scheme {
    /// A scheme of one's own, called `name` in logs and in dedupe keys.
    pub fn builder(name: &str) -> SchemeBuilder {
        SchemeBuilder::new(name)
    }

    /// The provider's name.
    #[must_use]
    pub fn name(&self) -> &Source {
        &self.name
    }

    /// How far the sender's clock may be from ours, in either direction; `None` where no time is signed.
    #[must_use]
    pub fn tolerance(&self) -> Option<Duration> {
        self.tolerance
    }

    /// For how long after the first attempt the sender may still send a delivery again.
    #[must_use]
    pub fn retry_horizon(&self) -> Duration {
        self.retry_horizon
    }

    /// How key bytes are made of the secret as the provider hands it out.
    #[must_use]
    pub fn secret_format(&self) -> &SecretFormat {
        &self.secret
    }

    /// Whether the signature covers the delivery id: it stands in the body, or among the signed parts.
    #[must_use]
    pub fn signs_id(&self) -> bool {
        match &self.id {
            IdSource::Header(name) => self.content.parts().contains(&Part::Id) || self.signs_header(name),
            IdSource::None => false,
            IdSource::Pointer(_) => true,
        }
    }

    /// Whether the signature covers the sender's time.
    #[must_use]
    pub fn signs_timestamp(&self) -> bool {
        self.content.parts().contains(&Part::Timestamp)
    }

    /// Whether the signature covers the event type: it stands in the body, or in a header that is signed.
    #[must_use]
    pub fn signs_event_type(&self) -> bool {
        match &self.event_type {
            EventTypeSource::Envelope => true,
            EventTypeSource::Header(name) => self.signs_header(name),
        }
    }

    /// The same scheme under another name.
    #[cfg(feature = "cli")]
    pub(crate) fn renamed(&self, name: Source) -> Self {
        Self { name, ..self.clone() }
    }

    fn signs_header(&self, name: &HeaderName) -> bool {
        let signs = |part: &Part| matches!(part, Part::Header(signed) if signed == name);
        self.content.parts().iter().any(signs)
    }

    pub(crate) fn signature(&self) -> &SignatureHeader {
        &self.signature
    }

    pub(crate) fn timestamp(&self) -> &TimestampSource {
        &self.timestamp
    }

    pub(crate) fn id(&self) -> &IdSource {
        &self.id
    }

    pub(crate) fn event_type(&self) -> &EventTypeSource {
        &self.event_type
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }
}
