//! What the sandbox logs: each request, and nothing that is secret.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::common::{RECEIVER, get, post, start, wait};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn requests_are_logged_without_keys_secrets_and_bodies() {
    let log = Log::default();
    // For the whole process: the sandbox works on threads of its own. What other tests do meanwhile is logged too.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("countersign=trace"))
        .with_ansi(false)
        .with_writer(log.clone())
        .init();
    let sandbox = start();
    let body = json!({ "event_type": "all", "webhook_url": RECEIVER, "description": "planted in a body" });
    let created = post("/api/v2/webhooks/?planted=query").json(&body.to_string());
    let created = created.with("idempotency-key", "planted-key").expect(&sandbox, 201);
    get("/api/v2/webhooks/").key("planted_api_key").expect(&sandbox, 401);
    post("/sandbox/trigger").json(r#"{"event_type": "planted.type", "data": "planted data"}"#).expect(&sandbox, 200);
    wait(sandbox.stop());
    let log = log.0.lock().unwrap().clone();
    let log = String::from_utf8(log).unwrap();
    assert!(log.contains("sandbox answered") && log.contains("status=201"), "{log}");
    let secret = created["secret_key"].as_str().unwrap();
    for hidden in [secret, &secret[6..], crate::common::FOREIGN_KEY, "kycg_", "planted", "authorization"] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
}
