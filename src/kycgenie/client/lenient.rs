//! Reading fields as they come: a field that is missing, null or of another type than published is no field.

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serializer};
use serde_json::Value;

use crate::keyring::Secret;
use crate::time::Timestamp;

/// What the API reference says where a field is whole, and nothing where it is not.
pub(super) fn maybe<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).ok())
}

/// The same, with the type's default for nothing.
pub(super) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    maybe(deserializer).map(Option::unwrap_or_default)
}

/// A moment in either of the forms that occur: `…000Z` in lists, `…123456+00:00` in details.
pub(super) fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text: Option<String> = maybe(deserializer)?;
    Ok(text.and_then(|text| Timestamp::parse_rfc3339(&text).ok()))
}

/// RFC 3339 with milliseconds.
pub(super) fn write_moment<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => serializer.collect_str(moment),
        None => serializer.serialize_none(),
    }
}

/// A secret, taken as it comes so that it is not lost: it is shown once.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    deserializer.deserialize_string(SecretVisitor)
}

struct SecretVisitor;

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a secret")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
        Secret::from_bytes(text).map_err(E::custom)
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Secret, E> {
        Secret::from_bytes(text).map_err(E::custom)
    }
}

/// The scheme and the host of an address: the rest may hold a password or a token.
pub(super) fn origin(url: &str) -> String {
    match reqwest::Url::parse(url) {
        Ok(url) => format!("{}/..", url.origin().ascii_serialization()),
        Err(_) => "..".to_owned(),
    }
}
