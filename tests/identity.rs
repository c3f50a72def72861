//! What a delivery is known by when it comes again, and whose it is.

#![cfg(all(feature = "actix", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{BOTH, Mount, NOW, OTHER_SECRET, Post, Probe, SECRET, Server, Setup, StopOnDrop, builder, job, signed};
use countersign::testing::FakeClock;
use countersign::{Keyring, Message, Receiver, RequestView, Scheme, Signer, Tenants, Verifier};

const TENANT_PATH: &str = "/hooks/{tenant}";

fn github(mount: Mount) -> (Server, Probe) {
    let probe = Probe::default();
    let receiver = Receiver::builder(Scheme::github(), common::keyring())
        .handlers(probe.clone())
        .clock(FakeClock::at(NOW))
        .build()
        .unwrap();
    (Server::start(mount, &receiver, &probe), probe)
}

fn by_github(id: &str, body: &str) -> Post {
    common::signed_with(&Scheme::github(), &common::keyring(), id, NOW, body)
}

#[test]
fn a_body_that_is_replayed_under_fresh_ids_runs_once() {
    for mount in BOTH {
        let (server, probe) = github(mount);
        let post = by_github("delivery-0", &job("ok"));
        assert_eq!(server.post(&post).status, 200);
        for index in 1..50 {
            let replay = post.clone().set("x-github-delivery", &format!("delivery-{index}"));
            assert_eq!(server.post(&replay).status, 200);
        }
        // Without any id, and as another type of event, which is not signed either.
        assert_eq!(server.post(&post.clone().without("x-github-delivery")).status, 200);
        assert_eq!(server.post(&post.set("x-github-event", "push")).status, 200);
        assert_eq!(probe.all_runs(), 1);
    }
}

#[test]
fn an_old_body_under_the_id_of_a_future_event_does_not_suppress_that_event() {
    for mount in BOTH {
        let (server, probe) = github(mount);
        let old = by_github("old", &job("ok"));
        assert_eq!(server.post(&old).status, 200);
        // The attacker knows the next id, and gets the old body there first.
        assert_eq!(server.post(&old.clone().set("x-github-delivery", "future")).status, 200);
        let future = by_github("future", &format!("{} ", job("ok")));
        assert_eq!(server.post(&future).status, 200);
        assert_eq!(probe.runs("future"), 1, "{mount:?}");
        // One that is running under that id does not block it either.
        let gated = by_github("x", &job("gate"));
        let mut running = server.client();
        running.send(&gated.clone().set("x-github-delivery", "next").to_bytes());
        let next = by_github("next", &format!("{}  ", job("ok")));
        assert_eq!(server.post(&next).status, 200);
        probe.open_gate(1);
        assert_eq!(running.receive().status, 200);
        assert_eq!(probe.runs("next"), 2, "both bodies");
    }
}

#[test]
fn where_the_id_is_signed_nobody_can_give_a_body_another_one() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let post = signed("msg_1", job("ok"));
        assert_eq!(server.post(&post).status, 200);
        assert_eq!(server.post(&post.set("webhook-id", "msg_2")).status, 401);
        assert_eq!(server.post(&signed("msg_2", job("ok"))).status, 200);
        assert_eq!((probe.runs("msg_1"), probe.runs("msg_2")), (1, 1));
    }
}

/// What nobody has signed claims nothing: an attacker cannot make a delivery look done, running or in conflict.
#[test]
fn a_forgery_leaves_no_trace_in_the_store() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        for run in ["ok", "fail", "permanent"] {
            let forged = signed("msg_1", job("gate")).body(job(run));
            assert_eq!(server.post(&forged).status, 401);
        }
        assert!(receiver.store().is_empty());
        assert_eq!(server.post(&signed("msg_1", job("ok"))).status, 200);
        assert_eq!(receiver.store().len(), 1);
    }
}

fn tenants(mount: Mount) -> (Server, Probe, Tenants) {
    let probe = Probe::default();
    let tenants = Tenants::by_param("tenant");
    let receiver = Receiver::builder(common::scheme(), tenants.clone())
        .handlers(probe.clone())
        .clock(FakeClock::at(NOW))
        .build()
        .unwrap();
    let setup = Setup { mount, path: TENANT_PATH, ..Setup::default() };
    (Server::with(setup, &receiver, &probe), probe, tenants)
}

fn ring(secret: &str) -> Keyring {
    Keyring::single(common::secret(secret))
}

fn to_tenant(name: &str, secret: &str, id: &str) -> Post {
    common::signed_with(&common::scheme(), &ring(secret), id, NOW, job("ok")).to(&format!("/hooks/{name}"))
}

