//! Answers are byte for byte what the API reference shows, but for ids, times, secrets and cursors.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::sandbox::{Assumptions, Sandbox, TestFailure};

use crate::common::{RECEIVER, Request, get, post, request, start_with, text, wait};
use crate::receiver::receiver;
use crate::seed::{StateFile, failed_logs};

const VERSIONS: [&str; 2] = ["v1", "v2"];

/// The text with every id, time, secret and cursor replaced by what it is.
fn normalised(text: &str) -> String {
    let kind = |string: &str| {
        let shape: String = string.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
        match shape.as_str() {
            "0000-00-00T00:00:00.000Z" => Some("<time in milliseconds>"),
            "0000-00-00T00:00:00.000000+00:00" => Some("<time in microseconds>"),
            _ if string.starts_with("whsec_") => Some("<secret>"),
            _ if is_uuid(string) => Some("<id>"),
            _ if is_cursor(string) => Some("<cursor>"),
            _ => None,
        }
    };
    // No string of these answers holds a quotation mark.
    let parts = text.split('"').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { kind(part).unwrap_or(part) } else { part }).collect::<Vec<_>>().join("\"")
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

fn is_cursor(text: &str) -> bool {
    let decoded = STANDARD.decode(text).unwrap_or_default();
    decoded
        .strip_prefix(b"{\"id\": ")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

fn golden(version: &str, name: &str) -> String {
    let path = format!("tests/data/sandbox/golden/{version}/{name}.json");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).expect(&path);
    text.strip_suffix('\n').unwrap().to_owned()
}

fn check_text(answer: &str, version: &str, name: &str) {
    assert_eq!(normalised(answer), normalised(&golden(version, name)), "{version}/{name}");
}

fn check(sandbox: &Sandbox, request: &Request, status: u16, version: &str, name: &str) -> String {
    let response = request.send(sandbox);
    assert_eq!(response.status, status, "{version}/{name}: {}", text(&response));
    assert_eq!(response.header("content-type"), Some("application/json"), "{version}/{name}");
    assert!(response.header("x-request-id").is_some_and(is_uuid), "{version}/{name}");
    check_text(&text(&response), version, name);
    text(&response)
}

/// Made as the reference's request makes it, then in the state of its samples.
fn sampled_state(file: &StateFile) -> (Sandbox, String) {
    let start = || start_with(Sandbox::builder().state_file(file.path()));
    let sandbox = start();
    let body = format!(
        r#"{{"event_type": "screening.completed", "webhook_url": "{RECEIVER}",
             "description": "Production screening webhook"}}"#
    );
    let created = post("/api/v2/webhooks/").json(&body).expect(&sandbox, 201);
    wait(sandbox.stop());
    let connection = file.open();
    let sql = "UPDATE subscription SET total = 127, successful = 125, failed = 2, last_triggered_at = 1769069730987654";
    connection.execute(sql, []).unwrap();
    failed_logs(&connection, 142);
    drop(connection);
    (start(), created["webhook_id"].as_str().unwrap().to_owned())
}

