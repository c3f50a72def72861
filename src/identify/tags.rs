//! Everything in a head that could be a signature: every whole tag in every header, found once.

use serde::Serialize;

use super::captured::Captured;
use crate::crypto::{MAC_LEN, Tag};
use crate::encoding::MacEncoding;

/// The most tags that are compared with each MAC.
const MAX_TAGS: usize = 64;

/// The longest value that is read, in bytes: what a [`Scheme`](crate::Scheme) reads at most.
pub(super) const MAX_VALUE: usize = 4096;

/// How a tag of 32 bytes is spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Spelling {
    /// RFC 4648 section 4, padded.
    Base64,
    /// RFC 4648 section 4, without padding.
    Base64Unpadded,
    /// RFC 4648 section 5, without padding.
    Base64Url,
    /// RFC 4648 section 5, padded.
    Base64UrlPadded,
    /// Lower-case hex.
    Hex,
    /// Hex in both cases.
    HexMixed,
    /// Upper-case hex.
    HexUpper,
}

impl Spelling {
    /// The same as a [`Scheme`](crate::Scheme) says it; `None` where it cannot.
    #[must_use]
    pub fn encoding(self) -> Option<MacEncoding> {
        match self {
            Self::Base64 => Some(MacEncoding::Base64),
            Self::Base64Url => Some(MacEncoding::Base64Url),
            Self::Hex => Some(MacEncoding::Hex),
            Self::HexUpper => Some(MacEncoding::HexUpper),
            Self::Base64Unpadded | Self::Base64UrlPadded | Self::HexMixed => None,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base64 => "base64",
            Self::Base64Unpadded => "base64 without padding",
            Self::Base64Url => "base64url",
            Self::Base64UrlPadded => "base64url with padding",
            Self::Hex => "lower-case hex",
            Self::HexMixed => "hex in both cases",
            Self::HexUpper => "upper-case hex",
        }
    }

    /// The tag that `text` spells, all of it, and how.
    pub(super) fn read(text: &[u8]) -> Option<(Self, Tag)> {
        match text.len() {
            64 => {
                let lower = text.to_ascii_lowercase();
                let tag = MacEncoding::Hex.decode(&lower)?;
                let spelling = match (text == lower.as_slice(), text.iter().any(u8::is_ascii_lowercase)) {
                    (true, _) => Self::Hex,
                    (false, true) => Self::HexMixed,
                    (false, false) => Self::HexUpper,
                };
                Some((spelling, tag))
            }
            44 => {
                let bare = text.strip_suffix(b"=")?;
                match MacEncoding::Base64.decode(text) {
                    Some(tag) => Some((Self::Base64, tag)),
                    None => Some((Self::Base64UrlPadded, MacEncoding::Base64Url.decode(bare)?)),
                }
            }
            43 => match MacEncoding::Base64Url.decode(text) {
                Some(tag) => Some((Self::Base64Url, tag)),
                None => Some((Self::Base64Unpadded, MacEncoding::Base64.decode(&[text, b"="].concat())?)),
            },
            _ => None,
        }
    }
}

/// A tag and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The index of the field line.
    pub(super) header: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) spelling: Spelling,
}

/// All tags, and what else was seen in the headers.
pub(super) struct Tags {
    pub(super) values: Vec<Tag>,
    pub(super) places: Vec<Place>,
    /// How many tags were left out, because there are too many.
    pub(super) left_out: usize,
    pub(super) seen: Vec<HeaderSeen>,
}

/// A header of the request, and why it does or does not hold a signature that can be searched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeaderSeen {
    /// The header's name, in lower case.
    pub name: String,
    /// What stands in it.
    pub holds: Holds,
}

/// What a header's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Holds {
    /// Texts that may be tags of HMAC-SHA256.
    Candidates {
        /// How many.
        count: usize,
    },
    /// Nothing.
    Empty,
    /// Nothing that has the length of a signature in any encoding.
    NoTag,
    /// A signature of another length, which cannot be one of HMAC-SHA256.
    OtherLength {
        /// Its length in bytes, decoded.
        bytes: usize,
    },
    /// More than 4096 bytes, which no [`Scheme`](crate::Scheme) reads.
    TooLong,
}

