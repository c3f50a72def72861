//! Deliveries of the sandbox over real sockets: who gets them, how they are signed, what the log says.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod sandbox_deliver_support;

use std::time::{Duration, Instant};

use countersign::sandbox::{Sandbox, SandboxError, TestSigning, Trigger};
use countersign::{MacEncoding, Scheme, SecretEncoding, SecretFormat};
use sandbox_deliver_support::*;
use serde_json::json;

/// An event that a `Probe` handles as `run` says.
fn job(run: &str) -> Trigger {
    Trigger::new("job").data(json!({ "run": run }))
}

fn own_schemes() -> Vec<Scheme> {
    let hex = Scheme::builder("acme")
        .signature_header("x-acme-signature")
        .separator(',')
        .prefix("v1=")
        .encoding(MacEncoding::HexUpper)
        .timestamp_element("t=")
        .id_pointer("/data/meta/id")
        .content("{header:host}\n{header:content-type}\n{timestamp}.{body}")
        .secret(SecretFormat::encoded(SecretEncoding::Hex).strip_prefix("key_"))
        .build()
        .unwrap();
    let toml = Scheme::from_toml(
        r#"
        name = "own"
        content = "{header:user-agent}|{id}|{header:x-type}|{timestamp}|{body}"
        timestamp = { header = "x-time" }
        id = { header = "x-id" }
        event_type = { header = "x-type" }
        [signature]
        header = "x-signature"
        encoding = "base64-url"
        [secret]
        encoding = "base64"
        "#,
    )
    .unwrap();
    vec![hex, toml]
}

#[tokio::test]
async fn the_receiver_of_each_scheme_accepts_what_is_signed_by_it() {
    for scheme in Scheme::presets().into_iter().chain([countersign::kycgenie::scheme()]).chain(own_schemes()) {
        let name = scheme.name().to_string();
        let receiving = Receiving::start(scheme.clone());
        let sandbox = quick().scheme(scheme).start().await.unwrap();
        receiving.subscribed(&sandbox);
        let triggered = sandbox.trigger(&job("ok")).await.unwrap();
        sandbox.settled(PATIENCE).await.unwrap();
        let attempts = sandbox.attempts(0);
        assert_eq!((attempts.len(), attempts[0].status), (1, Some(200)), "{name}: {:?}", attempts[0].error);
        assert_eq!(receiving.probe.runs(&triggered.delivery_ids[0]), 1, "{name}: the id is the receiver's own");
    }
}