#[test]
fn answers_are_laid_out_as_the_samples_are() {
    for version in VERSIONS {
        let file = StateFile::new();
        let (sandbox, id) = sampled_state(&file);
        let webhooks = format!("/api/{version}/webhooks/");
        let webhook = format!("{webhooks}{id}/");
        check(&sandbox, &get(&webhooks), 200, version, "list");
        check(&sandbox, &get(&webhook), 200, version, "get");
        let off = request("PATCH", &webhook).json(r#"{"is_active": false}"#);
        check(&sandbox, &off, 200, version, "update");
        check(&sandbox, &post(&format!("{webhook}rotate-secret/")), 200, version, "rotate-secret");
        check(&sandbox, &request("DELETE", &webhook), 200, version, "delete");

        let create = post(&webhooks).json(&format!(
            r#"{{"event_type": "screening.completed", "webhook_url": "{RECEIVER}",
                 "description": "Production screening webhook"}}"#
        ));
        check(&sandbox, &create, 201, version, "create");

        let test =
            |status| post(&format!("{webhooks}test/")).json(&format!(r#"{{"webhook_url": "{}"}}"#, receiver(status)));
        check(&sandbox, &test(200), 200, version, "test");
        check(&sandbox, &test(404), 502, version, "test-failed");
    }
}

#[test]
fn the_log_is_laid_out_as_the_samples_are() {
    let file = StateFile::new();
    let (sandbox, _) = sampled_state(&file);
    // The reference abridges a page of twenty to its first row.
    let page = text(&get("/api/v1/webhooks/logs/?page_size=20").send(&sandbox));
    assert_eq!(page.matches("\"id\"").count(), 20);
    let (first, end) = (page.find("\n    },\n").unwrap(), page.rfind("\n    }\n  ]").unwrap());
    check_text(&format!("{}{}", &page[..first], &page[end..]), "v1", "logs");
    // Here a page of one is the sample as it stands.
    let page = check(&sandbox, &get("/api/v2/webhooks/logs/?page_size=1"), 200, "v2", "logs");
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let row = page["results"][0]["id"].as_str().unwrap();
    for version in VERSIONS {
        // The first retry makes the delivery unfinished, until it has failed again.
        let retry = post(&format!("/api/{version}/webhooks/logs/{row}/retry/"));
        wait(sandbox.settled(std::time::Duration::from_secs(30))).unwrap();
        check(&sandbox, &retry, 200, version, "retry");
    }
}

#[test]
fn the_configuration_is_laid_out_as_the_sdk_reads_it() {
    let sandbox = crate::common::start();
    let path = "/api/v2/webhooks/config/";
    check(&sandbox, &get(path), 200, "v2", "config-none");
    let put = request("PUT", path).json(r#"{"webhook_url": "https://api.yourcompany.com/webhooks/all"}"#);
    check(&sandbox, &put, 200, "v2", "config-update");
    check(&sandbox, &get(path), 200, "v2", "config");
    check(&sandbox, &request("DELETE", path), 200, "v2", "config-delete");
    check(&sandbox, &get(path), 200, "v2", "config-none");
    let null = request("PUT", path).json(r#"{"webhook_url": null}"#).expect(&sandbox, 200);
    assert!(null["webhook_url"].is_null());
    // v1 has none.
    for method in ["GET", "PUT", "DELETE"] {
        request(method, "/api/v1/webhooks/config/").expect(&sandbox, 404);
    }
}

#[test]
fn a_failed_test_can_have_the_envelope_of_every_other_error() {
    let mut assumptions = Assumptions::default();
    assumptions.test_failure = TestFailure::Envelope;
    let sandbox = start_with(Sandbox::builder().assumptions(assumptions));
    let test = |url: &str| {
        let body = format!(r#"{{"webhook_url": "{url}"}}"#);
        post("/api/v2/webhooks/test/").json(&body).expect(&sandbox, 502)
    };
    let failed = test(&receiver(404));
    assert_eq!(failed["error"], "Webhook endpoint returned HTTP 404");
    assert_eq!(failed["code"], "upstream_error");
    assert_eq!(failed["details"], serde_json::json!({ "http_status_code": 404 }));
    // Nobody listens there, and the other one is not to be sent to.
    for url in ["http://127.0.0.1:1/", "https://example.com/"] {
        assert!(test(url)["details"]["http_status_code"].is_null(), "{url}");
    }
}

#[test]
fn optional_fields_are_stored_and_shown() {
    let sandbox = crate::common::start();
    let body =
        format!(r#"{{"event_type": "all", "webhook_url": "{RECEIVER}", "filters": {{"b": [1, {{}}], "a": "ü"}}}}"#);
    let created = post("/api/v1/webhooks/").json(&body).expect(&sandbox, 201);
    let path = format!("/api/v1/webhooks/{}/", created["webhook_id"].as_str().unwrap());
    let webhook = get(&path).expect(&sandbox, 200);
    assert_eq!(webhook["description"], "");
    assert_eq!(webhook["filters"], serde_json::json!({ "a": "ü", "b": [1, {}] }));
    assert!(webhook["last_triggered_at"].is_null());
    assert!(webhook.get("secret_key").is_none());
    let changes = r#"{"event_type": "test", "webhook_url": "http://localhost:1/", "description": "d", "filters": {}}"#;
    request("PATCH", &path).json(changes).expect(&sandbox, 200);
    let changed = get(&path).expect(&sandbox, 200);
    assert_eq!(changed["event_type"], "test");
    assert_eq!(changed["webhook_url"], "http://localhost:1/");
    assert_eq!((&changed["description"], &changed["filters"]), (&"d".into(), &serde_json::json!({})));
    assert_eq!(changed["is_active"], true);
    // Nothing to change is no mistake.
    request("PATCH", &path).expect(&sandbox, 200);
    request("PATCH", &path).json("{}").expect(&sandbox, 200);
}
