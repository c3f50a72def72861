//! A scheme of one's own, checked as a whole.

use std::borrow::Cow;
use std::time::Duration;

use crate::encoding::{MacEncoding, SecretFormat};
use crate::ids::Source;
use crate::scheme::error::Mistakes;
use crate::scheme::{
    Content, EventTypeSource, HeaderName, IdSource, Part, Scheme, SchemeError, SignatureHeader, TimestampSource,
    points_inside,
};

/// The tolerance where a time is signed and none is set: five minutes, as in the Standard Webhooks specification.
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// The retry horizon where none is set: three days, the longest that a preset's provider documents (Stripe).
const DEFAULT_RETRY_HORIZON: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// The longest retry horizon. No provider's comes near it, and dedupe stores remember for as long.
const MAX_RETRY_HORIZON: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Builds a [`Scheme`]. Decide in this order: where the signature stands, what it covers, how the secret is written.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct SchemeBuilder {
    pub(super) name: String,
    pub(super) header: Option<String>,
    pub(super) separator: Option<char>,
    pub(super) prefix: Cow<'static, str>,
    pub(super) encoding: MacEncoding,
    pub(super) timestamp: Named,
    pub(super) id: Named,
    pub(super) event_type_header: Option<String>,
    pub(super) content: Option<String>,
    pub(super) secret: SecretFormat,
    pub(super) tolerance: Option<Duration>,
    pub(super) retry_horizon: Duration,
}

/// Where a value stands: in a header of its own, or inside something else.
#[derive(Clone, Debug, Default)]
pub(super) enum Named {
    Header(String),
    Inside(String),
    #[default]
    Nowhere,
}

