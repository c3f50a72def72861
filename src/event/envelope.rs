//! Where the type and the payload stand in a body, and how they are read in one pass.
//!
//! The members of the body are read in order until the type is known and the payload found. The payload is then
//! decoded where it stands, and what is left of the body read behind it. No byte is read twice, unless the payload
//! stands before the type, and none behind the type of an event in which nobody has an interest.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, Visitor};

use crate::event::payload::Place;
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

/// An envelope that was read as far as its type and the beginning of its payload.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) event_type: EventType,
    tag: Option<&'static str>,
    content: Option<&'static str>,
    place: Place<'a>,
    rest: Rest,
}

/// What of the body is still unread once its payload has been read.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// What is behind the payload.
    BehindPayload,
    /// The members from here on.
    Members(usize),
    Nothing,
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
        let mut members = Members::begin(body)?;
        let mut name = None;
        let mut place = self.content.is_none().then(|| Place::from(body, members.begin));
        let mut rest = Rest::BehindPayload;
        while (name.is_none() && tag.is_some()) || place.is_none() {
            let Some(member) = members.next(tag, self.content)? else {
                rest = Rest::Nothing;
                break;
            };
            match member {
                // Two members of one name are read differently by different parsers: refuse what could be either.
                Member::Tag if name.is_some() => return Err(members.mistake()),
                Member::Content if place.is_some() => return Err(members.mistake()),
                Member::Tag => {
                    name = Some(members.value::<Text<'_>>()?.0);
                    if place.is_some() {
                        rest = Rest::Members(members.at);
                    }
                }
                Member::Content => {
                    let found = place.insert(Place::from(body, members.at));
                    if name.is_none() && tag.is_some() {
                        members.value::<IgnoredAny>()?;
                        found.ends_at(members.at);
                    }
                }
                Member::Other => {
                    members.value::<IgnoredAny>()?;
                }
            }
        }
        let event_type = match (header_type, name) {
            (Some(event_type), _) => event_type,
            (None, Some(name)) => {
                let name = known(&name).map_or_else(|| EventType::new(&name), EventType::known);
                name.map_err(|_| EnvelopeError::InvalidType)?
            }
            (None, None) => {
                let tag = tag.unwrap_or("(header)");
                return Err(EnvelopeError::MissingType { tag });
            }
        };
        Ok(Opened { event_type, tag, content: self.content, place: place.unwrap_or(Place::null(body)), rest })
    }
}

impl<'a> Opened<'a> {
    /// The payload, to be decoded before [`close`](Self::close).
    pub(crate) fn payload(&self) -> RawPayload<'_> {
        RawPayload::new(&self.place)
    }

    /// Reads what is left of the body: only now is it known to be JSON to its end, and one event.
    pub(crate) fn close(&self) -> Result<(), EnvelopeError> {
        let body = self.place.body();
        let behind = || self.place.end().ok_or_else(|| self.place.mistake());
        let mut members = match self.rest {
            Rest::Nothing => return Ok(()),
            Rest::Members(at) => Members::resume(body, at),
            Rest::BehindPayload if self.content.is_none() => return Members::resume(body, behind()?).finish(),
            Rest::BehindPayload => Members::resume(body, behind()?),
        };
        while let Some(member) = members.next(self.tag, self.content)? {
            match member {
                Member::Tag | Member::Content => return Err(members.mistake()),
                Member::Other => members.value::<IgnoredAny>()?,
            };
        }
        Ok(())
    }
}

/// Reads the members of a JSON object, one after the other.
struct Members<'a> {
    body: &'a [u8],
    /// Where the object begins.
    begin: usize,
    /// How far it was read.
    at: usize,
}

#[derive(Clone, Copy)]
enum Member {
    Content,
    Other,
    Tag,
}

impl<'a> Members<'a> {
    fn begin(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut members = Self { body, begin: 0, at: 0 };
        match members.mark() {
            Some(b'{') => Ok(Self { begin: members.at - 1, ..members }),
            _ => Err(members.mistake()),
        }
    }

    /// To go on `at` the end of a value.
    fn resume(body: &'a [u8], at: usize) -> Self {
        Self { body, begin: 0, at }
    }