#[test]
fn the_same_id_of_two_tenants_is_two_deliveries() {
    for mount in BOTH {
        let (server, probe, tenants) = tenants(mount);
        tenants.insert("acme", ring(SECRET)).unwrap();
        tenants.insert("umbrella", ring(OTHER_SECRET)).unwrap();
        // The very same secret, even.
        tenants.insert("twin", ring(SECRET)).unwrap();
        for _ in 0..2 {
            assert_eq!(server.post(&to_tenant("acme", SECRET, "msg_1")).status, 200);
            assert_eq!(server.post(&to_tenant("umbrella", OTHER_SECRET, "msg_1")).status, 200);
            assert_eq!(server.post(&to_tenant("twin", SECRET, "msg_1")).status, 200);
        }
        assert_eq!(probe.runs("msg_1"), 3);
        assert_eq!(server.post(&to_tenant("acme", OTHER_SECRET, "msg_2")).status, 401);
    }
}

#[test]
fn an_unknown_tenant_gets_the_answer_of_a_wrong_signature_to_the_byte() {
    for mount in BOTH {
        let (server, _, tenants) = tenants(mount);
        tenants.insert("acme", ring(SECRET)).unwrap();
        let wrong = server.post(&to_tenant("acme", OTHER_SECRET, "msg_1")).without_date();
        assert_eq!(wrong.status, 401);
        for name in ["umbrella", "decoy", "acme%20", "ACME", "%ff", "acme%00", "a%2Fb", &"x".repeat(2000)] {
            let unknown = server.post(&to_tenant(name, SECRET, "msg_1")).without_date();
            assert_eq!(unknown, wrong, "{name}");
        }
        // So it is with what is malformed: the tenant makes no difference.
        let malformed = |name| to_tenant(name, SECRET, "msg_1").set("webhook-timestamp", "x");
        let known = server.post(&malformed("acme")).without_date();
        assert_eq!(server.post(&malformed("umbrella")).without_date(), known);
        assert_eq!(known.status, 400);
    }
}

#[test]
fn tenants_come_and_go_while_serving() {
    let (server, probe, tenants) = tenants(Mount::Service);
    tenants.insert("steady", ring(SECRET)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let steady = scope.spawn(|| {
            let mut client = server.client();
            let mut count = 0;
            while !stop.load(Ordering::SeqCst) {
                client.send(&to_tenant("steady", SECRET, &format!("steady_{count}")).to_bytes());
                assert_eq!(client.receive().status, 200);
                count += 1;
            }
            count
        });
        let end = StopOnDrop(&stop);
        for round in 0..100 {
            let post = |secret, id: &str| server.post(&to_tenant("passing", secret, &format!("{id}_{round}"))).status;
            assert_eq!(post(SECRET, "early"), 401);
            tenants.insert("passing", ring(SECRET)).unwrap();
            assert_eq!(post(SECRET, "present"), 200);
            tenants.insert("passing", ring(OTHER_SECRET)).unwrap();
            assert_eq!((post(SECRET, "replaced"), post(OTHER_SECRET, "replacing")), (401, 200));
            tenants.remove("passing");
            assert_eq!(post(OTHER_SECRET, "late"), 401);
        }
        drop(end);
        let steady: usize = steady.join().unwrap();
        assert_eq!(probe.all_runs(), steady + 200);
    });
}

/// A secret that is not written as the scheme says is found when the tenant's first delivery comes: ours to mend.
#[test]
fn a_tenant_whose_secret_is_misspelt_is_503() {
    let (server, _, tenants) = tenants(Mount::Service);
    tenants.insert("acme", ring("whsec_not!base64")).unwrap();
    let response = server.post(&to_tenant("acme", SECRET, "msg_1"));
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
}

/// The signed bytes of a genuine delivery, cut in another place: a header that grows at the body's expense.
#[test]
fn a_signed_header_cannot_be_cut_in_another_place() {
    for (template, kind, body, other_kind, other_body) in [
        ("{header:x-kind}.{body}", "a", r#"x.{"event":"job"}"#, "a.x", r#"{"event":"job"}"#),
        ("{body}.{header:x-kind}", "x.a", "{}", "a", "{}.x"),
        ("{header:x-kind}..{body}", "a", ".{}", "a.", "{}"),
    ] {
        let scheme = Scheme::builder("acme").signature_header("x-signature").content(template);
        let scheme = scheme.build().unwrap();
        let signer = Signer::new(scheme.clone(), common::keyring()).unwrap();
        let verifier = Verifier::new(scheme, common::keyring()).unwrap();
        let message = Message::new(body.as_bytes(), NOW);
        let mut headers = signer.sign(&message.headers(&[("x-kind", kind)])).unwrap();
        let genuine = verifier.verify(&RequestView::new(&headers, body), NOW).is_ok();
        headers[0].1 = other_kind.to_owned();
        let other = verifier.verify(&RequestView::new(&headers, other_body), NOW).is_ok();
        assert!(!(genuine && other), "{template}");
    }
}

/// Bound to another way of writing secrets, the keyring's keys are not those of this scheme.
#[test]
fn a_tenant_whose_keyring_serves_another_scheme_is_503() {
    let (server, _, tenants) = tenants(Mount::Service);
    let shared = ring(SECRET);
    Verifier::new(Scheme::github(), shared.clone()).unwrap();
    tenants.insert("acme", shared).unwrap();
    let response = server.post(&to_tenant("acme", SECRET, "msg_1"));
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")));
}
