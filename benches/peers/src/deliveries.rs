//! Deliveries, signed before anything is measured: each with an id and a signature of its own.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A sender: makes ever new deliveries of one length.
pub struct Sender {
    key: Hmac<Sha256>,
    bodies: Vec<Vec<u8>>,
    next: u64,
}

/// A delivery as its pieces.
pub struct Delivery {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: usize,
}

impl Sender {
    /// Of bodies of exactly `len` bytes, all of them different; there are as many as fit into 32 MiB, at most 4096.
    pub fn new(len: usize) -> Self {
        let secret = STANDARD.decode(SECRET.trim_start_matches("whsec_")).expect("base64");
        Self {
            key: Hmac::new_from_slice(&secret).expect("any length"),
            bodies: (0..(32 * 1024 * 1024 / len).min(4096)).map(|n| body(len, n)).collect(),
            next: 0,
        }
    }

    pub fn body(&self, delivery: &Delivery) -> &[u8] {
        &self.bodies[delivery.body]
    }

    /// The next delivery, signed now; the bodies take turns.
    pub fn next(&mut self) -> Delivery {
        let body = (self.next % self.bodies.len() as u64) as usize;
        self.next_of(body)
    }

    /// The next delivery, with the body of that number.
    pub fn next_of(&mut self, body: usize) -> Delivery {
        let id = format!("msg_{:024x}", self.next);
        self.next += 1;
        let timestamp = now().to_string();
        let mut mac = self.key.clone();
        for piece in [id.as_bytes(), b".", timestamp.as_bytes(), b".", &self.bodies[body]] {
            mac.update(piece);
        }
        Delivery {
            signature: format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())),
            id,
            timestamp,
            body,
        }
    }

    /// The head of an HTTP request for `delivery`, such as senders write.
    pub fn head(&self, delivery: &Delivery) -> Vec<u8> {
        let len = self.body(delivery).len();
        format!(
            "POST /hook HTTP/1.1\r\nhost: hooks.example.com\r\nuser-agent: Webhooks/1.0\r\naccept: */*\r\n\
             content-type: application/json\r\ncontent-length: {len}\r\nwebhook-id: {}\r\nwebhook-timestamp: {}\r\n\
             webhook-signature: {}\r\n\r\n",
            delivery.id, delivery.timestamp, delivery.signature
        )
        .into_bytes()
    }
}

impl Delivery {
    pub fn headers(&self) -> [(&str, &str); 3] {
        [
            ("webhook-id", &self.id),
            ("webhook-timestamp", &self.timestamp),
            ("webhook-signature", &self.signature),
        ]
    }
}

pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

/// A `screening.completed` of `len` bytes: as many matches as fit, and the rest in a note.
fn body(len: usize, n: usize) -> Vec<u8> {
    let mut json = format!(
        r#"{{"event":"screening.completed","data":{{"screening_id":"scr_{n:020}","entity_id":"ent_{n:020}","entity_name":"Ada Lovelace","status":"completed","score":0.{n:04},"match_count":{n},"simulated":false,"created_at":"2026-11-22T20:30:00Z","matches":["#
    );
    const END: &str = r#"],"note":""}}"#;
    for at in 0.. {
        let mut one = String::new();
        let _ = write!(
            one,
            r#"{}{{"id":"mat_{at:016}","name":"Ada King, Countess of Lovelace","list":"sanctions","score":0.{:02},"aliases":["A. Lovelace","Augusta Ada Byron"],"born":"1815-12-10","active":true}}"#,
            if at == 0 { "" } else { "," },
            at % 100
        );
        if json.len() + one.len() + END.len() > len {
            break;
        }
        json += &one;
    }
    json += &END[..END.len() - 3];
    while json.len() < len - 3 {
        json.push(char::from(b'a' + (json.len() % 26) as u8));
    }
    json += &END[END.len() - 3..];
    assert_eq!(json.len(), len);
    json.into_bytes()
}