    /// The next member's name, up to its value. At the object's end, there must be nothing behind it.
    fn next(&mut self, tag: Option<&str>, content: Option<&str>) -> Result<Option<Member>, EnvelopeError> {
        let first = self.at == self.begin + 1;
        match self.mark() {
            Some(b'}') => return self.finish().map(|()| None),
            Some(b'"') if first => self.at -= 1,
            Some(b',') if !first => {}
            _ => return Err(self.mistake()),
        }
        let name = self.value::<Text<'_>>()?.0;
        let member = match Some(&*name) {
            name if name == tag => Member::Tag,
            name if name == content => Member::Content,
            _ => Member::Other,
        };
        match self.mark() {
            Some(b':') => Ok(Some(member)),
            _ => Err(self.mistake()),
        }
    }

    fn value<T: Deserialize<'a>>(&mut self) -> Result<T, EnvelopeError> {
        let mut values = serde_json::Deserializer::from_slice(&self.body[self.at..]).into_iter();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) => Err(EnvelopeError::not_json(self.body, self.at, &error)),
            None => Err(self.mistake()),
        }
    }

    fn finish(&mut self) -> Result<(), EnvelopeError> {
        match self.mark() {
            None => Ok(()),
            Some(_) => Err(self.mistake()),
        }
    }

    /// The next byte that is not white space.
    fn mark(&mut self) -> Option<u8> {
        let rest = &self.body[self.at..];
        let space = rest.iter().take_while(|byte| b" \t\n\r".contains(byte)).count();
        self.at += space;
        let mark = rest.get(space).copied();
        self.at += usize::from(mark.is_some());
        mark
    }

    /// Something is wrong with what was read last.
    fn mistake(&self) -> EnvelopeError {
        EnvelopeError::not_json_at(self.body, self.at)
    }
}