impl Holds {
    /// The algorithm that makes signatures of this length.
    #[must_use]
    pub fn algorithm(&self) -> Option<&'static str> {
        match self {
            Self::OtherLength { bytes: 16 } => Some("MD5, or a cut tag"),
            Self::OtherLength { bytes: 20 } => Some("SHA-1"),
            Self::OtherLength { bytes: 28 } => Some("SHA-224"),
            Self::OtherLength { bytes: 48 } => Some("SHA-384"),
            Self::OtherLength { bytes: 64 } => Some("SHA-512, or an Ed25519 signature"),
            Self::OtherLength { .. } => Some("an asymmetric signature, such as RSA or ECDSA"),
            _ => None,
        }
    }
}

/// Whether `name` is that of a header which one would expect a signature in.
pub(super) fn sounds_signed(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["sig", "hmac", "digest", "sha256", "mac", "hash", "token"].iter().any(|word| name.contains(word))
}

impl Tags {
    /// Every tag in `captured`, those in headers that sound like signatures first.
    pub(super) fn collect(captured: &Captured, only: Option<&str>) -> Self {
        let mut tags = Self { values: Vec::new(), places: Vec::new(), left_out: 0, seen: Vec::new() };
        let mut headers: Vec<_> = captured.headers().enumerate().collect();
        headers.sort_by_key(|(_, (name, _))| !sounds_signed(name));
        for (index, (name, value)) in headers {
            if only.is_some_and(|only| !only.eq_ignore_ascii_case(name)) {
                continue;
            }
            let holds = tags.add(index, name, value);
            tags.seen.push(HeaderSeen { name: name.to_ascii_lowercase(), holds });
        }
        tags
    }

    fn add(&mut self, header: usize, name: &str, value: &[u8]) -> Holds {
        if value.is_empty() {
            return Holds::Empty;
        }
        if value.len() > MAX_VALUE {
            return Holds::TooLong;
        }
        let found = whole_tags(value);
        let count = found.len();
        for (start, end, spelling, tag) in found {
            if self.values.len() < MAX_TAGS {
                self.values.push(tag);
                self.places.push(Place { header, start, end, spelling });
            } else {
                self.left_out += 1;
            }
        }
        match other_length(value, sounds_signed(name)) {
            _ if count > 0 => Holds::Candidates { count },
            Some(bytes) => Holds::OtherLength { bytes },
            None => Holds::NoTag,
        }
    }
}

/// The tags in `value`: texts of the right length that end where the value ends or a character stands that belongs to
/// no tag.
pub(super) fn whole_tags(value: &[u8]) -> Vec<(usize, usize, Spelling, Tag)> {
    let mut found = Vec::new();
    for end in 43..=value.len() {
        if value.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        for len in [64, 44, 43] {
            let Some(start) = end.checked_sub(len) else { continue };
            // Within a longer run of base64 nothing ends, and the end of a longer signature is none itself.
            let goes_on = len < 64 && value.get(end).is_some_and(|byte| b"+/-_=".contains(byte));
            if !goes_on
                && !is_end_of_longer(&value[..end], len)
                && let Some((spelling, tag)) = Spelling::read(&value[start..end])
            {
                found.push((start, end, spelling, tag));
                break;
            }
        }
    }
    found
}

/// Whether `before` ends in a text without a break that is as long as a signature of SHA-384 at least. A version without
/// punctuation, such as `v1`, may stand before a tag and is shorter.
fn is_end_of_longer(before: &[u8], len: usize) -> bool {
    let text = before.strip_suffix(b"=").unwrap_or(before);
    let (is_of_it, longer): (fn(&u8) -> bool, usize) = match len {
        64 => (u8::is_ascii_hexdigit, 96),
        _ => (|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte), 64),
    };
    text.iter().rev().take(longer).take_while(|byte| is_of_it(byte)).count() == longer
}

