//! The status table over HTTP: `receiver.at()` and the middleware with its extractor, row by row.

#![cfg(all(feature = "actix", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use actix_web::web;
use common::{BOTH, Event, Mount, NOW, OTHER_SECRET, Post, Probe, Response, Server, Setup, builder, job, signed};
use countersign::testing::FakeClock;
use countersign::{
    ClaimKey, ClaimToken, Claimed, Clock, DedupeStore, Fingerprint, Keyring, OnUndecodable, Receiver, Scheme, Settled,
    StoreError, Timestamp, Verified,
};

/// A server of each kind with what it was told.
fn each(
    configure: impl Fn(countersign::ReceiverBuilder<Probe>) -> countersign::ReceiverBuilder<Probe>,
    check: impl Fn(Mount, &Server, &Probe, &Receiver<Probe>),
) {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = configure(builder(&probe)).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        check(mount, &server, &probe, &receiver);
    }
}

/// Sends `post` and compares status, `Retry-After` and the outcome in the response's extensions.
#[track_caller]
fn expect(server: &Server, probe: &Probe, post: &Post, status: u16, pause: Option<&str>, outcome: &str) -> Response {
    expect_raw(server, probe, &post.to_bytes(), status, pause, outcome)
}

#[track_caller]
fn expect_raw(
    server: &Server,
    probe: &Probe,
    bytes: &[u8],
    status: u16,
    pause: Option<&str>,
    outcome: &str,
) -> Response {
    probe.dispositions();
    let mut client = server.client();
    client.try_send(bytes);
    let response = client.receive();
    assert_eq!((response.status, response.header("retry-after")), (status, pause), "{outcome}");
    assert_eq!(probe.dispositions(), [Some(outcome)]);
    response
}

#[test]
fn a_handled_delivery_is_200_and_so_is_its_duplicate_which_does_not_run() {
    each(std::convert::identity, |_, server, probe, _| {
        let post = signed("msg_1", job("ok"));
        let first = expect(server, probe, &post, 200, None, "handled");
        assert!(first.body.is_empty());
        for _ in 0..3 {
            let again = expect(server, probe, &post, 200, None, "duplicate");
            assert_eq!(again.without_date(), first.clone().without_date());
        }
        assert_eq!(probe.runs("msg_1"), 1);
    });
}

#[test]
fn a_duplicate_of_a_running_delivery_is_409_and_is_told_when_to_come_back() {
    each(std::convert::identity, |_, server, probe, _| {
        let post = signed("msg_1", job("gate"));
        let mut first = server.client();
        first.send(&post.to_bytes());
        probe.wait_started();
        expect(server, probe, &post, 409, Some("5"), "in_flight");
        probe.open_gate(1);
        assert_eq!(first.receive().status, 200);
        expect(server, probe, &post, 200, None, "duplicate");
        assert_eq!(probe.runs("msg_1"), 1);
    });
}

