//! The provider's side: `sandbox`, and `trigger`, `webhooks`, `logs` and `rotate` against it.

use std::path::Path;

use serde_json::Value;

use crate::support::{Cli, Ran, Running, cli, folder, until};

/// A sandbox on a free port, fast enough that retries are over at once, and its URL.
fn sandbox(args: &[&str]) -> (Running, String, Value) {
    let fixed = ["--json", "sandbox", "--bind", "127.0.0.1:0", "--speed", "1000"];
    let mut running = cli(fixed.iter().chain(args)).shows_secrets().start();
    let started = running.object();
    (running, started["url"].as_str().expect("a URL").to_owned(), started)
}

fn api(url: &str, args: &[&str]) -> Cli {
    cli(["--json"].iter().chain(args).chain(&["--sandbox", "--base-url", url]))
}

fn trigger(url: &str, args: &[&str]) -> Ran {
    cli(["--json", "trigger", "--url", url].iter().chain(args)).run()
}

/// A receiver that follows a key file, and its URL.
fn listen(keys: &Path) -> (Running, String) {
    let args = ["--json", "listen", "--bind", "127.0.0.1:0", "--keys", keys.to_str().expect("UTF-8")];
    let mut running = cli(args).start();
    let url = running.object()["listening"].as_str().expect("a URL").to_owned();
    (running, url)
}

/// A URL at which nobody listens: a port that is given to no test.
fn nobody() -> String {
    "http://127.0.0.1:1/".to_owned()
}