/// A string, borrowed from the body where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Self)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
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

    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };

    fn open(body: &'static str) -> Result<(String, &'static str), EnvelopeError> {
        let body: &'static Bytes = Box::leak(Box::new(Bytes::from_static(body.as_bytes())));
        let opened = Box::leak(Box::new(ENVELOPE.open(body, None, |_| None)?));
        let json = opened.payload().json();
        opened.close()?;
        Ok((opened.event_type.to_string(), json))
    }

    #[test]
    fn the_payload_stays_as_it_came() {
        let expected = || Ok(("a.b".to_owned(), r#"{ "x" : 1e2 }"#));
        assert_eq!(open(r#"{"event":"a.b","data":{ "x" : 1e2 }}"#), expected());
        assert_eq!(open(r#" {"data":{ "x" : 1e2 } , "other":[{}], "event":"\u0061.b"} "#), expected());
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
            r#"{"event":"a",}"#,
            r#"{,"event":"a"}"#,
            r#"{"event":"a" "data":1}"#,
            r#"{"event":"a","data":1"x":2}"#,
            r#"{"event":"a","data":1}}"#,
            r#"{"event":"a","data":1"#,
            r#"{"event":"a","data":}"#,
            r#"{"event":"a","data":[}"#,
            r#"{"event":"a","data"}"#,
            r#"{"event" "a"}"#,
            r#"{event:"a"}"#,
            "{\"event\":\"\u{1}\"}",
        ] {
            assert!(matches!(open(body), Err(EnvelopeError::NotJson { .. })), "{body}");
        }
        for body in [
            r#"{"event":"a","event":"b"}"#,
            r#"{"event":"a","data":1,"event":"b"}"#,
            r#"{"event":"a","data":1,"data":2}"#,
            r#"{"data":1,"data":2,"event":"a"}"#,
            r#"{"data":1,"event":"a","data":2}"#,
        ] {
            assert!(matches!(open(body), Err(EnvelopeError::NotJson { .. })), "{body}");
        }
        assert_eq!(open(r#"{"data":1}"#), Err(EnvelopeError::MissingType { tag: "event" }));
        for body in [r#"{"event":""}"#, r#"{"event":"a b"}"#, r#"{"event":"\u00e9"}"#] {
            assert_eq!(open(body), Err(EnvelopeError::InvalidType), "{body}");
        }
    }

    #[test]
    fn without_a_content_member_the_body_is_the_payload() {
        let envelope = Envelope { tag: None, content: None };
        let body = Bytes::from_static(br#"{"zen":"x"}"#);
        let opened = envelope.open(&body, Some(EventType::from_static("ping")), |_| None).unwrap();
        assert_eq!(opened.event_type, "ping");
        assert_eq!(opened.payload().json(), r#"{"zen":"x"}"#);
        assert_eq!(opened.payload().to_bytes().as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_payload_is_decoded_where_it_stands_and_the_rest_read_behind_it() {
        for body in [
            r#"{"event":"a","data":{"x":7}}"#,
            r#"{"event":"a" , "data": {"x":7} , "more":[1,{"data":2}] } "#,
            r#"{"data":{"x":7},"more":1,"event":"a"}"#,
            r#"{"more":1,"data":{"x":7},"event":"a","less":null}"#,
        ] {
            let bytes = Bytes::from(body);
            let opened = ENVELOPE.open(&bytes, None, |_| None).unwrap();
            let payload: std::collections::HashMap<String, u8> = opened.payload().decode().unwrap();
            assert_eq!(payload["x"], 7, "{body}");
            assert_eq!(opened.close(), Ok(()), "{body}");
            assert_eq!(opened.payload().json(), r#"{"x":7}"#, "{body}");
        }
    }

    #[test]
    fn a_payload_that_does_not_decode_is_told_from_a_body_that_is_not_json() {
        for (body, is_json) in [
            (r#"{"event":"a","data":"text"}"#, true),
            (r#"{"event":"a","data":[1,2"#, false),
            (r#"{"event":"a","data":7 8}"#, false),
        ] {
            let bytes = Bytes::from(body);
            let opened = ENVELOPE.open(&bytes, None, |_| None).unwrap();
            assert!(opened.payload().decode::<Vec<bool>>().is_err(), "{body}");
            assert_eq!(opened.close().is_ok(), is_json, "{body}");
        }
    }

    #[test]
    fn a_body_is_not_read_behind_its_type_before_somebody_asks() {
        let body = Bytes::from_static(br#"{"event":"a","data":[1,"#);
        assert!(ENVELOPE.open(&body, None, |_| None).is_ok());
    }

    #[test]
    fn a_mistake_is_told_by_its_place_in_the_body() {
        let place = |body: &'static str| match open(body) {
            Err(EnvelopeError::NotJson { line, column }) => (line, column),
            other => panic!("{other:?}"),
        };
        assert_eq!(place("{\"event\":7}"), (1, 10));
        assert_eq!(place("{\"event\":\n  \"a\",\n \"x\":tru}"), (3, 9));
    }

    #[test]
    fn a_type_beside_the_members_of_its_payload() {
        let envelope = Envelope { tag: Some("type"), content: None };
        let body = Bytes::from_static(br#" {"type":"a","x":1} "#);
        let opened = envelope.open(&body, None, |_| None).unwrap();
        assert_eq!(opened.payload().json(), r#"{"type":"a","x":1}"#);
        assert_eq!(opened.close(), Ok(()));
        let body = Bytes::from_static(br#"{"type":"a","type":"b"}"#);
        let opened = envelope.open(&body, None, |_| None).unwrap();
        assert!(opened.close().is_err());
    }

    proptest::proptest! {
        /// What is between the members is read by hand here: it must be neither more nor less than what serde_json
        /// takes for an object.
        #[test]
        fn an_object_is_what_serde_json_takes_for_one(
            text in r#" ?\{ ?"(event|x)" ?: ?("a"|1|-|\[\]|null)( ?[,:] ?"(event|data|y)" ?: ?("a"|[ 1]{1,3}|\{"b":2\})){0,2}[, ]?\}[ \}]?"#,
            lost in proptest::option::of(0_usize..40),
        ) {
            let lost = lost.filter(|at| *at < text.len());
            let text = lost.map_or(text.clone(), |at| format!("{}{}", &text[..at], &text[at + 1..]));
            let body = Bytes::from(text.clone().into_bytes());
            let object: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&body).ok();
            let once = |name| text.matches(name).count() <= 1;
            let read = ENVELOPE.open(&body, None, |_| None).and_then(|opened| opened.close());
            match (object, read) {
                (None, read) => proptest::prop_assert!(read.is_err()),
                (Some(object), read) if once("event") && once("data") => {
                    let named = object.get("event").is_some_and(|name| name == "a");
                    proptest::prop_assert_eq!(read.is_ok(), named);
                }
                (Some(_), _) => {}
            }
        }
    }
}
