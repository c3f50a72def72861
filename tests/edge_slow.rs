//! Clients that take their time: each is cut off, and the only worker serves others meanwhile.
//!
//! The scenarios mostly wait, so all of them run at the same time and each test asks for the end of its own.

#![cfg(all(feature = "actix", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::raw::chunk;
use common::{BOTH, Client, Mount, Post, Probe, Server, Setup, builder, job, signed};

/// What the requirement grants: a slow client is gone by then. The limits themselves are left at their defaults.
const BOUND: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);

type Scenario = (&'static str, fn());

const SCENARIOS: [Scenario; 13] = [
    ("head that dribbles", head_that_dribbles),
    ("head that never begins", head_that_never_begins),
    ("hardened head", hardened_head),
    ("dribble", dribbled_body),
    ("stalled length", stalled_body_with_a_length),
    ("stalled chunks", stalled_chunks),
    ("401", dribble_after_401),
    ("400", dribble_after_400),
    ("413", dribble_after_413),
    ("415", dribble_after_415),
    ("405 and 503", dribble_after_405_and_503),
    ("hardened second head", hardened_second_head),
    ("second head", second_head_without_hardening),
];

static RUNNING: LazyLock<HashMap<&'static str, Mutex<Option<JoinHandle<()>>>>> = LazyLock::new(|| {
    let start = |(name, run): Scenario| (name, Mutex::new(Some(std::thread::spawn(run))));
    SCENARIOS.into_iter().map(start).collect()
});

/// Waits for the end of a scenario and fails as it failed.
#[track_caller]
fn ends_well(name: &str) {
    let thread = RUNNING[name].lock().unwrap().take().unwrap();
    if let Err(failure) = thread.join() {
        std::panic::resume_unwind(failure);
    }
}

/// A server with one worker for each way to mount a receiver, at its default limits.
fn each(setup: Setup, slow: impl Fn(&Server) + Copy + Send) {
    std::thread::scope(|scope| {
        for mount in BOTH {
            scope.spawn(move || {
                let probe = Probe::default();
                let receiver = builder(&probe).build().unwrap();
                slow(&Server::with(Setup { mount, ..setup }, &receiver, &probe));
            });
        }
    });
}

/// Begins with `first` and goes on with `dribble` once a second: is cut off in time, and others are served meanwhile.
#[track_caller]
fn is_cut_off(server: &Server, first: &[u8], dribble: &[u8]) -> Option<common::Response> {
    let deadline = Instant::now() + BOUND;
    let mut client = server.client();
    client.send(first);
    let gone = AtomicBool::new(false);
    let (closed, served) = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut served = 0;
            while !gone.load(Ordering::SeqCst) {
                assert_eq!(server.post(&signed("other", job("ok"))).status, 200);
                served += u32::from(!gone.load(Ordering::SeqCst));
                std::thread::sleep(Duration::from_millis(20));
            }
            served
        });
        let closed = client.is_closed_before(deadline, SECOND, dribble);
        gone.store(true, Ordering::SeqCst);
        (closed, others.join().unwrap())
    });
    assert!(closed, "still open after {BOUND:?}");
    assert!(served > 0, "nobody else was served meanwhile");
    client.received()
}

fn head_that_dribbles() {
    each(Setup::default(), |server| {
        let answer = is_cut_off(server, b"POST /hooks HTTP/1.1\r\nhost: test\r\nx-slow: ", b"a");
        assert_eq!(answer.unwrap().status, 408);
    });
}

fn head_that_never_begins() {
    each(Setup::default(), |server| {
        is_cut_off(server, b"", b"");
    });
}

fn hardened_head() {
    // The program has turned actix-web's own limit off.
    let setup = Setup { harden: true, head_timeout: Duration::ZERO, ..Setup::default() };
    each(setup, |server| {
        is_cut_off(server, b"POST /hooks HTTP/1.1\r\nx-slow: ", b"a");
    });
}

fn dribbled_body() {
    each(Setup::default(), |server| {
        let post = signed("slow", job("ok"));
        let answer = is_cut_off(server, post.head_of_length(post.body.len()).as_bytes(), b"{");
        assert_eq!(answer.unwrap().status, 408);
    });
    each(Setup::default(), |server| {
        let post = signed("slow", job("ok"));
        let answer = is_cut_off(server, post.head_of_chunks().as_bytes(), &chunk(b"{"));
        assert_eq!(answer.unwrap().status, 408);
    });
}

fn stalled_body_with_a_length() {
    each(Setup::default(), |server| {
        let post = signed("slow", job("ok"));
        let mut first = post.head_of_length(post.body.len()).into_bytes();
        first.extend(&post.body[..post.body.len() - 1]);
        assert_eq!(is_cut_off(server, &first, b"").unwrap().status, 408);
    });
}

fn stalled_chunks() {
    // Between two chunks, inside of one, inside of a length, and before the very last line.
    for stop in [&b"1\r\n{\r\n"[..], b"ff\r\n{", b"f", b"1\r\n{\r\n0\r\n"] {
        each(Setup::default(), |server| {
            let first = [signed("slow", job("ok")).head_of_chunks().as_bytes(), stop].concat();
            assert_eq!(is_cut_off(server, &first, b"").unwrap().status, 408);
        });
    }
}

