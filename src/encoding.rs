//! Bytes as text: how a tag stands in a header, and how a secret is handed out.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use base64ct::{Base64, Base64Unpadded, Encoding as _};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crypto::{MAC_LEN, Tag};

/// How a tag is written in a header.
///
/// One tag has one spelling: hex in the named case only, base64 with its padding and without stray bits. A second
/// spelling of a valid tag is refused like a wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MacEncoding {
    /// RFC 4648 section 4, padded: 44 characters.
    Base64,
    /// RFC 4648 section 5, without padding: 43 characters.
    Base64Url,
    /// Lower-case hex: 64 characters.
    Hex,
    /// Upper-case hex: 64 characters.
    HexUpper,
}

impl MacEncoding {
    /// Whether a tag's text may hold `punctuation`.
    pub(crate) fn uses(self, punctuation: char) -> bool {
        let own = match self {
            Self::Base64 => "+/=",
            Self::Base64Url => "-_",
            Self::Hex | Self::HexUpper => "",
        };
        own.contains(punctuation)
    }

    /// The tag that `text` spells, if it spells a whole one.
    pub(crate) fn decode(self, text: &[u8]) -> Option<Tag> {
        let mut tag = [0; MAC_LEN];
        let decoded = match self {
            // A listed signature is no secret, so it need not be decoded in constant time; comparing it is another matter.
            Self::Base64 => STANDARD.decode_slice(text, &mut tag).ok()?,
            Self::Base64Url => URL_SAFE_NO_PAD.decode_slice(text, &mut tag).ok()?,
            Self::Hex => base16ct::lower::decode(text, &mut tag).ok()?.len(),
            Self::HexUpper => base16ct::upper::decode(text, &mut tag).ok()?.len(),
        };
        (decoded == MAC_LEN).then_some(tag)
    }

    /// How `tag` is written.
    pub(crate) fn encode(self, tag: &Tag) -> String {
        match self {
            Self::Base64 => STANDARD.encode(tag),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(tag),
            Self::Hex => base16ct::lower::encode_string(tag),
            Self::HexUpper => base16ct::upper::encode_string(tag),
        }
    }
}

/// `bytes` in base64, padded. For what is no secret.
#[cfg(feature = "cli")]
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// How key bytes are made of the secret as the provider hands it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFormat {
    /// A prefix that marks the text as a secret and is not part of the key, such as `whsec_`. A secret without it is
    /// taken whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) strip_prefix: Option<Cow<'static, str>>,
    /// What the rest is.
    #[serde(default)]
    pub(crate) encoding: SecretEncoding,
}

/// What the text of a secret stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SecretEncoding {
    /// Base64 of the key's bytes, padded or not.
    Base64,
    /// Hex of the key's bytes, in either case.
    Hex,
    /// The text's own bytes are the key.
    #[default]
    Text,
}

impl SecretFormat {
    /// The text's own bytes are the key.
    #[must_use]
    pub const fn text() -> Self {
        Self { strip_prefix: None, encoding: SecretEncoding::Text }
    }

    /// The text decodes to the key.
    #[must_use]
    pub const fn encoded(encoding: SecretEncoding) -> Self {
        Self { strip_prefix: None, encoding }
    }

    /// The same after `prefix` is taken off, where it stands.
    #[must_use]
    pub fn strip_prefix(self, prefix: impl Into<Cow<'static, str>>) -> Self {
        Self { strip_prefix: Some(prefix.into()), ..self }
    }

    /// The key's bytes; `None` when the text does not decode.
    pub(crate) fn decode(&self, secret: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let prefix = self.strip_prefix.as_deref().unwrap_or_default();
        let rest = secret.strip_prefix(prefix.as_bytes()).unwrap_or(secret);
        let mut bytes = Zeroizing::new(vec![0; rest.len()]);
        let len = match self.encoding {
            SecretEncoding::Base64 if rest.ends_with(b"=") => Base64::decode(rest, &mut bytes).ok()?.len(),
            SecretEncoding::Base64 => Base64Unpadded::decode(rest, &mut bytes).ok()?.len(),
            SecretEncoding::Hex => base16ct::mixed::decode(rest, &mut bytes).ok()?.len(),
            SecretEncoding::Text => {
                bytes.copy_from_slice(rest);
                rest.len()
            }
        };
        bytes.truncate(len);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [MacEncoding; 4] =
        [MacEncoding::Base64, MacEncoding::Base64Url, MacEncoding::Hex, MacEncoding::HexUpper];

    #[test]
    fn a_tag_reads_back_in_every_encoding() {
        let tag = std::array::from_fn(|at| u8::try_from(at * 7).unwrap());
        for encoding in ALL {
            assert_eq!(encoding.decode(encoding.encode(&tag).as_bytes()), Some(tag), "{encoding:?}");
        }
    }

    #[test]
    fn a_tag_that_is_not_whole_is_none() {
        let tag = [0xfb; MAC_LEN];
        for encoding in ALL {
            let text = encoding.encode(&tag);
            for len in 0..text.len() {
                assert_eq!(encoding.decode(&text.as_bytes()[..len]), None, "{encoding:?} cut to {len}");
            }
            assert_eq!(encoding.decode(format!("{text}00").as_bytes()), None, "{encoding:?} too long");
        }
    }

    #[test]
    fn a_tag_has_one_spelling() {
        let tag = [0xfb; MAC_LEN];
        assert_eq!(MacEncoding::Hex.decode(MacEncoding::HexUpper.encode(&tag).as_bytes()), None);
        assert_eq!(MacEncoding::HexUpper.decode(MacEncoding::Hex.encode(&tag).as_bytes()), None);
        // The last character before the padding carries two bits that belong to no byte.
        let stray = MacEncoding::Base64.encode(&tag).replace("s=", "t=");
        assert_ne!(stray, MacEncoding::Base64.encode(&tag));
        assert_eq!(MacEncoding::Base64.decode(stray.as_bytes()), None);
    }

    #[test]
    fn secrets_decode_as_their_format_says() {
        let standard = SecretFormat::encoded(SecretEncoding::Base64).strip_prefix("whsec_");
        let decode = |format: &SecretFormat, text: &str| format.decode(text.as_bytes()).map(|key| key.to_vec());
        for text in ["whsec_aGVsbG8=", "whsec_aGVsbG8", "aGVsbG8="] {
            assert_eq!(decode(&standard, text).as_deref(), Some(&b"hello"[..]), "{text}");
        }
        assert_eq!(decode(&standard, "whsec_a b"), None);
        assert_eq!(decode(&standard, "whsec_").as_deref(), Some(&b""[..]));
        assert_eq!(decode(&SecretFormat::text(), "whsec_x").as_deref(), Some(&b"whsec_x"[..]));
        assert_eq!(decode(&SecretFormat::encoded(SecretEncoding::Hex), "0aFF").as_deref(), Some(&[10, 255][..]));
    }
}
