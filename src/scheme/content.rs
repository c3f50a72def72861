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
        let content = match (bodies.next(), bodies.next()) {
            (Some((body_at, _)), None) => Self { body_at, parts },
            _ => return Err(ContentError::NotOneBody),
        };
        if content.runs_together() {
            return Err(ContentError::RunTogether);
        }
        Ok(content)
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether `value`, which stands for the part at `index`, holds the text that parts it from the body.
    ///
    /// Then the same signed bytes could be cut in another place: whoever has a say in what a provider sends could have
    /// `….1750000000.…` signed as a body, and hand it in as an id, a fresh time and another body. The Standard Webhooks
    /// specification ("Signature scheme") forbids the `.` in ids for that reason.
    pub(crate) fn blurs_the_edge_of(&self, index: usize, value: &[u8]) -> bool {
        // Read from the outside in: what stands before the body ends at its text, what stands behind begins after it.
        if index < self.body_at {
            let Some(Part::Literal(end)) = self.parts.get(index + 1) else {
                return false;
            };
            let end = end.as_bytes();
            (0..value.len()).any(|at| match &value[at..] {
                rest if rest.len() >= end.len() => rest.starts_with(end),
                rest => end.strip_prefix(rest).is_some_and(|more| end.starts_with(more)),
            })
        } else {
            let Some(Part::Literal(start)) = self.parts.get(index - 1) else {
                return false;
            };
            let start = start.as_bytes();
            (1..=value.len()).any(|at| match &value[..at] {
                rest if rest.len() >= start.len() => rest.ends_with(start),
                rest => start.strip_suffix(rest).is_some_and(|more| start.ends_with(more)),
            })
        }
    }

    /// Whether two parts stand side by side so that nobody can tell where the one ends.
    ///
    /// A time before the body is the exception: with a digit more or less it is none of this age.
    fn runs_together(&self) -> bool {
        let apart = |pair: &[Part]| {
            matches!(pair, [Part::Literal(_), _] | [_, Part::Literal(_)] | [Part::Timestamp, Part::Body])
        };
        !self.parts.windows(2).all(apart)
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
    #[error(
        "two parts run together, so that one could be mistaken for the other: put a text between, as in \"{{id}}.{{body}}\""
    )]
    RunTogether,
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
        for template in ["{body}", "{id}.{timestamp}.{body}", "v0:{timestamp}:{body}", "{{{header:x-url}}}{body}\u{e9}"]
        {
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
    fn a_value_that_holds_its_own_edge_is_told() {
        let content = Content::parse("{id}.{timestamp}.{body}").unwrap();
        assert!(content.blurs_the_edge_of(0, b"msg_1.1750000000.{}"));
        assert!(content.blurs_the_edge_of(0, b"."));
        assert!(!content.blurs_the_edge_of(0, b"msg_1"));
        for (template, index, blurred, clear) in [
            ("{header:x-kind}.{body}", 0, "a.b", "a:b"),
            ("{body}.{id}", 2, "a.b", "a:b"),
            // The text may begin in the value and end in itself: `a-` and `--` are `a` and `--` and `-`.
            ("{id}--{body}", 0, "a-", "-a"),
            ("{body}--{id}", 2, "-a", "a-"),
            ("{id}ab{body}", 0, "xab", "xa"),
            ("{body}aba{id}", 2, "ba", "b"),
            ("v0:{id}:{body}", 1, ":", "v0"),
        ] {
            let content = Content::parse(template).unwrap();
            assert!(content.blurs_the_edge_of(index, blurred.as_bytes()), "{template}");
            assert!(!content.blurs_the_edge_of(index, clear.as_bytes()), "{template}");
        }
    }

    #[test]
    fn parts_that_run_together_are_refused() {
        for template in [
            "{id}{body}",
            "{id}{timestamp}.{body}",
            "{header:x-a}{header:x-b}.{body}",
            "{header:x-a}{body}",
            "{body}{id}",
            "{body}{timestamp}",
        ] {
            assert_eq!(Content::parse(template), Err(ContentError::RunTogether), "{template}");
        }
        assert!(Content::parse("{timestamp}{body}").is_ok());
    }

    #[test]
    fn broken_templates_say_what_is_broken() {
        assert_eq!(Content::parse("{body"), Err(ContentError::OpenBrace));
        assert_eq!(Content::parse("body}"), Err(ContentError::StrayBrace));
        for name in ["url", "header:", "header:a b", "Body", ""] {
            assert_eq!(Content::parse(&format!("{{{name}}}{{body}}")), Err(ContentError::UnknownPart(name.into())));
        }
    }
}
