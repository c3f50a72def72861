//! What can be wrong with a request, and each problem in words: what it is, and what to do.

use std::fmt;

use serde::Serialize;

use super::body::{BodyChange, Difference};
use super::diagnosis::{display, name_of};
use super::tags::Spelling;
use crate::encoding::MacEncoding;
use crate::ids::KeyId;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Problem {
    /// The signature is right for a body that differs from the captured one by a usual mistake.
    AlteredBody {
        /// What makes the signed body of the captured one.
        change: BodyChange,
        /// Where they differ.
        difference: Difference,
        /// What to do.
        advice: &'static str,
    },
    /// A signed value holds the text that parts it from the body, so that the content could be cut in another place.
    EdgeInValue {
        /// The header.
        header: String,
    },
    /// A header is longer than 4096 bytes.
    HeaderTooLong {
        /// The header.
        header: String,
        /// What it is read for.
        role: Role,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The event type is not 1 to 256 visible ASCII characters.
    InvalidEventType {
        /// The header.
        header: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The delivery id is not 1 to 256 visible ASCII characters.
    InvalidId {
        /// The header.
        header: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The time is not 1 to 12 digits.
    InvalidTimestamp {
        /// The header.
        header: String,
        /// What is wrong with it.
        fault: TimeFault,
    },
    /// The signature is right under a key that has ended.
    KeyEnded {
        /// The key.
        #[serde(serialize_with = "display")]
        id: KeyId,
        /// How many seconds ago it ended.
        seconds_ago: u64,
    },
    /// The signature is right under a key that does not count yet.
    KeyNotYetActive {
        /// The key.
        #[serde(serialize_with = "display")]
        id: KeyId,
        /// In how many seconds it begins to count.
        in_seconds: u64,
    },
    /// A header is not there.
    MissingHeader {
        /// The header.
        header: String,
        /// What it is read for.
        role: Role,
        /// Other headers that hold something as long as a signature, where the signature is missing.
        others: Vec<String>,
    },
    /// The item of the signature header that holds the time is not there.
    MissingTimestampItem {
        /// The header.
        header: String,
        /// What the item begins with.
        element: String,
    },
    /// No key of the keyring counts now.
    NoActiveKey,
    /// No item of the signature header is a whole signature of the version that the scheme knows.
    NoSignature {
        /// The header.
        header: String,
        /// What a signature begins with.
        prefix: String,
    },
    /// A header stands there more than once.
    RepeatedHeader {
        /// The header.
        header: String,
        /// What it is read for.
        role: Role,
        /// How often.
        times: usize,
    },
    /// The signature header holds several times.
    RepeatedTimestampItem {
        /// The header.
        header: String,
        /// What the items begin with.
        element: String,
        /// How many there are.
        times: usize,
    },
    /// The signature is right, and spelt in another way than the scheme says.
    RightInAnotherSpelling {
        /// How it is spelt.
        found: Spelling,
        /// How the scheme spells it.
        expected: MacEncoding,
    },
    /// The signature is right, and its time too far ahead of ours.
    TooNew {
        /// How many seconds it is ahead.
        seconds: u64,
        /// How many are accepted.
        tolerance: u64,
    },
    /// The signature is right, and its time too far behind ours.
    TooOld {
        /// How many seconds it is behind.
        seconds: u64,
        /// How many are accepted.
        tolerance: u64,
    },
    /// The signature header lists too many signatures.
    TooManySignatures {
        /// How many.
        count: usize,
        /// How many are read.
        limit: usize,
    },
    /// The keys cannot be used with the scheme.
    UnusableKeys {
        /// Why.
        reason: String,
    },
    /// No listed signature is that of the content, under any key that counts, and none of the usual mistakes explains it.
    WrongSignature {
        /// How many signatures were compared.
        signatures: usize,
        /// How many keys were tried.
        keys: usize,
    },
}

/// What a header is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// The event type.
    EventType,
    /// The delivery id.
    Id,
    /// The signature.
    Signature,
    /// It is signed.
    Signed,
    /// The sender's time.
    Timestamp,
}

/// What is wrong with a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeFault {
    /// There is nothing.
    Empty,
    /// It is in milliseconds or finer.
    Milliseconds,
    /// It is not digits alone.
    NotDigits,
    /// It is a calendar date and time.
    Rfc3339,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlteredBody { change, difference, advice } => {
                write!(f, "the signature is right {change} ({difference}): {advice}")
            }
            Self::EdgeInValue { header } => write!(
                f,
                "the value of `{header}` holds the text that parts it from the body in the signed content: the same signature \
                 would fit it cut in another place, so it is refused"
            ),
            Self::HeaderTooLong { header, role, bytes } => {
                write!(f, "`{header}` ({role}) is {bytes} bytes long; at most 4096 are read")
            }
            Self::InvalidEventType { header, bytes } => write!(
                f,
                "the event type in `{header}` ({bytes} bytes) is not 1 to 256 visible ASCII characters without spaces"
            ),
            Self::InvalidId { header, bytes } => write!(
                f,
                "the delivery id in `{header}` ({bytes} bytes) is not 1 to 256 visible ASCII characters without spaces"
            ),
            Self::InvalidTimestamp { header, fault } => write!(f, "the time in `{header}` {fault}"),
            Self::KeyEnded { id, seconds_ago } => write!(
                f,
                "the signature is right under key {id}, which ended {seconds_ago} s ago: the sender still signs with the old \
                 secret; rotate at the provider, or give the old key a longer overlap"
            ),
            Self::KeyNotYetActive { id, in_seconds } => write!(
                f,
                "the signature is right under key {id}, which begins to count in {in_seconds} s: the sender signs with the new \
                 secret already; let the key begin earlier"
            ),
            Self::MissingHeader { header, role, others } => {
                write!(f, "`{header}` ({role}) is not there")?;
                match others.as_slice() {
                    [] => Ok(()),
                    others => write!(f, "; something as long as a signature stands in `{}`", others.join("`, `")),
                }
            }
            Self::MissingTimestampItem { header, element } => {
                write!(f, "`{header}` has no item that begins with `{element}`: the sender's time is missing")
            }
            Self::NoActiveKey => f.write_str(
                "no key of the keyring counts now: a receiver answers 503. Correct the windows of the keys, or the clock",
            ),
            Self::NoSignature { header, prefix } if prefix.is_empty() => {
                write!(f, "`{header}` holds no whole signature in the scheme's encoding")
            }
            Self::NoSignature { header, prefix } => {
                write!(f, "`{header}` lists no whole signature that begins with `{prefix}`")
            }
            Self::RepeatedHeader { header, role, times } => write!(
                f,
                "`{header}` ({role}) stands there {times} times: two parsers may each see another one, so it is refused; \
                 look for a proxy that adds it"
            ),
            Self::RepeatedTimestampItem { header, element, times } => {
                write!(f, "`{header}` holds {times} items that begin with `{element}`, where one time is signed")
            }
            Self::RightInAnotherSpelling { found, expected } => write!(
                f,
                "the signature is right, but written in {} where the scheme says {}: change signature.encoding, if the sender \
                 always writes it so",
                found.as_str(),
                name_of(*expected)
            ),
            Self::TooNew { seconds, tolerance } => write!(
                f,
                "the signature is right, and its time {seconds} s ahead of ours, {} s more than the tolerance of {tolerance} s: \
                 one of the two clocks is wrong",
                seconds.saturating_sub(*tolerance)
            ),
            Self::TooOld { seconds, tolerance } => write!(
                f,
                "the signature is right, and its time {seconds} s behind ours, {} s more than the tolerance of {tolerance} s: \
                 the capture is old, the delivery was held up or replayed, or one of the two clocks is wrong",
                seconds.saturating_sub(*tolerance)
            ),
            Self::TooManySignatures { count, limit } => {
                write!(f, "the signature header lists {count} signatures; at most {limit} are tried")
            }
            Self::UnusableKeys { reason } => write!(f, "the keys cannot be used with this scheme: {reason}"),
            Self::WrongSignature { signatures, keys } => write!(
                f,
                "none of {signatures} signatures is that of the content under any of {keys} keys, nor for a body changed by \
                 one of the usual mistakes: it is another secret, the body was changed, or the sender signs something else \
                 (`countersign identify` searches)"
            ),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventType => "the event type",
            Self::Id => "the delivery id",
            Self::Signature => "the signature",
            Self::Signed => "a signed header",
            Self::Timestamp => "the sender's time",
        })
    }
}

impl fmt::Display for TimeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::Milliseconds => "has more than 12 digits: it is in milliseconds or finer, and must be in seconds",
            Self::NotDigits => "is not 1 to 12 digits and nothing else",
            Self::Rfc3339 => "is a calendar date; it must be in seconds since the Unix epoch",
        })
    }
}
