//! A scheme as TOML or JSON.

use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::encoding::{MacEncoding, SecretFormat};
use crate::scheme::builder::Named;
use crate::scheme::{EventTypeSource, IdSource, Scheme, SchemeError, TimestampSource};

impl Scheme {
    /// Reads a scheme from TOML, as shown in the [module](crate::scheme)'s documentation.
    ///
    /// # Errors
    ///
    /// When the text is not TOML, has a setting that does not exist, or its settings do not fit each other.
    pub fn from_toml(text: &str) -> Result<Self, SchemeError> {
        toml::from_str::<File>(text).map_err(|error| SchemeError::Syntax(place(text, &error)))?.build()
    }

    /// Reads a scheme from JSON, with the same members as in TOML.
    ///
    /// # Errors
    ///
    /// As [`Scheme::from_toml`].
    pub fn from_json(text: &str) -> Result<Self, SchemeError> {
        serde_json::from_str::<File>(text).map_err(|error| SchemeError::Syntax(error.to_string()))?.build()
    }

    /// The scheme as TOML that [`Scheme::from_toml`] reads back to the same value.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Strings, numbers and tables only: there is nothing in it that TOML cannot hold.
        toml::to_string(&File::from(self)).unwrap_or_default()
    }

    /// The scheme as JSON that [`Scheme::from_json`] reads back to the same value.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&File::from(self)).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Scheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        File::deserialize(deserializer)?.build().map_err(de::Error::custom)
    }
}

impl Serialize for Scheme {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        File::from(self).serialize(serializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tolerance: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_horizon: Option<u64>,
    signature: Signature,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_type: Option<EventType>,
    #[serde(default = "SecretFormat::text", deserialize_with = "secret_format")]
    secret: SecretFormat,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    header: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    separator: Option<char>,
    #[serde(default)]
    prefix: String,
    #[serde(default = "hex")]
    encoding: MacEncoding,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Timestamp {
    Element(String),
    Header(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Id {
    Header(String),
    Pointer(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventType {
    header: String,
}

impl File {
    fn build(self) -> Result<Scheme, SchemeError> {
        let mut builder = Scheme::builder(&self.name).signature_header(&self.signature.header).content(&self.content);
        builder.separator = self.signature.separator;
        builder.prefix = self.signature.prefix.into();
        builder.encoding = self.signature.encoding;
        builder.timestamp = match self.timestamp {
            Some(Timestamp::Element(element)) => Named::Inside(element),
            Some(Timestamp::Header(name)) => Named::Header(name),
            None => Named::Nowhere,
        };
        builder.id = match self.id {
            Some(Id::Header(name)) => Named::Header(name),
            Some(Id::Pointer(pointer)) => Named::Inside(pointer),
            None => Named::Nowhere,
        };
        builder.event_type_header = self.event_type.map(|event_type| event_type.header);
        builder.secret = self.secret;
        builder.tolerance = self.tolerance.map(Duration::from_secs);
        if let Some(horizon) = self.retry_horizon {
            builder.retry_horizon = Duration::from_secs(horizon);
        }
        builder.build()
    }
}

impl From<&Scheme> for File {
    fn from(scheme: &Scheme) -> Self {
        Self {
            name: scheme.name.to_string(),
            content: scheme.content.to_string(),
            tolerance: scheme.tolerance.map(|tolerance| tolerance.as_secs()),
            retry_horizon: Some(scheme.retry_horizon.as_secs()),
            signature: Signature {
                header: scheme.signature.header.as_str().to_owned(),
                separator: scheme.signature.separator,
                prefix: scheme.signature.prefix.to_string(),
                encoding: scheme.signature.encoding,
            },
            timestamp: match &scheme.timestamp {
                TimestampSource::Element(element) => Some(Timestamp::Element(element.to_string())),
                TimestampSource::Header(name) => Some(Timestamp::Header(name.as_str().to_owned())),
                TimestampSource::None => None,
            },
            id: match &scheme.id {
                IdSource::Header(name) => Some(Id::Header(name.as_str().to_owned())),
                IdSource::None => None,
                IdSource::Pointer(pointer) => Some(Id::Pointer(pointer.to_string())),
            },
            event_type: match &scheme.event_type {
                EventTypeSource::Envelope => None,
                EventTypeSource::Header(name) => Some(EventType { header: name.as_str().to_owned() }),
            },
            secret: scheme.secret.clone(),
        }
    }
}

fn hex() -> MacEncoding {
    MacEncoding::Hex
}

/// What is wrong and where. The line is not shown, as the parser itself would: a secret may stand there by mistake.
fn place(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message())
}

/// The format of secrets. A secret itself in its place is refused without being quoted, as serde's own message would.
fn secret_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretFormat, D::Error> {
    struct Format;

    impl<'de> Visitor<'de> for Format {
        type Value = SecretFormat;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table that says how secrets are written")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretFormat, A::Error> {
            SecretFormat::deserialize(MapAccessDeserializer::new(map))
        }

        fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretFormat, E> {
            Err(E::custom(
                "`secret` says how secrets are written, such as { strip_prefix = \"whsec_\", encoding = \"base64\" }; the \
                 secret itself belongs into the keyring",
            ))
        }
    }

    deserializer.deserialize_any(Format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_reads_back_from_toml_and_json() {
        for scheme in Scheme::presets() {
            assert_eq!(Scheme::from_toml(&scheme.to_toml()), Ok(scheme.clone()), "{}", scheme.to_toml());
            assert_eq!(Scheme::from_json(&scheme.to_json()), Ok(scheme));
        }
    }

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let text = "name = 'a'\ncontent = '{body}'\ntolerence = 9\n[signature]\nheader = 'x'\n";
        assert!(Scheme::from_toml(text).unwrap_err().to_string().contains("tolerence"));
    }

    #[test]
    fn a_secret_in_the_place_of_its_format_is_not_repeated() {
        let shown = |error: SchemeError| format!("{error} {error:?}");
        let toml = |line: &str| format!("name = 'a'\ncontent = '{{body}}'\n{line}\n[signature]\nheader = 'x'\n");
        for line in [
            "secret = 'whsec_planted'",
            "secret = { encoding = 'text', key = 'planted' }",
            "secrets = 'planted'",
            "secret = ['planted']",
            "secret = 'planted",
        ] {
            let shown = shown(Scheme::from_toml(&toml(line)).unwrap_err());
            assert!(shown.contains("line 3: ") && !shown.contains("planted"), "{shown}");
        }
        let json = r#"{"name":"a","content":"{body}","signature":{"header":"x"},"secret":"whsec_planted"}"#;
        let shown = shown(Scheme::from_json(json).unwrap_err());
        assert!(shown.contains("belongs into the keyring") && !shown.contains("planted"), "{shown}");
    }

    #[test]
    fn settings_that_do_not_fit_are_named_as_in_the_builder() {
        let text = "name = 'a'\ncontent = '{id}.{body}'\n[signature]\nheader = 'x'\n";
        assert!(Scheme::from_toml(text).unwrap_err().to_string().contains("content: signs {id}"));
    }
}