#[test]
fn an_event_of_an_unknown_type_is_200() {
    each(std::convert::identity, |mount, server, probe, _| {
        let told_apart = if mount == Mount::Service { "unhandled" } else { "handled" };
        let unknown = signed("msg_1", r#"{"event":"moon.rose","data":7}"#);
        expect(server, probe, &unknown, 200, None, told_apart);
        let no_arm = signed("msg_2", r#"{"event":"nobody's","data":7}"#);
        expect(server, probe, &no_arm, 200, None, "unhandled");
        expect(server, probe, &no_arm, 200, None, "duplicate");
    });
}

#[test]
fn a_failed_handler_is_500_and_the_retry_runs() {
    each(std::convert::identity, |mount, server, probe, _| {
        let (outcome, pause) = match mount {
            Mount::Service => ("failed", Some("5")),
            // The route's own answer goes out as it is.
            Mount::Middleware => ("released", None),
        };
        let post = signed("msg_1", job("fail_once"));
        expect(server, probe, &post, 500, pause, outcome);
        expect(server, probe, &post, 200, None, "handled");
        expect(server, probe, &post, 200, None, "duplicate");
        assert_eq!(probe.runs("msg_1"), 2);
    });
}

#[test]
fn a_panic_is_500_and_the_same_worker_serves_on() {
    each(std::convert::identity, |_, server, probe, _| {
        let ok = |id| expect(server, probe, &signed(id, job("ok")), 200, None, "handled");
        ok("before");
        for how in ["panic", "panic_at_once", "panic_in_decode"] {
            // The connection lives on as well.
            let post = signed(how, job(how));
            let mut client = server.client();
            for _ in 0..2 {
                probe.dispositions();
                client.send(&post.to_bytes());
                let response = client.receive();
                assert_eq!((response.status, response.header("retry-after")), (500, Some("5")), "{how}");
                assert_eq!(probe.dispositions(), [Some("panicked")], "{how}");
            }
        }
        ok("after");
        assert_eq!((probe.runs("panic"), probe.runs("panic_at_once")), (2, 2), "the retry runs");
        let threads = probe.threads();
        assert!(threads.iter().all(|thread| *thread == threads[0]), "one worker, one thread");
    });
}

#[test]
fn a_handler_that_takes_too_long_is_503_and_the_retry_runs() {
    let hasty = |builder: countersign::ReceiverBuilder<Probe>| builder.time_limit(Duration::from_millis(50));
    each(hasty, |_, server, probe, _| {
        let post = signed("msg_1", job("hang_once"));
        expect(server, probe, &post, 503, Some("5"), "timed_out");
        probe.wait_gone();
        expect(server, probe, &post, 200, None, "handled");
        assert_eq!(probe.runs("msg_1"), 2);
    });
}

#[test]
fn a_permanent_failure_is_200_and_does_not_run_again() {
    each(std::convert::identity, |mount, server, probe, _| {
        let outcome = if mount == Mount::Service { "permanent" } else { "handled" };
        let post = signed("msg_1", job("permanent"));
        expect(server, probe, &post, 200, None, outcome);
        expect(server, probe, &post, 200, None, "duplicate");
        assert_eq!(probe.runs("msg_1"), 1);
    });
}

#[test]
fn a_payload_that_does_not_decode_is_500_or_200_as_the_program_says() {
    let post = signed("msg_1", r#"{"event":"job","data":{"run":"away"}}"#);
    each(std::convert::identity, |_, server, probe, _| {
        expect(server, probe, &post, 500, Some("5"), "undecodable");
        expect(server, probe, &post, 500, Some("5"), "undecodable");
    });
    let acknowledge = |builder: countersign::ReceiverBuilder<Probe>| builder.on_undecodable(OnUndecodable::Acknowledge);
    each(acknowledge, |_, server, probe, _| {
        expect(server, probe, &post, 200, None, "permanent");
        expect(server, probe, &post, 200, None, "duplicate");
    });
}

#[test]
fn missing_wrong_stale_and_future_signatures_get_one_answer_to_the_byte() {
    each(std::convert::identity, |_, server, probe, _| {
        let good = || signed("msg_1", job("ok"));
        let at = |seconds: i64| {
            let at = Timestamp::from_secs(NOW.as_secs() + seconds);
            common::signed_with(&common::scheme(), &common::keyring(), "msg_1", at, job("ok"))
        };
        let by_another = {
            let keyring = Keyring::single(common::secret(OTHER_SECRET));
            common::signed_with(&common::scheme(), &keyring, "msg_1", NOW, job("ok"))
        };
        let signature = good().header("webhook-signature").to_owned();
        let posts = [
            good().without("webhook-signature"),
            good().without("webhook-timestamp"),
            good().without("webhook-id"),
            good().set("webhook-signature", ""),
            good().set("webhook-signature", "v1,"),
            good().set("webhook-signature", &signature[..signature.len() - 4]),
            good().set("webhook-signature", &signature.replacen("v1,", "v2,", 1)),
            good().set("webhook-signature", &signature.replacen("v1,", "v1a,", 1)),
            good().set("webhook-id", "msg_2"),
            good().set("webhook-timestamp", &(NOW.as_secs() + 1).to_string()),
            good().body(job("fail")),
            good().body(""),
            by_another,
            at(-301),
            at(301),
            at(-86_400 * 365),
        ];
        let mut answers = posts.iter().map(|post| {
            let whole = expect(server, probe, post, 401, None, "rejected").without_date();
            let chunks = expect_raw(server, probe, &post.to_chunked_bytes(7), 401, None, "rejected").without_date();
            assert_eq!(whole, chunks);
            whole
        });
        let first = answers.next().unwrap();
        assert_eq!(first.body, b"signature not accepted\n");
        assert_eq!(first.header("connection"), Some("close"));
        answers.for_each(|answer| assert_eq!(answer, first));
        assert_eq!(probe.all_runs(), 0);

        expect(server, probe, &at(-300), 200, None, "handled");
        assert_eq!(expect(server, probe, &at(300), 200, None, "duplicate").status, 200);
    });
}

#[test]
fn a_malformed_head_is_400_with_one_answer_to_the_byte() {
    each(std::convert::identity, |_, server, probe, _| {
        let good = || signed("msg_1", job("ok"));
        let twice = |name: &str| good().with(name, good().header(name));
        let time = |text: &str| good().set("webhook-timestamp", text);
        let seconds = NOW.as_secs();
        let many = format!("{} ", good().header("webhook-signature")).repeat(33);
        let posts = [
            twice("webhook-signature"),
            twice("webhook-timestamp"),
            twice("webhook-id"),
            good().with("Webhook-Id", "msg_2"),
            time(&format!("+{seconds}")),
            time(&format!("-{seconds}")),
            time(&format!("{seconds}000")),
            time(&format!("{} {}", seconds / 10, seconds % 10)),
            time(&format!("{seconds}.0")),
            time(&format!("0x{seconds:x}")),
            time("\u{661}\u{662}"),
            time(""),
            time(&"9".repeat(400)),
            good().set("webhook-signature", &"x".repeat(4097)),
            good().set("webhook-id", &"x".repeat(257)),
            good().set("webhook-id", "msg 1"),
            good().set("webhook-id", "m\u{e9}"),
            good().set("webhook-id", ""),
            good().set("webhook-signature", many.trim_end()),
        ];
        let mut answers = posts.iter().map(|post| expect(server, probe, post, 400, None, "rejected").without_date());
        let first = answers.next().unwrap();
        assert_eq!(first.body, b"malformed request\n");
        answers.for_each(|answer| assert_eq!(answer, first));
        assert_eq!(probe.all_runs(), 0);

        // White space around a field's value is no part of it (RFC 9110, section 5.5).
        let padded = good().set("webhook-timestamp", &format!("  {seconds}  "));
        expect(server, probe, &padded, 200, None, "handled");
    });
}

#[test]
fn two_times_in_one_signature_header_are_400() {
    for mount in BOTH {
        let probe = Probe::default();
        let keyring = || Keyring::single(common::secret("whsec_as_text"));
        let receiver = Receiver::builder(Scheme::stripe(), keyring())
            .handlers(probe.clone())
            .clock(FakeClock::at(NOW))
            .build()
            .unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let body = r#"{"id":"evt_1","event":"job","data":{"run":"ok"}}"#;
        let post = common::signed_with(&Scheme::stripe(), &keyring(), "", NOW, body);
        let header = post.header("stripe-signature").to_owned();
        let seconds = NOW.as_secs();
        for bad in [
            format!("t={seconds},{header}"),
            format!("{header},t=1"),
            header.replacen("t=", "t= ", 1),
            header.replacen("t=", "t=+", 1),
            header.replacen("t=", "t=-", 1),
            header.replacen(&format!("t={seconds}"), &format!("t={seconds}000"), 1),
        ] {
            expect(&server, &probe, &post.clone().set("stripe-signature", &bad), 400, None, "rejected");
        }
        expect(&server, &probe, &post, 200, None, "handled");
    }
}

#[test]
fn a_genuine_body_that_is_not_an_event_is_400() {
    each(std::convert::identity, |mount, server, probe, _| {
        for (id, body) in
            ["", "{", "[]", "null", "\u{fffd}", r#"{"data":1}"#, r#"{"event":"","data":1}"#].into_iter().enumerate()
        {
            let post = signed(&format!("msg_{id}"), body);
            let response = expect(server, probe, &post, 400, None, "malformed");
            assert_eq!(response.body, b"malformed request\n", "{mount:?} {body}");
        }
        let not_text = signed("msg_bytes", b"\xff\xfe\x00".to_vec());
        expect(server, probe, &not_text, 400, None, "malformed");
    });
}

#[test]
fn the_same_id_with_another_body_is_409_and_does_not_run() {
    each(std::convert::identity, |_, server, probe, _| {
        expect(server, probe, &signed("msg_1", job("ok")), 200, None, "handled");
        expect(server, probe, &signed("msg_1", job("fail")), 409, None, "conflict");
        expect(server, probe, &signed("msg_1", job("ok")), 200, None, "duplicate");
        assert_eq!(probe.runs("msg_1"), 1);
    });
}

#[test]
fn one_byte_over_the_limit_is_413_and_one_byte_less_is_handled() {
    let limit = job("ok").len() + 10;
    let small = |builder: countersign::ReceiverBuilder<Probe>| builder.body_limit(limit);
    let padded = |length: usize| format!("{:length$}", job("ok"));
    each(small, |_, server, probe, _| {
        let fits = signed("whole", padded(limit));
        expect(server, probe, &fits, 200, None, "handled");
        let fits = signed("chunks", padded(limit));
        expect_raw(server, probe, &fits.to_chunked_bytes(8), 200, None, "handled");

        let large = signed("large", padded(limit + 1));
        let whole = expect(server, probe, &large, 413, None, "too_large");
        // Refused by its length alone, before a byte of it is there.
        let announced = large.head_of_length(limit + 1);
        let unread = expect_raw(server, probe, announced.as_bytes(), 413, None, "too_large");
        let vast = large.head_of_length(usize::MAX / 2);
        expect_raw(server, probe, vast.as_bytes(), 413, None, "too_large");
        for size in [1, limit, limit + 1] {
            let chunks = expect_raw(server, probe, &large.to_chunked_bytes(size), 413, None, "too_large");
            assert_eq!(chunks.without_date(), whole.clone().without_date());
        }
        assert_eq!(unread.without_date(), whole.without_date());
        assert_eq!(probe.all_runs(), 2);
    });
}

#[test]
fn a_content_encoding_other_than_identity_is_415() {
    each(std::convert::identity, |_, server, probe, _| {
        let good = || signed("msg_1", job("ok"));
        for encoding in ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "", "x"] {
            let post = good().with("content-encoding", encoding);
            expect(server, probe, &post, 415, None, "encoded");
        }
        let two_lines = good().with("content-encoding", "identity").with("content-encoding", "br");
        expect(server, probe, &two_lines, 415, None, "encoded");
        assert_eq!(probe.all_runs(), 0);
        expect(server, probe, &good().with("content-encoding", "Identity"), 200, None, "handled");
    });
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let hasty = |builder: countersign::ReceiverBuilder<Probe>| builder.min_rate(1024, Duration::from_millis(50));
    each(hasty, |_, server, probe, _| {
        let post = signed("msg_1", job("ok"));
        let stalled = post.head_of_length(post.body.len());
        expect_raw(server, probe, stalled.as_bytes(), 408, None, "too_slow");
        let stalled = [post.head_of_chunks().as_bytes(), &common::raw::chunk(b"{")].concat();
        expect_raw(server, probe, &stalled, 408, None, "too_slow");
        expect(server, probe, &post, 200, None, "handled");
    });
}

#[test]
fn a_body_that_ends_too_early_is_400() {
    each(std::convert::identity, |_, server, probe, _| {
        let post = signed("msg_1", job("ok"));
        let mut client = server.client();
        client.send(post.head_of_length(post.body.len()).as_bytes());
        client.send(&post.body[..5]);
        client.finish();
        assert_eq!(client.receive().status, 400);
        assert_eq!(probe.dispositions(), [Some("truncated")]);
        // A broken framing.
        let broken = format!("{}not a length\r\n", post.head_of_chunks());
        expect_raw(server, probe, broken.as_bytes(), 400, None, "truncated");
    });
}

#[test]
fn a_full_budget_of_bytes_is_503_until_there_is_room_again() {
    let limit = 4096;
    let tight = |builder: countersign::ReceiverBuilder<Probe>| builder.body_limit(limit).bytes_in_flight(limit);
    each(tight, |_, server, probe, _| {
        let long = format!("{:3000}", job("gate"));
        let mut first = server.client();
        first.send(&signed("first", long.clone()).to_bytes());
        probe.wait_started();
        let second = signed("second", format!("{:3000}", job("ok")));
        expect(server, probe, &second, 503, Some("5"), "overloaded");
        expect_raw(server, probe, &second.to_chunked_bytes(500), 503, Some("5"), "overloaded");
        let small = signed("small", job("ok"));
        expect(server, probe, &small, 200, None, "handled");
        probe.open_gate(1);
        assert_eq!(first.receive().status, 200);
        expect(server, probe, &second, 200, None, "handled");
    });
}

#[test]
fn a_draining_receiver_is_503_and_what_runs_ends_as_usual() {
    each(std::convert::identity, |_, server, probe, receiver| {
        let mut running = server.client();
        running.send(&signed("running", job("gate")).to_bytes());
        probe.wait_started();
        receiver.drain();
        let post = signed("msg_1", job("ok"));
        expect(server, probe, &post, 503, Some("5"), "overloaded");
        expect_raw(server, probe, &post.to_chunked_bytes(9), 503, Some("5"), "overloaded");
        probe.open_gate(1);
        assert_eq!(running.receive().status, 200);
        assert_eq!(probe.runs("msg_1"), 0);
    });
}

#[test]
fn methods_other_than_post_are_405_and_told_what_works() {
    each(std::convert::identity, |_, server, probe, _| {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let post = signed("msg_1", job("ok"));
            let request = format!("{}\r\n", post.without("content-length").head(method));
            let response = expect_raw(server, probe, request.as_bytes(), 405, None, "method_not_allowed");
            assert_eq!(response.header("allow"), Some("POST"), "{method}");
        }
        assert_eq!(probe.all_runs(), 0);
    });
}

#[test]
fn no_key_that_is_active_now_is_503_since_it_is_ours_to_mend() {
    for mount in BOTH {
        let probe = Probe::default();
        let ended = Keyring::new([common::key("old", common::SECRET).not_after(NOW)]).unwrap();
        let receiver = Receiver::builder(common::scheme(), ended)
            .handlers(probe.clone())
            .clock(FakeClock::at(NOW))
            .build()
            .unwrap();
        let server = Server::start(mount, &receiver, &probe);
        expect(&server, &probe, &signed("msg_1", job("ok")), 503, Some("5"), "rejected");
    }
}

#[test]
fn while_keys_are_rotated_a_signature_that_no_key_matches_is_503_and_nothing_else_changes() {
    for mount in BOTH {
        let probe = Probe::default();
        let ring = common::keyring();
        let clock = FakeClock::at(NOW);
        let receiver = Receiver::builder(common::scheme(), ring.clone()).handlers(probe.clone()).clock(clock.clone());
        let server = Server::start(mount, &receiver.build().unwrap(), &probe);
        let new = Keyring::single(common::secret(OTHER_SECRET));
        let by_the_new_key = common::signed_with(&common::scheme(), &new, "msg_new", NOW, job("ok"));

        let limit = Duration::from_secs(60);
        let rotation = ring.begin_rotation_at(limit, NOW).unwrap();
        expect(&server, &probe, &by_the_new_key, 503, Some("5"), "rejected");
        expect(&server, &probe, &signed("msg_old", job("ok")), 200, None, "handled");
        expect(&server, &probe, &signed("msg_1", job("ok")).without("webhook-signature"), 401, None, "rejected");
        let stale = NOW.saturating_sub(Duration::from_secs(301));
        let stale = common::signed_with(&common::scheme(), &common::keyring(), "msg_1", stale, job("ok"));
        expect(&server, &probe, &stale, 401, None, "rejected");

        // Nobody ended it: the mark ends by itself.
        drop(rotation);
        clock.advance(limit);
        expect(&server, &probe, &by_the_new_key, 401, None, "rejected");

        let again = ring.begin_rotation_at(limit, clock.now()).unwrap();
        expect(&server, &probe, &by_the_new_key, 503, Some("5"), "rejected");
        again.install_at(common::key("new", OTHER_SECRET), limit, clock.now()).unwrap();
        expect(&server, &probe, &by_the_new_key, 200, None, "handled");
        let forged = common::signed_with(
            &common::scheme(),
            &Keyring::single(common::secret("whsec_Zm9yZ2Vk")),
            "msg_2",
            NOW,
            job("ok"),
        );
        expect(&server, &probe, &forged, 401, None, "rejected");
        assert_eq!((probe.runs("msg_new"), probe.runs("msg_old")), (1, 1));
    }
}

/// A store that is away: always, or once the work has been done.
#[derive(Debug)]
struct Away {
    from_the_start: bool,
}

fn away() -> StoreError {
    StoreError::unavailable("connection refused")
}

impl DedupeStore for Away {
    async fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        _: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        if self.from_the_start {
            return Err(away());
        }
        Ok(Claimed::New(ClaimToken { key: *key, fingerprint, epoch: 1, claimed_at: now }))
    }

    async fn complete(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
        Err(away())
    }

    async fn release(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
        Err(away())
    }

    async fn extend(&self, _: &ClaimToken, _: Duration, _: Timestamp) -> Result<Settled, StoreError> {
        Err(away())
    }

    fn abandon(&self, _: &ClaimToken) {}

    fn retention(&self) -> Duration {
        Duration::from_hours(1000)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Err(away())
    }
}

#[test]
fn a_store_that_is_down_is_503_and_nothing_runs() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).dedupe(Away { from_the_start: true }).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let post = signed("msg_1", job("ok"));
        expect(&server, &probe, &post, 503, Some("5"), "store_unavailable");
        // Nothing unauthenticated gets as far as the store.
        expect(&server, &probe, &post.body("{}"), 401, None, "rejected");
        assert_eq!(probe.all_runs(), 0);
    }
}

