//! What becomes of a call over a real socket: retries, deadlines, limits, and what is never shown.

#![cfg(feature = "client")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test ends so")]

mod client_server;

use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client_server::{KEY, Reply, Server, answer, answer_with, recorded};
use countersign::kycgenie::client::{
    ApiKey, ApiVersion, Client, Error, ErrorCode, ErrorKind, NewWebhook, RetryPolicy, WebhookId,
};

fn webhook() -> WebhookId {
    WebhookId::new("f67f165d-0d1e-4eb7-81e6-3494a260dcd4").unwrap()
}

fn ok(name: &str) -> Reply {
    Reply::Bytes(recorded(name))
}

/// The idempotency keys of all requests, in their order.
fn idempotency_keys(server: &Server) -> Vec<String> {
    let key = |request: &client_server::Request| request.header("idempotency-key").unwrap_or("none").to_owned();
    server.requests().iter().map(key).collect()
}

#[tokio::test]
async fn a_call_goes_on_until_it_succeeds_and_keeps_its_idempotency_key() {
    let half = recorded("v2/rotate_secret.http");
    let half = half[..half.len() - 10].to_vec();
    let server = Server::script([
        Reply::Bytes(answer_with(429, "Retry-After: 0\r\n", "")),
        Reply::Bytes(answer(503, "<html>")),
        Reply::Drop,
        Reply::Bytes(half),
        ok("errors/server_error.http"),
        ok("v2/rotate_secret.http"),
        ok("v2/rotate_secret.http"),
    ]);
    let client = server
        .builder()
        .retry(RetryPolicy { max_attempts: 6, base: Duration::from_millis(1), cap: Duration::from_millis(2) })
        .build()
        .unwrap();
    let rotated = client.rotate_secret(&webhook()).await.unwrap();
    assert_eq!(rotated.secret.expose_secret(), b"whsec_NEW_SECRET_VALUE_HERE");
    assert_eq!(idempotency_keys(&server).len(), 6);
    let _ = client.rotate_secret(&webhook()).await.unwrap();
    let keys = idempotency_keys(&server);
    assert!(keys[..6].iter().all(|key| *key == keys[0] && key.len() == 36), "{keys:?}");
    assert_ne!(keys[0], keys[6], "another call has another key");
}

#[tokio::test]
async fn a_time_out_is_tried_again_with_the_same_idempotency_key() {
    let server = Server::start(|_, n| if n == 0 { Reply::Stall } else { ok("v2/rotate_secret.http") });
    // Patient: on a busy machine a good answer may be late, too.
    let retry = RetryPolicy { max_attempts: 100, base: Duration::from_millis(1), cap: Duration::from_millis(1) };
    let client = server.builder().timeout(Duration::from_millis(200)).retry(retry).build().unwrap();
    let _ = client.rotate_secret(&webhook()).await.unwrap();
    let keys = idempotency_keys(&server);
    assert!(keys.len() >= 2 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn reading_has_no_idempotency_key_and_is_tried_again_too() {
    let server = Server::script([Reply::Bytes(answer(500, "")), ok("v2/list.http")]);
    server.client(ApiVersion::V2).list().await.unwrap();
    assert_eq!(idempotency_keys(&server), ["none", "none"]);
}

#[tokio::test]
async fn no_other_answer_is_tried_again() {
    for status in [400, 401, 402, 403, 404, 405, 408, 409, 410, 412, 422, 425, 428, 499] {
        let server = Server::start(move |_, _| Reply::Bytes(answer_with(status, "Retry-After: 0\r\n", "")));
        let error = server.client(ApiVersion::V2).delete(&webhook()).await.unwrap_err();
        assert_eq!((error.status(), error.attempts(), server.requests().len()), (Some(status), 1, 1), "{status}");
    }
}

#[tokio::test]
async fn attempts_have_an_end() {
    let server = Server::start(|_, _| ok("errors/server_error.http"));
    let error = server.client(ApiVersion::V2).delete(&webhook()).await.unwrap_err();
    assert_eq!((error.attempts(), server.requests().len()), (4, 4));
    assert!(error.to_string().ends_with("; it was tried 4 times"), "{error}");
    assert_eq!((error.code(), error.request_id()), (Some(&ErrorCode::ServerError), Some("req_s1")));
    assert!(error.may_have_been_done());

    let server = Server::start(|_, _| Reply::Drop);
    let client = server.builder().retry(RetryPolicy::none()).build().unwrap();
    let error = client.delete(&webhook()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost { .. }), "{error:?}");
    assert_eq!((error.attempts(), server.requests().len(), error.may_have_been_done()), (1, 1, true));
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let server = Server::script([Reply::Bytes(answer_with(429, "Retry-After: 1\r\n", "")), ok("v2/list.http")]);
    let began = Instant::now();
    server.client(ApiVersion::V2).list().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));

    // A date, by the clock of whoever wrote it.
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:38 GMT\r\n";
    let server = Server::script([Reply::Bytes(answer_with(503, date, "")), ok("v2/list.http")]);
    let began = Instant::now();
    server.client(ApiVersion::V2).list().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_huge_retry_after_ends_the_call_at_once() {
    for retry_after in ["3600", "99999999999999999999999999", "Thu, 24 Nov 2996 13:05:07 GMT"] {
        let header = format!("Retry-After: {retry_after}\r\n");
        let server = Server::start(move |_, _| Reply::Bytes(answer_with(429, &header, "")));
        let began = Instant::now();
        let error = server.client(ApiVersion::V2).list().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(30));
        assert_eq!((error.status(), server.requests().len()), (Some(429), 1));
        assert!(error.to_string().contains("longer than the deadline leaves"), "{error}");
        assert!(error.retry_after().unwrap() >= Duration::from_secs(3600));
    }
}

