//! Bodies and framings of all kinds.
//!
//! This file is compiled twice: as a test of `countersign`, where actix-web has no `compress-*` feature, and as one of
//! the package `tests/compress`, where it has all of them. Cargo unifies the features of the packages that it is asked
//! to build together, so `cargo test --workspace` runs both with compression. To see both, run
//!
//! ```text
//! cargo test -p countersign --test edge_bodies --test edge_bomb
//! cargo test -p countersign-tests-compress
//! ```

#![cfg(all(feature = "actix", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::raw::chunk;
use common::{BOTH, Probe, Response, Server, builder, job, signed};

/// 841 bytes of brotli that stand for 1 GiB of zeros: what `brotli.compress(bytes(1 << 30), quality=11, lgwin=24)`
/// gives in Python with the package brotli 1.2.1 (2026-11).
const BOMB: &[u8] = include_bytes!("data/brotli-bomb.br");

fn each(check: impl Fn(&Server, &Probe)) {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        check(&Server::start(mount, &receiver, &probe), &probe);
    }
}

#[test]
fn without_its_header_a_bomb_is_some_bytes_that_are_not_json() {
    each(|server, _| {
        assert_eq!(server.post(&signed("bomb", BOMB)).status, 400);
    });
}

/// Real gzip of a real event, signed as it is sent: nobody decodes it behind our back.
#[test]
fn a_compressed_body_is_415_even_with_a_good_signature() {
    // Stored, not deflated: gzip's head, one stored block, and a checksum that nobody gets as far as.
    let event = job("ok");
    let length = u16::try_from(event.len()).unwrap();
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    gzip.extend(length.to_le_bytes());
    gzip.extend((!length).to_le_bytes());
    gzip.extend(event.as_bytes());
    each(|server, probe| {
        let post = signed("gzip", gzip.clone()).with("content-encoding", "gzip");
        assert_eq!(server.post(&post).status, 415);
        assert_eq!(server.post(&post.without("content-encoding")).status, 400, "signed, and not JSON");
        assert_eq!(probe.all_runs(), 0);
    });
}

