//! The forms that a body takes on its way: what the sender may have signed in its place.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::captured::{CaptureNote, Captured};
use super::json::{Document, Escapes, Layout, Style};
use crate::crypto::RunningDigest;
use crate::encoding::MacEncoding;

/// The longest body that is written anew in other forms.
const MAX_REWRITTEN: usize = 8 * 1024 * 1024;

/// What makes the bytes that were signed out of the captured body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum BodyChange {
    /// The body is not signed at all.
    Absent,
    /// Its base64 is signed in its place.
    Base64,
    /// A byte order mark before it.
    BomAdded,
    /// The byte order mark before it taken away.
    BomRemoved,
    /// What stands behind the declared `Content-Length` taken away.
    CutAtContentLength,
    /// One decoded field of a form, such as `payload`, signed in place of the whole.
    FormField {
        /// The field's name.
        name: String,
    },
    /// One member of the JSON object, such as `data`, signed in place of the whole.
    JsonMember {
        /// The member's name.
        name: String,
    },
    /// The same JSON, written by another library.
    JsonRewritten {
        /// How it is written.
        style: &'static str,
    },
    /// Its characters written as Latin-1 instead of UTF-8.
    Latin1,
    /// Every line break as CRLF.
    LineBreaksToCrlf,
    /// Every line break as LF.
    LineBreaksToLf,
    /// A line break at its end.
    NewlineAdded {
        /// CRLF instead of LF.
        crlf: bool,
    },
    /// The line break at its end taken away.
    NewlineRemoved,
    /// Its SHA-256 is signed in its place.
    Sha256 {
        /// How the digest is written.
        encoding: MacEncoding,
    },
    /// White space at both ends taken away.
    Trimmed,
    /// Percent-decoded (`%2F` is `/`, and `+` a space where `plus` holds).
    UrlDecoded {
        /// Whether `+` is a space.
        plus: bool,
    },
}

/// Where two bodies differ, without a byte of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The offset of the first byte that differs, from 0.
    pub offset: usize,
    /// The length of the captured body.
    pub captured_len: usize,
    /// The length of the body that was signed.
    pub signed_len: usize,
}

/// One form of the body.
pub(super) struct Form {
    /// `None` for the body as it was captured.
    pub(super) change: Option<BodyChange>,
    pub(super) bytes: Bytes,
}

/// Every form of the body that differs from the others, the captured one first.
pub(super) fn forms(captured: &Captured) -> Vec<Form> {
    let body = captured.body();
    let mut forms =
        Forms { seen: HashSet::from([body.clone()]), list: vec![Form { change: None, bytes: body.clone() }] };
    let breaks = body.contains(&b'\n');
    forms.add(BodyChange::NewlineAdded { crlf: false }, [body, &b"\n"[..]].concat());
    forms.add(BodyChange::NewlineAdded { crlf: true }, [body, &b"\r\n"[..]].concat());
    if let Some(cut) = body.strip_suffix(b"\n") {
        forms.add(BodyChange::NewlineRemoved, cut.strip_suffix(b"\r").unwrap_or(cut).to_vec());
    }
    forms.add(BodyChange::Trimmed, body.trim_ascii().to_vec());
    if breaks {
        let lf = replace(body, b"\r\n", b"\n");
        forms.add(BodyChange::LineBreaksToCrlf, replace(&lf, b"\n", b"\r\n"));
        forms.add(BodyChange::LineBreaksToLf, lf);
    }
    for note in captured.notes() {
        if let CaptureNote::LengthMismatch { declared, .. } = note
            && let Some(cut) = usize::try_from(*declared).ok().and_then(|len| body.get(..len))
        {
            forms.add(BodyChange::CutAtContentLength, cut.to_vec());
        }
    }
    match body.strip_prefix(b"\xef\xbb\xbf") {
        Some(bare) => forms.add(BodyChange::BomRemoved, bare.to_vec()),
        None => forms.add(BodyChange::BomAdded, [&b"\xef\xbb\xbf"[..], body].concat()),
    }
    if body.len() <= MAX_REWRITTEN {
        forms.add_json(body);
        forms.add_decoded(body);
    }
    forms.add_in_its_place(body);
    forms.list
}

struct Forms {
    seen: HashSet<Bytes>,
    list: Vec<Form>,
}

impl Forms {
    fn add(&mut self, change: BodyChange, bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        if self.seen.insert(bytes.clone()) {
            self.list.push(Form { change: Some(change), bytes });
        }
    }

