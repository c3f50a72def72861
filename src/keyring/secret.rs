//! A secret as the provider hands it out.

use std::fmt;

use zeroize::Zeroizing;

/// A signing secret: wiped from memory on drop, never shown, never compared, never serialized, never empty.
///
/// ```
/// use countersign::Secret;
///
/// # fn main() -> Result<(), countersign::SecretError> {
/// let secret = Secret::new("whsec_aGVsbG8=")?;
/// assert_eq!(format!("{secret:?}"), "Secret(..)");
/// assert!(Secret::new("whsec_aGVsbG8=\n").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The secret as the provider shows it, prefix included. How key bytes are made of it is the scheme's business.
    ///
    /// # Errors
    ///
    /// When `text` is empty, or begins or ends with white space: a line break that was copied along makes every
    /// signature wrong and is seen nowhere. For a secret that does hold one, see [`Secret::from_bytes`].
    pub fn new(text: impl Into<String>) -> Result<Self, SecretError> {
        let mut text = Zeroizing::new(text.into());
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.trim().len() != text.len() {
            return Err(SecretError::SurroundingWhitespace);
        }
        Self::from_bytes(std::mem::take(&mut *text))
    }

    /// The secret as bytes, taken as they are.
    ///
    /// # Errors
    ///
    /// When there are no bytes.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        let bytes = Zeroizing::new(bytes.into());
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self(bytes))
    }

    /// The secret itself, for a tool that has to hand it on. Whoever calls this sees to it that the bytes reach no log
    /// and no screen.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    /// The secret itself.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a text is not accepted as a secret. Never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is nothing in it.
    #[error("the secret is empty: use the signing secret that the provider shows for this endpoint")]
    Empty,
    /// White space stands before or after it.
    #[error(
        "the secret begins or ends with white space, most often a line break that was copied along: remove it, or use \
         Secret::from_bytes if it does belong to the secret"
    )]
    SurroundingWhitespace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_padded_secrets_are_refused() {
        assert_eq!(Secret::new("").err(), Some(SecretError::Empty));
        assert_eq!(Secret::from_bytes([]).err(), Some(SecretError::Empty));
        for padded in ["x\n", "x\r\n", " x", "\tx", "x\u{a0}", " ", "\n"] {
            assert_eq!(Secret::new(padded).err(), Some(SecretError::SurroundingWhitespace), "{padded:?}");
        }
    }

    #[test]
    fn white_space_inside_or_in_bytes_is_kept() {
        assert_eq!(Secret::new("a b").unwrap().expose(), b"a b");
        assert_eq!(Secret::from_bytes(*b"x\n").unwrap().expose(), b"x\n");
    }

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::new("planted").unwrap();
        assert_eq!(format!("{secret:?} {:#?}", Some(secret.clone())).matches("plant").count(), 0);
    }
}
