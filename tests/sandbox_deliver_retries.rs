//! Retries of the sandbox: by itself, by hand, after a restart, and what the log and the statistics say meanwhile.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod sandbox_deliver_support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use common::wait_for;
use countersign::sandbox::{LogRows, Sandbox, Trigger};
use countersign::{Scheme, SecretEncoding, SecretFormat, Timestamp};
use sandbox_deliver_support::*;
use serde_json::{Value, json};

fn job(run: &str) -> Trigger {
    Trigger::new("job").data(json!({ "run": run }))
}

#[tokio::test]
async fn a_failed_delivery_is_retried_until_its_receiver_has_handled_it() {
    let receiving = Receiving::start(countersign::kycgenie::scheme());
    let sandbox = quick().start().await.unwrap();
    let subscription = receiving.subscribed(&sandbox);
    let triggered = sandbox.trigger(&job("fail_once")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(receiving.probe.runs(&triggered.delivery_ids[0]), 2, "the same id both times");
    assert_eq!(short_log(&sandbox), ["1 retrying 500 Server error", "2 delivered 200 -"]);
    let rows = log(&sandbox);
    assert!(rows[0]["next_retry_at"].is_string() && rows[1]["next_retry_at"].is_null());
    assert_ne!(rows[0]["id"], rows[1]["id"]);
    assert_eq!(stats(&sandbox, &subscription.id), [1, 1, 0]);
    let (_, got) = ask(&sandbox, "GET", &format!("/api/v2/webhooks/{}/", subscription.id), None);
    assert!(got["last_triggered_at"].is_string(), "{got}");
}

#[tokio::test]
async fn it_is_given_up_after_the_last_attempt_and_can_be_retried_by_hand() {
    let script = Script::serve(|number| Some(if number < 4 { "500 Oops" } else { "200 OK" }.to_owned()));
    let sandbox = quick().start().await.unwrap();
    let subscription = subscribe(&sandbox, "case.opened", &script.url);
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let retrying = ["1 retrying 500 Server error", "2 retrying 500 Server error"];
    let failed = ["3 failed 500 Server error", "4 failed 500 Server error"];
    assert_eq!(short_log(&sandbox), [&retrying[..], &failed[..1]].concat());
    assert_eq!(stats(&sandbox, &subscription.id), [1, 0, 1]);

    let retry = |log: &Value| {
        ask(&sandbox, "POST", &format!("/api/v2/webhooks/logs/{}/retry/", log["id"].as_str().unwrap()), None)
    };
    // One attempt, which fails, and is not retried by itself.
    let (status, retried) = retry(&log(&sandbox)[2]);
    assert_eq!(status, 200, "{retried}");
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(short_log(&sandbox), [&retrying[..], &failed[..]].concat());
    assert_eq!(retried["log_id"], log(&sandbox)[3]["id"]);
    assert_eq!(stats(&sandbox, &subscription.id), [1, 0, 1], "it counts once");
    retry(&log(&sandbox)[3]);
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(short_log(&sandbox)[4], "5 delivered 200 -");
    assert_eq!(stats(&sandbox, &subscription.id), [1, 1, 0], "it has succeeded after all");

    // The same delivery each time, signed anew.
    let came: Vec<Came> = (0..5).map(|_| script.next()).collect();
    assert!(
        came.iter().all(|one| one.body == came[0].body && one.header("webhook-id") == came[0].header("webhook-id"))
    );

    // What has not failed for good is not retried.
    for (row, current) in [(0, "retrying"), (4, "delivered")] {
        let (status, refused) = retry(&log(&sandbox)[row]);
        assert_eq!((status, &refused["details"]["current_status"]), (400, &json!(current)), "{refused}");
    }
    let (status, _) = ask(&sandbox, "POST", "/api/v2/webhooks/logs/00000000-0000-4000-8000-000000000000/retry/", None);
    assert_eq!(status, 404);
    let foreign = log(&sandbox)[2]["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v2/webhooks/logs/{foreign}/retry/");
    assert_eq!(ask_with(&sandbox, Sandbox::LIVE_KEY, "POST", &path, None).0, 404);
}

#[tokio::test]
async fn a_delivery_that_is_on_its_way_again_is_not_retried_a_second_time() {
    let script = Script::serve(|number| (number == 0).then(|| "500 Oops".to_owned()));
    let mut assumptions = assumptions();
    assumptions.max_attempts = 1;
    let sandbox = quick().assumptions(assumptions).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let path = format!("/api/v2/webhooks/logs/{}/retry/", log(&sandbox)[0]["id"].as_str().unwrap());
    assert_eq!(ask(&sandbox, "POST", &path, None).0, 200);
    let (status, refused) = ask(&sandbox, "POST", &path, None);
    assert_eq!((status, &refused["details"]["current_status"]), (400, &json!("pending")), "{refused}");
}

#[tokio::test]
async fn retry_after_is_waited_for_and_a_change_of_speed_shortens_the_wait() {
    let script =
        Script::serve(|number| Some(if number == 0 { "503 Busy\r\nretry-after: 7200" } else { "200 OK" }.to_owned()));
    let sandbox = Sandbox::start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    let row = wait_for("the first attempt", || log(&sandbox).pop().filter(|row| row["status"] == "retrying"));
    let time = |name: &str| Timestamp::parse_rfc3339(row[name].as_str().unwrap()).unwrap();
    let wait = time("next_retry_at").since(time("created_at"));
    assert!(wait >= Duration::from_secs(7200) && wait < Duration::from_secs(7300), "{wait:?}");
    assert_eq!((sandbox.status().retrying, sandbox.status().pending), (1, 0));
    sandbox.set_speed(Sandbox::MAX_SPEED).unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(short_log(&sandbox), ["1 retrying 503 Server error", "2 delivered 200 -"]);
}

#[tokio::test]
async fn no_answer_within_the_time_limit_and_no_connection_are_failures_without_a_status() {
    let silent = Script::serve(|_| None);
    let mut assumptions = assumptions();
    assumptions.timeout = Duration::from_millis(100);
    assumptions.max_attempts = 2;
    let sandbox = quick().assumptions(assumptions).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &silent.url);
    subscribe(&sandbox, "case.resolved", &format!("http://{}/", closed_port()));
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    sandbox.trigger(&Trigger::new("case.resolved")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(
        short_log(&sandbox),
        [
            "1 retrying null No answer within 100ms",
            "2 failed null No answer within 100ms",
            "1 retrying null Connection failed",
            "2 failed null Connection failed",
        ]
    );
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Script::always("200 OK");
    let location = other.url.clone();
    let script = Script::serve(move |_| Some(format!("307 Moved\r\nlocation: {location}")));
    let sandbox = quick().start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(short_log(&sandbox)[2], "3 failed 307 Redirects are not followed");
    assert!(other.all().is_empty());
}

#[tokio::test]
async fn a_row_can_stand_for_a_delivery_instead_of_an_attempt() {
    let script = Script::serve(|number| Some(if number < 3 { "500 Oops" } else { "200 OK" }.to_owned()));
    let mut assumptions = assumptions();
    assumptions.log_rows = LogRows::PerDelivery;
    let sandbox = quick().assumptions(assumptions).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(short_log(&sandbox), ["3 failed 500 Server error"]);
    let id = log(&sandbox)[0]["id"].as_str().unwrap().to_owned();
    let (_, retried) = ask(&sandbox, "POST", &format!("/api/v2/webhooks/logs/{id}/retry/"), None);
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!((short_log(&sandbox), retried["log_id"].as_str()), (vec!["4 delivered 200 -".into()], Some(&*id)));
}

#[tokio::test]
async fn a_subscription_that_is_switched_off_or_deleted_gets_no_further_attempt() {
    let script = Script::always("500 Oops");
    let sandbox = Sandbox::start().await.unwrap();
    for gone in [false, true] {
        let subscription = subscribe(&sandbox, "case.opened", &script.url);
        sandbox.set_speed(0.001).unwrap();
        sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
        script.next();
        wait_for("the failure", || (sandbox.status().retrying == 1).then_some(()));
        let path = format!("/api/v2/webhooks/{}/", subscription.id);
        let (status, _) = match gone {
            true => ask(&sandbox, "DELETE", &path, None),
            false => ask(&sandbox, "PATCH", &path, Some(json!({ "is_active": false }))),
        };
        assert_eq!(status, 200);
        sandbox.set_speed(Sandbox::MAX_SPEED).unwrap();
        sandbox.settled(PATIENCE).await.unwrap();
        assert_eq!(short_log(&sandbox).pop().unwrap(), "1 failed 500 Server error");
        assert!(script.all().is_empty());
        if !gone {
            assert_eq!(stats(&sandbox, &subscription.id), [1, 0, 1]);
            ask(&sandbox, "DELETE", &path, None);
        }
    }
}

/// A state file that is gone when the test is over.
struct StateFile(PathBuf);

impl StateFile {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("countersign-{name}-{}.sqlite", std::process::id()));
        Self(path)
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}

