//! Where the type and the payload stand in a body, and how they are read in one pass.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{EnvelopeError, RawPayload};
use crate::ids::EventType;

/// Where a body holds the event's type and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The top-level member with the type's name. `None`: the type does not stand in the body.
    pub tag: Option<&'static str>,
    /// The top-level member with the payload. `None`: the whole body is the payload.
    pub content: Option<&'static str>,
}

/// An envelope that was read.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) event_type: EventType,
    pub(crate) payload: RawPayload<'a>,
}

impl Envelope {
    /// Reads `body`. `header_type` is the type's name where the scheme takes it from a header; it then wins.
    ///
    /// `known` gives the static name of a type that the event enum knows, so that it need not be copied.
    pub(crate) fn open<'a>(
        &self,
        body: &'a Bytes,
        header_type: Option<EventType>,
        known: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Opened<'a>, EnvelopeError> {
        let tag = if header_type.is_some() { None } else { self.tag };
        let members = self.read(body, tag)?;
        let event_type = match (header_type, tag, members.event_type) {
            (Some(event_type), ..) => event_type,
            (None, _, Some(name)) => match known(&name) {
                Some(name) => EventType::from_static(name),
                None => EventType::new(&name).map_err(|_| EnvelopeError::InvalidType)?,
            },
            (None, Some(tag), None) => return Err(EnvelopeError::MissingType { tag }),
            (None, None, None) => return Err(EnvelopeError::MissingType { tag: "(header)" }),
        };
        Ok(Opened {
            event_type,
            payload: RawPayload::new(members.payload, body),
        })
    }

    fn read<'a>(&self, body: &'a Bytes, tag: Option<&'static str>) -> Result<Members<'a>, EnvelopeError> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let members = json
            .deserialize_map(Reader {
                tag,
                content: self.content,
            })
            .and_then(|members| json.end().map(|()| members))
            .map_err(|error| EnvelopeError::not_json(&error))?;
        if self.content.is_some() {
            return Ok(members);
        }
        // serde_json checked that the body is JSON and so UTF-8, but for strings that nobody read.
        let whole = std::str::from_utf8(body).map_err(|_| EnvelopeError::NotJson { line: 0, column: 0 })?;
        Ok(Members {
            payload: whole,
            ..members
        })
    }
}

struct Members<'a> {
    event_type: Option<Cow<'a, str>>,
    payload: &'a str,
}

struct Reader {
    tag: Option<&'static str>,
    content: Option<&'static str>,
}

impl<'de> Visitor<'de> for Reader {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut event_type = None;
        let mut payload = None;
        while let Some(member) = map.next_key_seed(&self)? {
            // Two members of one name are read differently by different parsers: refuse what could be either.
            match member {
                Member::Tag if event_type.is_some() => return Err(A::Error::custom("two types")),
                Member::Tag => event_type = Some(map.next_value_seed(Text)?),
                Member::Content if payload.is_some() => return Err(A::Error::custom("two payloads")),
                Member::Content => payload = Some(map.next_value::<&RawValue>()?.get()),
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Members {
            event_type,
            payload: payload.unwrap_or("null"),
        })
    }
}

enum Member {
    Tag,
    Content,
    Other,
}

impl<'de> DeserializeSeed<'de> for &Reader {
    type Value = Member;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for &Reader {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        Ok(match Some(name) {
            name if name == self.tag => Member::Tag,
            name if name == self.content => Member::Content,
            _ => Member::Other,
        })
    }
}

/// A string, borrowed from the body where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: Envelope = Envelope {
        tag: Some("event"),
        content: Some("data"),
    };

    fn open(body: &'static str) -> Result<(String, &'static str), EnvelopeError> {
        let body: &'static Bytes = Box::leak(Box::new(Bytes::from_static(body.as_bytes())));
        let opened = ENVELOPE.open(body, None, |_| None)?;
        Ok((opened.event_type.to_string(), opened.payload.json()))
    }

    #[test]
    fn the_payload_stays_as_it_came() {
        let expected = || Ok(("a.b".to_owned(), r#"{ "x" : 1e2 }"#));
        assert_eq!(open(r#"{"event":"a.b","data":{ "x" : 1e2 }}"#), expected());
        assert_eq!(
            open(r#" {"data":{ "x" : 1e2 } , "other":[{}], "event":"\u0061.b"} "#),
            expected()
        );
    }

    #[test]
    fn a_missing_payload_is_null() {
        assert_eq!(open(r#"{"event":"a"}"#), Ok(("a".to_owned(), "null")));
    }

    #[test]
    fn what_is_not_one_event_is_refused() {
        for body in [
            "",
            "[]",
            "7",
            "{",
            r#"{"event":"a"} x"#,
            r#"{"event":7}"#,
            "{\"event\":\"\u{1}\"}",
        ] {
            assert!(matches!(open(body), Err(EnvelopeError::NotJson { .. })), "{body}");
        }
        for body in [r#"{"event":"a","event":"b"}"#, r#"{"event":"a","data":1,"data":2}"#] {
            assert!(matches!(open(body), Err(EnvelopeError::NotJson { .. })), "{body}");
        }
        assert_eq!(open(r#"{"data":1}"#), Err(EnvelopeError::MissingType { tag: "event" }));
        for body in [r#"{"event":""}"#, r#"{"event":"a b"}"#, r#"{"event":"\u00e9"}"#] {
            assert_eq!(open(body), Err(EnvelopeError::InvalidType), "{body}");
        }
    }

    #[test]
    fn without_a_content_member_the_body_is_the_payload() {
        let envelope = Envelope {
            tag: None,
            content: None,
        };
        let body = Bytes::from_static(br#"{"zen":"x"}"#);
        let opened = envelope
            .open(&body, Some(EventType::from_static("ping")), |_| None)
            .unwrap();
        assert_eq!(opened.event_type, "ping");
        assert_eq!(opened.payload.json(), r#"{"zen":"x"}"#);
        assert_eq!(opened.payload.to_bytes().as_ptr(), body.as_ptr());
    }
}
