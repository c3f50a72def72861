//! Nothing that is secret, signed or sent shows up in a log, in `Debug`, in an error or in a panic.
//!
//! One test, since what it listens to belongs to the whole process: every log line of every crate at TRACE, and the
//! panic hook. actix-http (3.20) logs at DEBUG and TRACE too; of a request it prints flags, timers, parse errors, and
//! the values of `Content-Length` and `Transfer-Encoding` where these are illegal. None of that can hold a secret, so
//! the test makes no exception for its lines.

#![cfg(all(feature = "actix", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{BOTH, NOW, Post, Probe, Server, scheme, wait_for};
use countersign::testing::FakeClock;
use countersign::{
    DeliveryId, HandlerError, Keyring, Message, Receiver, RequestView, Scheme, Secret, Signer, Tenants, Verifier,
};
use tracing_subscriber::fmt::format::FmtSpan;

/// What must not be seen again. The secret is base64 of the bytes.
const SECRET_BYTES: &[u8] = b"SECRET-MARKER-OF-24-BYTE";
const SECRET_TEXT: &str = "U0VDUkVULU1BUktFUi1PRi0yNC1CWVRF";
const BODY: &str = "body-marker-9e1c";
const HEADER: &str = "header-marker-77ab";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn note(&mut self, what: impl Debug) {
        writeln!(self, "{what:?}\n{what:#?}").unwrap();
    }

    fn note_error(&mut self, error: &dyn std::error::Error) {
        let mut next = Some(error);
        while let Some(error) = next {
            writeln!(self, "{error}\n{error:?}").unwrap();
            next = error.source();
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

fn ring() -> Keyring {
    Keyring::single(Secret::new(format!("whsec_{SECRET_TEXT}")).unwrap())
}

fn post(id: &str, body: &str) -> Post {
    common::signed_with(&scheme(), &ring(), id, NOW, body)
}

/// A job with a marker inside of its body, at a place that is decoded and at one that is not.
fn marked(run: &str) -> String {
    format!(r#"{{"event":"job","{BODY}":"{BODY}","data":{{"run":"{run}","x":"{BODY}"}}}}"#)
}

/// Everything that can become of a request. Gives the signatures that were sent.
fn exchange(server: &Server, probe: &Probe) -> Vec<String> {
    let good = post("msg_ok", &marked("ok"));
    let mut posts = vec![
        good.clone(),
        good.clone(),
        post("msg_ok", &marked("fail")),
        post("msg_fail", &marked("fail")),
        post("msg_panic", &marked("panic")),
        post("msg_panic_at_once", &marked("panic_at_once")),
        post("msg_panic_in_decode", &marked("panic_in_decode")),
        post("msg_permanent", &marked("permanent")),
        post("msg_hang", &marked("hang_once")),
        post("msg_unknown", &format!(r#"{{"event":"moon.rose","data":"{BODY}"}}"#)),
        post("msg_no_arm", &format!(r#"{{"event":"nobody's","data":"{BODY}"}}"#)),
        post("msg_misfit", &marked(BODY)),
        post("msg_no_job", &format!(r#"{{"event":"job","data":"{BODY}"}}"#)),
        post("msg_not_json", BODY),
        post("msg_no_type", &format!(r#"{{"{BODY}":1}}"#)),
        post("msg_bad_type", &format!(r#"{{"event":"{BODY} {BODY}"}}"#)),
        good.clone().body(BODY),
        good.clone().set("webhook-signature", HEADER),
        good.clone().set("webhook-signature", &format!("v1,{HEADER}")),
        good.clone().set("webhook-timestamp", HEADER),
        good.clone().set("webhook-id", &format!("{HEADER} {HEADER}")),
        good.clone().with("webhook-id", HEADER),
        good.clone().without("webhook-id"),
        good.clone().with("content-encoding", HEADER),
        good.clone().with("authorization", HEADER).with("cookie", HEADER),
        good.clone().to(&format!("/elsewhere/{HEADER}")),
        post("msg_large", &marked("ok").repeat(100)),
        common::signed_with(&scheme(), &common::keyring(), "msg_foreign", NOW, marked("ok")),
    ];
    posts.push(good.clone().set("webhook-timestamp", "1"));
    for post in &posts {
        let mut client = server.client();
        client.try_send(&post.to_bytes());
        client.receive();
        let mut client = server.client();
        client.try_send(&post.to_chunked_bytes(16));
        client.receive();
    }
    // Too slow, cut off, reset, broken framing, no HTTP at all.
    let stalled = [post("msg_slow", &marked("ok")).head_of_length(500).as_bytes(), BODY.as_bytes()].concat();
    let mut client = server.client();
    client.send(&stalled);
    assert_eq!(client.receive().status, 408);
    let mut client = server.client();
    client.send(&stalled);
    client.finish();
    assert_eq!(client.receive().status, 400);
    let mut client = server.client();
    client.send(&post("msg_reset", &marked("gate")).to_bytes());
    client.send(BODY.as_bytes());
    wait_for("the handler", || (probe.runs("msg_reset") > 0).then_some(()));
    server.post(&post("msg_reset", &marked("gate")));
    client.reset();
    for noise in [
        format!("{}{BODY}\r\n", good.head_of_chunks()),
        format!("{BODY}\r\n\r\n"),
        format!("POST /hooks HTTP/1.1\r\n{HEADER} {HEADER}\r\n\r\n"),
    ] {
        let mut client = server.client();
        client.try_send(noise.as_bytes());
        client.finish();
        client.try_receive();
    }
    let signature = |post: &Post| post.headers.iter().find(|(name, _)| name == "webhook-signature").cloned();
    posts.iter().filter_map(signature).map(|(_, value)| value).collect()
}

fn errors(log: &mut Log) {
    let text = format!("whsec_{SECRET_TEXT}");
    let key = |text: &str| Keyring::single(Secret::new(text).unwrap());
    let misspelt = format!("{text}!");
    log.note_error(&Verifier::new(scheme(), key(&misspelt)).unwrap_err());
    log.note_error(&Receiver::builder(scheme(), key(&misspelt)).body_limit(0).build().unwrap_err());
    log.note_error(&Secret::new(format!("{text}\n")).unwrap_err());
    log.note_error(&Scheme::builder("x").build().unwrap_err());
    for broken in [
        format!("[[key]]\nid = \"a\"\nsecret = \"{text}"),
        format!("[[key]]\nid = \"a\"\nsecret = {text}"),
        format!("[[key]]\nid = \"a\"\nsecrets = \"{text}\""),
        format!("[[key]]\nid = 7\nsecret = \"{text}\""),
        format!("[[key]]\nid = \"a\"\nsecret = [\"{text}\"]"),
        format!("[[key]]\nid = \"a\"\nsecret = \"{text} \""),
        format!("[[key]]\nid = \"a\"\nsecret = \"{text}\"\nsecret = \"{text}\""),
        format!("[[key]]\nid = \"a\"\nsecret = \"{text}\"\nnot_after = \"soon\""),
        text.clone(),
    ] {
        log.note_error(&Keyring::from_toml(&broken).unwrap_err());
    }
    log.note_error(&DeliveryId::new(&format!("{BODY} ")).unwrap_err());
    let signer = Signer::new(scheme(), ring()).unwrap();
    log.note_error(&signer.sign(&Message::new(BODY.as_bytes(), NOW)).unwrap_err());
    log.note(HandlerError::retryable("the database is away"));
}

fn debugs(log: &mut Log) {
    let ring = ring();
    log.note(&ring);
    log.note(ring.keys());
    log.note(Secret::new(SECRET_TEXT).unwrap());
    let scheme = scheme();
    log.note(&scheme);
    let signer = Signer::new(scheme.clone(), ring.clone()).unwrap();
    log.note(&signer);
    let body = marked("ok");
    let message = Message::new(body.as_bytes(), NOW).id("msg_1");
    log.note(message);
    let headers = signer.sign(&message).unwrap();
    let view = RequestView::new(&headers, body.clone());
    log.note(&view);
    log.note(view.head());
    let verifier = Verifier::new(scheme.clone(), ring.clone()).unwrap();
    log.note(&verifier);
    let verified = verifier.verify(&view, NOW).unwrap();
    log.note(&verified);
    log.note(verified.delivery());
    log.note(verifier.verify(&RequestView::new(&headers, BODY), NOW).unwrap_err());
    log.note_error(&verifier.verify(&RequestView::new(&headers, BODY), NOW).unwrap_err());

    let tenants = Tenants::by_param("tenant");
    tenants.insert("acme", ring.clone()).unwrap();
    log.note(&tenants);
    log.note(Verifier::new(scheme.clone(), tenants).unwrap());
    log.note(Receiver::builder(scheme.clone(), ring.clone()).handlers(Probe::default()));
    let receiver =
        Receiver::builder(scheme, ring).handlers(Probe::default()).clock(FakeClock::at(NOW)).build().unwrap();
    log.note(&receiver);
    log.note(receiver.store());
    log.note(receiver.at("/hooks"));
    log.note(receiver.middleware());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    log.note(runtime.block_on(receiver.receive(view, NOW)));
    log.note(runtime.block_on(receiver.receive(RequestView::new(&headers, BODY), NOW)));
}

#[test]
fn no_secret_signature_or_body_shows_up_anywhere() {
    let mut log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let panics = log.clone();
    std::panic::set_hook(Box::new(move |info| {
        writeln!(panics.clone(), "PANIC {info}").unwrap();
    }));

    let mut signatures = Vec::new();
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = Receiver::builder(scheme(), ring())
            .handlers(probe.clone())
            .clock(FakeClock::at(NOW))
            .body_limit(2048)
            .time_limit(Duration::from_millis(100))
            .min_rate(1024, Duration::from_millis(100))
            .build()
            .unwrap();
        let server = Server::start(mount, &receiver, &probe);
        signatures.extend(exchange(&server, &probe));
        receiver.drain();
        server.post(&post("msg_late", &marked("ok")));
    }
    errors(&mut log);
    debugs(&mut log);
    let _ = std::panic::take_hook();

    let text = log.text();
    // It did listen: to us, to actix, and to the panics that were asked for.
    for seen in [
        "wrong_signature",
        "too_slow",
        "webhook answered",
        "undecodable",
        "actix_http",
        "as the delivery says",
        "msg_unknown",
    ] {
        assert!(text.contains(seen), "nothing was heard of {seen}");
    }
    let bytes = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut markers = vec![BODY.to_owned(), HEADER.to_owned(), SECRET_TEXT.to_owned()];
    markers.push(String::from_utf8_lossy(SECRET_BYTES).into_owned());
    for secret in [BODY.as_bytes(), HEADER.as_bytes(), SECRET_TEXT.as_bytes(), SECRET_BYTES] {
        markers.extend([bytes(secret), hex(secret)]);
    }
    // Without the version and the padding, and a part is too much as well.
    markers.extend(signatures.iter().filter_map(|value| Some(value.strip_prefix("v1,")?.get(..20)?.to_owned())));
    let mut shown = markers.iter().filter_map(|marker| text.lines().find(|line| line.contains(marker.as_str())));
    assert_eq!(shown.next(), None);
}