/// The length in bytes of something that looks like a signature and is not 32 bytes long.
fn other_length(value: &[u8], sounds_signed: bool) -> Option<usize> {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let runs = value.split(|byte| !is_base64(byte) && *byte != b'=');
    let lengths = runs.filter_map(|run| {
        // `sha1=` and `v1=` stand before it; what pads it behind.
        let bare = run.len() - run.iter().rev().take_while(|byte| **byte == b'=').count();
        let start = run[..bare].iter().rposition(|byte| *byte == b'=').map_or(0, |at| at + 1);
        let text = &run[start..bare];
        // 32 digits are a UUID as often as not.
        if text.iter().all(u8::is_ascii_hexdigit)
            && (matches!(text.len(), 40 | 56 | 96 | 128) || sounds_signed && text.len() == 32)
        {
            return Some(text.len() / 2);
        }
        let bytes = text.len() * 3 / 4;
        let known = matches!(bytes, 16 | 20 | 48 | 64) || bytes >= 68;
        let decodes = text.len() % 4 != 1 && text.iter().all(is_base64);
        (sounds_signed && known && decodes && bytes != MAC_LEN).then_some(bytes)
    });
    lengths.max()
}

/// How the signature header could be read so that the tag at a place is one of its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaidOut {
    pub(super) separator: Option<char>,
    pub(super) prefix: String,
    /// What a list of several would look like is not to be seen in this request.
    pub(super) guessed: bool,
    cost: u32,
}