#[tokio::test]
async fn the_deadline_ends_attempts_and_waits() {
    let policy = RetryPolicy { max_attempts: 100, base: Duration::from_millis(20), cap: Duration::from_millis(20) };
    for stall in [false, true] {
        let server = Server::start(move |_, _| if stall { Reply::Stall } else { Reply::Bytes(answer(500, "")) });
        let deadline = Duration::from_millis(300);
        let client = server.builder().retry(policy).deadline(deadline).build().unwrap();
        let began = Instant::now();
        let error = client.list().await.unwrap_err();
        // Far below what 100 attempts, or one of 20 seconds, would take.
        assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
        assert!(error.attempts() < 100);
        assert!(error.to_string().contains("until the deadline"), "{error}");
        // A busy machine may be late with the other answer, too.
        assert!(!stall || matches!(error.kind(), ErrorKind::TimedOut { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_is_a_time_out_and_a_slow_error_is_still_that_error() {
    let server = Server::start(|_, _| Reply::StallAfter(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec()));
    let quick = |server: &Server| {
        server.builder().timeout(Duration::from_millis(100)).retry(RetryPolicy::none()).build().unwrap()
    };
    let error = quick(&server).list().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::TimedOut { after } if *after == Duration::from_millis(100)), "{error:?}");

    let server = Server::start(|_, _| Reply::StallAfter(b"HTTP/1.1 404 X\r\ncontent-length: 9\r\n\r\n{".to_vec()));
    // Patient: on a busy machine its head may be late, too, and then it is a time-out.
    let retry = RetryPolicy { max_attempts: 30, base: Duration::from_millis(1), cap: Duration::from_millis(1) };
    let client = server.builder().timeout(Duration::from_millis(300)).retry(retry).build().unwrap();
    assert_eq!(client.list().await.unwrap_err().status(), Some(404));
}

#[tokio::test]
async fn no_connection_is_told_and_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder(ApiKey::new(KEY).unwrap())
        .base_url(url)
        .retry(RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() })
        .build()
        .unwrap();
    let error = client.rotate_secret(&webhook()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connect { .. }), "{error:?}");
    assert_eq!((error.attempts(), error.may_have_been_done()), (4, false));
    assert!(error.to_string().contains("nothing was sent"), "{error}");
}

#[tokio::test]
async fn one_doubtful_attempt_makes_a_call_doubtful() {
    let server = Server::script([Reply::Drop, ok("errors/conflict.http")]);
    let error = server.client(ApiVersion::V2).rotate_secret(&webhook()).await.unwrap_err();
    assert_eq!((error.status(), error.attempts(), error.may_have_been_done()), (Some(409), 2, true));

    let server = Server::script([ok("errors/conflict.http")]);
    let error = server.client(ApiVersion::V2).rotate_secret(&webhook()).await.unwrap_err();
    assert_eq!((error.status(), error.may_have_been_done()), (Some(409), false));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::file("v2/list.http");
    for status in [301, 302, 303, 307, 308] {
        let location = format!("Location: {}/api/v2/webhooks/\r\n", other.url());
        let server = Server::start(move |_, _| Reply::Bytes(answer_with(status, &location, "")));
        let error = server.client(ApiVersion::V2).list().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Redirected { .. }), "{error:?}");
        assert_eq!((error.status(), error.attempts(), server.requests().len()), (Some(status), 1, 1));
    }
    assert!(other.requests().is_empty(), "the key has travelled");
}

