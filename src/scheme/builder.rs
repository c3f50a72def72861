//! A scheme of one's own, checked as a whole.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::encoding::{MacEncoding, SecretFormat};
use crate::ids::Source;
use crate::scheme::{Content, EventTypeSource, HeaderName, IdSource, Part, Scheme, SignatureHeader, TimestampSource};

/// The tolerance where a time is signed and none is set: five minutes, as in the Standard Webhooks specification.
const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// The retry horizon where none is set: three days, the longest that a preset's provider documents (Stripe).
const DEFAULT_RETRY_HORIZON: Duration = Duration::from_secs(3 * 24 * 60 * 60);

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

    /// An RFC 6901 pointer to the delivery id in the body, such as `/id`.
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

    /// For how long after the first attempt the sender may still come back; three days unless set.
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
                HeaderName(Cow::Borrowed("x"))
            }
        };
        if self
            .separator
            .is_some_and(|separator| !(separator == ' ' || separator.is_ascii_punctuation()))
        {
            mistakes.push(
                "signature.separator",
                "must be a space or a punctuation character, such as \",\"",
            );
        }
        if !printable(&self.prefix) {
            mistakes.push(
                "signature.prefix",
                "must be at most 32 visible ASCII characters, such as \"v1=\"",
            );
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
                mistakes.push(
                    "tolerance",
                    "is set, but no time is signed: drop it, or say where the timestamp stands",
                );
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
        let signature = SignatureHeader {
            header,
            separator: self.separator,
            prefix: self.prefix,
            encoding: self.encoding,
        };
        mistakes.distinct_headers(&signature, &timestamp, &id);
        if !mistakes.0.is_empty() {
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

    fn timestamp_source(&self, mistakes: &mut Mistakes) -> TimestampSource {
        match &self.timestamp {
            Named::Header(name) => TimestampSource::Header(mistakes.header("timestamp.header", name)),
            Named::Inside(element) => {
                if self.separator.is_none() {
                    mistakes.push("timestamp.element", "needs signature.separator, such as \",\"");
                }
                if element.is_empty() || !printable(element) {
                    mistakes.push(
                        "timestamp.element",
                        "must be 1 to 32 visible ASCII characters, such as \"t=\"",
                    );
                } else if element.starts_with(&*self.prefix) || self.prefix.starts_with(element.as_str()) {
                    mistakes.push(
                        "timestamp.element",
                        "cannot be told from signature.prefix: both begin alike",
                    );
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
                if !pointer.starts_with('/') {
                    mistakes.push("id.pointer", "must be an RFC 6901 pointer, such as \"/id\"");
                }
                IdSource::Pointer(Cow::Owned(pointer.clone()))
            }
            Named::Nowhere => IdSource::None,
        }
    }

    fn signed_content(&self, timestamp: &TimestampSource, id: &IdSource, mistakes: &mut Mistakes) -> Option<Content> {
        let Some(template) = &self.content else {
            mistakes.push(
                "content",
                "is missing: say what is signed, such as \"{timestamp}.{body}\"",
            );
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
                mistakes.push(
                    "content",
                    "signs {timestamp}: set timestamp.header or timestamp.element",
                );
            }
            TimestampSource::Element(_) | TimestampSource::Header(_) if !signs(&Part::Timestamp) => {
                // A time that anyone may rewrite protects nothing, and looks as if it did.
                mistakes.push(
                    "timestamp",
                    "is not signed: put {timestamp} into content, or drop the timestamp",
                );
            }
            _ => {}
        }
        Some(content)
    }
}

/// Why a scheme cannot be used. Holds every mistake, one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// Settings that contradict each other or themselves.
    #[error("the scheme cannot be used:{0}")]
    Mistakes(Mistakes),
    /// A text that is not a scheme in TOML or JSON.
    #[error("the scheme cannot be read: {0}")]
    Syntax(String),
}

/// A list of settings and what is wrong with each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<(&'static str, String)>);

impl Mistakes {
    /// Each setting that is wrong, and what would work.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(setting, mistake)| (*setting, mistake.as_str()))
    }

    fn push(&mut self, setting: &'static str, mistake: impl fmt::Display) {
        self.0.push((setting, mistake.to_string()));
    }

    fn header(&mut self, setting: &'static str, name: &str) -> HeaderName {
        HeaderName::new(name).unwrap_or_else(|| {
            self.push(setting, "must be the name of a header, such as \"webhook-signature\"");
            HeaderName(Cow::Borrowed("x"))
        })
    }

    fn distinct_headers(&mut self, signature: &SignatureHeader, timestamp: &TimestampSource, id: &IdSource) {
        let time = if let TimestampSource::Header(name) = timestamp {
            Some(name)
        } else {
            None
        };
        let id = if let IdSource::Header(name) = id {
            Some(name)
        } else {
            None
        };
        if time == Some(&signature.header) {
            self.push("timestamp.header", "is the signature's header: use timestamp.element");
        }
        if id.is_some() && (id == Some(&signature.header) || id == time) {
            self.push("id.header", "is a header that holds something else already");
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter()
            .try_for_each(|(setting, mistake)| write!(f, "\n  {setting}: {mistake}"))
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
            Err(SchemeError::Mistakes(mistakes)) => mistakes.0.iter().map(|(setting, _)| *setting).collect(),
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
        assert_eq!(
            settings(base().content("{id}{timestamp}{body}")),
            ["content", "content"]
        );
        assert_eq!(settings(base().content("{id}{body}").id_pointer("/id")), ["content"]);
        assert_eq!(
            settings(base().content("{body}").timestamp_header("x-time")),
            ["timestamp"]
        );
        assert_eq!(
            settings(base().content("{body}").tolerance(Duration::from_secs(9))),
            ["tolerance"]
        );
        assert_eq!(
            settings(base().content("{body}").id_header("X-Signature")),
            ["id.header"]
        );
        assert!(base().content("{body}").build().is_ok());
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
