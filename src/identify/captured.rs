//! One request as it was caught: what is searched, and what is diagnosed.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use crate::request::{FieldLine, Headers, RequestView};

mod parse;

pub use parse::CaptureError;

/// A captured webhook request: its head with every field line in order, and its body byte for byte.
///
/// As a file it is a raw HTTP/1 request: a request line, field lines, a blank line, the body.
///
/// ```
/// use countersign::identify::Captured;
///
/// let captured = Captured::parse(b"POST /hooks HTTP/1.1\r\nX-Signature: 5f2a\r\nContent-Length: 2\r\n\r\n{}\n")?;
/// assert_eq!(&captured.body()[..], b"{}"); // the line break that an editor added is cut off, and told in `notes`
/// assert_eq!(captured.notes().len(), 1);
/// assert_eq!(Captured::parse(&captured.to_bytes())?.body(), captured.body());
/// # Ok::<(), countersign::identify::CaptureError>(())
/// ```
///
/// `Debug` shows names and lengths only: a head may hold credentials, and a body is nobody's business.
#[derive(Clone)]
pub struct Captured {
    line: Option<RequestLine>,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
    notes: Vec<CaptureNote>,
}

#[derive(Clone)]
struct RequestLine {
    method: String,
    target: String,
}

/// What was found, or mended, while a capture was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CaptureNote {
    /// The body is compressed (`Content-Encoding`). Most senders sign what they send; some sign what they compressed.
    Compressed {
        /// The header's value, at most 32 characters of it.
        encoding: String,
    },
    /// The body was in chunks (`Transfer-Encoding: chunked`) and has been put together.
    Dechunked,
    /// The body is not as long as `Content-Length` says: the file was altered, or cut off, after the capture.
    LengthMismatch {
        /// The length that the head declares, in bytes.
        declared: u64,
        /// The length of the body in the file, in bytes.
        found: u64,
    },
    /// The head says that the body is chunked, and it is not: it was put together already, and is taken as it is.
    NotChunked,
    /// A line break stood behind the body that `Content-Length` declares, as editors add one. It has been cut off.
    TrailingNewlineCut,
}

impl Captured {
    /// A request of these field lines, in the order in which they came, and this body.
    pub fn new<N, V>(headers: impl IntoIterator<Item = (N, V)>, body: impl Into<Bytes>) -> Self
    where
        N: Into<String>,
        V: Into<Vec<u8>>,
    {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let mut captured = Self { line: None, headers, body: body.into(), notes: Vec::new() };
        captured.note_compression();
        captured
    }

    /// The same with a request line: some senders sign the method, the path or the whole URL.
    ///
    /// ```
    /// # use countersign::identify::Captured;
    /// let captured = Captured::new([("host", "example.com")], "{}").request_line("POST", "/hooks?tenant=7");
    /// assert_eq!(captured.target(), Some("/hooks?tenant=7"));
    /// ```
    #[must_use]
    pub fn request_line(self, method: impl Into<String>, target: impl Into<String>) -> Self {
        Self { line: Some(RequestLine { method: method.into(), target: target.into() }), ..self }
    }

    /// The method, where the request line is known.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.line.as_ref().map(|line| line.method.as_str())
    }

    /// The target as it stands in the request line: path and query, or a whole URL.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        self.line.as_ref().map(|line| line.target.as_str())
    }

    /// Every field line, in order, with its name as it was written.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The body, byte for byte.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// What was found or mended while the capture was read.
    #[must_use]
    pub fn notes(&self) -> &[CaptureNote] {
        &self.notes
    }

    /// The request as a [`Verifier`](crate::Verifier) takes it.
    #[must_use]
    pub fn request_view(&self) -> RequestView<'_> {
        RequestView::new(self, self.body.clone())
    }

    /// The request as a file, which [`Captured::parse`] reads back to the same head and body.
    ///
    /// Line breaks inside of names and values, which no server hands over, are written as spaces. Where the head says
    /// that the body is chunked, it is written as one chunk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let one_line = |text: &[u8]| -> Vec<u8> {
            text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect()
        };
        let (method, target) = (self.method().unwrap_or("POST"), self.target().unwrap_or("/"));
        let mut bytes = one_line(format!("{method} {target} HTTP/1.1").as_bytes());
        bytes.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            bytes.extend(one_line(name.as_bytes()));
            bytes.extend_from_slice(b": ");
            bytes.extend(one_line(value));
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if self.is_chunked() {
            if !self.body.is_empty() {
                bytes.extend_from_slice(format!("{:x}\r\n", self.body.len()).as_bytes());
                bytes.extend_from_slice(&self.body);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    fn is_chunked(&self) -> bool {
        self.values("transfer-encoding").any(|value| value.to_ascii_lowercase().ends_with(b"chunked"))
    }

    fn note_compression(&mut self) {
        let value = self.values("content-encoding").find(|value| !value.eq_ignore_ascii_case(b"identity"));
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let encoding = String::from_utf8_lossy(value).chars().filter(|char| !char.is_control()).take(32).collect();
            self.notes.push(CaptureNote::Compressed { encoding });
        }
    }
}

impl Headers for Captured {
    fn line(&self, name: &str) -> FieldLine<'_> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (None, _) => FieldLine::Absent,
            (Some(value), None) => FieldLine::One(value),
            (Some(_), Some(_)) => FieldLine::Several,
        }
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Captured")
            .field("headers", &self.headers.len())
            .field("body_len", &self.body.len())
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for CaptureNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed { encoding } => {
                write!(f, "the body is compressed ({encoding}), and is taken as it is: it was not decompressed")
            }
            Self::Dechunked => f.write_str("the body came in chunks and was put together"),
            Self::LengthMismatch { declared, found } => write!(
                f,
                "Content-Length says {declared} bytes and the body in the file has {found}: the file was altered or cut off \
                 after the capture"
            ),
            Self::NotChunked => {
                f.write_str("the head says that the body is chunked, and it is not; it is taken as it is")
            }
            Self::TrailingNewlineCut => {
                f.write_str("a line break behind the body, as editors add one, was cut off: Content-Length excludes it")
            }
        }
    }
}