    fn add_json(&mut self, body: &[u8]) {
        let Some(document) = Document::read(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)) else { return };
        for (style, name) in styles() {
            let bytes = document.write(style);
            let with_newline = matches!(style.layout, Layout::Pretty(_)).then(|| [&bytes[..], b"\n"].concat());
            self.add(BodyChange::JsonRewritten { style: name }, bytes);
            if let Some(bytes) = with_newline {
                self.add(BodyChange::JsonRewritten { style: "indented, with a line break at its end" }, bytes);
            }
        }
        for name in ["data", "payload", "object", "event", "body"] {
            if let Some(member) = crate::json::member(body, name) {
                self.add(BodyChange::JsonMember { name: name.to_owned() }, member.get().as_bytes().to_vec());
                if let Ok(text) = serde_json::from_str::<String>(member.get()) {
                    self.add(BodyChange::JsonMember { name: name.to_owned() }, text.into_bytes());
                }
            }
        }
    }

    fn add_decoded(&mut self, body: &[u8]) {
        if body.iter().any(|byte| matches!(byte, b'%' | b'+')) {
            self.add(BodyChange::UrlDecoded { plus: true }, url_decode(body, true));
            self.add(BodyChange::UrlDecoded { plus: false }, url_decode(body, false));
        }
        let fields = body.split(|byte| *byte == b'&').take(8).filter_map(|field| {
            let (name, value) = std::str::from_utf8(field).ok()?.split_once('=')?;
            let named = !name.is_empty() && name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
            named.then(|| (name.to_owned(), url_decode(value.as_bytes(), true)))
        });
        for (name, value) in fields {
            self.add(BodyChange::FormField { name }, value);
        }
        let latin1 = std::str::from_utf8(body).ok().filter(|text| !text.is_ascii());
        let latin1 = latin1.and_then(|text| text.chars().map(|char| u8::try_from(char).ok()).collect());
        if let Some(bytes) = latin1 {
            self.add(BodyChange::Latin1, bytes);
        }
    }

    fn add_in_its_place(&mut self, body: &[u8]) {
        let mut digest = RunningDigest::default();
        digest.update(body);
        let digest = digest.finish();
        for encoding in [MacEncoding::Hex, MacEncoding::Base64, MacEncoding::HexUpper] {
            self.add(BodyChange::Sha256 { encoding }, encoding.encode(&digest).into_bytes());
        }
        self.add(BodyChange::Base64, crate::encoding::base64(body).into_bytes());
        self.add(BodyChange::Absent, Vec::new());
    }
}

