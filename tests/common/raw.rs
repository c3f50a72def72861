//! HTTP/1.1 by hand.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a client waits for an answer before the test fails: far longer than anything takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A POST that has not been sent yet.
#[derive(Clone, Debug)]
pub struct Post {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Post {
    pub fn new(path: &str, headers: Vec<(String, String)>, body: impl Into<Vec<u8>>) -> Self {
        Self { path: path.to_owned(), headers, body: body.into() }
    }

    /// The same for another path.
    pub fn to(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// The same with one more field line.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without the field lines called `name`.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self
    }

    /// The same with this value in the field line called `name`.
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    /// The same with another body under the old signature.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }

    /// The request line and the field lines, without the empty line and without a framing of the body.
    pub fn head(&self, method: &str) -> String {
        let mut head = format!("{method} {} HTTP/1.1\r\nhost: test\r\n", self.path);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head
    }

    /// The head with a `Content-Length` of `length`.
    pub fn head_of_length(&self, length: usize) -> String {
        format!("{}content-length: {length}\r\n\r\n", self.head("POST"))
    }

    /// The head of a chunked body.
    pub fn head_of_chunks(&self) -> String {
        format!("{}transfer-encoding: chunked\r\n\r\n", self.head("POST"))
    }

    /// The whole request with a `Content-Length`.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head_of_length(self.body.len()).as_bytes(), &self.body].concat()
    }

    /// The whole request with a body in chunks of at most `size` bytes.
    pub fn to_chunked_bytes(&self, size: usize) -> Vec<u8> {
        let mut bytes = self.head_of_chunks().into_bytes();
        for piece in self.body.chunks(size) {
            bytes.extend(chunk(piece));
        }
        bytes.extend(b"0\r\n\r\n");
        bytes
    }
}

/// One chunk of a chunked body.
pub fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads one off the front of `bytes`, when it is all there.
    pub fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).expect("a head is ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a field line"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().expect("a length"));
        let body = bytes.get(end + 4..end + 4 + length)?.to_vec();
        let response = Self { status, headers, body };
        Some((response, end + 4 + length))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Everything that was sent but the time.
    pub fn without_date(mut self) -> Self {
        self.headers.retain(|(name, _)| name != "date");
        self
    }
}

/// A connection of which every byte is under control.
pub struct Client {
    stream: TcpStream,
    pending: Vec<u8>,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        Self { stream, pending: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends what the server is free not to read.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next answer.
    pub fn receive(&mut self) -> Response {
        self.try_receive().expect("an answer, and not the end of the connection")
    }

    /// The next answer, or `None` when the server closed the connection instead.
    pub fn try_receive(&mut self) -> Option<Response> {
        loop {
            if let Some((response, length)) = Response::parse(&self.pending) {
                self.pending.drain(..length);
                return Some(response);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// Whether the server closes the connection before `deadline`, whatever it sends until then. Meanwhile `dribble`
    /// is sent each time that `pause` has gone by.
    pub fn is_closed_before(&mut self, deadline: Instant, pause: Duration, dribble: &[u8]) -> bool {
        self.stream.set_read_timeout(Some(pause)).expect("an option");
        while Instant::now() < deadline {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
                Err(error) if is_timeout(&error) => {
                    if !self.try_send(dribble) {
                        return true;
                    }
                }
                Err(_) => return true,
            }
        }
        // The connection lives on, and whoever reads from it next has all the patience there is.
        self.stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        false
    }

    /// What came in while the end was awaited.
    pub fn received(&self) -> Option<Response> {
        Response::parse(&self.pending).map(|(response, _)| response)
    }

    /// Ends the sending half: a clean FIN.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a connection");
    }

    /// Closes the connection with a reset.
    pub fn reset(self) {
        let stream = tokio_socket(self.stream);
        drop(stream);
    }
}

/// A socket whose drop sends RST instead of FIN. The standard library cannot set this yet.
fn tokio_socket(stream: TcpStream) -> socket2::Socket {
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("an option");
    socket
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