#[test]
fn the_whole_working_day() {
    let dir = folder("day");
    let keys = dir.join("keys.toml");
    let keys_arg = keys.to_str().expect("UTF-8");
    // The receiver's port is known once it listens, and its key once there is a subscription: a file of any key first.
    let first = "[[key]]\nid = 'first'\nsecret = 'whsec_Zmlyc3Q='\n";
    std::fs::write(&keys, first).expect("a file");
    let (mut receiver, hook) = listen(&keys);
    std::fs::remove_file(&keys).expect("a file");
    let (sandbox, url, started) = sandbox(&[]);
    assert!(started["test_key"].as_str().expect("a key").starts_with("kycg_"));

    // Subscribe: the secret goes into the key file, and nowhere else.
    let created = api(&url, &["webhooks", "create", "all", &hook, "--keys", keys_arg, "--key-id", "k1"]).run().good();
    let created_object = created.json();
    let id = created_object["id"].as_str().expect("an id");
    let text = std::fs::read_to_string(&keys).expect("a key file");
    let secret = text.split('"').find(|part| part.starts_with("whsec_")).expect("a secret");
    assert!(!created.stdout.contains(secret) && !created.stderr.contains(secret));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let mode = std::fs::metadata(&keys).expect("a key file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    until("the receiver has the key", || {
        let triggered = trigger(&url, &["screening.completed"]).good().json();
        assert_eq!(triggered["deliveries"], 1);
        let line = receiver.object();
        (line["outcome"] == "handled").then(|| {
            assert_eq!(
                (line["key_id"].as_str(), line["event_type"].as_str()),
                (Some("k1"), Some("screening.completed"))
            );
        })
    });

    // Trigger and wait.
    until("retries of the first ones are over", || (trigger(&url, &["test", "--wait"]).code == Some(0)).then_some(()));
    let data = r#"{"entity_id":"ent_9"}"#;
    let file = dir.join("data.json");
    std::fs::write(&file, data).expect("a file");
    let from_file = trigger(&url, &["case.opened", "--data", &format!("@{}", file.display()), "--wait"]).good().json();
    assert_eq!(from_file["delivered"], 1);
    let done = trigger(&url, &["case.opened", "--data", data, "--count", "5", "--wait"]).good().json();
    assert_eq!(
        (done["events"].as_u64(), done["delivered"].as_u64(), done["failed"].as_u64()),
        (Some(5), Some(5), Some(0))
    );
    assert_eq!(done["attempts"].as_array().map(Vec::len), Some(5));
    assert_eq!(done["delivery_ids"].as_array().map(Vec::len), Some(5));

    // Read, change, test, configure.
    let listed = api(&url, &["webhooks", "list"]).run().good().json();
    assert_eq!((listed["count"].as_u64(), listed["webhooks"][0]["id"].as_str()), (Some(1), Some(id)));
    api(&url, &["webhooks", "update", id, "--description", "for the team"]).run().good();
    let got = api(&url, &["webhooks", "get", id]).run().good().json();
    assert_eq!((got["description"].as_str(), got["is_active"].as_bool()), (Some("for the team"), Some(true)));
    let v1 = api(&url, &["webhooks", "list", "--api-version", "v1"]).run().good().json();
    assert_eq!(v1["webhooks"][0]["id"], id);
    let untaken = api(&url, &["webhooks", "test", &nobody()]).run();
    assert_eq!((untaken.code, untaken.json()["success"].as_bool()), (Some(1), Some(false)));
    api(&url, &["webhooks", "config", "set", &nobody()]).run().good();
    assert_eq!(api(&url, &["webhooks", "config", "get"]).run().good().json()["enabled"], true);
    api(&url, &["webhooks", "config", "delete"]).run().good();
    assert_eq!(api(&url, &["webhooks", "config", "get"]).run().good().json()["webhook_url"], Value::Null);
    api(&url, &["webhooks", "config", "get", "--api-version", "v1"]).run().failed(2, "v1");

    // Rotate: the file has both keys, and the receiver takes the next one under the new key.
    let rotated = api(&url, &["rotate", id, "--keys", keys_arg, "--key-id", "k2", "--overlap", "1h"]).run().good();
    assert_eq!(rotated.json()["key_id"], "k2");
    let text = std::fs::read_to_string(&keys).expect("a key file");
    assert!(text.find("\"k2\"") < text.find("\"k1\"") && text.contains("not_after"), "the new one first");
    for secret in text.split('"').filter(|part| part.starts_with("whsec_")) {
        assert!(!rotated.stdout.contains(secret) && !rotated.stderr.contains(secret));
    }
    until("a delivery under the new key", || {
        trigger(&url, &["alert.created", "--wait"]);
        until("its line", || {
            let line = receiver.object();
            (line["event_type"] == "alert.created" || line["verified"] == false).then_some(line["key_id"] == "k2")
        })
        .then_some(())
    });

    api(&url, &["webhooks", "delete", id]).run().good();
    api(&url, &["webhooks", "get", id]).run().failed(5, "404");
    let heard = receiver.interrupt().good();
    let refused = heard.stdout.lines().filter(|line| line.contains("\"reason\":\"wrong_signature\"")).count();
    let after = heard.stdout.lines().skip_while(|line| !line.contains("\"key_id\":\"k1\""));
    assert_eq!(after.filter(|line| line.contains("\"status\":401")).count(), 0, "{refused}: {heard:#?}");
    sandbox.interrupt().good();
}

