//! Reads the head of a request as a scheme says: bytes from strangers in, checked pieces out.
//!
//! Everything here is a pure function of the head. Nothing compares signatures, and nothing knows what time it is.

use smallvec::SmallVec;

use crate::crypto::Tag;
use crate::ids::{DeliveryId, EventType};
use crate::request::{FieldLine, RequestHead};
use crate::scheme::{Content, EventTypeSource, HeaderName, IdSource, Part, Scheme, TimestampSource};
use crate::time::Timestamp;

/// The longest header that is read, in bytes: room for [`MAX_SIGNATURES`] base64 or hex signatures.
pub(crate) const MAX_HEADER_LEN: usize = 4096;

/// The most signatures of one delivery that are tried. A sender in rotation lists two.
pub(crate) const MAX_SIGNATURES: usize = 32;

/// The most digits of a time: 999,999,999,999 seconds are the year 33658. Thirteen digits are milliseconds.
const MAX_TIMESTAMP_DIGITS: usize = 12;

/// Why the head of a request cannot be that of a genuine delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// A header that the scheme reads is longer than 4096 bytes.
    HeaderTooLong,
    /// The event type is not 1 to 256 visible ASCII characters.
    InvalidEventType,
    /// A header is signed and holds the text that parts it from the body in the signed content.
    InvalidHeader,
    /// The delivery id is not 1 to 256 visible ASCII characters, or it is signed and holds the text that parts it from
    /// the body in the signed content, such as the `.` of Standard Webhooks.
    InvalidId,
    /// The time is not 1 to 12 ASCII digits: a sign, a space, milliseconds, anything else.
    InvalidTimestamp,
    /// A header that is signed or read is not there.
    MissingHeader,
    /// The signature header is not there.
    MissingSignature,
    /// The time that is signed is not there.
    MissingTimestamp,
    /// No item of the signature header is a whole signature of a version that the scheme knows.
    NoSignature,
    /// A header that the scheme reads stands there twice.
    RepeatedHeader,
    /// The signature header holds two times.
    RepeatedTimestamp,
    /// The signature header holds more than 32 signatures.
    TooManySignatures,
}

/// What a head holds. Nothing in it is proved yet.
pub(crate) struct HeadReading<'a> {
    pub(crate) signatures: SmallVec<[Tag; 2]>,
    pub(crate) timestamp: Option<Timestamp>,
    pub(crate) id: Option<DeliveryId>,
    pub(crate) event_type: Option<EventType>,
    raw_timestamp: &'a [u8],
    raw_id: &'a [u8],
}

