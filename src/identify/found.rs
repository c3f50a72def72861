//! A match: what is signed, with which reading of the secret, and the scheme that says so.

use std::fmt;

use serde::Serialize;

use super::body::{BodyChange, Difference};
use super::fields::{RequestPart, TimeForm};
use super::secrets::{SecretMistake, SecretReading};
use super::tags::Spelling;
use crate::scheme::Scheme;

/// One way of signing that gives a signature of the request.
///
/// As JSON it has the members of the same names; `scheme` is the value that [`Scheme::from_json`] reads.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Found {
    /// The scheme, which a [`Verifier`](crate::Verifier) has verified the request with: the captured one, or with a
    /// mistake the mended one. `None` where no [`Scheme`] can say what is signed; then `beyond` says why.
    pub scheme: Option<Scheme>,
    /// The call that makes the scheme, where it is a preset: `Scheme::stripe()`.
    pub preset: Option<String>,
    /// The scheme as TOML ([`Scheme::to_toml`]).
    pub toml: Option<String>,
    /// The scheme as Rust ([`to_rust`](super::to_rust)).
    pub rust: Option<String>,
    /// The header with the signature, in lower case.
    pub header: String,
    /// How the signature is written.
    pub spelling: Spelling,
    /// What is computed over the content.
    pub algorithm: Algorithm,
    /// What is signed, as a template. Beyond what a scheme knows it may hold `{method}`, `{path}`, `{query}`, `{target}`,
    /// `{url}`, `{url_http}` and `{element:PREFIX}`, an item of the signature header.
    pub content: String,
    /// How the secret is read.
    pub secret: SecretReading,
    /// The signed time, where there is one.
    pub time: Option<SignedTime>,
    /// What is wrong with the capture or the secret; the signature is right once this is mended.
    pub mistakes: Vec<Mistake>,
    /// What is signed and no [`Scheme`] can say.
    pub beyond: Vec<Beyond>,
    /// What the scheme says and the signature does not prove.
    pub guesses: Vec<Guess>,
    /// Other readings that fit this request as well.
    pub ambiguities: Vec<String>,
}

/// What makes a tag of the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// HMAC-SHA256.
    HmacSha256,
    /// SHA-256 of the content alone: no signature, since anyone can make it.
    Sha256,
    /// SHA-256 of the content with the secret behind it.
    Sha256SecretBehind,
    /// SHA-256 of the secret with the content behind it: open to length extension.
    Sha256SecretBefore,
}

/// The sender's time, and how far it is from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignedTime {
    /// Seconds since the Unix epoch.
    pub seconds: i64,
    /// How it is written.
    pub form: TimeForm,
    /// How many seconds it is behind our time; negative when it is ahead.
    pub age_seconds: i64,
    /// The scheme's tolerance in seconds, where it checks the time.
    pub tolerance_seconds: Option<u64>,
    /// Whether a receiver would accept the time now. A capture grows old; one that was just caught and is not within the
    /// tolerance means that one of the two clocks is wrong.
    pub within_tolerance: bool,
}

/// Something that is wrong, and what is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mistake {
    /// The captured body is not the one that was signed.
    Body {
        /// What makes the signed body of the captured one.
        change: BodyChange,
        /// Where they differ.
        difference: Difference,
        /// What to do.
        advice: &'static str,
    },
    /// The secret as it was given is not the sender's.
    Secret {
        /// Which of the secrets, from 0.
        secret: usize,
        /// What is wrong with it.
        mistake: SecretMistake,
        /// What to do.
        advice: &'static str,
    },
}

/// Something that is signed, or done to it, and that no [`Scheme`] can say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Beyond {
    /// It is not HMAC-SHA256.
    Algorithm,
    /// Something made of the body is signed in its place.
    Body {
        /// What.
        change: BodyChange,
    },
    /// An item of the signature header other than a time.
    Element {
        /// What the item begins with.
        prefix: String,
    },
    /// A scheme that says it is refused, or refuses this delivery.
    Refused {
        /// Why.
        reason: String,
    },
    /// A piece of the request line.
    RequestLine {
        /// Which.
        part: RequestPart,
    },
    /// The spelling of the signature.
    Spelling {
        /// How it is spelt.
        spelling: Spelling,
    },
}

