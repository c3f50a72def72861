//! A raw HTTP/1 request in a file becomes a [`Captured`].

use bytes::Bytes;

use super::{CaptureNote, Captured, RequestLine};

/// The longest head that is read, in bytes. Servers allow 8 KiB to 128 KiB.
const MAX_HEAD: usize = 256 * 1024;

/// The most field lines that are read. Servers allow about a hundred.
const MAX_FIELD_LINES: usize = 1024;

/// The longest body that is read, in bytes: twice what the largest senders allow (GitHub: 25 MB).
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Why a file is not a captured request. Names lines by number, and never quotes one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A field line that is not `Name: value`.
    #[error(
        "line {line} of the capture is not a header field such as `Content-Type: application/json`: if the body begins \
         there, put a blank line before it"
    )]
    BadFieldLine {
        /// The line, counted from 1.
        line: usize,
    },
    /// The body is longer than 64 MiB.
    #[error("the body of the capture is longer than 64 MiB: capture a smaller delivery")]
    BodyTooLong,
    /// The file is empty.
    #[error("the capture is empty: it must hold a raw HTTP request, a request line and header fields first")]
    Empty,
    /// The head is longer than 256 KiB.
    #[error(
        "the head of the capture is longer than 256 KiB: it must be a raw HTTP request, with a blank line between head \
         and body"
    )]
    HeadTooLong,
    /// There is no blank line after the head.
    #[error(
        "the capture has no blank line after its header fields: put one there, then the body byte for byte (a request \
         without a body still ends its head with one)"
    )]
    NoBlankLine,
    /// The file holds an answer.
    #[error("the capture is an HTTP response: capture the request, the part that the sender sends")]
    Response,
    /// The head has more than 1024 field lines.
    #[error("the capture has more than 1024 header fields: capture one request only")]
    TooManyHeaders,
}

impl Captured {
    /// Reads a raw HTTP/1 request: a request line, field lines, a blank line, the body.
    ///
    /// Lines of the head end in CRLF or LF; the body is taken byte for byte. `Content-Length` is held against it, and
    /// chunks (`Transfer-Encoding: chunked`) are put together; [`Captured::notes`] says what was done. The request line
    /// may be missing, field lines may begin with `> ` as `curl --verbose` prints them, and `:method`, `:path` and
    /// `:authority` of HTTP/2 are understood. At most 256 KiB of head, 1024 field lines and 64 MiB of body are read.
    ///
    /// # Errors
    ///
    /// When the file is no such request. Each error says what to do.
    pub fn parse(bytes: &[u8]) -> Result<Self, CaptureError> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(CaptureError::Empty);
        }
        let mut head = Head::default();
        let body_at = head.read(bytes)?;
        let raw = &bytes[body_at..];
        if raw.len() > MAX_BODY {
            return Err(CaptureError::BodyTooLong);
        }
        let mut captured = Self { line: head.line(), headers: head.headers, body: Bytes::new(), notes: Vec::new() };
        captured.take_body(raw);
        captured.note_compression();
        Ok(captured)
    }

    fn take_body(&mut self, raw: &[u8]) {
        if self.is_chunked() {
            let (body, note) = match dechunk(raw) {
                Some(body) => (body.into(), CaptureNote::Dechunked),
                None => (Bytes::copy_from_slice(raw), CaptureNote::NotChunked),
            };
            self.body = body;
            self.notes.push(note);
            return;
        }
        let declared = self.values("content-length").next().and_then(|value| std::str::from_utf8(value).ok());
        let declared = declared.and_then(|text| text.trim().parse::<u64>().ok());
        let body = match declared.and_then(|len| usize::try_from(len).ok()) {
            Some(len) if matches!(raw.get(len..), Some(b"\n" | b"\r\n")) => {
                self.notes.push(CaptureNote::TrailingNewlineCut);
                &raw[..len]
            }
            _ => raw,
        };
        self.body = Bytes::copy_from_slice(body);
        if let Some(declared) = declared.filter(|declared| *declared != body.len() as u64) {
            self.notes.push(CaptureNote::LengthMismatch { declared, found: body.len() as u64 });
        }
    }
}

#[derive(Default)]
struct Head {
    first: Option<RequestLine>,
    method: Option<String>,
    path: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    /// Lines begin as `curl --verbose` prints them.
    curl: bool,
}