fn styles() -> [(Style, &'static str); 17] {
    use Escapes::{Ascii, AsciiAndSlashes, Html, None};
    use Layout::{Compact, Pretty, Spaced};
    let style = |layout, sorted, escapes| Style { layout, sorted, escapes, js_numbers: false };
    [
        (style(Compact, false, None), "compact, as JSON.stringify and serde_json write it"),
        (style(Spaced, false, Ascii), "with spaces and ASCII only, as Python's json.dumps writes it"),
        (style(Spaced, false, None), "with spaces, as Python's json.dumps(ensure_ascii=False) writes it"),
        (style(Compact, false, Ascii), "compact, ASCII only"),
        (style(Compact, false, AsciiAndSlashes), "compact, ASCII only, with \\/ for /, as PHP's json_encode writes it"),
        (style(Compact, false, Html), "compact, with <, > and & escaped, as Go's encoding/json writes it"),
        (Style { js_numbers: true, ..Style::default() }, "compact, with numbers as JavaScript writes them"),
        (style(Pretty("  "), false, None), "indented by two spaces"),
        (style(Pretty("    "), false, None), "indented by four spaces"),
        (style(Pretty("\t"), false, None), "indented by tabs"),
        (style(Pretty("  "), false, Ascii), "indented by two spaces, ASCII only"),
        (style(Compact, true, None), "compact, with sorted members"),
        (style(Compact, true, Ascii), "compact, with sorted members, ASCII only"),
        (style(Compact, true, Html), "compact, with sorted members and <, > and & escaped, as Go's maps are written"),
        (
            style(Spaced, true, Ascii),
            "with spaces, sorted members and ASCII only, as Python's sort_keys=True writes it",
        ),
        (style(Spaced, true, None), "with spaces and sorted members"),
        (style(Pretty("  "), true, None), "indented by two spaces, with sorted members"),
    ]
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

fn url_decode(bytes: &[u8], plus: bool) -> Vec<u8> {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = match &bytes[at..] {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match (bytes[at], escaped) {
            (_, Some((high, low))) => {
                out.push(high * 16 + low);
                at += 2;
            }
            (b'+', _) if plus => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    out
}

impl Difference {
    pub(super) fn between(captured: &[u8], signed: &[u8]) -> Self {
        let same = captured.iter().zip(signed).take_while(|(one, other)| one == other).count();
        Self { offset: same, captured_len: captured.len(), signed_len: signed.len() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "captured {} bytes, signed {} bytes; the first that differs is at offset {}",
            self.captured_len, self.signed_len, self.offset
        )
    }
}

impl BodyChange {
    /// Whether the sender chose to sign something else, rather than that the body was changed on its way.
    #[must_use]
    pub fn is_by_design(&self) -> bool {
        match self {
            Self::Absent | Self::Base64 | Self::FormField { .. } | Self::JsonMember { .. } | Self::Sha256 { .. } => {
                true
            }
            Self::BomAdded
            | Self::BomRemoved
            | Self::CutAtContentLength
            | Self::JsonRewritten { .. }
            | Self::Latin1
            | Self::LineBreaksToCrlf
            | Self::LineBreaksToLf
            | Self::NewlineAdded { .. }
            | Self::NewlineRemoved
            | Self::Trimmed
            | Self::UrlDecoded { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Absent => {
                "the signature says nothing about the body: do not rely on it; ask the provider for a better one"
            }
            Self::Base64 | Self::FormField { .. } | Self::JsonMember { .. } | Self::Sha256 { .. } => {
                "a Scheme signs the body as it is: this sender needs code of its own"
            }
            Self::JsonRewritten { .. } => {
                "the body was parsed and written anew, after it was sent or before it was captured: verify the raw bytes, \
                 before any JSON parser, and look for a proxy or middleware that rewrites bodies"
            }
            Self::UrlDecoded { .. } => {
                "the form was decoded and written anew: verify the raw bytes, before any form parser"
            }
            Self::NewlineAdded { .. } => {
                "the line break at the body's end was lost: capture the raw bytes, without trimming them"
            }
            Self::CutAtContentLength | Self::NewlineRemoved | Self::Trimmed => {
                "white space or more was added around the body, most often by an editor or by `echo`: capture the raw bytes \
                 (curl: --data-binary, not --data)"
            }
            Self::LineBreaksToCrlf | Self::LineBreaksToLf => {
                "line breaks were changed, by a tool in text mode or by `curl --data`: capture the raw bytes in binary mode"
            }
            Self::BomAdded | Self::BomRemoved | Self::Latin1 => {
                "the body went through a text encoding: take it as bytes, and never decode and encode it"
            }
        }
    }
}

impl fmt::Display for BodyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("without the body"),
            Self::Base64 => f.write_str("with the body's base64 in place of the body"),
            Self::BomAdded => f.write_str("with a byte order mark before the body"),
            Self::BomRemoved => f.write_str("without the byte order mark before the body"),
            Self::CutAtContentLength => f.write_str("without what stands behind the declared Content-Length"),
            Self::FormField { name } => write!(f, "with the form's decoded field `{name}` in place of the body"),
            Self::JsonMember { name } => write!(f, "with the member `{name}` in place of the body"),
            Self::JsonRewritten { style } => write!(f, "with the JSON written anew: {style}"),
            Self::Latin1 => f.write_str("with the body in Latin-1"),
            Self::LineBreaksToCrlf => f.write_str("with CRLF line breaks"),
            Self::LineBreaksToLf => f.write_str("with LF line breaks"),
            Self::NewlineAdded { crlf } => {
                write!(f, "with a line break ({}) at the body's end", if *crlf { "CRLF" } else { "LF" })
            }
            Self::NewlineRemoved => f.write_str("without the line break at the body's end"),
            Self::Sha256 { encoding } => write!(f, "with the body's SHA-256 ({encoding:?}) in place of the body"),
            Self::Trimmed => f.write_str("without white space around the body"),
            Self::UrlDecoded { plus } => {
                write!(f, "percent-decoded{}", if *plus { ", with `+` as a space" } else { "" })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_forms_are_the_same_bytes() {
        for body in ["", "{}", "{\"a\": 1}\r\n", "a=%2F+x&payload=%7B%7D", "\u{feff}{\"\u{e9}\":\"a/b\"}", "\0\u{1}"] {
            let forms = forms(&Captured::new([("a", "b")], body));
            let distinct: HashSet<_> = forms.iter().map(|form| form.bytes.clone()).collect();
            assert_eq!(distinct.len(), forms.len(), "{body:?}");
            assert!(forms[0].change.is_none() && forms[0].bytes == body);
        }
    }

    #[test]
    fn a_difference_is_told_by_offset() {
        assert_eq!(Difference::between(b"ab", b"ac"), Difference { offset: 1, captured_len: 2, signed_len: 2 });
        assert_eq!(Difference::between(b"ab", b"ab\n"), Difference { offset: 2, captured_len: 2, signed_len: 3 });
        assert_eq!(url_decode(b"%2f%zz%4+%", true), b"/%zz%4 %");
    }
}
