//! Idempotency keys, the rate limit, and answers that fail on demand.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use countersign::sandbox::{ApiFailure, Assumptions, Mode, Sandbox};
use serde_json::json;

use crate::common::{FOREIGN_KEY, RECEIVER, Request, get, post, request, said, start, start_with, subscribe, wait};
use crate::seed::StateFile;

fn create(event_type: &str) -> Request {
    post("/api/v2/webhooks/").json(&json!({ "event_type": event_type, "webhook_url": RECEIVER }).to_string())
}

fn count(sandbox: &Sandbox) -> u64 {
    get("/api/v2/webhooks/").expect(sandbox, 200)["count"].as_u64().unwrap()
}

#[test]
fn the_same_key_gets_the_same_answer_and_nothing_is_done_twice() {
    let sandbox = start();
    let keyed = create("all").with("idempotency-key", "screening-550e8400");
    let first = keyed.send(&sandbox);
    let again = keyed.send(&sandbox);
    assert_eq!(first.status, 201);
    // The secret too: the client may have lost the first answer.
    assert_eq!(said(again), said(first));
    assert_eq!(count(&sandbox), 1);

    let id = subscribe(&sandbox, "test", RECEIVER);
    let rotate = post(&format!("/api/v2/webhooks/{id}/rotate-secret/"));
    let keyed = rotate.clone().with("idempotency-key", "rotate");
    let secret = |request: &Request| request.expect(&sandbox, 200)["secret_key"].clone();
    let first = secret(&keyed);
    assert_eq!(secret(&keyed), first);
    assert_ne!(secret(&rotate), first);

    // A refusal is an answer too, with the id of the request that got it.
    let gone = request("DELETE", &format!("/api/v2/webhooks/{id}/")).with("idempotency-key", "delete");
    gone.expect(&sandbox, 200);
    gone.expect(&sandbox, 200);
    let wrong = create("moon.rose").with("idempotency-key", "wrong");
    let (first, again) = (wrong.send(&sandbox), wrong.send(&sandbox));
    assert_eq!(said(first), said(again));
}

#[test]
fn of_many_at_once_with_the_same_key_one_is_worked_on() {
    let sandbox = start();
    let keyed = create("all").with("idempotency-key", "at-once");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| keyed.send(&sandbox))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().map(said).partition(|answer| answer.status == 201);
    assert!(made.iter().all(|answer| *answer == made[0]));
    assert!(refused.iter().all(|answer| answer.status == 409));
    assert_eq!((made.is_empty(), count(&sandbox)), (false, 1));
}

#[test]
fn the_same_key_with_another_request_is_a_conflict() {
    let sandbox = start_with(Sandbox::builder().api_key(FOREIGN_KEY, Mode::Test));
    let with_key = |request: Request| request.with("idempotency-key", "k");
    with_key(create("all")).expect(&sandbox, 201);
    let mut v1 = create("all");
    v1.path = "/api/v1/webhooks/".to_owned();
    for other in [create("test"), v1, request("DELETE", "/api/v2/webhooks/config/")] {
        assert_eq!(with_key(other).expect(&sandbox, 409)["code"], "conflict");
    }
    // Keys are each tenant's own, and reading needs none.
    with_key(create("test")).key(FOREIGN_KEY).expect(&sandbox, 201);
    with_key(create("test")).key(Sandbox::LIVE_KEY).expect(&sandbox, 201);
    with_key(get("/api/v2/webhooks/")).expect(&sandbox, 200);
    assert_eq!(count(&sandbox), 1);
}