impl Head {
    /// Reads the head of `bytes` and gives the position of the body.
    fn read(&mut self, bytes: &[u8]) -> Result<usize, CaptureError> {
        let mut at = 0;
        let mut begun = false;
        for number in 1.. {
            let Some(len) = bytes[at..].iter().take(MAX_HEAD).position(|byte| *byte == b'\n') else {
                let too_long = bytes.len() - at >= MAX_HEAD;
                return Err(if too_long { CaptureError::HeadTooLong } else { self.cut_off(&bytes[at..], number) });
            };
            let line = &bytes[at..at + len];
            at += len + 1;
            if at > MAX_HEAD {
                return Err(CaptureError::HeadTooLong);
            }
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.starts_with(b"* ") && (self.curl || !begun) {
                continue; // What curl says about the connection.
            }
            if !begun {
                self.curl = line.starts_with(b"> ");
            }
            let line = match line.strip_prefix(b">") {
                Some(rest) if self.curl => rest.strip_prefix(b" ").unwrap_or(rest),
                _ => line,
            };
            match (line.is_empty(), begun) {
                (true, true) => return Ok(at),
                (true, false) => {}
                (false, true) => self.field_line(line, number)?,
                (false, false) => {
                    begun = true;
                    self.first_line(line, number)?;
                }
            }
        }
        Err(CaptureError::NoBlankLine)
    }

    /// What is wrong with a head that ends in `rest` before its blank line.
    fn cut_off(&self, rest: &[u8], number: usize) -> CaptureError {
        match name_and_value(rest) {
            None if !rest.is_empty() && number > 1 => CaptureError::BadFieldLine { line: number },
            _ => CaptureError::NoBlankLine,
        }
    }

    fn first_line(&mut self, line: &[u8], number: usize) -> Result<(), CaptureError> {
        if line.starts_with(b"HTTP/") || line.starts_with(b"< ") {
            return Err(CaptureError::Response);
        }
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        if let (Some(method), Some(target)) = (words.next(), words.next())
            && method.iter().all(u8::is_ascii_uppercase)
        {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.first = Some(RequestLine { method: text(method), target: text(target) });
            return Ok(());
        }
        self.field_line(line, number)
    }

    fn field_line(&mut self, line: &[u8], number: usize) -> Result<(), CaptureError> {
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            // A folded line (RFC 9112, section 5.2) goes on with the value before it.
            let Some((_, value)) = self.headers.last_mut() else {
                return Err(CaptureError::BadFieldLine { line: number });
            };
            value.push(b' ');
            value.extend_from_slice(line.trim_ascii());
            return Ok(());
        }
        let Some((name, value)) = name_and_value(line) else {
            return Err(CaptureError::BadFieldLine { line: number });
        };
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            ":method" => self.method = Some(text()),
            ":path" => self.path = Some(text()),
            ":authority" => self.headers.push(("host".to_owned(), value.to_vec())),
            _ if name.starts_with(':') => {}
            _ if self.headers.len() == MAX_FIELD_LINES => return Err(CaptureError::TooManyHeaders),
            _ => self.headers.push((name.to_owned(), value.to_vec())),
        }
        Ok(())
    }

    fn line(&mut self) -> Option<RequestLine> {
        let path = self.path.take();
        let method = self.method.take();
        self.first
            .take()
            .or_else(|| Some(RequestLine { method: method.unwrap_or_else(|| "POST".to_owned()), target: path? }))
    }
}

fn name_and_value(line: &[u8]) -> Option<(&str, &[u8])> {
    let pseudo = usize::from(line.starts_with(b":"));
    let colon = pseudo + line[pseudo..].iter().position(|byte| *byte == b':')?;
    let name = &line[..colon];
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let named = name.len() > pseudo && name[pseudo..].iter().all(is_token);
    named.then(|| Some((std::str::from_utf8(name).ok()?, line[colon + 1..].trim_ascii())))?
}

