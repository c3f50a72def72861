//! The key that opens the management API.

use std::fmt;

use reqwest::header::HeaderValue;
use serde_json::Value;
use zeroize::Zeroizing;

/// What stands where an API key stood.
const REDACTED: &str = "[redacted]";

/// An API key: redacted in `Debug`, wiped on drop, never empty, without white space, never compared, never serialized.
///
/// It decides which account and which mode (test or live) a client works in ("Authentication"). It travels in the
/// `Authorization` header only, which is marked as sensitive; the copy in a request that is under way is not wiped.
///
/// ```
/// use countersign::kycgenie::client::ApiKey;
///
/// # fn main() -> Result<(), countersign::kycgenie::client::ApiKeyError> {
/// let key = ApiKey::new("kycg_0123456789abcdef0123456789abcdef")?;
/// assert_eq!(format!("{key:?}"), "ApiKey(..)");
/// assert!(ApiKey::new("kycg_0123456789abcdef0123456789abcdef\n").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// The key as the provider shows it.
    ///
    /// # Errors
    ///
    /// When it is empty, has white space around it, or is not visible ASCII throughout.
    pub fn new(text: impl Into<String>) -> Result<Self, ApiKeyError> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() {
            return Err(ApiKeyError::Empty);
        }
        if text.trim().len() != text.len() {
            return Err(ApiKeyError::SurroundingWhitespace);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ApiKeyError::NotPrintable);
        }
        Ok(Self(text))
    }

    /// The key in the environment variable `variable`; the vendor's own tools use `KYCGENIE_API_KEY`.
    ///
    /// # Errors
    ///
    /// As [`ApiKey::new`], and when the variable is missing or not UTF-8.
    pub fn from_env(variable: &str) -> Result<Self, ApiKeyError> {
        let missing = || ApiKeyError::Variable { variable: variable.to_owned() };
        let value = std::env::var_os(variable).filter(|value| !value.is_empty()).ok_or_else(missing)?;
        let value = value.into_string().map_err(|value| {
            drop(Zeroizing::new(value.into_encoded_bytes()));
            ApiKeyError::NotPrintable
        })?;
        Self::new(value)
    }

    /// `Bearer <key>`, which nobody prints.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", *self.0));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes the key out of a text that came from outside: an answer may repeat what was sent.
    pub(super) fn scrub(&self, text: &mut String) {
        if text.contains(&**self.0) {
            *text = text.replace(&**self.0, REDACTED);
        }
    }

    /// The same, throughout a JSON value.
    pub(super) fn scrub_json(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.scrub_json(item)),
            Value::Object(members) => {
                let scrubbed = std::mem::take(members).into_iter().map(|(mut name, mut member)| {
                    self.scrub(&mut name);
                    self.scrub_json(&mut member);
                    (name, member)
                });
                *members = scrubbed.collect();
            }
            Value::String(text) => self.scrub(text),
            Value::Bool(_) | Value::Null | Value::Number(_) => {}
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Why a text is not accepted as an API key. Never holds the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiKeyError {
    /// There is nothing in it.
    #[error("the API key is empty: use the key that KYC Genie shows when it is made")]
    Empty,
    /// Something in it cannot stand in a header.
    #[error("the API key is not visible ASCII throughout: copy it again, without line breaks and quotation marks")]
    NotPrintable,
    /// White space stands before or after it.
    #[error("the API key begins or ends with white space, most often a line break that was copied along: remove it")]
    SurroundingWhitespace,
    /// The environment variable is missing or empty.
    #[error("the environment variable `{variable}` is missing or empty: set it to the API key")]
    Variable {
        /// Its name.
        variable: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_key_is_refused_and_not_quoted() {
        for (text, expected) in [
            ("", ApiKeyError::Empty),
            (" planted", ApiKeyError::SurroundingWhitespace),
            ("planted\r\n", ApiKeyError::SurroundingWhitespace),
            ("plan ted", ApiKeyError::NotPrintable),
            ("plan\nted", ApiKeyError::NotPrintable),
            ("plantéd", ApiKeyError::NotPrintable),
        ] {
            let error = ApiKey::new(text).unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert!(!format!("{error} {error:?}").contains("plan"));
        }
        let missing = ApiKey::from_env("COUNTERSIGN_TEST_NO_SUCH_VARIABLE").unwrap_err();
        assert!(missing.to_string().contains("`COUNTERSIGN_TEST_NO_SUCH_VARIABLE` is missing"));
    }

    #[test]
    fn the_key_is_in_the_header_and_nowhere_else() {
        let key = ApiKey::new("planted").unwrap();
        let header = key.header().unwrap();
        assert_eq!(header.as_bytes(), b"Bearer planted");
        assert!(header.is_sensitive());
        assert!(!format!("{key:?} {header:?}").contains("planted"));
    }

    #[test]
    fn an_answer_that_repeats_the_key_is_scrubbed() {
        let key = ApiKey::new("planted").unwrap();
        let mut value = serde_json::json!({"planted": ["no planted here", {"a": "planted"}], "n": 7});
        key.scrub_json(&mut value);
        assert_eq!(value, serde_json::json!({"[redacted]": ["no [redacted] here", {"a": "[redacted]"}], "n": 7}));
    }
}