/// Every way to read `value` so that `start..end` is the text of a tag, the most likely one first.
pub(super) fn layouts(value: &[u8], start: usize, end: usize, encoding: MacEncoding) -> Vec<LaidOut> {
    let mut layouts = Vec::new();
    let prefix_of = |from: usize| {
        let prefix = std::str::from_utf8(value.get(from..start)?).ok()?;
        (prefix.len() <= 32 && prefix.bytes().all(|byte| byte.is_ascii_graphic())).then(|| prefix.to_owned())
    };
    if end == value.len()
        && let Some(prefix) = prefix_of(0)
    {
        // `v1,<tag>` is one item of a list that is parted by spaces, as in Standard Webhooks.
        let version = prefix.strip_suffix(',').is_some_and(is_version);
        if version {
            layouts.push(LaidOut { separator: Some(' '), prefix: prefix.clone(), guessed: true, cost: 0 });
        }
        let cost = 1 + clutter(&prefix);
        layouts.push(LaidOut { separator: None, prefix, guessed: false, cost });
    }
    let outside = value[..start].iter().chain(&value[end..]);
    let mut separators: Vec<char> = outside.map(|byte| char::from(*byte)).collect();
    separators.sort_unstable();
    separators.dedup();
    for separator in separators {
        let possible = separator == ' ' || separator.is_ascii_punctuation();
        let ends = value.get(end).is_none_or(|byte| char::from(*byte) == separator);
        if !possible || encoding.uses(separator) || !ends {
            continue;
        }
        let from = value[..start].iter().rposition(|byte| char::from(*byte) == separator).map_or(0, |at| at + 1);
        if let Some(prefix) = prefix_of(from) {
            let usual = match separator {
                ',' | ' ' | ';' => 2,
                '&' | '|' => 4,
                _ => 12,
            };
            let cost = usual + clutter(&prefix);
            layouts.push(LaidOut { separator: Some(separator), prefix, guessed: false, cost });
        }
    }
    layouts.sort_by_key(|layout| layout.cost);
    layouts
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// How much a prefix looks as if it held more than a version: lists, times.
fn clutter(prefix: &str) -> u32 {
    if prefix.strip_suffix(',').is_some_and(is_version) {
        return 0;
    }
    let lists = prefix.chars().filter(|char| ",; &|\"".contains(*char)).count() * 8;
    let digits = prefix.chars().filter(char::is_ascii_digit).count();
    let long = prefix.len().saturating_sub(8);
    u32::try_from(lists + if digits > 4 { 20 } else { 0 } + long).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> Tag {
        std::array::from_fn(|at| u8::try_from(at * 7 + 3).unwrap() ^ 0xf5)
    }

    #[test]
    fn a_tag_is_found_behind_any_prefix_and_before_any_separator() {
        for encoding in [MacEncoding::Base64, MacEncoding::Base64Url, MacEncoding::Hex, MacEncoding::HexUpper] {
            let text = encoding.encode(&tag());
            for (before, behind) in
                [("", ""), ("sha256=", ""), ("v1", ""), ("abc", ""), ("t=1,v1=", ",v0=x"), ("\"", "\"")]
            {
                let value = format!("{before}{text}{behind}");
                let found = whole_tags(value.as_bytes());
                let this: Vec<_> = found.iter().filter(|found| found.0 == before.len()).collect();
                assert!(
                    matches!(this[..], [(_, end, spelling, found)]
                    if *end == before.len() + text.len() && *found == tag() && spelling.encoding() == Some(encoding)),
                    "{value}"
                );
            }
        }
    }

    #[test]
    fn spellings_that_no_scheme_has_are_still_read() {
        let hex = MacEncoding::Hex.encode(&tag());
        let mixed = format!("{}{}", &hex[..32], hex[32..].to_ascii_uppercase());
        let padded = MacEncoding::Base64Url.encode(&tag()) + "=";
        let unpadded = MacEncoding::Base64.encode(&tag()).replace('=', "");
        assert!(padded.contains(['-', '_']) && unpadded.contains(['+', '/']));
        for (text, spelling) in
            [(mixed, Spelling::HexMixed), (padded, Spelling::Base64UrlPadded), (unpadded, Spelling::Base64Unpadded)]
        {
            assert_eq!(Spelling::read(text.as_bytes()), Some((spelling, tag())), "{text}");
        }
    }

    #[test]
    fn other_algorithms_are_told_by_their_length() {
        let seen = |name: &str, value: &str| {
            let captured = Captured::new([(name, value)], "");
            Tags::collect(&captured, None).seen[0].holds
        };
        assert_eq!(seen("x-hub-signature", &format!("sha1={}", "ab".repeat(20))).algorithm(), Some("SHA-1"));
        assert_eq!(seen("x-signature", &"ab".repeat(64)).algorithm(), Some("SHA-512, or an Ed25519 signature"));
        assert_eq!(seen("x-signature", &format!("{}==", "Ab1/".repeat(21) + "Ab")), Holds::OtherLength { bytes: 64 });
        assert_eq!(seen("x-signature", &"Ab1/".repeat(86)), Holds::OtherLength { bytes: 258 });
        assert_eq!(seen("x-sig", &"ab".repeat(16)).algorithm(), Some("MD5, or a cut tag"));
        assert_eq!(seen("x-request-id", &"ab".repeat(16)), Holds::NoTag);
        assert_eq!(seen("x-request-id", "b7c1a5e0-4e4b-4c1c-9a61-0d9c5a3f7e11"), Holds::NoTag);
        assert_eq!(seen("user-agent", &"Ab1/".repeat(16)), Holds::NoTag);
        assert_eq!(seen("x", ""), Holds::Empty);
        assert_eq!(seen("x", &"a".repeat(4097)), Holds::TooLong);
    }

    #[test]
    fn the_likeliest_layout_comes_first() {
        let text = MacEncoding::Hex.encode(&tag());
        for (before, behind, separator, prefix) in [
            ("", "", None, ""),
            ("sha256=", "", None, "sha256="),
            ("v0=", "", None, "v0="),
            ("v1,", "", Some(' '), "v1,"),
            ("t=1750000000,v1=", "", Some(','), "v1="),
            ("t=1750000000,v1=", ",v0=00", Some(','), "v1="),
            ("t=1750000000;s=", "", Some(';'), "s="),
            ("v1,aaa v1,", "", Some(' '), "v1,"),
        ] {
            let value = format!("{before}{text}{behind}");
            let layouts = layouts(value.as_bytes(), before.len(), before.len() + 64, MacEncoding::Hex);
            assert_eq!((layouts[0].separator, layouts[0].prefix.as_str()), (separator, prefix), "{value}");
        }
    }
}
