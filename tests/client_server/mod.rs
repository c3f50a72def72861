//! A server that plays back answers byte for byte, and remembers what it was asked.
//!
//! It shares no code with the client: requests are read from the socket as text.

#![allow(dead_code, reason = "each test target uses a part")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use countersign::kycgenie::client::{ApiKey, ApiVersion, Client, ClientBuilder, RetryPolicy};

/// Appears in no output, or a test fails.
pub(crate) const KEY: &str = "kycg_planted0planted0planted0planted0";

/// What the server does once it has read a request.
pub(crate) enum Reply {
    /// Sends these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// Closes the connection.
    Drop,
    /// Says nothing until the server ends.
    Stall,
    /// Sends these bytes, then nothing until the server ends.
    StallAfter(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice");
        value
    }

    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
}

impl Server {
    /// Answers request number `n`, from 0, as `answer` says.
    pub(crate) fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), requests: Arc::default(), ended: Arc::default() };
        let (requests, ended, answer) = (server.requests.clone(), server.ended.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let (requests, ended, answer) = (requests.clone(), ended.clone(), answer.clone());
                thread::spawn(move || serve(stream.unwrap(), &requests, &ended, &*answer));
            }
        });
        server
    }

    /// Answers the first request with the first reply, and so on; a request too many is a dropped connection.
    pub(crate) fn script(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies: Mutex<Vec<Option<Reply>>> = Mutex::new(replies.into_iter().map(Some).collect());
        Self::start(move |_, n| replies.lock().unwrap().get_mut(n).and_then(Option::take).unwrap_or(Reply::Drop))
    }

    /// Answers each request with the file `name` under `tests/data/client/`.
    pub(crate) fn file(name: &str) -> Self {
        let bytes = recorded(name);
        Self::start(move |_, _| Reply::Bytes(bytes.clone()))
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The one request that was made.
    pub(crate) fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client that waits for next to nothing between its attempts.
    pub(crate) fn builder(&self) -> ClientBuilder {
        let (base, cap) = (Duration::from_millis(1), Duration::from_millis(5));
        Client::builder(ApiKey::new(KEY).unwrap())
            .base_url(self.url())
            .timeout(Duration::from_secs(20))
            .retry(RetryPolicy { base, cap, ..RetryPolicy::default() })
    }

    pub(crate) fn client(&self, version: ApiVersion) -> Client {
        self.builder().version(version).build().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    requests: &Mutex<Vec<Request>>,
    ended: &AtomicBool,
    answer: &dyn Fn(&Request, usize) -> Reply,
) {
    let Some(request) = read(&mut stream) else {
        return;
    };
    let number = {
        let mut requests = requests.lock().unwrap();
        requests.push(request.clone());
        requests.len() - 1
    };
    let (bytes, stall) = match answer(&request, number) {
        Reply::Bytes(bytes) => (bytes, false),
        Reply::Drop => return,
        Reply::Stall => (Vec::new(), true),
        Reply::StallAfter(bytes) => (bytes, true),
    };
    // The client may have gone: it reads no more than it wants.
    let _ = stream.write_all(&bytes);
    while stall && !ended.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(5));
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let (head, mut body) = loop {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break (String::from_utf8(bytes[..end].to_vec()).unwrap(), bytes.split_off(end + 4));
        }
    };
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let request = Request {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        headers: lines.map(|line| line.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        body: Vec::new(),
    };
    let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&chunk[..count]);
    }
    Some(Request { body, ..request })
}

/// The answer in the file `name` under `tests/data/client/`, as it goes over the wire.
///
/// Such a file has a status line, header lines, an empty line, and the body without the last line break.
pub(crate) fn recorded(name: &str) -> Vec<u8> {
    let text = file(name);
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let body = body.strip_suffix('\n').unwrap_or(body);
    let mut lines = head.lines();
    let mut bytes = format!("{}\r\n", lines.next().unwrap());
    for line in lines {
        bytes.push_str(line);
        bytes.push_str("\r\n");
    }
    bytes.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()));
    bytes.into_bytes()
}

/// The body of such a file.
pub(crate) fn body(name: &str) -> String {
    let text = file(name);
    text.split_once("\n\n").map(|(_, body)| body.trim_end().to_owned()).unwrap_or_default()
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/client").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An answer with this status and body.
pub(crate) fn answer(status: u16, body: &str) -> Vec<u8> {
    answer_with(status, "", body)
}

/// The same, with header lines that end in CRLF.
pub(crate) fn answer_with(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}