impl SchemeBuilder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            header: None,
            separator: None,
            prefix: Cow::Borrowed(""),
            encoding: MacEncoding::Hex,
            timestamp: Named::Nowhere,
            id: Named::Nowhere,
            event_type_header: None,
            content: None,
            secret: SecretFormat::text(),
            tolerance: None,
            retry_horizon: DEFAULT_RETRY_HORIZON,
        }
    }

    /// The header with the signature or signatures. Required.
    pub fn signature_header(mut self, name: &str) -> Self {
        self.header = Some(name.to_owned());
        self
    }

    /// The character between several items of the signature header; without one the whole value is one item.
    pub fn separator(mut self, separator: char) -> Self {
        self.separator = Some(separator);
        self
    }

    /// What an item begins with when it is a signature, such as `sha256=` or `v1,`. Other items are passed over.
    pub fn prefix(mut self, prefix: impl Into<Cow<'static, str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How signatures are written; lower-case hex unless set.
    pub fn encoding(mut self, encoding: MacEncoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The header with the sender's time, in seconds since the Unix epoch.
    pub fn timestamp_header(mut self, name: &str) -> Self {
        self.timestamp = Named::Header(name.to_owned());
        self
    }

    /// What the item of the signature header begins with that holds the sender's time, such as `t=`.
    pub fn timestamp_element(mut self, prefix: &str) -> Self {
        self.timestamp = Named::Inside(prefix.to_owned());
        self
    }

    /// The header with the delivery id.
    pub fn id_header(mut self, name: &str) -> Self {
        self.id = Named::Header(name.to_owned());
        self
    }

    /// An RFC 6901 pointer to the delivery id in the body, such as `/id`: a string or a whole number.
    pub fn id_pointer(mut self, pointer: &str) -> Self {
        self.id = Named::Inside(pointer.to_owned());
        self
    }

    /// The header with the event type; without one it stands in the envelope.
    pub fn event_type_header(mut self, name: &str) -> Self {
        self.event_type_header = Some(name.to_owned());
        self
    }

    /// What is signed: text with `{body}` and, where they are signed too, `{id}`, `{timestamp}` and `{header:NAME}`.
    /// Required.
    ///
    /// Text stands between the parts, so that a value cannot be mistaken for a piece of its neighbour. A delivery whose
    /// id or header holds that very text is refused, since the same signature would fit it cut in another place.
    pub fn content(mut self, template: &str) -> Self {
        self.content = Some(template.to_owned());
        self
    }

    /// How key bytes are made of the secret; its text as it is unless set.
    pub fn secret(mut self, format: SecretFormat) -> Self {
        self.secret = format;
        self
    }

    /// How far the sender's clock may be from ours, in either direction, in whole seconds. Five minutes unless set
    /// (Standard Webhooks), and only where the time is signed.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// For how long after the first attempt the sender may still come back, in whole seconds and at most 366 days;
    /// three days unless set.
    pub fn retry_horizon(mut self, horizon: Duration) -> Self {
        self.retry_horizon = horizon;
        self
    }

    /// The scheme.
    ///
    /// # Errors
    ///
    /// All mistakes at once, each naming the setting and what would work.
    pub fn build(self) -> Result<Scheme, SchemeError> {
        let mut mistakes = Mistakes::default();
        let name = Source::new(&self.name).unwrap_or_else(|error| {
            mistakes.push("name", error);
            Source::placeholder()
        });
        let header = match &self.header {
            Some(header) => mistakes.header("signature.header", header),
            None => {
                mistakes.push("signature.header", "is missing: name the header with the signature");
                HeaderName::refused()
            }
        };
        self.check_separator(&mut mistakes);
        if !printable(&self.prefix) {
            mistakes.push("signature.prefix", "must be at most 32 visible ASCII characters, such as \"v1=\"");
        }
        let timestamp = self.timestamp_source(&mut mistakes);
        let id = self.id_source(&mut mistakes);
        let event_type = match &self.event_type_header {
            Some(name) => EventTypeSource::Header(mistakes.header("event_type.header", name)),
            None => EventTypeSource::Envelope,
        };
        let content = self.signed_content(&timestamp, &id, &mut mistakes);
        let tolerance = match (&timestamp, self.tolerance) {
            (TimestampSource::None, None) => None,
            (TimestampSource::None, Some(_)) => {
                mistakes.push("tolerance", "is set, but no time is signed: drop it, or say where the timestamp stands");
                None
            }
            (_, None) => Some(DEFAULT_TOLERANCE),
            (_, Some(tolerance)) => {
                if tolerance < Duration::from_secs(1) || tolerance > Duration::from_secs(24 * 60 * 60) {
                    mistakes.push("tolerance", "must be between 1 second and 1 day, such as 300 seconds");
                }
                Some(Duration::from_secs(tolerance.as_secs()))
            }
        };
        let retry_horizon = Duration::from_secs(self.retry_horizon.as_secs());
        if retry_horizon > MAX_RETRY_HORIZON {
            mistakes.push("retry_horizon", "must be at most 366 days, such as 259200 seconds");
        }
        let signature =
            SignatureHeader { header, separator: self.separator, prefix: self.prefix, encoding: self.encoding };
        mistakes.distinct_headers(&signature, &timestamp, &id, &event_type);
        let signs_itself = |part: &Part| matches!(part, Part::Header(name) if *name == signature.header);
        if content.iter().any(|content| content.parts().iter().any(signs_itself)) {
            mistakes.push("content", "signs the header that holds the signature: take it out");
        }
        if !mistakes.is_empty() {
            return Err(SchemeError::Mistakes(mistakes));
        }
        let content = content.ok_or(SchemeError::Mistakes(mistakes))?;
        Ok(Scheme {
            name,
            signature,
            timestamp,
            id,
            event_type,
            content,
            secret: self.secret,
            tolerance,
            retry_horizon,
        })
    }

    /// An item that holds the separator would fall apart when it is read.
    fn check_separator(&self, mistakes: &mut Mistakes) {
        let Some(separator) = self.separator else { return };
        let mut push = |mistake| mistakes.push("signature.separator", mistake);
        if !(separator == ' ' || separator.is_ascii_punctuation()) {
            push("must be a space or a punctuation character, such as \",\"");
        }
        if self.encoding.uses(separator) {
            push("is a character of signature.encoding: take one that no signature holds, such as \",\"");
        }
        if self.prefix.contains(separator) {
            push("stands in signature.prefix: take one that no item holds, such as \" \"");
        }
        if matches!(&self.timestamp, Named::Inside(element) if element.contains(separator)) {
            push("stands in timestamp.element: take one that no item holds, such as \" \"");
        }
    }

    fn timestamp_source(&self, mistakes: &mut Mistakes) -> TimestampSource {
        match &self.timestamp {
            Named::Header(name) => TimestampSource::Header(mistakes.header("timestamp.header", name)),
            Named::Inside(element) => {
                if self.separator.is_none() {
                    mistakes.push("timestamp.element", "needs signature.separator, such as \",\"");
                }
                if element.is_empty() || !printable(element) {
                    mistakes.push("timestamp.element", "must be 1 to 32 visible ASCII characters, such as \"t=\"");
                } else if element.starts_with(&*self.prefix) || self.prefix.starts_with(element.as_str()) {
                    mistakes.push("timestamp.element", "cannot be told from signature.prefix: both begin alike");
                }
                TimestampSource::Element(Cow::Owned(element.clone()))
            }
            Named::Nowhere => TimestampSource::None,
        }
    }

    fn id_source(&self, mistakes: &mut Mistakes) -> IdSource {
        match &self.id {
            Named::Header(name) => IdSource::Header(mistakes.header("id.header", name)),
            Named::Inside(pointer) => {
                if !points_inside(pointer) {
                    mistakes.push("id.pointer", "must be an RFC 6901 pointer, such as \"/id\"");
                }
                IdSource::Pointer(Cow::Owned(pointer.clone()))
            }
            Named::Nowhere => IdSource::None,
        }
    }

    fn signed_content(&self, timestamp: &TimestampSource, id: &IdSource, mistakes: &mut Mistakes) -> Option<Content> {
        let Some(template) = &self.content else {
            mistakes.push("content", "is missing: say what is signed, such as \"{timestamp}.{body}\"");
            return None;
        };
        let content = match Content::parse(template) {
            Ok(content) => content,
            Err(error) => {
                mistakes.push("content", error);
                return None;
            }
        };
        let signs = |part: &Part| content.parts().contains(part);
        if signs(&Part::Id) && !matches!(id, IdSource::Header(_)) {
            mistakes.push("content", "signs {id}: set id.header, the header that it stands in");
        }
        match timestamp {
            TimestampSource::None if signs(&Part::Timestamp) => {
                mistakes.push("content", "signs {timestamp}: set timestamp.header or timestamp.element");
            }
            TimestampSource::Element(_) | TimestampSource::Header(_) if !signs(&Part::Timestamp) => {
                // A time that anyone may rewrite protects nothing, and looks as if it did.
                mistakes.push("timestamp", "is not signed: put {timestamp} into content, or drop the timestamp");
            }
            _ => {}
        }
        Some(content)
    }
}

fn printable(text: &str) -> bool {
    text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(builder: SchemeBuilder) -> Vec<&'static str> {
        match builder.build() {
            Ok(scheme) => panic!("built {scheme:?}"),
            Err(SchemeError::Mistakes(mistakes)) => mistakes.iter().map(|(setting, _)| setting).collect(),
            Err(SchemeError::Syntax(text)) => panic!("{text}"),
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let builder = Scheme::builder("a b")
            .separator('x')
            .prefix("v\n")
            .timestamp_element("")
            .id_pointer("id")
            .event_type_header("x y")
            .tolerance(Duration::ZERO);
        assert_eq!(
            settings(builder),
            [
                "name",
                "signature.header",
                "signature.separator",
                "signature.prefix",
                "timestamp.element",
                "id.pointer",
                "event_type.header",
                "content",
                "tolerance",
            ]
        );
    }

    #[test]
    fn what_is_signed_must_stand_somewhere_and_a_time_must_be_signed() {
        let base = || Scheme::builder("acme").signature_header("x-signature");
        assert_eq!(settings(base().content("{id}.{timestamp}.{body}")), ["content", "content"]);
        assert_eq!(settings(base().content("{id}.{body}").id_pointer("/id")), ["content"]);
        assert_eq!(settings(base().content("{body}").timestamp_header("x-time")), ["timestamp"]);
        assert_eq!(settings(base().content("{body}").tolerance(Duration::from_secs(9))), ["tolerance"]);
        assert_eq!(settings(base().content("{body}").id_header("X-Signature")), ["id.header"]);
        assert!(base().content("{body}").build().is_ok());
    }

    #[test]
    fn an_item_that_would_fall_apart_at_the_separator_is_refused() {
        let base = || Scheme::builder("acme").signature_header("x-signature").content("{body}");
        for (encoding, separator) in [
            (MacEncoding::Base64, '='),
            (MacEncoding::Base64, '+'),
            (MacEncoding::Base64, '/'),
            (MacEncoding::Base64Url, '-'),
            (MacEncoding::Base64Url, '_'),
        ] {
            let builder = base().encoding(encoding).separator(separator);
            assert_eq!(settings(builder), ["signature.separator"], "{separator}");
        }
        assert_eq!(settings(base().separator(',').prefix("v1,")), ["signature.separator"]);
        let timed = base().content("{timestamp}{body}").prefix("v1").separator('=');
        assert_eq!(settings(timed.timestamp_element("t=")), ["signature.separator"]);
    }

    #[test]
    fn a_header_holds_one_thing_and_the_signature_does_not_sign_itself() {
        let base = || Scheme::builder("acme").signature_header("x-signature");
        let named = base().content("{timestamp}{body}").timestamp_header("x-time").id_header("x-id");
        for taken in ["X-Signature", "x-time", "x-id"] {
            let builder = named.clone().event_type_header(taken);
            assert_eq!(settings(builder), ["event_type.header"], "{taken}");
        }
        assert_eq!(settings(base().content("{header:X-Signature}.{body}")), ["content"]);
    }

    #[test]
    fn a_retry_horizon_that_no_file_could_hold_is_refused() {
        let base = || Scheme::builder("acme").signature_header("x-signature").content("{body}");
        assert_eq!(settings(base().retry_horizon(Duration::MAX)), ["retry_horizon"]);
        let longest = base().retry_horizon(MAX_RETRY_HORIZON).build().unwrap();
        assert_eq!(Scheme::from_toml(&longest.to_toml()), Ok(longest));
    }

    #[test]
    fn a_pointer_has_no_escape_but_the_two_of_rfc_6901() {
        let base = || Scheme::builder("acme").signature_header("x-signature").content("{body}");
        for pointer in ["", "id", "/~", "/~2", "/a~/b"] {
            assert_eq!(settings(base().id_pointer(pointer)), ["id.pointer"], "{pointer}");
        }
        assert!(base().id_pointer("/a~0b/~1").build().is_ok());
    }

    #[test]
    fn the_message_names_each_setting_and_what_would_work() {
        let error = Scheme::builder("acme").content("{url}{body}").build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the scheme cannot be used:\n  \
             signature.header: is missing: name the header with the signature\n  \
             content: `{url}` is not known: there are {body}, {id}, {timestamp} and {header:NAME}"
        );
    }
}