#[test]
fn a_duplicate_of_a_request_that_still_runs_is_a_conflict_and_an_abandoned_one_blocks_nothing() {
    let sandbox = start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let test =
        post("/api/v2/webhooks/test/").json(&json!({ "webhook_url": url }).to_string()).with("idempotency-key", "slow");
    let mut first = crate::raw::Client::connect(sandbox.address());
    first.send(&[test.head(Some(test.body.len())), test.body.clone()].concat());
    // Once the receiver is connected to, the first one is being worked on.
    let (mut delivery, _) = silent.accept().unwrap();
    test.expect(&sandbox, 409);
    // The client goes away, and with it the first request: the key is free.
    first.reset();
    drop(delivery.write_all(b""));
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let second = loop {
        let mut second = crate::raw::Client::connect(sandbox.address());
        second.send(&[test.head(Some(test.body.len())), test.body.clone()].concat());
        silent.set_nonblocking(true).unwrap();
        let accepted = loop {
            if let Ok((stream, _)) = silent.accept() {
                break Some(stream);
            }
            if let Some(answer) = second.received() {
                assert_eq!(answer.status, 409);
                break None;
            }
            let pause = std::time::Instant::now() + Duration::from_millis(50);
            let _ = second.is_closed_before(pause, Duration::from_millis(10), b"");
        };
        match accepted {
            Some(mut stream) => {
                stream.set_nonblocking(false).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                break second;
            }
            None => assert!(std::time::Instant::now() < deadline, "the key stays taken"),
        }
    };
    let mut second = second;
    assert_eq!(second.receive().status, 200);
    test.expect(&sandbox, 200); // from the store: nobody answers there
}

#[test]
fn a_key_survives_a_restart_and_one_that_a_crash_left_does_not() {
    let file = StateFile::new();
    let start =
        |assumptions: Assumptions| start_with(Sandbox::builder().state_file(file.path()).assumptions(assumptions));
    let keyed = create("all").with("idempotency-key", "k");
    let sandbox = start(Assumptions::default());
    let first = said(keyed.send(&sandbox));
    wait(sandbox.stop());

    // As a process leaves it that is killed between work and answer.
    let sql = "INSERT INTO idempotency (tenant, key, fingerprint, created_at) VALUES (1, 'killed', x'00', 9e15)";
    file.open().execute(sql, []).unwrap();
    let sandbox = start(Assumptions::default());
    assert_eq!(said(keyed.send(&sandbox)), first);
    create("test").with("idempotency-key", "killed").expect(&sandbox, 201);
    wait(sandbox.stop());

    // After the retention it is a new request.
    let mut short = Assumptions::default();
    short.idempotency_retention = Duration::ZERO;
    let sandbox = start(short);
    assert_ne!(keyed.expect(&sandbox, 201)["webhook_id"], crate::common::json(&first)["webhook_id"]);
    assert_eq!(count(&sandbox), 3);
}

#[test]
fn answers_fail_on_demand_before_the_work_or_after_it() {
    let sandbox = start();
    sandbox.fail_api(ApiFailure::new(503).count(2).retry_after(7)).unwrap();
    for left in [1, 0] {
        let answer = create("all").send(&sandbox);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("7")));
        assert_eq!(crate::common::json(&answer)["code"], "upstream_error");
        // Its own API never fails so.
        assert_eq!(get("/sandbox/api-failures").expect(&sandbox, 200)["left"], left);
    }
    assert_eq!(count(&sandbox), 0);

    // The answer is lost, the work is done: the same key gets the answer.
    let ordered = json!({ "status": 502, "after_work": true });
    request("PUT", "/sandbox/api-failures").json(&ordered.to_string()).expect(&sandbox, 200);
    let keyed = create("all").with("idempotency-key", "lost");
    keyed.expect(&sandbox, 502);
    assert!(keyed.expect(&sandbox, 201)["secret_key"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(count(&sandbox), 1);

    for (status, code) in [
        (402, "insufficient_credits"),
        (403, "permission_denied"),
        (412, "precondition_failed"),
        (428, "precondition_required"),
        (429, "rate_limited"),
        (500, "server_error"),
        (504, "upstream_error"),
    ] {
        sandbox.fail_api(ApiFailure::new(status)).unwrap();
        assert_eq!(get("/api/v2/webhooks/").expect(&sandbox, status)["code"], code);
    }
    assert!(sandbox.fail_api(ApiFailure::new(399)).is_err());
}

#[test]
fn the_rate_limit_is_each_keys_own() {
    let mut assumptions = Assumptions::default();
    assumptions.rate_limit = Some(3);
    let sandbox = start_with(Sandbox::builder().assumptions(assumptions));
    let list = get("/api/v1/webhooks/");
    for _ in 0..3 {
        list.expect(&sandbox, 200);
    }
    let answer = list.send(&sandbox);
    assert_eq!(answer.status, 429);
    assert_eq!(crate::common::json(&answer)["code"], "rate_limited");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    list.clone().key(Sandbox::LIVE_KEY).expect(&sandbox, 200);
    get("/sandbox/tenant").expect(&sandbox, 200);
}