impl Scheme {
    /// Reads the pieces of `head` that this scheme names.
    pub(crate) fn read<'a>(&self, head: &RequestHead<'a>) -> Result<HeadReading<'a>, HeadError> {
        let signature = required(head, &self.signature.header, HeadError::MissingSignature)?;
        let listed = self.read_signature_header(signature)?;
        let raw_timestamp = match &self.timestamp {
            TimestampSource::Element(_) => listed.timestamp.ok_or(HeadError::MissingTimestamp)?,
            TimestampSource::Header(name) => required(head, name, HeadError::MissingTimestamp)?,
            TimestampSource::None => b"",
        };
        let timestamp = match &self.timestamp {
            TimestampSource::None => None,
            _ => Some(parse_timestamp(raw_timestamp).ok_or(HeadError::InvalidTimestamp)?),
        };
        let raw_id = match &self.id {
            // A label that nothing depends on may be missing; an id that is signed may not.
            IdSource::Header(name) if self.signs_id() => Some(required(head, name, HeadError::MissingHeader)?),
            IdSource::Header(name) => optional(head, name)?,
            IdSource::None | IdSource::Pointer(_) => None,
        };
        let id = raw_id.map(DeliveryId::from_bytes).transpose().map_err(|_| HeadError::InvalidId)?;
        let event_type = match &self.event_type {
            EventTypeSource::Envelope => None,
            EventTypeSource::Header(name) => {
                let name = required(head, name, HeadError::MissingHeader)?;
                Some(EventType::from_bytes(name).map_err(|_| HeadError::InvalidEventType)?)
            }
        };
        let raw_id = raw_id.unwrap_or_default();
        for (index, part) in self.content.parts().iter().enumerate() {
            let (value, blurred) = match part {
                Part::Header(name) => (required(head, name, HeadError::MissingHeader)?, HeadError::InvalidHeader),
                Part::Id => (raw_id, HeadError::InvalidId),
                Part::Body | Part::Literal(_) | Part::Timestamp => continue,
            };
            if self.content.blurs_the_edge_of(index, value) {
                return Err(blurred);
            }
        }
        Ok(HeadReading { signatures: listed.signatures, timestamp, id, event_type, raw_timestamp, raw_id })
    }

    /// The header fields of `head` that this scheme reads, each once, as an inbox keeps them.
    pub(crate) fn headers_read(&self, head: &RequestHead<'_>) -> Vec<(String, Vec<u8>)> {
        let mut kept: Vec<(String, Vec<u8>)> = Vec::with_capacity(4);
        let timestamp = match &self.timestamp {
            TimestampSource::Header(name) => Some(name),
            TimestampSource::Element(_) | TimestampSource::None => None,
        };
        let id = match &self.id {
            IdSource::Header(name) => Some(name),
            IdSource::None | IdSource::Pointer(_) => None,
        };
        let event_type = match &self.event_type {
            EventTypeSource::Header(name) => Some(name),
            EventTypeSource::Envelope => None,
        };
        let signed = self.content.parts().iter().filter_map(|part| match part {
            Part::Header(name) => Some(name),
            Part::Body | Part::Id | Part::Literal(_) | Part::Timestamp => None,
        });
        for name in [Some(&self.signature.header), timestamp, id, event_type].into_iter().flatten().chain(signed) {
            if let FieldLine::One(value) = head.header(name.as_str())
                && !kept.iter().any(|(known, _)| known == name.as_str())
            {
                kept.push((name.as_str().to_owned(), value.to_vec()));
            }
        }
        kept
    }

    /// Splits the signature header's value into signatures and a time.
    pub(crate) fn read_signature_header<'a>(&self, value: &'a [u8]) -> Result<Listed<'a>, HeadError> {
        let mut listed = Listed::default();
        let prefix = self.signature.prefix.as_bytes();
        let mut candidates = 0;
        let separator = self.signature.separator;
        for item in value.split(|byte| separator.is_some_and(|separator| char::from(*byte) == separator)) {
            if let TimestampSource::Element(element) = &self.timestamp
                && let Some(time) = item.strip_prefix(element.as_bytes())
            {
                if listed.timestamp.replace(time).is_some() {
                    return Err(HeadError::RepeatedTimestamp);
                }
            } else if let Some(text) = item.strip_prefix(prefix) {
                candidates += 1;
                if candidates > MAX_SIGNATURES {
                    return Err(HeadError::TooManySignatures);
                }
                // One that is misspelt must not hide a good one beside it.
                listed.signatures.extend(self.signature.encoding.decode(text));
            }
        }
        if listed.signatures.is_empty() { Err(HeadError::NoSignature) } else { Ok(listed) }
    }
}

impl HeadReading<'_> {
    /// Feeds `parts` of the signed content, other than the body, to `feed`: each as it stood in the request.
    pub(crate) fn feed(&self, parts: &[Part], head: &RequestHead<'_>, mut feed: impl FnMut(&[u8])) {
        for part in parts {
            match part {
                Part::Body => debug_assert!(false, "the body is fed by whoever reads it"),
                Part::Header(name) => {
                    if let FieldLine::One(value) = head.header(name.as_str()) {
                        feed(value);
                    }
                }
                Part::Id => feed(self.raw_id),
                Part::Literal(text) => feed(text.as_bytes()),
                Part::Timestamp => feed(self.raw_timestamp),
            }
        }
    }

    /// The parts of `content` after the body, as owned bytes: the head may be gone when the body has been read.
    pub(crate) fn suffix(&self, content: &Content, head: &RequestHead<'_>) -> Vec<u8> {
        let mut suffix = Vec::new();
        self.feed(content.after_body(), head, |bytes| suffix.extend_from_slice(bytes));
        suffix
    }
}

/// The items of a signature header.
#[derive(Default)]
pub(crate) struct Listed<'a> {
    signatures: SmallVec<[Tag; 2]>,
    timestamp: Option<&'a [u8]>,
}

/// Seconds since the Unix epoch: 1 to 12 ASCII digits and nothing else.
pub(crate) fn parse_timestamp(text: &[u8]) -> Option<Timestamp> {
    if text.is_empty() || text.len() > MAX_TIMESTAMP_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = text.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some(Timestamp::from_secs(seconds))
}