/// The body in `raw` put together; `None` when `raw` is not in chunks. Extensions and trailers are passed over.
fn dechunk(raw: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let mut rest = raw;
    loop {
        let line_end = rest.iter().take(1024).position(|byte| *byte == b'\n')?;
        let line = rest[..line_end].trim_ascii();
        let size = line.split(|byte| *byte == b';').next()?.trim_ascii();
        if size.is_empty() || size.len() > 8 {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        rest = &rest[line_end + 1..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = &rest[size..];
        rest = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(raw: &str) -> String {
        String::from_utf8(Captured::parse(raw.as_bytes()).unwrap().body().to_vec()).unwrap()
    }

    #[test]
    fn heads_end_their_lines_either_way_and_the_body_is_left_alone() {
        for end in ["\n", "\r\n"] {
            let raw = format!("POST /a?b HTTP/1.1{end}X-A: 1{end}x-a:2{end}X-B:{end}{end}{{\r\n\n}}");
            let captured = Captured::parse(raw.as_bytes()).unwrap();
            let headers: Vec<_> = captured.headers().collect();
            assert_eq!(headers, [("X-A", &b"1"[..]), ("x-a", b"2"), ("X-B", b"")]);
            assert_eq!(captured.body(), "{\r\n\n}");
            assert_eq!((captured.method(), captured.target()), (Some("POST"), Some("/a?b")));
            assert_eq!(captured.line("x-a"), FieldLine::Several);
        }
    }

    #[test]
    fn a_content_length_is_held_against_the_body() {
        let with = |length: &str, body: &str| {
            Captured::parse(format!("A: b\nContent-Length: {length}\n\n{body}").as_bytes()).unwrap()
        };
        assert_eq!((with("2", "{}").body().len(), with("2", "{}").notes()), (2, &[][..]));
        for body in ["{}\n", "{}\r\n"] {
            let captured = with("2", body);
            assert_eq!((captured.body().len(), captured.notes()), (2, &[CaptureNote::TrailingNewlineCut][..]));
        }
        for (body, found) in [("{}\n\n", 4), ("{ }", 3), ("{", 1)] {
            let captured = with("2", body);
            assert_eq!(captured.notes(), [CaptureNote::LengthMismatch { declared: 2, found }]);
            assert_eq!(captured.body(), body);
        }
        assert_eq!(with("99999999999999999999999", "{}").notes(), []);
    }

    #[test]
    fn chunks_are_put_together() {
        let head = "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n";
        assert_eq!(body(&format!("{head}2\r\n{{}}\r\n3;x=y\r\n123\r\n0\r\n\r\n")), "{}123");
        assert_eq!(body(&format!("{head}2\n{{}}\n0\n\n")), "{}");
        for plain in ["{}", "", "zz\r\n", "5\r\n{}", "ffffffff\r\n{}"] {
            let captured = Captured::parse(format!("{head}{plain}").as_bytes()).unwrap();
            assert_eq!(
                (captured.body(), captured.notes()),
                (&Bytes::from(plain.to_owned()), &[CaptureNote::NotChunked][..])
            );
        }
        let captured = Captured::parse(format!("{head}2\r\n{{}}\r\n0\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(Captured::parse(&captured.to_bytes()).unwrap().body(), "{}");
    }

    #[test]
    fn other_tools_captures_are_understood() {
        let curl = "* Connected to host\n> POST /x HTTP/1.1\n> Host: a\n> X-B: c\n>\n{}";
        assert_eq!(body(curl), "{}");
        let h2 = ":method: PUT\n:path: /y\n:scheme: https\n:authority: a\nx-b: c\n\n{}";
        let captured = Captured::parse(h2.as_bytes()).unwrap();
        assert_eq!((captured.method(), captured.target()), (Some("PUT"), Some("/y")));
        assert_eq!(captured.line("host"), FieldLine::One(b"a"));
        let folded = Captured::parse(b"A: b\n  c\n\n").unwrap();
        assert_eq!(folded.line("a"), FieldLine::One(b"b c"));
    }

    #[test]
    fn each_error_says_what_is_wrong() {
        let error = |raw: &[u8]| Captured::parse(raw).unwrap_err();
        assert_eq!(error(b""), CaptureError::Empty);
        assert_eq!(error(b" \n\r\n"), CaptureError::Empty);
        assert_eq!(error(b"HTTP/1.1 200 OK\n\n"), CaptureError::Response);
        assert_eq!(error(b"POST / HTTP/1.1\nA: b\n"), CaptureError::NoBlankLine);
        assert_eq!(error(b"POST / HTTP/1.1\nA: b"), CaptureError::NoBlankLine);
        assert_eq!(error(b"POST / HTTP/1.1\nA: b\n{}"), CaptureError::BadFieldLine { line: 3 });
        assert_eq!(error(b"POST / HTTP/1.1\nA b\n\n"), CaptureError::BadFieldLine { line: 2 });
        assert_eq!(error(b"\0\xff\n\n"), CaptureError::BadFieldLine { line: 1 });
        assert_eq!(error(&[b"A: ", &vec![b'x'; 1 << 20][..], b"\n\n"].concat()), CaptureError::HeadTooLong);
        assert_eq!(error(&[&b"A: b\n".repeat(1025)[..], b"\n"].concat()), CaptureError::TooManyHeaders);
        assert!(Captured::parse(&[&b"A: b\n".repeat(1024)[..], b"\n"].concat()).is_ok());
    }

    use crate::request::{FieldLine, Headers as _};
}