#[tokio::test]
async fn what_waits_for_a_retry_is_taken_up_again_after_a_restart() {
    let script = Script::serve(|number| Some(if number == 0 { "500 Oops" } else { "200 OK" }.to_owned()));
    let state = StateFile::new("restart");
    let sandbox = Sandbox::builder().state_file(&state.0).speed(0.001).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    wait_for("the failure", || (sandbox.status().retrying == 1).then_some(()));
    sandbox.stop().await;

    let sandbox = Sandbox::builder().state_file(&state.0).speed(0.001).start().await.unwrap();
    assert_eq!((sandbox.status().pending, sandbox.status().retrying), (0, 1));
    sandbox.set_speed(Sandbox::MAX_SPEED).unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(short_log(&sandbox), ["1 retrying 500 Server error", "2 delivered 200 -"]);
    let came = [script.next(), script.next()];
    assert_eq!(came[0].header("webhook-id"), came[1].header("webhook-id"));
    assert_eq!(came[0].body, came[1].body);
}

#[tokio::test]
async fn what_is_being_sent_when_the_sandbox_stops_is_sent_again_after_the_next_start() {
    let script = Script::serve(|number| (number > 0).then(|| "200 OK".to_owned()));
    let state = StateFile::new("stopped");
    let sandbox = quick().state_file(&state.0).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    let triggered = sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    script.next();
    sandbox.stop().await;

    let sandbox = quick().state_file(&state.0).start().await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(script.next().header("webhook-id"), triggered.delivery_ids[0]);
    assert_eq!(short_log(&sandbox), ["1 delivered 200 -"]);
}

