//! The ways to make key bytes of a secret, as the provider may mean it and as it may have been copied.

use std::fmt;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::crypto::MacKey;
use crate::encoding::{SecretEncoding, SecretFormat};
use crate::keyring::Secret;

/// The longest prefix that may mark a secret, in characters.
const MAX_PREFIX: usize = 16;

/// How a secret is read. Never holds the secret; of its prefix, what marks it as a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SecretReading {
    /// Which of the secrets that were given, from 0.
    pub secret: usize,
    /// What its text stands for.
    pub read_as: ReadAs,
    /// What is taken off before, such as `whsec_`.
    pub strip_prefix: Option<String>,
    /// What is wrong with the secret as it was given.
    pub mistake: Option<SecretMistake>,
}

/// What the text of a secret stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReadAs {
    /// Base64, padded or not.
    Base64,
    /// Base64 of the URL-safe alphabet, which a [`Scheme`](crate::Scheme) does not have.
    Base64Url,
    /// Hex in either case.
    Hex,
    /// The text's own bytes.
    Text,
}

/// What is wrong with a secret as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SecretMistake {
    /// It is a whole line of a settings file: a name, `=`, the secret.
    Assignment,
    /// It is base64url, which no scheme reads.
    Base64Url,
    /// The sender's secret has a line break at its end, which was lost.
    LineBreakLost,
    /// It stands in quotation marks.
    Quotes,
    /// It has white space around it.
    WhiteSpace,
}

/// Key bytes to be tried.
pub(super) struct Candidate {
    /// What a keyring should hold.
    pub(super) text: Zeroizing<Vec<u8>>,
    /// How a scheme says it.
    pub(super) format: SecretFormat,
    pub(super) reading: SecretReading,
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) key: MacKey,
}

/// All readings of all `secrets` that give different keys, the plain ones first.
pub(super) fn candidates(secrets: &[Secret]) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for (index, secret) in secrets.iter().enumerate() {
        for (text, mistake) in texts(secret.expose_secret()) {
            for (strip_prefix, read_as) in readings(&text) {
                let reading = SecretReading { secret: index, read_as, strip_prefix, mistake };
                let format = format_of(&reading);
                if let Some(text) = written(&text, &reading)
                    && let Some(bytes) = format.decode(&text)
                    && let Some(key) = MacKey::new(&bytes)
                    && !candidates.iter().any(|other| *other.bytes == *bytes)
                {
                    candidates.push(Candidate { text, format, reading, bytes, key });
                }
            }
        }
    }
    candidates
}

fn texts(given: &[u8]) -> Vec<(Zeroizing<Vec<u8>>, Option<SecretMistake>)> {
    let mut texts = vec![(Zeroizing::new(given.to_vec()), None)];
    let mut add = |text: &[u8], mistake| {
        if !text.is_empty() && !texts.iter().any(|(other, _)| other.as_slice() == text) {
            texts.push((Zeroizing::new(text.to_vec()), Some(mistake)));
        }
    };
    let trimmed = given.trim_ascii();
    add(trimmed, SecretMistake::WhiteSpace);
    let unquoted = unquote(trimmed);
    add(unquoted, SecretMistake::Quotes);
    let name = trimmed.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'_').count();
    if name > 0
        && let Some(value) = trimmed[name..].strip_prefix(b"=")
    {
        add(unquote(value.trim_ascii()), SecretMistake::Assignment);
    }
    add(&Zeroizing::new([trimmed, b"\n"].concat()), SecretMistake::LineBreakLost);
    add(&Zeroizing::new([trimmed, b"\r\n"].concat()), SecretMistake::LineBreakLost);
    texts
}

fn unquote(text: &[u8]) -> &[u8] {
    match text {
        [first @ (b'"' | b'\'' | b'`'), inside @ .., last] if first == last => inside,
        _ => text,
    }
}

fn readings(text: &[u8]) -> Vec<(Option<String>, ReadAs)> {
    let mut prefixes = vec![None];
    for (at, _) in text.iter().enumerate().take(MAX_PREFIX).filter(|(_, byte)| **byte == b'_') {
        let prefix = &text[..=at];
        // `v1,whsec_` is one as well.
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_,".contains(byte);
        if at > 0 && prefix.iter().all(word) && text.len() > prefix.len() {
            prefixes.push(Some(String::from_utf8_lossy(prefix).into_owned()));
        }
    }
    let all = [ReadAs::Text, ReadAs::Base64, ReadAs::Hex, ReadAs::Base64Url];
    prefixes.iter().flat_map(|prefix| all.map(|read_as| (prefix.clone(), read_as))).collect()
}