#[tokio::test]
async fn a_clients_own_redirect_is_found_out() {
    let server = Server::start(|_, n| {
        if n == 0 { Reply::Bytes(answer_with(307, "Location: /elsewhere/\r\n", "")) } else { ok("v2/list.http") }
    });
    let own = reqwest_that_follows();
    let error = server.builder().http(own).build().unwrap().list().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Redirected { status: None }), "{error:?}");
    assert!(error.to_string().contains("redirect(Policy::none())"), "{error}");
}

fn reqwest_that_follows() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn a_callers_own_client_is_used() {
    let server = Server::file("v2/list.http");
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("x-own", reqwest::header::HeaderValue::from_static("yes"));
    let own = reqwest::Client::builder().no_proxy().default_headers(headers).build().unwrap();
    server.builder().http(own).build().unwrap().list().await.unwrap();
    assert_eq!(server.request().header("x-own"), Some("yes"));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    const LIMIT: usize = 8 * 1024 * 1024;
    // Told by its length, and found out while it comes.
    let told = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n[", LIMIT + 1).into_bytes();
    let mut streamed = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
    streamed.resize(streamed.len() + LIMIT + 1, b' ');
    for bytes in [told, streamed] {
        let server = Server::start(move |_, _| Reply::StallAfter(bytes.clone()));
        let error = server.client(ApiVersion::V2).list().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::TooLarge { limit: LIMIT }), "{error:?}");
        assert_eq!((error.attempts(), server.requests().len()), (1, 1));
    }
    // Of an error the beginning is enough.
    let mut page = b"HTTP/1.1 403 X\r\nconnection: close\r\n\r\n".to_vec();
    page.resize(page.len() + 200 * 1024, b'x');
    let server = Server::start(move |_, _| Reply::StallAfter(page.clone()));
    let error = server.client(ApiVersion::V2).list().await.unwrap_err();
    assert_eq!(error.status(), Some(403));
}

#[tokio::test]
async fn a_gateways_502_to_a_test_delivery_is_tried_again() {
    let server = Server::script([ok("errors/html_502.http"), ok("v2/test_failed.http")]);
    let outcome = server.client(ApiVersion::V2).test("https://example.com/").await.unwrap();
    assert_eq!((outcome.success, server.requests().len()), (false, 2));
}

/// Everything that is logged, by anybody, at the finest level.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn neither_key_nor_secret_is_logged_shown_or_told() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // While there is one subscriber only, `tracing` asks the thread that comes by first, which may be another test's, and
    // an event in which that one has no interest is never logged. With two it asks both.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);

    let repeats = answer(401, &format!(r#"{{"error": "no such key {KEY}", "code": "authentication_failed"}}"#));
    let odd = answer(201, r#"{"secret_key": ["whsec_A1B2"], "webhook_id": "a"}"#);
    let server = Server::script([
        Reply::Bytes(answer_with(503, &format!("X-Request-ID: {KEY}\r\n"), KEY)),
        ok("v2/create.http"),
        ok("v2/rotate_secret.http"),
        Reply::Bytes(repeats),
        Reply::Bytes(odd),
        Reply::Drop,
        Reply::Bytes(answer(500, KEY)),
        Reply::Bytes(format!("HTTP/1.1 200 {KEY}\r\n{KEY}\r\n\r\n").into_bytes()),
        Reply::Drop,
    ]);
    let client = server.client(ApiVersion::V2);
    let new = NewWebhook::new("all", "https://a.example/");
    let created = client.create(&new).await.unwrap();
    let rotated = client.rotate_secret(&webhook()).await.unwrap();
    let errors: [Error; 3] =
        [client.list().await.unwrap_err(), client.create(&new).await.unwrap_err(), client.list().await.unwrap_err()];
    let mut shown = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(shown.contains("provider answered") && shown.contains("trying again"), "{shown}");
    shown.push_str(&format!("{client:?} {client:#?} {created:?} {rotated:?} {errors:?} {errors:#?}"));
    for error in &errors {
        shown.push_str(&format!("{error} {:?}", std::error::Error::source(error)));
    }
    for secret in [KEY, "planted", "whsec_A1B2", "whsec_NEW", "Bearer k"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