/// Chunks that go on after the answer has been given: actix-http would read them as long as they come.
#[track_caller]
fn is_hung_up_on(server: &Server, post: &Post, body: &[u8], status: u16) {
    let first = [post.head_of_chunks().as_bytes(), body].concat();
    let mut client = server.client();
    client.try_send(&first);
    let closed = client.is_closed_before(Instant::now() + BOUND, Duration::from_millis(200), &chunk(b"x"));
    assert!(closed, "{status}: still open after {BOUND:?}");
    let answer = client.received().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
}

fn dribble_after_401() {
    each(Setup::default(), |server| {
        is_hung_up_on(server, &signed("slow", "").without("webhook-signature"), b"", 401);
    });
}

fn dribble_after_400() {
    each(Setup::default(), |server| {
        is_hung_up_on(server, &signed("slow", "").set("webhook-timestamp", "x"), b"", 400);
    });
}

fn dribble_after_413() {
    each(Setup::default(), |server| {
        is_hung_up_on(server, &signed("slow", ""), &chunk(&[b' '; 1024 * 1024 + 1]), 413);
    });
}

fn dribble_after_415() {
    each(Setup::default(), |server| {
        is_hung_up_on(server, &signed("slow", "").with("content-encoding", "br"), b"", 415);
    });
}

fn dribble_after_405_and_503() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let put = signed("slow", "").head("PUT") + "transfer-encoding: chunked\r\n\r\n";
        let mut client = server.client();
        client.send(put.as_bytes());
        assert!(client.is_closed_before(Instant::now() + BOUND, SECOND, &chunk(b"x")));
        assert_eq!(client.received().unwrap().status, 405);
        receiver.drain();
        is_hung_up_on(&server, &signed("slow", ""), b"", 503);
    }
}

/// Serves one request and then begins the head of a second one.
fn begin_second_head(server: &Server, id: &str) -> (Client, Vec<u8>) {
    let mut client = server.client();
    client.send(&signed(id, job("ok")).to_bytes());
    assert_eq!(client.receive().status, 200);
    let mut rest = signed("second", job("ok")).to_bytes();
    client.try_send(&rest.drain(..20).collect::<Vec<_>>());
    (client, rest)
}

fn hardened_second_head() {
    let setup = Setup { harden: true, ..Setup::default() };
    each(setup, |server| {
        let (mut client, _) = begin_second_head(server, "first");
        assert!(client.is_closed_before(Instant::now() + BOUND, SECOND, b"a"));
        // Pipelined right behind the first, it is there before the answer is.
        let mut both = signed("another", job("ok")).to_bytes();
        both.extend(b"POST /hooks HTTP/1.1\r\nx: ");
        let mut client = server.client();
        client.send(&both);
        assert!(client.is_closed_before(Instant::now() + BOUND, SECOND, b"a"));
        let answer = client.received().unwrap();
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    });
}

fn second_head_without_hardening() {
    let setup = Setup { mount: Mount::Service, head_timeout: SECOND, ..Setup::default() };
    each(setup, |server| {
        let (mut client, rest) = begin_second_head(server, "first");
        // Past the head's time-out and past actix-web's five seconds for an idle connection.
        let closed = client.is_closed_before(Instant::now() + 7 * SECOND, SECOND, b"");
        assert!(!closed, "actix-web times every head now: say so where `harden` is documented");
        client.send(&rest);
        assert_eq!(client.receive().status, 200);
    });
}

#[test]
fn a_head_that_dribbles_or_never_begins_is_cut_off() {
    ends_well("head that dribbles");
    ends_well("head that never begins");
}

#[test]
fn a_hardened_server_cuts_a_slow_head_off_where_the_program_had_no_limit() {
    ends_well("hardened head");
}

#[test]
fn a_body_of_a_byte_a_second_is_cut_off() {
    ends_well("dribble");
}

#[test]
fn a_stalled_body_with_a_length_is_cut_off() {
    ends_well("stalled length");
}

#[test]
fn stalled_chunks_are_cut_off() {
    ends_well("stalled chunks");
}

#[test]
fn chunks_that_go_on_after_a_401_are_not_listened_to() {
    ends_well("401");
}

#[test]
fn chunks_that_go_on_after_a_400_are_not_listened_to() {
    ends_well("400");
}

#[test]
fn chunks_that_go_on_after_a_413_are_not_listened_to() {
    ends_well("413");
}

#[test]
fn chunks_that_go_on_after_a_415_are_not_listened_to() {
    ends_well("415");
}

#[test]
fn chunks_that_go_on_after_a_405_or_a_503_are_not_listened_to() {
    ends_well("405 and 503");
}

#[test]
fn a_hardened_server_does_not_wait_for_a_second_head() {
    ends_well("hardened second head");
}

/// What `harden` is for. Fails on the day when actix-web needs no help.
#[test]
fn without_hardening_a_stalled_second_head_is_waited_for() {
    ends_well("second head");
}