#[test]
fn what_is_done_is_200_even_when_the_store_cannot_record_it() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).dedupe(Away { from_the_start: false }).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        expect(&server, &probe, &signed("msg_1", job("ok")), 200, None, "handled");
        let outcome = if mount == Mount::Service { "failed" } else { "released" };
        let pause = (mount == Mount::Service).then_some("5");
        expect(&server, &probe, &signed("msg_2", job("fail")), 500, pause, outcome);
    }
}

#[test]
fn no_answer_tells_why() {
    each(std::convert::identity, |_, server, _, _| {
        let reasons = [
            "stale",
            "old",
            "new",
            "future",
            "wrong",
            "missing",
            "timestamp",
            "key",
            "database",
            "customer",
            "decode",
            "line",
            "panic",
            "as the delivery says",
            "webhook-",
            "msg_",
        ];
        for post in [
            signed("msg_1", job("fail")),
            signed("msg_2", job("panic")),
            signed("msg_3", job("permanent")),
            signed("msg_4", "not json"),
            signed("msg_5", r#"{"event":"job","data":1}"#),
            signed("msg_6", job("ok")).without("webhook-timestamp"),
            signed("msg_6", job("ok")).set("webhook-timestamp", "x"),
            signed("msg_6", job("ok")).body("x"),
        ] {
            let response = server.post(&post);
            let names: Vec<&str> = response.headers.iter().map(|(name, _)| name.as_str()).collect();
            let known = ["content-length", "content-type", "connection", "retry-after", "date"];
            assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
            let body = String::from_utf8(response.body).unwrap();
            assert!(reasons.iter().all(|reason| !body.contains(reason)), "{body}");
        }
    });
}

#[test]
fn an_extractor_without_the_middleware_is_500_and_says_nothing() {
    let server = Server::configured(Setup::default(), &Probe::default(), |config| {
        config.route("/hooks", web::post().to(async |_: Verified<Event>| "never"));
    });
    let response = server.post(&signed("msg_1", job("ok")));
    assert_eq!((response.status, response.body.as_slice()), (500, &b"not handled\n"[..]));
}

#[test]
fn the_middleware_may_stand_around_a_whole_scope() {
    let probe = Probe::default();
    let receiver = builder(&probe).build().unwrap();
    let server = Server::configured(Setup::default(), &probe, move |config| {
        let hooks = web::resource("/{name}").app_data(web::Data::new(7)).route(web::post().to(common::route));
        let inner = web::scope("/inner").app_data(web::Data::new("inner")).service(hooks);
        config.service(web::scope("/outer").wrap(receiver.middleware()).service(inner));
    });
    let to = |id, run, path| signed(id, job(run)).to(path);
    expect(&server, &probe, &to("msg_1", "ok", "/outer/inner/a"), 200, None, "handled");
    expect(&server, &probe, &to("msg_1", "ok", "/outer/inner/b"), 200, None, "duplicate");
    expect(&server, &probe, &to("msg_2", "panic", "/outer/inner/a"), 500, Some("5"), "panicked");
    // A route that does not exist has done nothing, so the claim is released.
    for _ in 0..2 {
        expect(&server, &probe, &to("msg_3", "ok", "/outer/else"), 404, None, "released");
    }
    expect(&server, &probe, &to("msg_3", "ok", "/outer/inner/a"), 200, None, "handled");
}

#[test]
fn a_route_that_does_not_ask_for_its_event_gets_the_same_answers() {
    let probe = Probe::default();
    let receiver = builder(&probe).time_limit(Duration::from_millis(50)).build().unwrap();
    let server = Server::configured(Setup::default(), &probe, move |config| {
        let plain = async |body: web::Bytes| match &body[..] {
            b"panic" => panic!("as the delivery says"),
            b"hang" => std::future::pending().await,
            b"error" => Err(actix_web::error::ErrorImATeapot("no")),
            _ => Ok(body),
        };
        config.service(web::resource("/hooks").wrap(receiver.middleware()).route(web::post().to(plain)));
    });
    for (body, status, pause) in [("panic", 500, Some("5")), ("hang", 503, Some("5")), ("error", 418, None)] {
        // Twice: the claim is free again.
        for _ in 0..2 {
            let response = server.post(&signed(body, body));
            assert_eq!((response.status, response.header("retry-after")), (status, pause), "{body}");
        }
    }
    let echoed = server.post(&signed("msg_1", "any body at all"));
    assert_eq!((echoed.status, echoed.body.as_slice()), (200, &b"any body at all"[..]));
}