#[test]
fn the_signed_bytes_are_the_sent_bytes_however_they_are_cut() {
    each(|server, probe| {
        // A million bytes of white space after an event: a body that comes in many pieces.
        let long = job("ok") + &" ".repeat(1_000_000);
        let whole = signed("whole", long.clone());
        assert_eq!(server.post(&whole).status, 200);
        let chunks = signed("chunks", long);
        for size in [1_000_000, 65_537, 333] {
            let mut client = server.client();
            client.send(&chunks.to_chunked_bytes(size));
            assert_eq!(client.receive().status, 200);
        }
        let single = signed("single", job("ok"));
        let mut client = server.client();
        client.send(&single.to_chunked_bytes(1));
        assert_eq!(client.receive().status, 200);
        assert_eq!(probe.all_runs(), 3);
    });
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_sent() {
    each(|server, _| {
        let post = signed("msg_1", job("ok")).with("expect", "100-continue");
        let mut client = server.client();
        client.send(post.head_of_length(post.body.len()).as_bytes());
        assert_eq!(client.receive().status, 100);
        client.send(&post.body);
        assert_eq!(client.receive().status, 200);
        // What is refused by its head is refused all the same.
        let encoded = post.with("content-encoding", "gzip");
        let mut client = server.client();
        client.send(encoded.head_of_length(encoded.body.len()).as_bytes());
        let answers = [client.receive().status, client.receive().status];
        assert_eq!(answers, [100, 415], "actix-web says 100 before it asks anybody");
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    each(|server, probe| {
        let posts = (0..10).map(|index| match index % 3 {
            0 => signed(&format!("msg_{index}"), job("ok")),
            1 => signed(&format!("msg_{index}"), "not json"),
            _ => signed("msg_0", job("ok")),
        });
        let bytes: Vec<u8> = posts.flat_map(|post| post.to_bytes()).collect();
        let mut client = server.client();
        client.send(&bytes);
        let statuses: Vec<u16> = (0..10).map(|_| client.receive().status).collect();
        assert_eq!(statuses, [200, 400, 200, 200, 400, 200, 200, 400, 200, 200]);
        assert_eq!(probe.all_runs(), 4);
    });
}

/// The body of a refused request is not read by us, and is not taken for a request by anybody else either.
#[test]
fn a_request_inside_of_a_refused_body_does_not_run() {
    each(|server, probe| {
        let inner = signed("inner", job("ok")).to_bytes();
        for refused in [
            signed("outer", "").without("webhook-signature"),
            signed("outer", "").with("content-encoding", "br"),
            signed("outer", "").with("webhook-id", "again"),
        ] {
            let outer = refused.body(inner.clone());
            for mut bytes in [outer.to_bytes(), outer.to_chunked_bytes(10), outer.to_chunked_bytes(1000)] {
                bytes.extend(signed("behind", job("ok")).with("connection", "close").to_bytes());
                let mut client = server.client();
                client.try_send(&bytes);
                is_refused(Some(client.receive()));
                // actix-web may still serve what was pipelined behind it, and that is a request of its own.
                while client.try_receive().is_some() {}
                assert_eq!(probe.runs("inner"), 0);
            }
        }
    });
}

#[test]
fn http_1_0_is_served() {
    each(|server, _| {
        let post = signed("msg_1", job("ok"));
        let request = String::from_utf8(post.to_bytes()).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1);
        let mut client = server.client();
        client.send(request.as_bytes());
        assert_eq!(client.receive().status, 200);
        assert_eq!(client.try_receive(), None, "and closed");
        // Without a length there is no knowing where its body ends.
        let mut client = server.client();
        client.send(post.head("POST").replacen("HTTP/1.1", "HTTP/1.0", 1).as_bytes());
        client.send(b"\r\n");
        assert_eq!(client.receive().status, 400);
    });
}

#[test]
fn an_empty_body_is_400_when_it_is_signed_and_401_when_it_is_not() {
    each(|server, _| {
        assert_eq!(server.post(&signed("msg_1", "")).status, 400);
        assert_eq!(server.post(&signed("msg_2", job("ok")).body("")).status, 401);
        let no_length = signed("msg_3", "").head("POST") + "\r\n";
        let mut client = server.client();
        client.send(no_length.as_bytes());
        assert_eq!(client.receive().status, 400);
        let mut client = server.client();
        client.send(&signed("msg_4", "").to_chunked_bytes(1));
        assert_eq!(client.receive().status, 400);
    });
}

/// What any of these may be answered with; none of it is our fault, so none of it is a 5xx.
#[track_caller]
fn is_refused(answer: Option<Response>) {
    if let Some(answer) = answer {
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
}

#[test]
fn garbage_is_never_our_fault() {
    let noise = |seed: u32, length: usize| -> Vec<u8> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 9) as u8
        })
        .take(length)
        .collect()
    };
    each(|server, probe| {
        for seed in 0..40 {
            let body = noise(seed, 1 + seed as usize * 97);
            // As a signed body, as a body under a foreign signature, as chunks, and in place of a request.
            is_refused(Some(server.post(&signed(&format!("msg_{seed}"), body.clone()))));
            is_refused(Some(server.post(&signed("msg", job("ok")).body(body.clone()))));
            let mut client = server.client();
            client.try_send(&[signed("msg", "").head_of_chunks().as_bytes(), &body].concat());
            client.finish();
            is_refused(client.try_receive());
            let mut client = server.client();
            client.try_send(&body);
            client.finish();
            is_refused(client.try_receive());
        }
        // Deep nesting, inside of what is read and of what is passed over.
        for deep in ["[".repeat(200_000), format!(r#"{{"x":{}"#, "[".repeat(200_000))] {
            is_refused(Some(server.post(&signed("deep", deep))));
        }
        let nested = format!(r#"{{"event":"moon.rose","x":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(server.post(&signed("nested", nested)).status, 200, "well formed, and not looked into");
        assert_eq!(probe.all_runs(), 0);
        assert_eq!(server.post(&signed("after", job("ok"))).status, 200);
    });
}

#[test]
fn framings_that_two_parsers_could_read_differently_are_refused() {
    each(|server, probe| {
        let post = signed("msg_1", job("ok"));
        let length = post.body.len();
        let both = |lines: &str| [format!("{}{lines}\r\n", post.head("POST")).as_bytes(), &post.body].concat();
        for lines in [
            format!("content-length: {length}\r\ncontent-length: {length}\r\n"),
            format!("content-length: {length}\r\ncontent-length: 1\r\n"),
            format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n"),
            format!("content-length: +{length}\r\n"),
            format!("content-length: {length}, {length}\r\n"),
            "content-length: 18446744073709551616\r\n".to_owned(),
            "content-length: -1\r\n".to_owned(),
            "transfer-encoding: identity\r\n".to_owned(),
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n".to_owned(),
            "transfer-encoding: gzip, chunked\r\n".to_owned(),
        ] {
            let mut client = server.client();
            client.try_send(&both(&lines));
            let answer = client.receive();
            assert!([400, 501].contains(&answer.status) && answer.status < 500, "{lines} {answer:?}");
        }
        let overflow = [post.head_of_chunks().as_bytes(), b"ffffffffffffffffff\r\n"].concat();
        let mut client = server.client();
        client.try_send(&overflow);
        is_refused(client.try_receive());
        assert_eq!(probe.all_runs(), 0);
    });
}

#[test]
fn ten_thousand_headers_are_refused_and_ninety_are_served() {
    each(|server, probe| {
        let with =
            |count: usize| (0..count).fold(signed("msg_1", job("ok")), |post, n| post.with(&format!("x-{n}"), "y"));
        for many in [with(100), with(10_000), signed("msg_1", job("ok")).with("x", &"y".repeat(1_000_000))] {
            let mut client = server.client();
            client.try_send(&many.to_bytes());
            is_refused(client.try_receive());
        }
        assert_eq!(probe.all_runs(), 0);
        assert_eq!(server.post(&with(90)).status, 200);
    });
}

/// A chunk of a chunked body may carry extensions and a trailer may follow; neither is part of the body.
#[test]
fn trailers_are_no_part_of_what_is_signed() {
    each(|server, _| {
        let post = signed("msg_1", job("ok"));
        let mut request = post.head_of_chunks().into_bytes();
        request.extend(chunk(&post.body));
        request.extend(b"0\r\n\r\n");
        let mut client = server.client();
        client.send(&request);
        assert_eq!(client.receive().status, 200);
    });
}

#[test]
fn a_kept_connection_serves_one_delivery_after_another() {
    each(|server, probe| {
        let mut client = server.client();
        for index in 0..100 {
            client.send(&signed(&format!("msg_{index}"), job("ok")).to_bytes());
            assert_eq!(client.receive().status, 200);
        }
        assert_eq!(probe.all_runs(), 100);
    });
}

#[test]
fn a_body_that_pauses_within_its_limits_is_served() {
    each(|server, _| {
        let post = signed("msg_1", job("ok"));
        let mut client = server.client();
        client.send(post.head_of_length(post.body.len()).as_bytes());
        for byte in post.body.chunks(20) {
            std::thread::sleep(Duration::from_millis(10));
            client.send(byte);
        }
        assert_eq!(client.receive().status, 200);
    });
}

#[test]
fn a_body_without_a_deadline_may_pause() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe)
            .body_deadline(Duration::MAX)
            .min_rate(0, Duration::MAX)
            .time_limit(Duration::MAX)
            .build()
            .unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let bytes = signed("msg_1", job("ok")).to_bytes();
        let mut client = server.client();
        let (first, rest) = bytes.split_at(bytes.len() - 5);
        client.send(first);
        std::thread::sleep(Duration::from_millis(100));
        client.send(rest);
        assert_eq!(client.receive().status, 200, "{mount:?}");
    }
}
