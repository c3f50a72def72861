//! What a diagnosis says.

use std::fmt;

use serde::{Serialize, Serializer};

use super::captured::CaptureNote;
use super::found::SignedTime;
use super::problem::Problem;
use super::tags::Spelling;
use crate::encoding::MacEncoding;
use crate::ids::KeyId;
use crate::time::Timestamp;

/// Why a request verifies, or exactly why it does not. `Display` is the whole answer for people; `Serialize` the same for
/// machines. Neither ever holds a secret, the right MAC, or a byte of the body.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// The scheme's name.
    pub scheme: String,
    /// What is known about the delivery, where it is accepted.
    pub accepted: Option<Accepted>,
    /// Where it is not, why, in one word: that of [`Rejection::as_str`](crate::Rejection::as_str), or `unusable_keys`.
    pub reason: Option<&'static str>,
    /// Everything that is wrong, in the order in which to look at it. Never empty where the request is not accepted.
    pub problems: Vec<Problem>,
    /// What the signature header lists; `None` where it is missing, doubled or too long.
    pub signatures: Option<Signatures>,
    /// The sender's time, where the scheme has one and it can be read.
    pub time: Option<SignedTime>,
    /// The keys, the primary first.
    pub keys: Vec<KeyState>,
    /// What was found or mended while the capture was read.
    pub notes: Vec<CaptureNote>,
}

/// A delivery that a receiver would accept.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The key under which the signature matches.
    #[serde(serialize_with = "display")]
    pub key_id: KeyId,
    /// Whether it is the primary.
    pub primary: bool,
    /// What the signature covers.
    pub covers: Covers,
    /// The delivery id.
    pub id: Option<String>,
    /// The event type: that of the header where the scheme has one, otherwise the body's member `event`, `type` or
    /// `event_type`.
    pub event_type: Option<String>,
}

/// What a signature covers. The rest may have been changed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Covers {
    /// The body.
    pub body: bool,
    /// The delivery id.
    pub id: bool,
    /// The sender's time.
    pub timestamp: bool,
    /// The event type.
    pub event_type: bool,
}

/// What a signature header lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Signatures {
    /// The header, in lower case.
    pub header: String,
    /// How many items it has.
    pub items: usize,
    /// How many are whole signatures of the version that the scheme knows.
    pub usable: usize,
    /// The others, other than times: what is passed over.
    pub passed_over: Vec<PassedOver>,
}

/// An item of a signature header that is no signature for the scheme.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PassedOver {
    /// It does not begin with the scheme's prefix.
    OtherVersion {
        /// What it begins with, where that looks like a version.
        begins: Option<String>,
    },
    /// It begins as it should, and what follows is no signature in the scheme's encoding.
    Misspelt {
        /// What is wrong with it.
        fault: SpellingFault,
    },
}

/// What is wrong with the text of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpellingFault {
    /// There is none.
    Empty,
    /// It has the right length, and a character that does not belong.
    NotInAlphabet,
    /// It is a whole signature in another spelling.
    OtherSpelling {
        /// Which.
        found: Spelling,
        /// The scheme's.
        expected: MacEncoding,
    },
    /// White space stands around it.
    WhiteSpace,
    /// It is too short or too long.
    WrongLength {
        /// Its length in characters.
        found: usize,
        /// The right one.
        expected: usize,
    },
}

/// A key, and whether it counts now.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct KeyState {
    /// The operator's name for it.
    #[serde(serialize_with = "display")]
    pub id: KeyId,
    /// Whether it counts now.
    pub active: bool,
    /// When it begins to count.
    #[serde(serialize_with = "display_option")]
    pub not_before: Option<Timestamp>,
    /// When it ends.
    #[serde(serialize_with = "display_option")]
    pub not_after: Option<Timestamp>,
}

impl Diagnosis {
    /// Whether a receiver would accept the request now.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.accepted.is_some()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(accepted) = &self.accepted {
            writeln!(f, "Accepted by {}.", self.scheme)?;
            write!(f, "{accepted}")?;
        } else {
            writeln!(f, "Refused by {}: {}", self.scheme, self.reason.unwrap_or("unknown"))?;
            self.problems.iter().try_for_each(|problem| writeln!(f, "- {problem}"))?;
        }
        if let Some(signatures) = &self.signatures {
            writeln!(f, "{signatures}")?;
        }
        if let Some(time) = &self.time {
            writeln!(f, "{time}")?;
        }
        for key in &self.keys {
            writeln!(f, "{key}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let which = if self.primary { "the primary" } else { "not the primary" };
        writeln!(f, "key: {} ({which})", self.key_id)?;
        let Covers { body, id, timestamp, event_type } = self.covers;
        let parts = [(body, "body"), (id, "id"), (timestamp, "timestamp"), (event_type, "event type")];
        let names = |covered: bool| -> Vec<&str> {
            parts.iter().filter(|(yes, _)| *yes == covered).map(|(_, name)| *name).collect()
        };
        writeln!(f, "signed: {}", names(true).join(", "))?;
        if !names(false).is_empty() {
            writeln!(f, "not signed: {}", names(false).join(", "))?;
        }
        writeln!(f, "id: {}", self.id.as_deref().unwrap_or("none"))?;
        writeln!(f, "event type: {}", self.event_type.as_deref().unwrap_or("none"))
    }
}

impl fmt::Display for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` lists {} items, {} of them usable signatures", self.header, self.items, self.usable)?;
        for item in &self.passed_over {
            match item {
                PassedOver::OtherVersion { begins: Some(begins) } => write!(f, "; passed over: one of `{begins}`")?,
                PassedOver::OtherVersion { begins: None } => f.write_str("; passed over: one without the prefix")?,
                PassedOver::Misspelt { fault } => write!(f, "; passed over: {fault}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for SpellingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a signature without a character"),
            Self::NotInAlphabet => f.write_str("a signature of the right length with a character that does not belong"),
            Self::OtherSpelling { found, expected } => {
                write!(f, "a signature in {}, where the scheme says {}", found.as_str(), name_of(*expected))
            }
            Self::WhiteSpace => f.write_str("a signature with white space around it"),
            Self::WrongLength { found, expected } => write!(f, "a signature of {found} characters, not {expected}"),
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: {}", self.id, if self.active { "active" } else { "not active" })?;
        if let Some(begin) = self.not_before {
            write!(f, ", from {begin}")?;
        }
        match self.not_after {
            Some(end) => write!(f, ", until {end}"),
            None => Ok(()),
        }
    }
}

pub(super) fn name_of(encoding: MacEncoding) -> &'static str {
    match encoding {
        MacEncoding::Base64 => "base64",
        MacEncoding::Base64Url => "base64url",
        MacEncoding::Hex => "lower-case hex",
        MacEncoding::HexUpper => "upper-case hex",
    }
}

pub(super) fn display<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn display_option<S: Serializer>(value: &Option<impl fmt::Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