#[tokio::test]
async fn a_scheme_that_the_sandbox_cannot_supply_is_refused_at_start_by_the_name_of_its_setting() {
    let base = || Scheme::builder("acme").signature_header("x-signature");
    for (scheme, expected) in [
        (base().content("{header:x-nonce}.{body}"), "scheme.content: signs the header `x-nonce`"),
        (base().id_pointer("/event").content("{body}"), "scheme.id.pointer: points to what the envelope holds"),
        (base().id_pointer("/event/id").content("{body}"), "scheme.id.pointer: points into the event's type"),
        (base().id_header("x-id").content("{id}_{body}"), "invalid_id"),
    ] {
        let error = quick().scheme(scheme.build().unwrap()).start().await.unwrap_err();
        assert!(matches!(error, SandboxError::Settings(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn every_matching_active_subscription_gets_it_with_its_own_secret_and_the_tenant_s_url_only_what_nobody_wants() {
    let sandbox = quick().start().await.unwrap();
    let scheme = countersign::kycgenie::scheme;
    let [specific, second, everything, other, inactive, fallback] = std::array::from_fn(|_| Receiving::start(scheme()));
    for (receiving, event_type) in [
        (&specific, "screening.completed"),
        (&second, "screening.completed"),
        (&everything, "all"),
        (&other, "screening.failed"),
        (&inactive, "screening.completed"),
    ] {
        let subscription = subscribe(&sandbox, event_type, &receiving.url);
        receiving.trust(&subscription.secret);
        if receiving.url == inactive.url {
            let path = format!("/api/v2/webhooks/{}/", subscription.id);
            assert_eq!(ask(&sandbox, "PATCH", &path, Some(json!({ "is_active": false }))).0, 200);
        }
    }
    ask(&sandbox, "PUT", "/api/v2/webhooks/config/", Some(json!({ "webhook_url": fallback.url })));
    let triggered = sandbox.trigger(&Trigger::new("screening.completed")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!((triggered.events, triggered.deliveries), (1, 3));
    let mut urls: Vec<String> = sandbox.attempts(0).into_iter().map(|attempt| attempt.webhook_url).collect();
    urls.sort();
    let mut expected = [specific.url, second.url, everything.url.clone()];
    expected.sort();
    assert_eq!(urls, expected);
    assert!(sandbox.attempts(0).iter().all(|attempt| attempt.status == Some(200)), "each with its own secret");
    let mut ids = triggered.delivery_ids;
    ids.dedup();
    assert_eq!(ids.len(), 3, "each delivery has an id of its own");

    // Nobody's key opens another's data, and what nobody wants goes to the tenant's own URL.
    let nobody = sandbox.trigger_for(Sandbox::LIVE_KEY, &Trigger::new("case.opened")).await.unwrap();
    assert_eq!((nobody.events, nobody.deliveries), (1, 0));
    let (_, list) = ask(&sandbox, "GET", "/api/v2/webhooks/", None);
    for webhook in list["results"].as_array().unwrap() {
        ask(&sandbox, "DELETE", &format!("/api/v2/webhooks/{}/", webhook["id"].as_str().unwrap()), None);
    }
    let unwanted = sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(unwanted.deliveries, 1);
    let last = sandbox.attempts(0).pop().unwrap();
    assert_eq!(
        (last.webhook_url, last.status),
        (fallback.url, Some(401)),
        "signed, with a secret that it does not know"
    );
}

#[tokio::test]
async fn every_event_type_and_one_that_nobody_knows_is_delivered_with_its_example() {
    let script = Script::always("204 No Content");
    let sandbox = quick().start().await.unwrap();
    subscribe(&sandbox, "all", &script.url);
    let listed = include_str!("data/kycgenie-event-types.txt");
    let types = listed.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).chain(["moon.rose"]);
    for event_type in types {
        sandbox.trigger(&Trigger::new(event_type)).await.unwrap();
        let came = script.next();
        let body = came.json();
        assert_eq!(body["event"], event_type);
        assert!(body["data"].is_object() && body.as_object().unwrap().len() == 2, "{body}");
    }
}

#[tokio::test]
async fn autoflag_events_are_simulated_for_test_keys_only() {
    let script = Script::always("200 OK");
    let sandbox = quick().start().await.unwrap();
    for key in [Sandbox::TEST_KEY, Sandbox::LIVE_KEY] {
        let body = json!({ "event_type": "response.autoflag_completed", "webhook_url": script.url });
        assert_eq!(ask_with(&sandbox, key, "POST", "/api/v2/webhooks/", Some(body)).0, 201);
        sandbox.trigger_for(key, &Trigger::new("response.autoflag_completed")).await.unwrap();
        let data = script.next().json()["data"].take();
        assert_eq!(data["simulated"] == true, key == Sandbox::TEST_KEY, "{data}");
    }
}

#[tokio::test]
async fn a_trigger_can_bring_its_own_data_many_events_and_a_rate() {
    let script = Script::always("200 OK");
    let sandbox = Sandbox::builder().start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    let trigger = Trigger::new("case.opened").data(json!({ "id": "case_7" })).count(20);
    let at_once = sandbox.trigger(&trigger).await.unwrap();
    assert_eq!((at_once.events, at_once.deliveries, at_once.delivery_ids.len()), (20, 20, 20));

    let started = Instant::now();
    let steady = sandbox.trigger(&trigger.clone().rate(50.0)).await.unwrap();
    // The first is at once, and so there are nineteen pauses of 20 ms.
    assert!(started.elapsed() >= Duration::from_millis(19 * 20 - 1), "{:?}", started.elapsed());
    assert_eq!(steady.events, 20);
    sandbox.settled(PATIENCE).await.unwrap();
    let came: Vec<_> = (0..40).map(|_| script.next()).collect();
    assert!(came.iter().all(|came| came.json()["data"] == json!({ "id": "case_7" })));
    let mut ids: Vec<String> = came.iter().map(|came| came.header("webhook-id")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);

    // An hour's worth of events, sped up; a change of speed shortens what runs already.
    let slow = Trigger::new("case.opened").count(60).rate(1.0 / 60.0);
    let (done, ()) = tokio::join!(sandbox.trigger(&slow), async { sandbox.set_speed(1e6).unwrap() });
    assert_eq!(done.unwrap().events, 60);
}

#[tokio::test]
async fn a_trigger_that_is_dropped_stops() {
    let sandbox = Sandbox::start().await.unwrap();
    let script = Script::always("200 OK");
    subscribe(&sandbox, "case.opened", &script.url);
    let endless = Trigger::new("case.opened").count(Trigger::MAX_COUNT).rate(0.001);
    tokio::select! {
        triggered = sandbox.trigger(&endless) => panic!("{triggered:?}"),
        came = async { tokio::task::spawn_blocking(move || script.next()).await.unwrap() } => drop(came),
    }
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(sandbox.status().delivered, 1);
}

#[tokio::test]
async fn a_trigger_ends_when_its_connection_is_closed() {
    let sandbox = Sandbox::start().await.unwrap();
    let script = Script::always("200 OK");
    subscribe(&sandbox, "case.opened", &script.url);
    let body = r#"{"event_type": "case.opened", "count": 1000000, "rate": 200}"#;
    let request = format!(
        "POST /sandbox/trigger HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        sandbox.test_key(),
        body.len()
    );
    let mut connection = std::net::TcpStream::connect(sandbox.address()).unwrap();
    std::io::Write::write_all(&mut connection, request.as_bytes()).unwrap();
    tokio::task::spawn_blocking(move || script.next()).await.unwrap();
    drop(connection);
    let made = || {
        let status = sandbox.status();
        status.pending + status.in_flight + status.retrying + status.delivered
    };
    // Once it has ended, nothing more is made, however long one waits.
    for _ in 0..20 {
        let before = made();
        tokio::time::sleep(Duration::from_millis(500)).await;
        if made() == before {
            return;
        }
    }
    panic!("the trigger goes on: {:?}", sandbox.status());
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_holds_up_nobody_else() {
    let silent = Script::serve(|_| None);
    let sandbox = quick().start().await.unwrap();
    subscribe(&sandbox, "case.opened", &silent.url);
    sandbox.trigger(&Trigger::new("case.opened").count(500)).await.unwrap();
    silent.next();
    let prompt = Script::always("200 OK");
    subscribe(&sandbox, "case.resolved", &prompt.url);
    sandbox.trigger(&Trigger::new("case.resolved").count(100)).await.unwrap();
    (0..100).for_each(|_| drop(prompt.next()));
    let status = sandbox.status();
    assert_eq!((status.pending + status.in_flight + status.delivered, status.failed), (600, 0), "{status:?}");
    assert!(silent.count.load(std::sync::atomic::Ordering::SeqCst) <= 32, "half of the places, with two receivers");
}

#[tokio::test]
async fn rotation_signs_with_both_secrets_during_the_overlap_and_with_the_new_one_alone_without() {
    for overlap in [Duration::from_secs(3600), Duration::ZERO] {
        let sandbox = quick().rotation_overlap(overlap).start().await.unwrap();
        let script = Script::always("200 OK");
        let old = Receiving::start(countersign::kycgenie::scheme());
        let new = Receiving::start(countersign::kycgenie::scheme());
        let subscriptions = [old.subscribed(&sandbox), new.subscribed(&sandbox)];
        let watched = subscribe(&sandbox, "all", &script.url);
        for (subscription, receiving) in [(&subscriptions[0], None), (&subscriptions[1], Some(&new)), (&watched, None)]
        {
            let path = format!("/api/v2/webhooks/{}/rotate-secret/", subscription.id);
            let (status, rotated) = ask(&sandbox, "POST", &path, None);
            assert_eq!(status, 200, "{rotated}");
            if let Some(receiving) = receiving {
                receiving.trust(rotated["secret_key"].as_str().unwrap());
            }
        }
        sandbox.trigger(&job("ok")).await.unwrap();
        let signatures = script.next().header("webhook-signature");
        let both = !overlap.is_zero();
        assert_eq!(signatures.split(' ').count(), if both { 2 } else { 1 }, "{signatures}");
        sandbox.settled(PATIENCE).await.unwrap();
        let first = |url: &str| sandbox.attempts(0).into_iter().find(|attempt| attempt.webhook_url == url).unwrap();
        assert_eq!(first(&new.url).status, Some(200), "who has the new secret accepts it at once");
        assert_eq!(first(&old.url).status, Some(if both { 200 } else { 401 }), "who has the old one");
    }
}

#[tokio::test]
async fn a_scheme_that_cannot_list_signatures_is_signed_with_the_new_secret_alone() {
    let sandbox = quick().scheme(Scheme::github()).rotation_overlap(Duration::from_secs(3600)).start().await.unwrap();
    let receiving = Receiving::start(Scheme::github());
    let subscription = receiving.subscribed(&sandbox);
    let (_, rotated) = ask(&sandbox, "POST", &format!("/api/v2/webhooks/{}/rotate-secret/", subscription.id), None);
    receiving.trust(rotated["secret_key"].as_str().unwrap());
    sandbox.trigger(&job("ok")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(sandbox.attempts(0)[0].status, Some(200));
}

#[tokio::test]
async fn nothing_is_sent_beyond_loopback_unless_told_so_and_the_log_says_why() {
    let sandbox = quick().start().await.unwrap();
    // Reserved by RFC 2606 and RFC 5737: nobody is there, should it be sent after all.
    for url in ["https://receiver.invalid/hooks", "https://192.0.2.1/hooks"] {
        subscribe(&sandbox, "case.opened", url);
    }
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let rows = log(&sandbox);
    assert_eq!(rows.len(), 6);
    for row in rows {
        assert!(row["http_status_code"].is_null());
        assert!(
            row["error_message"].as_str().unwrap().starts_with("not sent: the sandbox sends only to loopback"),
            "{row}"
        );
    }
}

#[tokio::test]
async fn the_test_endpoint_delivers_inline_and_tells_what_came_of_it() {
    let mut assumptions = assumptions();
    let test = |sandbox: &Sandbox, url: &str| {
        ask(sandbox, "POST", "/api/v2/webhooks/test/", Some(json!({ "webhook_url": url })))
    };
    let script = Script::serve(|number| Some(["200 OK", "404 Not Found"][number].to_owned()));
    let sandbox = quick().start().await.unwrap();
    let (status, answer) = test(&sandbox, &script.url);
    assert_eq!((status, &answer["success"], &answer["http_status_code"]), (200, &json!(true), &json!(200)), "{answer}");
    let came = script.next();
    assert_eq!(came.json()["event"], "test");
    assert!(came.headers("webhook-signature").is_empty(), "no subscription, no secret");
    let (status, answer) = test(&sandbox, &script.url);
    assert_eq!((status, &answer["details"]["http_status_code"]), (502, &json!(404)), "{answer}");
    let (status, answer) = test(&sandbox, &format!("http://{}/", closed_port()));
    assert_eq!((status, &answer["details"]["http_status_code"]), (502, &json!(null)), "{answer}");
    assert_eq!(
        short_log(&sandbox),
        ["1 delivered 200 -", "1 failed 404 Client error", "1 failed null Connection failed"],
        "an assumption: tests are logged"
    );

    let silent = Script::serve(|_| None);
    assumptions.timeout = Duration::from_millis(200);
    assumptions.test_signing = TestSigning::TenantSecret;
    let sandbox = quick().assumptions(assumptions).start().await.unwrap();
    let (status, answer) = test(&sandbox, &silent.url);
    assert_eq!((status, &answer["details"]["http_status_code"]), (502, &json!(null)), "{answer}");
    assert_eq!(silent.next().headers("webhook-signature").len(), 1);
    assert_eq!(short_log(&sandbox), ["1 failed null No answer within 200ms"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let sandbox = quick().start().await.unwrap();
    for trigger in [Trigger::new("all"), Trigger::new(""), Trigger::new("x").count(0), Trigger::new("x").rate(0.0)] {
        let error = sandbox.trigger(&trigger).await.unwrap_err();
        assert!(matches!(error, SandboxError::Invalid(_)), "{error:?}");
    }
    for speed in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(sandbox.set_speed(speed).is_err(), "{speed}");
    }
    (0..3).for_each(|_| drop(subscribe(&sandbox, "all", "http://127.0.0.1:1/")));
    let many = sandbox.trigger(&Trigger::new("x").count(Trigger::MAX_COUNT)).await.unwrap_err();
    assert!(many.to_string().contains("3000000 unfinished deliveries"), "{many}");
    assert_eq!(sandbox.status().pending, 0);
}

#[tokio::test]
async fn localhost_is_this_machine_and_is_never_looked_up() {
    let script = Script::always("200 OK");
    let sandbox = quick().start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url.replace("127.0.0.1", "localhost"));
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let came = script.next();
    assert!(came.header("host").starts_with("localhost:"), "{}", came.head);
}
