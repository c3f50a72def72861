//! What is wrong with a scheme, all of it at once.

use std::fmt;

use crate::scheme::{EventTypeSource, HeaderName, IdSource, SignatureHeader, TimestampSource};

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

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, setting: &'static str, mistake: impl fmt::Display) {
        self.0.push((setting, mistake.to_string()));
    }

    pub(super) fn header(&mut self, setting: &'static str, name: &str) -> HeaderName {
        HeaderName::new(name).unwrap_or_else(|| {
            self.push(setting, "must be the name of a header, such as \"webhook-signature\"");
            HeaderName::refused()
        })
    }

    pub(super) fn distinct_headers(
        &mut self,
        signature: &SignatureHeader,
        timestamp: &TimestampSource,
        id: &IdSource,
        event_type: &EventTypeSource,
    ) {
        let time = match timestamp {
            TimestampSource::Header(name) => Some(name),
            TimestampSource::Element(_) | TimestampSource::None => None,
        };
        let id = match id {
            IdSource::Header(name) => Some(name),
            IdSource::None | IdSource::Pointer(_) => None,
        };
        let event_type = match event_type {
            EventTypeSource::Header(name) => Some(name),
            EventTypeSource::Envelope => None,
        };
        let signature = Some(&signature.header);
        let taken = |name: Option<&HeaderName>, by: &[Option<&HeaderName>]| {
            name.is_some_and(|name| *name != HeaderName::refused()) && by.contains(&name)
        };
        if taken(time, &[signature]) {
            self.push("timestamp.header", "is the signature's header: use timestamp.element");
        }
        if taken(id, &[signature, time]) {
            self.push("id.header", "is a header that holds something else already");
        }
        if taken(event_type, &[signature, time, id]) {
            self.push("event_type.header", "is a header that holds something else already");
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(setting, mistake)| write!(f, "\n  {setting}: {mistake}"))
    }
}