/// Something that the scheme says and the signature does not prove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Guess {
    /// Tolerance, where a time is signed, and retry horizon are defaults: no request tells them.
    Defaults,
    /// The event type is in this header, which is not signed.
    EventTypeHeader {
        /// The header.
        header: String,
    },
    /// The delivery id is in this header, which is not signed; deliveries are known by their content.
    IdHeader {
        /// The header.
        header: String,
    },
    /// The body has a member that may be the delivery's id. It is not in the scheme: if it is the id of the event, rather
    /// than of the thing that the event is about, set `id.pointer`.
    IdPointer {
        /// The pointer to it.
        pointer: String,
    },
    /// No time is signed: a captured delivery verifies for ever, and only the dedupe store stops it.
    NoTime,
    /// How several signatures are listed in a rotation is not to be seen in this request.
    Separator {
        /// What the scheme takes.
        separator: Option<char>,
    },
    /// The signed time is in a form that a scheme does not check: it is signed like any header, and a captured delivery
    /// verifies for ever.
    TimeNotChecked {
        /// Its form.
        form: TimeForm,
    },
}

impl Found {
    /// Whether the request verifies as it was captured, with the secret as it was given, by a scheme that can be written.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.scheme.is_some() && self.mistakes.is_empty()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.algorithm {
            Algorithm::HmacSha256 => "HMAC-SHA256",
            Algorithm::Sha256 => "plain SHA-256, without a secret,",
            Algorithm::Sha256SecretBefore => "plain SHA-256 of the secret and then",
            Algorithm::Sha256SecretBehind => "plain SHA-256, with the secret at the end,",
        };
        writeln!(f, "`{}` holds, in {}, {algorithm} over {:?}", self.header, self.spelling.as_str(), self.content)?;
        let number = self.secret.secret + 1;
        writeln!(f, "secret {number} is read as {}", self.secret)?;
        if let Some(time) = &self.time {
            writeln!(f, "{time}")?;
        }
        self.mistakes.iter().try_for_each(|mistake| writeln!(f, "mistake: {mistake}"))?;
        self.beyond.iter().try_for_each(|beyond| writeln!(f, "no Scheme can say this: {beyond}"))?;
        self.ambiguities.iter().try_for_each(|ambiguity| writeln!(f, "ambiguous: {ambiguity}"))?;
        self.guesses.iter().try_for_each(|guess| writeln!(f, "to be checked: {guess}"))?;
        if let Some(preset) = &self.preset {
            writeln!(f, "this is the preset {preset}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SignedTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = crate::time::Timestamp::from_secs(self.seconds);
        let (away, side) = (self.age_seconds.unsigned_abs(), if self.age_seconds < 0 { "ahead of" } else { "behind" });
        write!(f, "signed at {at}, {away} s {side} our time")?;
        match self.tolerance_seconds {
            Some(tolerance) if !self.within_tolerance => write!(
                f,
                ": outside of the tolerance of {tolerance} s. A receiver would refuse it now; if it was caught just now, one \
                 of the two clocks is wrong"
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body { change, difference, advice } => {
                write!(f, "the signature is right {change} ({difference}): {advice}")
            }
            Self::Secret { advice, .. } => f.write_str(advice),
        }
    }
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm => f.write_str("this crate verifies HMAC-SHA256 only"),
            Self::Body { change } => write!(f, "it is signed {change}; {}", change.advice()),
            Self::Element { prefix } => write!(f, "the item `{prefix}` of the signature header is signed"),
            Self::Refused { reason } => f.write_str(reason.trim()),
            Self::RequestLine { part } => write!(f, "the request's {} is signed", part.as_str()),
            Self::Spelling { spelling } => write!(f, "the signature is written in {}", spelling.as_str()),
        }
    }
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str(
                "tolerance (where a time is signed) and retry_horizon are defaults: set them from the provider's documents",
            ),
            Self::EventTypeHeader { header } => {
                write!(f, "`{header}` is taken as the event type by its name; it is not signed")
            }
            Self::IdHeader { header } => write!(
                f,
                "`{header}` is taken as the delivery id by its name; it is not signed, so deliveries are known by content"
            ),
            Self::IdPointer { pointer } => write!(
                f,
                "the body has {pointer:?}: if it is the id of the event, and not of what the event is about, set id.pointer"
            ),
            Self::NoTime => f.write_str("no time is signed: a captured delivery verifies for ever"),
            Self::Separator { separator: Some(separator) } => {
                write!(f, "several signatures are taken to be parted by {separator:?}; one was seen")
            }
            Self::Separator { separator: None } => {
                f.write_str("one signature was seen; if the sender lists several in a rotation, set signature.separator")
            }
            Self::TimeNotChecked { form } => {
                let form = match form {
                    TimeForm::Milliseconds => "in milliseconds",
                    TimeForm::Rfc3339 => "in RFC 3339",
                    TimeForm::Seconds => "in seconds",
                };
                write!(f, "the signed time is {form}, which a Scheme does not check: a captured delivery verifies for ever")
            }
        }
    }
}
