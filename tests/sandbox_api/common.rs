//! A sandbox on a real socket, and a client that controls every byte.

use std::future::Future;

use countersign::sandbox::{Sandbox, SandboxBuilder};
use serde_json::Value;

use crate::raw::Client;
pub use crate::raw::Response;

pub const RECEIVER: &str = "https://api.yourcompany.com/webhooks/screening";

/// Another account's key.
pub const FOREIGN_KEY: &str = "kycg_f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0";

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn start() -> Sandbox {
    start_with(Sandbox::builder())
}

pub fn start_with(builder: SandboxBuilder) -> Sandbox {
    wait(builder.start()).unwrap()
}

/// A request to be changed and sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

pub fn request(method: &str, path: &str) -> Request {
    let headers = vec![("authorization".to_owned(), format!("Bearer {}", Sandbox::TEST_KEY))];
    Request { method: method.to_owned(), path: path.to_owned(), headers, body: Vec::new() }
}

pub fn get(path: &str) -> Request {
    request("GET", path)
}

pub fn post(path: &str) -> Request {
    request("POST", path)
}

impl Request {
    pub fn json(self, body: &str) -> Self {
        self.with("content-type", "application/json").body(body)
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.without("authorization").with("authorization", &format!("Bearer {key}"))
    }

    pub fn head(&self, length: Option<usize>) -> Vec<u8> {
        let Self { method, path, headers, .. } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        match length {
            Some(length) => head.push_str(&format!("content-length: {length}\r\n\r\n")),
            None => head.push_str("transfer-encoding: chunked\r\n\r\n"),
        }
        head.into_bytes()
    }

    pub fn send(&self, sandbox: &Sandbox) -> Response {
        let mut bytes = self.head(Some(self.body.len()));
        bytes.extend_from_slice(&self.body);
        let mut client = Client::connect(sandbox.address());
        client.send(&bytes);
        client.receive()
    }

    /// The body of an answer with this status.
    pub fn expect(&self, sandbox: &Sandbox, status: u16) -> Value {
        let response = self.send(sandbox);
        assert_eq!(response.status, status, "{self:?}: {}", text(&response));
        json(&response)
    }
}

pub fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

pub fn json(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {:?}", text(response)))
}

/// Creates a subscription and tells its id.
pub fn subscribe(sandbox: &Sandbox, event_type: &str, url: &str) -> String {
    let body = serde_json::json!({ "event_type": event_type, "webhook_url": url }).to_string();
    let created = post("/api/v2/webhooks/").json(&body).expect(sandbox, 201);
    created["webhook_id"].as_str().unwrap().to_owned()
}

/// What an answer says, without the order of its header lines and without the time.
pub fn said(response: Response) -> Response {
    let mut response = response.without_date();
    response.headers.sort();
    response
}
