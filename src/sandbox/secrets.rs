//! Signing secrets as the provider hands them out.

use crate::sandbox::SandboxError;

/// The 32 letters of a secret: all of them are base64 too, so that a secret can be taken as text or decoded.
const ALPHABET: [u8; 32] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new secret: `whsec_` and 52 letters and digits (260 random bits), the form of the reference's example.
pub(super) fn new() -> Result<String, SandboxError> {
    let mut bytes = [0_u8; 52];
    getrandom::fill(&mut bytes)
        .map_err(|error| SandboxError::Storage(format!("the system gives no random bytes: {error}")))?;
    let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    Ok("whsec_".chars().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_secret_has_the_published_form() {
        let secret = super::new().unwrap();
        assert_eq!(secret.len(), "whsec_".len() + 52);
        assert!(secret.bytes().skip(6).all(|byte| super::ALPHABET.contains(&byte)));
        assert_ne!(secret, super::new().unwrap());
    }
}
