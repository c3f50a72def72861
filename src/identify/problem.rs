//! Each problem in words: what is wrong, and what to do.

use std::fmt;

use super::diagnosis::{Problem, Role, TimeFault, name_of};

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
