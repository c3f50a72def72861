//! The signed content: ordered parts that are fed to the MAC one after the other.

use std::fmt;

use crate::scheme::HeaderName;

/// One part of the signed content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Body,
    /// The raw value of a header field.
    Header(HeaderName),
    /// The delivery id as it stands in its header.
    Id,
    Literal(Box<str>),
    /// The sender's time as it stands in the request, never re-printed.
    Timestamp,
}

/// The parts in order; the body is exactly one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    parts: Vec<Part>,
    body_at: usize,
}

impl Content {
    /// Reads a template such as `{id}.{timestamp}.{body}`; `{{` and `}}` stand for braces.
    pub(super) fn parse(template: &str) -> Result<Self, ContentError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = template;
        while let Some(next) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                literal.push(next);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let (name, after) = after.split_once('}').ok_or(ContentError::OpenBrace)?;
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal).into()));
                }
                parts.push(part(name)?);
                rest = after;
            } else if next == '}' {
                return Err(ContentError::StrayBrace);
            } else {
                literal.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.into()));
        }
        let mut bodies = parts.iter().enumerate().filter(|(_, part)| **part == Part::Body);
        match (bodies.next(), bodies.next()) {
            (Some((body_at, _)), None) => Ok(Self { body_at, parts }),
            _ => Err(ContentError::NotOneBody),
        }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether `id` holds the text that ends it in the signed content.
    ///
    /// Then the same signed bytes could be cut in another place: whoever has a say in what a provider sends could have
    /// `….1750000000.…` signed as a body, and hand it in as an id, a fresh time and another body. The Standard Webhooks
    /// specification ("Signature scheme") forbids the `.` in ids for that reason.
    pub(super) fn blurs_the_end_of(&self, id: &[u8]) -> bool {
        self.parts.windows(2).any(|pair| match pair {
            [Part::Id, Part::Literal(end)] => id.windows(end.len()).any(|window| window == end.as_bytes()),
            _ => false,
        })
    }

    /// The parts before the body.
    pub(crate) fn before_body(&self) -> &[Part] {
        &self.parts[..self.body_at]
    }

    /// The parts after the body.
    pub(crate) fn after_body(&self) -> &[Part] {
        &self.parts[self.body_at + 1..]
    }
}

/// The template that reads back to the same content.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Body => f.write_str("{body}")?,
                Part::Header(name) => write!(f, "{{header:{}}}", name.as_str())?,
                Part::Id => f.write_str("{id}")?,
                Part::Literal(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Part::Timestamp => f.write_str("{timestamp}")?,
            }
        }
        Ok(())
    }
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ContentError {
    #[error("it must hold `{{body}}` exactly once, as in \"{{timestamp}}.{{body}}\"")]
    NotOneBody,
    #[error("a `{{` is never closed; write `{{{{` for a brace that is signed as it is")]
    OpenBrace,
    #[error("a `}}` closes nothing; write `}}}}` for a brace that is signed as it is")]
    StrayBrace,
    #[error("`{{{0}}}` is not known: there are {{body}}, {{id}}, {{timestamp}} and {{header:NAME}}")]
    UnknownPart(String),
}

fn part(name: &str) -> Result<Part, ContentError> {
    match name {
        "body" => Ok(Part::Body),
        "id" => Ok(Part::Id),
        "timestamp" => Ok(Part::Timestamp),
        _ => name
            .strip_prefix("header:")
            .and_then(HeaderName::new)
            .map(Part::Header)
            .ok_or_else(|| ContentError::UnknownPart(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_read_back() {
        for template in [
            "{body}",
            "{id}.{timestamp}.{body}",
            "v0:{timestamp}:{body}",
            "{{{header:x-url}}}{body}\u{e9}",
        ] {
            assert_eq!(Content::parse(template).unwrap().to_string(), template);
        }
    }

    #[test]
    fn a_template_without_exactly_one_body_is_refused() {
        for template in ["", "x", "{id}", "{body}{body}"] {
            assert_eq!(Content::parse(template), Err(ContentError::NotOneBody), "{template}");
        }
    }

    #[test]
    fn an_id_that_holds_its_own_end_is_told() {
        let content = Content::parse("{id}.{timestamp}.{body}").unwrap();
        assert!(content.blurs_the_end_of(b"msg_1.1750000000.{}"));
        assert!(content.blurs_the_end_of(b"."));
        assert!(!content.blurs_the_end_of(b"msg_1"));
        assert!(!Content::parse("{body}.{id}").unwrap().blurs_the_end_of(b"."));
    }

    #[test]
    fn broken_templates_say_what_is_broken() {
        assert_eq!(Content::parse("{body"), Err(ContentError::OpenBrace));
        assert_eq!(Content::parse("body}"), Err(ContentError::StrayBrace));
        for name in ["url", "header:", "header:a b", "Body", ""] {
            assert_eq!(
                Content::parse(&format!("{{{name}}}{{body}}")),
                Err(ContentError::UnknownPart(name.into()))
            );
        }
    }
}