#[test]
fn what_failed_is_read_in_the_log_and_delivered_again() {
    let (sandbox, url, started) = sandbox(&["--subscribe", &nobody(), "--event-type", "batch.failed"]);
    let subscription = &started["subscription"];
    assert!(subscription["secret"].as_str().expect("shown").starts_with("whsec_"));
    let failed = trigger(&url, &["batch.failed", "--count", "3", "--wait"]);
    assert_eq!((failed.code, failed.json()["failed"].as_u64()), (Some(1), Some(3)), "{failed:?}");
    assert_eq!(trigger(&url, &["case.opened"]).good().json()["deliveries"], 0);

    let rows = |args: &[&str]| -> Vec<Value> {
        let ran = api(&url, &[&["logs", "list"], args].concat()).run().good();
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let failed = rows(&["--status", "failed"]);
    assert_eq!(failed.len(), 3);
    assert_eq!(failed[0]["attempt_number"], 3);
    assert_eq!(rows(&[]).len(), 9, "a row for each attempt");
    assert_eq!(rows(&["--limit", "2"]).len(), 2);
    assert_eq!(rows(&["--since", "+1h"]).len(), 0);
    let table = cli(["logs", "list", "--sandbox", "--base-url", &url, "--limit", "1"]).run().good().stdout;
    assert!(table.starts_with("time ") && table.contains("batch.failed") && table.lines().count() == 2, "{table}");

    let id = failed[0]["id"].as_str().expect("an id");
    let retried = api(&url, &["logs", "retry", id]).run().good().json();
    assert_ne!(retried["log_id"].as_str().expect("a row"), id);
    let unknown = "0b8f7c1e-0000-4000-8000-000000000000";
    api(&url, &["logs", "retry", unknown]).run().failed(5, "404");
    until("the retry has failed", || (rows(&["--status", "failed"]).len() == 4).then_some(()));

    let dry = api(&url, &["logs", "redeliver", "--since", "-1h", "--dry-run"]).run().good();
    assert_eq!(dry.stdout.lines().count(), 4, "{dry:?}");
    assert!(dry.stderr.contains("4 would be retried"), "{dry:?}");
    assert_eq!(rows(&["--status", "failed"]).len(), 4, "nothing was retried");
    let redelivered = api(&url, &["logs", "redeliver", "--since", "-1h"]).run().json();
    let count = |what: &str| redelivered[what].as_array().map_or(0, Vec::len);
    assert_eq!(count("retried") + count("refused"), 4, "{redelivered}");
    assert!(count("retried") >= 3, "{redelivered}");
    sandbox.interrupt().good();
}

#[test]
fn a_secret_that_is_asked_for_is_printed_once_and_told_to_be_kept() {
    let (sandbox, url, _) = sandbox(&[]);
    let created = api(&url, &["webhooks", "create", "test", &nobody()]).shows_secrets().run().good();
    let object = created.json();
    let secret = object["secret"].as_str().expect("a secret");
    assert!(secret.starts_with("whsec_") && !created.stderr.contains(secret));
    assert!(created.stderr.contains("once"), "{}", created.stderr);
    let id = object["id"].as_str().expect("an id");
    let rotated = api(&url, &["webhooks", "rotate-secret", id]).shows_secrets().run().good().json();
    assert_ne!(rotated["secret"], object["secret"]);
    // A key file that is there already is found before the provider makes a secret.
    let file = folder("exists").join("keys.toml");
    std::fs::write(&file, "").expect("a file");
    let path = file.to_str().expect("UTF-8");
    api(&url, &["webhooks", "create", "all", &nobody(), "--keys", path]).run().failed(3, "exists already");
    api(&url, &["webhooks", "create", "all", &nobody(), "--keys", "/nowhere/keys.toml"]).run().failed(3, "/nowhere");
    assert_eq!(api(&url, &["webhooks", "list"]).run().good().json()["count"], 1);
    sandbox.interrupt().good();
}

#[test]
fn what_the_api_refuses_is_told_with_its_reason() {
    let (sandbox, url, _) = sandbox(&[]);
    api(&url, &["webhooks", "create", "no.such.event", &nobody()]).run().failed(5, "event_type");
    api(&url, &["webhooks", "create", "all", "http://example.com/"]).run().failed(5, "webhook_url");
    api(&url, &["webhooks", "get", "not-an-id"]).run().failed(5, "400");
    let foreign = cli(["webhooks", "list", "--base-url", &url]).env("KYCGENIE_API_KEY", crate::support::API_KEY).run();
    foreign.failed(5, "401");
    cli(["trigger", "a b", "--url", &url]).run().failed(5, "event_type");
    cli(["trigger", "x", "--data", "{", "--url", &url]).run().failed(2, "not JSON");
    sandbox.interrupt().good();
}

#[test]
fn an_interrupted_rotation_leaves_everything_as_it_was() {
    let dir = folder("interrupted");
    let keys = dir.join("keys.toml");
    let keys_arg = keys.to_str().expect("UTF-8");
    let (sandbox, url, started) = sandbox(&["--subscribe", &nobody(), "--keys-out", keys_arg]);
    let subscription = &started["subscription"];
    assert_eq!((subscription["keys"].as_str(), subscription.get("secret")), (Some(keys_arg), None));
    let id = subscription["id"].as_str().expect("an id");
    let before = std::fs::read_to_string(&keys).expect("a key file");
    let rotating = api(&url, &["rotate", id, "--keys", keys_arg, "--settle", "10m"]).start();
    until("the file is marked", || {
        std::fs::read_to_string(&keys).expect("a key file").contains("rotating_until").then_some(())
    });
    let ran = rotating.interrupt().failed(130, "nothing has changed");
    assert_eq!(ran.stdout, "");
    assert_eq!(std::fs::read_to_string(&keys).expect("a key file"), before);
    // What the API certainly refuses changes nothing, either.
    let unknown = "0b8f7c1e-0000-4000-8000-000000000000";
    api(&url, &["rotate", unknown, "--keys", keys_arg, "--settle", "0s"]).run().failed(5, "404");
    assert_eq!(std::fs::read_to_string(&keys).expect("a key file"), before);
    api(&url, &["rotate", id, "--keys", "/nowhere/keys.toml"]).run().failed(3, "/nowhere/keys.toml");
    sandbox.interrupt().good();
}

#[test]
fn a_state_file_survives_a_restart_and_the_subscription_is_not_made_twice() {
    let dir = folder("state");
    let (state, keys) = (dir.join("state.sqlite"), dir.join("keys.toml"));
    let (state, keys) = (state.to_str().expect("UTF-8"), keys.to_str().expect("UTF-8"));
    let hook = nobody();
    let args = ["--state", state, "--subscribe", &hook, "--keys-out", keys];
    let (running, _, first) = sandbox(&args);
    running.interrupt().good();
    let before = std::fs::read_to_string(keys).expect("a key file");
    let (running, url, second) = sandbox(&args);
    assert_eq!(first["subscription"]["id"], second["subscription"]["id"]);
    assert_eq!(api(&url, &["webhooks", "list"]).run().good().json()["count"], 1);
    assert_eq!(std::fs::read_to_string(keys).expect("a key file"), before);
    assert_eq!(second["subscription"]["keys"], keys, "what comes next is told with it");
    running.interrupt().good();
    // Another sandbox, the same key file: the new key comes first, and the old one is good for a while.
    let (running, ..) = sandbox(&["--subscribe", &hook, "--keys-out", keys]);
    let after = std::fs::read_to_string(keys).expect("a key file");
    assert_eq!(after.matches("[[key]]").count(), 2);
    running.interrupt().good();
}

#[test]
fn a_secret_that_an_earlier_run_has_shown_is_not_promised_in_a_key_file() {
    let dir = folder("shown");
    let (state, keys) = (dir.join("state.sqlite"), dir.join("keys.toml"));
    let (state, keys) = (state.to_str().expect("UTF-8"), keys.to_str().expect("UTF-8"));
    let args = ["--state", state, "--subscribe", &nobody(), "--keys-out", keys];
    sandbox(&args).0.interrupt().good();
    std::fs::remove_file(keys).expect("a key file");
    let again = cli(["sandbox", "--bind", "127.0.0.1:0"].iter().chain(&args)).run();
    again.failed(3, "keys.toml is not there, and the secret of subscription");
}

#[test]
fn faults_assumptions_and_typed_events() {
    let printed = cli(["sandbox", "--print-assumptions"]).run().good().stdout;
    assert!(printed.contains("max_attempts = 3"), "{printed}");
    let file = folder("assumptions").join("assumptions.toml");
    std::fs::write(&file, printed.replace("max_attempts = 3", "max_attempts = 1")).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let hook = nobody();
    let args = ["--assumptions", file, "--fault", "wrong_key=1", "--seed", "7", "--interactive", "--subscribe", &hook];
    let (mut running, _, _) = sandbox(&args);
    running.say("screening.completed");
    let attempt = running.object();
    assert_eq!((attempt["event_type"].as_str(), attempt["attempt"].as_u64()), (Some("screening.completed"), Some(1)));
    assert_eq!(attempt["faults"][0], "wrong_key");
    running.say("case.opened");
    let attempt = running.object();
    assert_eq!(attempt["event_type"], "case.opened", "there is no second attempt of the first one");
    assert_eq!(attempt["faults"].as_array().map(Vec::len), Some(0));
    running.interrupt().good();
    cli(["sandbox", "--fault", "nothing"]).run().failed(2, "there is no such fault");
    cli(["sandbox", "--bind", "0.0.0.0:0"]).run().failed(3, "loopback");
    std::fs::write(file, "max_attempts = 0").expect("a file");
    cli(["sandbox", "--assumptions", file]).run().failed(3, "max_attempts");
}

#[test]
fn what_the_sandbox_says_to_people_leads_to_the_next_step() {
    let hook = nobody();
    let mut running = cli(["sandbox", "--bind", "127.0.0.1:0", "--subscribe", &hook]).shows_secrets().start();
    let mut seen = Vec::new();
    while !seen.iter().any(|line: &String| line.contains("countersign trigger")) {
        seen.push(running.line());
    }
    let text = seen.join("\n");
    for part in
        ["test key", "live key", "subscribed to all events", "export KYCGENIE_WEBHOOK_SECRET='whsec_", "--url http"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    running.interrupt().good();
}

#[test]
fn a_rotation_under_load_loses_nothing_and_refuses_nothing() {
    let dir = folder("load");
    let (keys, assumptions) = (dir.join("keys.toml"), dir.join("assumptions.toml"));
    let keys_arg = keys.to_str().expect("UTF-8");
    std::fs::write(&assumptions, "max_attempts = 100\n").expect("a file");
    // The receiver is there before it is subscribed, with a key that is then replaced by the subscription's.
    std::fs::write(&keys, "[[key]]\nid = 'none'\nsecret = 'whsec_bm9uZQ=='\n").expect("a file");
    let (mut receiver, hook) = listen(&keys);
    let args = ["--subscribe", &hook, "--keys-out", keys_arg, "--assumptions", assumptions.to_str().expect("UTF-8")];
    let (sandbox, url, started) = sandbox(&args);
    let id = started["subscription"]["id"].as_str().expect("an id");
    until("the receiver has the key", || (trigger(&url, &["test", "--wait"]).code == Some(0)).then_some(()));

    // The speed of 1,000 multiplies the rate: 50 a second, for 6 seconds.
    let count = 300;
    let load = ["--count", "300", "--rate", "0.05", "--wait", "--timeout", "1m"];
    let load = cli(["--json", "trigger", "case.opened", "--url", &url].iter().chain(&load)).start();
    until("the load has begun", || (receiver.object()["event_type"] == "case.opened").then_some(()));
    api(&url, &["rotate", id, "--keys", keys_arg, "--key-id", "new"]).run().good();
    let done: Value = serde_json::from_str(&load.end().good().stdout).expect("JSON");
    assert_eq!((done["delivered"].as_u64(), done["failed"].as_u64()), (Some(count), Some(0)));

    let heard = receiver.interrupt().good();
    let lines: Vec<Value> = heard.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let handled: Vec<&Value> =
        lines.iter().filter(|line| line["outcome"] == "handled" && line["event_type"] == "case.opened").collect();
    let ids: std::collections::HashSet<_> = handled.iter().map(|line| line["id"].as_str()).collect();
    assert_eq!((handled.len() as u64, ids.len() as u64), (count, count), "each is handled once");
    assert!(handled.iter().any(|line| line["key_id"] == "new"));
    assert!(handled.iter().any(|line| line["key_id"] != "new"));
    // Before the first key was there, everything was refused; from then on nothing is.
    let since = lines.iter().position(|line| line["verified"] == true).expect("a genuine one");
    assert!(lines[since..].iter().all(|line| line["status"] != 401));
    sandbox.interrupt().good();
}
