//! What the tests of deliveries share: a sandbox asked over HTTP, and receivers of both kinds, real and scripted.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, missing_docs)] // each file uses its part

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use countersign::sandbox::{Assumptions, Sandbox, SandboxBuilder};
use countersign::{Keyring, MemoryStore, Receiver, ReceiverBuilder, Scheme, Secret};
use serde_json::{Value, json};

use crate::common::raw::{Client, Post};
use crate::common::{Mount, PATH, Probe, Server};

/// Far longer than anything takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A sandbox whose waits take no time, and whose attempts have time even on a busy machine.
pub fn quick() -> SandboxBuilder {
    Sandbox::builder().speed(Sandbox::MAX_SPEED).seed(7).assumptions(assumptions())
}

pub fn assumptions() -> Assumptions {
    let mut assumptions = Assumptions::default();
    assumptions.timeout = Duration::from_secs(20);
    assumptions.unknown_event_types = true;
    assumptions
}

/// Asks the management API with the test key. The status, and the answer's JSON.
pub fn ask(sandbox: &Sandbox, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    ask_with(sandbox, Sandbox::TEST_KEY, method, path, body)
}

pub fn ask_with(sandbox: &Sandbox, key: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let post = Post::new(path, Vec::new(), body.clone())
        .with("authorization", &format!("Bearer {key}"))
        .with("content-type", "application/json");
    let head = format!("{}content-length: {}\r\n\r\n", post.head(method), body.len());
    let mut client = Client::connect(sandbox.address());
    client.send(format!("{head}{body}").as_bytes());
    let answer = client.receive();
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// A subscription and its secret.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub id: String,
    pub secret: String,
}

pub fn subscribe(sandbox: &Sandbox, event_type: &str, url: &str) -> Subscription {
    let body = json!({ "event_type": event_type, "webhook_url": url });
    let (status, created) = ask(sandbox, "POST", "/api/v2/webhooks/", Some(body));
    assert_eq!(status, 201, "{created}");
    let text = |name: &str| created[name].as_str().unwrap().to_owned();
    Subscription { id: text("webhook_id"), secret: text("secret_key") }
}

/// The log, oldest first.
pub fn log(sandbox: &Sandbox) -> Vec<Value> {
    let (status, page) = ask(sandbox, "GET", "/api/v2/webhooks/logs/?page_size=100", None);
    assert_eq!(status, 200, "{page}");
    let mut rows = page["results"].as_array().unwrap().clone();
    rows.reverse();
    rows
}

/// The log as `attempt status http error`, oldest first.
pub fn short_log(sandbox: &Sandbox) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let row = |row: &Value| {
        let (status, error) = (text(&row["status"]), text(&row["error_message"]));
        format!("{} {status} {} {error}", row["attempt_number"], row["http_status_code"])
    };
    log(sandbox).iter().map(row).collect()
}

pub fn stats(sandbox: &Sandbox, id: &str) -> [u64; 3] {
    let (_, got) = ask(sandbox, "GET", &format!("/api/v2/webhooks/{id}/"), None);
    ["total_deliveries", "successful_deliveries", "failed_deliveries"].map(|name| got["stats"][name].as_u64().unwrap())
}

/// A countersign receiver on a socket of its own, which knows every secret that it is given.
pub struct Receiving {
    pub probe: Probe,
    pub server: Server,
    pub keyring: Keyring,
    pub url: String,
}

impl Receiving {
    /// A receiver that trusts nobody yet: its URL has to be known before there is a secret.
    pub fn start(scheme: Scheme) -> Self {
        Self::with(scheme, |builder| builder)
    }

    pub fn with(
        scheme: Scheme,
        configure: impl Fn(ReceiverBuilder<Probe, MemoryStore>) -> ReceiverBuilder<Probe, MemoryStore>,
    ) -> Self {
        let probe = Probe::default();
        // Never used to sign anything; hex and base64 alike.
        let keyring = Keyring::single(Secret::new("A".repeat(52)).unwrap());
        let builder = Receiver::builder(scheme, keyring.clone()).handlers(probe.clone());
        let receiver = configure(builder).build().unwrap();
        let server = Server::start(Mount::Service, &receiver, &probe);
        let url = format!("http://{}{PATH}", server.addr);
        Self { probe, server, keyring, url }
    }

    /// From now on this secret alone is trusted.
    pub fn trust(&self, secret: &str) {
        let key = countersign::Key::new("key".parse().unwrap(), Secret::new(secret).unwrap());
        self.keyring.replace([key]).unwrap();
    }

    /// A subscription of the sandbox's to everything, whose secret is trusted.
    pub fn subscribed(&self, sandbox: &Sandbox) -> Subscription {
        let subscription = subscribe(sandbox, "all", &self.url);
        self.trust(&subscription.secret);
        subscription
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Came {
    pub head: String,
    pub body: Vec<u8>,
}

impl Came {
    pub fn headers(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).collect()
    }

    pub fn header(&self, name: &str) -> String {
        self.headers(name).first().unwrap_or_else(|| panic!("no {name} in {}", self.head)).clone()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Answers each request as `answer` says of its number, from 0; `None` is no answer at all, for ever. Tells what came.
pub struct Script {
    pub url: String,
    came: mpsc::Receiver<Came>,
    pub count: Arc<AtomicUsize>,
}

impl Script {
    pub fn serve(answer: impl Fn(usize) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let (tell, came) = mpsc::channel();
        let count = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (Arc::clone(&count), Arc::new(answer));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (tell, counted, answer) = (tell.clone(), Arc::clone(&counted), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut connection = connection.unwrap();
                    while let Some(request) = read_request(&mut connection) {
                        let number = counted.fetch_add(1, Ordering::SeqCst);
                        let _ = tell.send(request);
                        match answer(number) {
                            Some(answer) => {
                                let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
                                if connection.write_all(answer.as_bytes()).is_err() {
                                    return;
                                }
                            }
                            None => std::thread::park(),
                        }
                    }
                });
            }
        });
        Self { url, came, count }
    }

    /// Always this answer.
    pub fn always(answer: &'static str) -> Self {
        Self::serve(move |_| Some(answer.to_owned()))
    }

    pub fn next(&self) -> Came {
        self.came.recv_timeout(PATIENCE).expect("a request")
    }

    /// What has come and was not taken yet.
    pub fn all(&self) -> Vec<Came> {
        self.came.try_iter().collect()
    }
}

fn read_request(connection: &mut TcpStream) -> Option<Came> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let came = Came { head, body: bytes[end + 4..].to_vec() };
            if came.body.len() >= came.header("content-length").parse::<usize>().unwrap() {
                return Some(came);
            }
        }
        match connection.read(&mut chunk) {
            Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
            _ => return None,
        }
    }
}

/// A port of this machine at which nobody listens.
pub fn closed_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
