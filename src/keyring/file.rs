//! The key file: TOML tables `[[key]]`, the primary first.

use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use toml::Value;
use zeroize::Zeroizing;

use super::error::KeyringError;
use super::key::Key;
use super::secret::Secret;
use crate::ids::KeyId;
use crate::time::Timestamp;

/// What a key file holds.
#[derive(Debug)]
pub(super) struct Content {
    /// The keys in the file's order, the primary first.
    pub(super) keys: Vec<Key>,
    /// Until when the sender may sign with a key that is not in the file yet.
    pub(super) rotating_until: Option<Timestamp>,
}

/// Reads a key file.
///
/// A failure tells the place and never the line: a parser's own message quotes it, secret and all.
pub(super) fn parse(text: &str) -> Result<Content, KeyringError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let (line, column) = place(text, error.span());
        KeyringError::InvalidToml { line, column }
    })?;
    let rotating_until = match &file.rotating_until {
        Some(value) => Some(moment(value).ok_or(KeyringError::InvalidRotatingUntil)?),
        None => None,
    };
    let keys = file.key.into_iter().enumerate().map(read_key).collect::<Result<_, _>>()?;
    Ok(Content { keys, rotating_until })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rotating_until: Option<Value>,
    #[serde(default)]
    key: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    id: Text,
    secret: Text,
    not_before: Option<Value>,
    not_after: Option<Value>,
}

fn read_key((at, table): (usize, Table)) -> Result<Key, KeyringError> {
    let id = KeyId::new(&table.id.0)
        .map_err(|reason| KeyringError::InvalidId { which: format!("key {} in the file", at + 1), reason })?;
    let secret =
        Secret::new(table.secret.0.as_str()).map_err(|reason| KeyringError::Secret { id: id.clone(), reason })?;
    let mut key = Key::new(id.clone(), secret);
    if let Some(value) = &table.not_before {
        key = key.not_before(read_date(&id, "not_before", value)?);
    }
    if let Some(value) = &table.not_after {
        key = key.not_after(read_date(&id, "not_after", value)?);
    }
    Ok(key)
}

fn read_date(id: &KeyId, setting: &'static str, value: &Value) -> Result<Timestamp, KeyringError> {
    moment(value).ok_or_else(|| KeyringError::InvalidDate { id: id.clone(), setting })
}

/// A date stands bare, as TOML's own, or quoted; either way with an offset, so that it means one moment.
fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Datetime(date) => Timestamp::parse_rfc3339(&date.to_string()).ok(),
        Value::String(text) => Timestamp::parse_rfc3339(text).ok(),
        _ => None,
    }
}

/// Line and column, both from 1, at which `span` begins.
fn place(text: &str, span: Option<Range<usize>>) -> (usize, usize) {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// A string that is wiped on drop. The id is one too, since a secret may stand there by mistake.
struct Text(Zeroizing<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Text, E> {
        Ok(Text(Zeroizing::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        let error = parse(text).unwrap_err();
        let shown = format!("{error} {error:?} {error:#?}");
        assert!(!shown.contains("planted"), "{shown}");
        error.to_string()
    }

    #[test]
    fn the_documented_form_is_read() {
        let keys = parse(
            r#"
            [[key]]
            id = "2026-11"
            secret = "whsec_planted"
            not_before = 2026-11-01T00:00:00Z # bare
            not_after  = "2026-12-01T01:00:00+01:00"

            [[key]]
            id = "2026-10"
            secret = 'pla"nted'
            "#,
        )
        .unwrap()
        .keys;
        let at = |text| Some(Timestamp::parse_rfc3339(text).unwrap());
        assert_eq!(keys.len(), 2);
        assert_eq!(keys[0].info.id(), "2026-11");
        assert_eq!(keys[0].info.not_before(), at("2026-11-01T00:00:00Z"));
        assert_eq!(keys[0].info.not_after(), at("2026-12-01T00:00:00Z"));
        assert_eq!(keys[0].secret.expose_secret(), b"whsec_planted");
        assert_eq!(keys[1].secret.expose_secret(), b"pla\"nted");
        assert_eq!(keys[1].info.not_after(), None);
    }

    #[test]
    fn mistakes_are_told_by_place_and_never_quoted() {
        for (text, place) in [
            ("[[key]]\nid = 'a'\nsecret = \"planted", "line 3, column 1"),
            ("[[key]]\nid = 'a'\nsecret = planted\n", "line 3, column 10"),
            ("[[key]]\nid = 'a'\nplanted = 'planted'\n", "line 3, column 1"),
            ("[[key]]\nid = 'a'\nsecrets = 'planted'\n", "line 3, column 1"),
            ("[[key]]\nid = 'a'\nsecret = ['planted']\n", "line 3, column 10"),
            ("[[key]]\nid = 'a'\nsecret = { planted = 'planted' }\n", "line 3, column 10"),
            ("[[key]]\nid = ['planted']\nsecret = 'planted'\n", "line 2, column 6"),
            ("[[key]]\nsecret = 'planted'\n", "line 1, column 1"),
            ("key = 'planted'\n", "line 1, column 7"),
            ("'planted' = 1\n", "line 1, column 1"),
        ] {
            let message = message(text);
            assert!(message.starts_with(place), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_secret_in_the_place_of_an_id_or_date_is_not_quoted() {
        assert!(message("[[key]]\nid = 'plant planted'\nsecret = 'x'").starts_with("the id of key 1 in the file"));
        for date in ["'planted'", "2026-11-01T00:00:00", "2026-11-01", "7", "''"] {
            let text = format!("[[key]]\nid = 'a'\nsecret = 'planted'\nnot_after = {date}");
            let message = message(&text);
            assert!(message.starts_with("`not_after` of key `a`"), "{message}");
        }
    }

    #[test]
    fn a_padded_or_empty_secret_names_its_key() {
        for secret in ["''", "\"planted\\n\"", "\"\"\"\n planted\n\"\"\""] {
            let message = message(&format!("[[key]]\nid = 'a'\nsecret = {secret}"));
            assert!(message.starts_with("key `a`: the secret"), "{message}");
        }
    }
}