#[tokio::test]
async fn a_wait_is_told_the_log_at_the_speed_that_was_set_last() {
    let script = Script::always("503 Busy\r\nretry-after: 3600");
    let state = StateFile::new("speed");
    let sandbox = Sandbox::builder().state_file(&state.0).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    wait_for("the failure", || (sandbox.status().retrying == 1).then_some(()));
    sandbox.set_speed(0.01).unwrap();
    let wait = |row: &Value| {
        let time = |name: &str| Timestamp::parse_rfc3339(row[name].as_str().unwrap()).unwrap();
        time("next_retry_at").since(time("created_at"))
    };
    let slowed = |row: &Value| wait(row) > Duration::from_secs(300_000);
    wait_for("the new time", || log(&sandbox).pop().filter(slowed));
    sandbox.stop().await;
    // It is in the file as well.
    let sandbox = Sandbox::builder().state_file(&state.0).start().await.unwrap();
    assert!(slowed(&log(&sandbox)[0]));
    assert_eq!(sandbox.status().retrying, 1);
}

#[tokio::test]
async fn a_secret_from_before_a_change_of_scheme_that_does_not_fit_it_fails_with_a_row_that_says_so() {
    let script = Script::always("200 OK");
    let state = StateFile::new("scheme");
    let sandbox = quick().state_file(&state.0).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &script.url);
    sandbox.stop().await;
    let hex = Scheme::builder("acme")
        .signature_header("x-signature")
        .content("{body}")
        .secret(SecretFormat::encoded(SecretEncoding::Hex))
        .build()
        .unwrap();
    let sandbox = quick().scheme(hex).state_file(&state.0).start().await.unwrap();
    sandbox.trigger(&Trigger::new("case.opened")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let unfit = "3 failed null not sent: the secret is not written as the scheme says secrets are";
    assert_eq!(short_log(&sandbox)[2], unfit);
    // A new one does.
    subscribe(&sandbox, "case.resolved", &script.url);
    sandbox.trigger(&Trigger::new("case.resolved")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(short_log(&sandbox)[3], "1 delivered 200 -");
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
async fn child_that_is_killed() {
    let Ok(state) = std::env::var("COUNTERSIGN_TEST_STATE") else { return };
    let url = std::env::var("COUNTERSIGN_TEST_URL").unwrap();
    let sandbox = quick().state_file(state).start().await.unwrap();
    subscribe(&sandbox, "case.opened", &url);
    sandbox.trigger(&Trigger::new("case.opened").count(100)).await.unwrap();
    std::future::pending::<()>().await;
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn nothing_is_lost_when_the_process_is_killed_in_the_middle() {
    // The first ten are answered; then everything hangs, until the process is dead.
    let open = Arc::new(AtomicBool::new(false));
    let opened = Arc::clone(&open);
    let script = Script::serve(move |number| (number < 10 || opened.load(SeqCst)).then(|| "200 OK".to_owned()));
    let state = StateFile::new("killed");
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed"])
        .env("COUNTERSIGN_TEST_STATE", &state.0)
        .env("COUNTERSIGN_TEST_URL", &script.url)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = KillOnDrop(child);
    let mut came: Vec<Came> = (0..20).map(|_| script.next()).collect();
    drop(child);
    open.store(true, SeqCst);

    let sandbox = quick().state_file(&state.0).start().await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    came.extend(script.all());
    let mut ids: Vec<String> = came.iter().map(|came| came.header("webhook-id")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 100, "each has come, once or twice");
    assert_eq!(
        short_log(&sandbox),
        vec!["1 delivered 200 -"; 100],
        "the row of an attempt that was cut off is used again"
    );
}