fn required<'a>(head: &RequestHead<'a>, name: &HeaderName, missing: HeadError) -> Result<&'a [u8], HeadError> {
    optional(head, name)?.ok_or(missing)
}

fn optional<'a>(head: &RequestHead<'a>, name: &HeaderName) -> Result<Option<&'a [u8]>, HeadError> {
    match head.header(name.as_str()) {
        FieldLine::Absent => Ok(None),
        FieldLine::One(value) if value.len() > MAX_HEADER_LEN => Err(HeadError::HeaderTooLong),
        FieldLine::One(value) => Ok(Some(value)),
        FieldLine::Several => Err(HeadError::RepeatedHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_to_twelve_digits() {
        assert_eq!(parse_timestamp(b"0"), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(parse_timestamp(b"999999999999"), Some(Timestamp::from_secs(999_999_999_999)));
        for bad in ["", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x1", "1000000000000", "\u{0661}", "1\n"] {
            assert_eq!(parse_timestamp(bad.as_bytes()), None, "{bad:?}");
        }
    }

    fn stripe(value: &str) -> Result<(usize, Option<String>), HeadError> {
        let listed = Scheme::stripe();
        let listed = listed.read_signature_header(value.as_bytes())?;
        let time = listed.timestamp.map(|time| String::from_utf8_lossy(time).into_owned());
        Ok((listed.signatures.len(), time))
    }

    #[test]
    fn signatures_of_unknown_versions_are_passed_over() {
        let mac = "ab".repeat(32);
        assert_eq!(stripe(&format!("t=1,v1={mac}")), Ok((1, Some("1".into()))));
        assert_eq!(stripe(&format!("v0=x,v1={mac},v2,t=1,v1={mac},,=")), Ok((2, Some("1".into()))));
        assert_eq!(stripe(&format!("t=1,v0={mac}")), Err(HeadError::NoSignature));
    }

    #[test]
    fn a_misspelt_signature_does_not_hide_a_good_one() {
        let mac = "ab".repeat(32);
        for bad in ["", "zz", "AB", &mac[..62], &format!("{mac}00"), "\u{e9}"] {
            assert_eq!(stripe(&format!("t=1,v1={bad},v1={mac}")), Ok((1, Some("1".into()))), "{bad}");
            assert_eq!(stripe(&format!("t=1,v1={bad}")), Err(HeadError::NoSignature), "{bad}");
        }
    }

    #[test]
    fn two_times_and_too_many_signatures_are_refused() {
        let mac = "ab".repeat(32);
        assert_eq!(stripe(&format!("t=1,t=1,v1={mac}")), Err(HeadError::RepeatedTimestamp));
        let many = format!("v1={mac},").repeat(MAX_SIGNATURES + 1);
        assert_eq!(stripe(&many), Err(HeadError::TooManySignatures));
    }

    fn read(headers: &[(&str, &str)]) -> Result<(), HeadError> {
        Scheme::standard_webhooks().read(&RequestHead::new(&headers.to_vec())).map(drop)
    }

    #[test]
    fn each_header_stands_once_and_is_of_bounded_length() {
        let mac = format!("v1,{}", MacEncoding::Base64.encode(&[7; 32]));
        let good = [("webhook-id", "msg_1"), ("Webhook-Timestamp", "1614265330"), ("webhook-signature", mac.as_str())];
        assert_eq!(read(&good), Ok(()));
        for at in 0..good.len() {
            let mut twice = good.to_vec();
            twice.push(good[at]);
            assert_eq!(read(&twice), Err(HeadError::RepeatedHeader));
            let long = "x".repeat(MAX_HEADER_LEN + 1);
            let mut oversize = good;
            oversize[at].1 = &long;
            assert_eq!(read(&oversize), Err(HeadError::HeaderTooLong));
        }
        assert_eq!(read(&good[..2]), Err(HeadError::MissingSignature));
        assert_eq!(read(&good[1..]), Err(HeadError::MissingHeader));
        assert_eq!(read(&[good[0], good[2]]), Err(HeadError::MissingTimestamp));
        assert_eq!(read(&[("webhook-id", ""), good[1], good[2]]), Err(HeadError::InvalidId));
        assert_eq!(read(&[good[0], ("webhook-timestamp", "1614265330000"), good[2]]), Err(HeadError::InvalidTimestamp));
    }

    use crate::encoding::MacEncoding;
}