/// The secret as a scheme reads it: base64url is written anew as base64.
fn written(text: &[u8], reading: &SecretReading) -> Option<Zeroizing<Vec<u8>>> {
    if reading.read_as != ReadAs::Base64Url {
        return Some(Zeroizing::new(text.to_vec()));
    }
    let prefix = reading.strip_prefix.as_deref().unwrap_or_default();
    let standard = text.strip_prefix(prefix.as_bytes())?.iter().map(|byte| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    });
    Some(Zeroizing::new(prefix.bytes().chain(standard).collect()))
}

fn format_of(reading: &SecretReading) -> SecretFormat {
    let format = SecretFormat::encoded(match reading.read_as {
        ReadAs::Base64 | ReadAs::Base64Url => SecretEncoding::Base64,
        ReadAs::Hex => SecretEncoding::Hex,
        ReadAs::Text => SecretEncoding::Text,
    });
    match &reading.strip_prefix {
        Some(prefix) => format.strip_prefix(prefix.clone()),
        None => format,
    }
}

impl SecretMistake {
    /// What to do about it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Assignment => {
                "the secret as given is a whole line of a settings file: use what stands behind the `=`"
            }
            Self::Base64Url => {
                "the secret is base64url: write it anew as base64 (`+` for `-`, `/` for `_`), and give that to the scheme"
            }
            Self::LineBreakLost => {
                "the sender's key ends in a line break, so it was set up from a file: have it set anew without one, or use \
                 Secret::from_bytes with the line break"
            }
            Self::Quotes => "the secret as given stands in quotation marks: take them off",
            Self::WhiteSpace => "the secret as given has white space around it: remove it",
        }
    }
}

impl fmt::Display for SecretReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read_as = match self.read_as {
            ReadAs::Base64 => "base64 of the key",
            ReadAs::Base64Url => "base64url of the key",
            ReadAs::Hex => "hex of the key",
            ReadAs::Text => "text, as it is",
        };
        match &self.strip_prefix {
            Some(prefix) => write!(f, "{read_as}, after `{prefix}` is taken off"),
            None => f.write_str(read_as),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(secret: &[u8]) -> Vec<(Vec<u8>, SecretReading)> {
        let candidates = candidates(&[Secret::from_bytes(secret).unwrap()]);
        candidates.into_iter().map(|candidate| (candidate.bytes.to_vec(), candidate.reading)).collect()
    }

    #[test]
    fn a_secret_is_read_in_every_way() {
        let keys = keys(b"whsec_aGVsbG8=");
        for key in [&b"whsec_aGVsbG8="[..], b"aGVsbG8=", b"hello", b"whsec_aGVsbG8=\n"] {
            assert_eq!(keys.iter().filter(|(bytes, _)| bytes == key).count(), 1);
        }
        let hello = &keys.iter().find(|(bytes, _)| bytes == b"hello").unwrap().1;
        assert_eq!((hello.read_as, hello.strip_prefix.as_deref()), (ReadAs::Base64, Some("whsec_")));
    }

    #[test]
    fn a_prefix_may_begin_with_a_version() {
        let keys = keys(b"v1,whsec_aGVsbG8=");
        let hello = &keys.iter().find(|(bytes, _)| bytes == b"hello").unwrap().1;
        assert_eq!((hello.read_as, hello.strip_prefix.as_deref()), (ReadAs::Base64, Some("v1,whsec_")));
    }

    #[test]
    fn a_secret_that_was_copied_with_more_is_read_without() {
        for (given, mistake) in [
            (" abc\n", SecretMistake::WhiteSpace),
            ("\"abc\"", SecretMistake::Quotes),
            ("WEBHOOK_SECRET='abc'\n", SecretMistake::Assignment),
        ] {
            let keys = keys(given.as_bytes());
            let found = keys.iter().find(|(bytes, _)| bytes == b"abc").unwrap();
            assert_eq!(found.1.mistake, Some(mistake), "{given}");
        }
    }

    #[test]
    fn any_bytes_are_a_secret() {
        for bytes in [&b"\0"[..], b"_", b"__", b"=", b"\xff_\xfe", b"\"", b" ", b"A="] {
            let keys = keys(bytes);
            assert_eq!(keys[0].0, bytes);
        }
    }
}
