//! Bad input to every operation is the documented error: never a panic, never a 500.

use countersign::sandbox::{Mode, Sandbox};
use proptest::prelude::*;
use serde_json::Value;

use crate::common::{FOREIGN_KEY, RECEIVER, Request, get, json, post, request, start_with, subscribe, text};
use crate::raw::{Client, Response, chunk};

const LIMIT: usize = 1024 * 1024;
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// Which operation, and a request of it that is well formed.
struct Operation {
    request: Request,
    takes_body: bool,
    takes_id: bool,
}

fn operations(id: &str) -> Vec<Operation> {
    let mut operations = Vec::new();
    for version in ["v1", "v2"] {
        let base = format!("/api/{version}/webhooks/");
        let url = format!(r#"{{"webhook_url": "{RECEIVER}"}}"#);
        let create = format!(r#"{{"event_type": "all", "webhook_url": "{RECEIVER}"}}"#);
        let mut add = |request: Request, takes_body, takes_id| {
            operations.push(Operation { request, takes_body, takes_id });
        };
        add(post(&base).json(&create), true, false);
        add(get(&base), false, false);
        add(get(&format!("{base}{id}/")), false, true);
        add(request("PATCH", &format!("{base}{id}/")).json("{}"), true, true);
        add(request("DELETE", &format!("{base}{id}/")), false, true);
        add(post(&format!("{base}{id}/rotate-secret/")), false, true);
        add(get(&format!("{base}logs/")), false, false);
        add(post(&format!("{base}logs/{id}/retry/")), false, true);
        add(post(&format!("{base}test/")).json(&url), true, false);
        if version == "v2" {
            add(get(&format!("{base}config/")), false, false);
            add(request("PUT", &format!("{base}config/")).json(&url), true, false);
            add(request("DELETE", &format!("{base}config/")), false, false);
        }
    }
    operations
}

fn start() -> Sandbox {
    start_with(Sandbox::builder().api_key(FOREIGN_KEY, Mode::Test))
}

/// The envelope of every error, its members in their order.
fn check(response: &Response, status: u16, code: &str, what: &dyn std::fmt::Debug) -> Value {
    let body = text(response);
    assert_eq!(response.status, status, "{what:?}: {body}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{what:?}");
    let value = json(response);
    assert_eq!(value["code"], code, "{what:?}: {body}");
    assert!(!value["error"].as_str().unwrap().is_empty());
    assert_eq!(value["request_id"].as_str(), response.header("x-request-id"), "{what:?}");
    let places: Vec<_> = ["error", "code", "request_id", "errors", "details"]
        .iter()
        .filter_map(|name| body.find(&format!("\n  \"{name}\": ")))
        .collect();
    assert!(places.is_sorted(), "{body}");
    assert_eq!(places.len(), value.as_object().unwrap().len(), "{body}");
    assert_eq!(value.get("errors").is_some(), code == "validation_error", "{body}");
    value
}

fn refused(sandbox: &Sandbox, request: &Request, status: u16, code: &str) -> Value {
    check(&request.send(sandbox), status, code, request)
}

#[test]
fn a_key_is_required_and_must_be_one_of_the_sandbox() {
    let sandbox = start();
    let key = Sandbox::TEST_KEY;
    for operation in operations(UNKNOWN) {
        let bare = operation.request.without("authorization");
        refused(&sandbox, &bare, 401, "authentication_failed");
        for odd in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer nobody",
            &format!("Basic {key}"),
            key,
            &format!("Bearer {key}x"),
            &format!("Bearer {}", key.to_uppercase()),
            &format!("Bearer {key}, Bearer {key}"),
            &format!("Bearer\u{a0}{key}"),
            &format!("Bearer {key}' OR 1=1 --"),
            "Bearer \u{fc}",
        ] {
            let answer = bare.clone().with("authorization", odd).send(&sandbox);
            check(&answer, 401, "authentication_failed", &odd);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let twice = bare.clone().key(key).with("authorization", &format!("Bearer {key}"));
        refused(&sandbox, &twice, 401, "authentication_failed");
    }
    for fine in [format!("bearer {key}"), format!("BEARER   {key}")] {
        get("/api/v2/webhooks/").without("authorization").with("authorization", &fine).expect(&sandbox, 200);
    }
}

#[test]
fn paths_and_methods_that_are_none() {
    let sandbox = start();
    for operation in operations(UNKNOWN) {
        let path = operation.request.path.clone();
        let mut slashless = operation.request.clone();
        slashless.path = path.trim_end_matches('/').to_owned();
        let body = refused(&sandbox, &slashless, 404, "not_found");
        assert!(body["error"].as_str().unwrap().contains("slash"), "{body}");
        for method in ["TRACE", "OPTIONS", "PROPFIND", "QUERY"] {
            let mut other = operation.request.clone();
            method.clone_into(&mut other.method);
            let answer = other.send(&sandbox);
            check(&answer, 405, "invalid_request", &other);
            let allowed = answer.header("allow").unwrap();
            assert!(allowed.split(", ").any(|method| method == operation.request.method), "{path}: {allowed}");
        }
    }
    for path in ["/", "/api/", "/api/v3/webhooks/", "/api/v2/webhooks//", "/api/v2/webhooks/x/y/", "/api/v2//webhooks/"]
    {
        refused(&sandbox, &get(path), 404, "not_found");
    }
    for (method, path) in [
        ("PATCH", "/api/v2/webhooks/config/"),
        ("DELETE", "/api/v2/webhooks/logs/"),
        ("GET", "/api/v2/webhooks/test/"),
        ("PUT", "/api/v1/webhooks/"),
        ("POST", &format!("/api/v1/webhooks/{UNKNOWN}/")),
        ("GET", &format!("/api/v1/webhooks/logs/{UNKNOWN}/retry/")),
    ] {
        refused(&sandbox, &request(method, path), 405, "invalid_request");
    }
    // v1 has no configuration: to it, the word is an id, and none.
    refused(&sandbox, &get("/api/v1/webhooks/config/"), 404, "not_found");
}

#[test]
fn ids_that_are_malformed_unknown_or_of_others() {
    let sandbox = start();
    let id = subscribe(&sandbox, "all", RECEIVER);
    for operation in operations("ID").into_iter().filter(|operation| operation.takes_id) {
        let with = |id: &str| {
            let mut request = operation.request.clone();
            request.path = request.path.replace("ID", id);
            request
        };
        for malformed in
            ["x", "1", "%00", "%ff%fe", "..%2f..", &id[1..], &id.replace('-', ""), &format!("{{{id}}}"), "null"]
        {
            let body = refused(&sandbox, &with(malformed), 400, "validation_error");
            assert_eq!(body["errors"].as_object().unwrap().len(), 1);
        }
        refused(&sandbox, &with(UNKNOWN), 404, "not_found");
        for stranger in [FOREIGN_KEY, Sandbox::LIVE_KEY] {
            refused(&sandbox, &with(&id).key(stranger), 404, "not_found");
        }
    }
    // It is still there, as it was.
    assert_eq!(get(&format!("/api/v2/webhooks/{id}/")).expect(&sandbox, 200)["event_type"], "all");
    for stranger in [FOREIGN_KEY, Sandbox::LIVE_KEY] {
        assert_eq!(get("/api/v2/webhooks/").key(stranger).expect(&sandbox, 200)["count"], 0);
        assert!(get("/api/v2/webhooks/config/").key(stranger).expect(&sandbox, 200)["webhook_url"].is_null());
    }
}

#[test]
fn bodies_that_are_no_json_object() {
    let sandbox = start();
    let id = subscribe(&sandbox, "all", RECEIVER);
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
    for operation in operations(&id).into_iter().filter(|operation| operation.takes_body) {
        let bodies: [&[u8]; 14] = [
            b"{",
            b"nonsense",
            b"[]",
            b"[\"all\", \"https://example.com/\"]",
            b"null",
            b"1",
            b"\"text\"",
            b"{\"a\": 1} {",
            b"{'a': 1}",
            b"\xff\xfe{\x00}\x00",
            b"{\"description\": \"\xff\"}",
            b"{\"description\": \"\\ud800\"}",
            b"\x00",
            b" ",
        ];
        for body in bodies {
            refused(&sandbox, &operation.request.clone().body(body), 400, "invalid_request");
        }
        for body in [deep("[", "]"), deep("{\"filters\":", "}")] {
            refused(&sandbox, &operation.request.clone().body(body), 400, "invalid_request");
        }
        let twice = r#"{"webhook_url": "https://example.com/", "webhook_url": 1, "event_type": "all"}"#;
        assert!(operation.request.clone().body(twice).send(&sandbox).status == 400);
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "\u{fc}"] {
            let other = operation.request.clone().without("content-type").with("content-type", content_type);
            refused(&sandbox, &other, 400, "invalid_request");
        }
        refused(&sandbox, &operation.request.clone().without("content-type"), 400, "invalid_request");
        refused(&sandbox, &operation.request.clone().with("content-encoding", "gzip"), 400, "invalid_request");
    }
    let create = post("/api/v2/webhooks/").json(&format!(r#"{{"event_type": "all", "webhook_url": "{RECEIVER}"}}"#));
    create
        .clone()
        .without("content-type")
        .with("content-type", "Application/JSON; charset=utf-8")
        .expect(&sandbox, 201);
}

#[test]
fn bodies_that_are_too_long_by_their_length_or_in_chunks() {
    let sandbox = start();
    let id = subscribe(&sandbox, "all", RECEIVER);
    for operation in operations(&id) {
        for length in [LIMIT + 1, 2 * LIMIT] {
            refused(&sandbox, &operation.request.clone().body(vec![b' '; length]), 400, "invalid_request");
            let mut client = Client::connect(sandbox.address());
            client.send(&operation.request.head(None));
            for piece in vec![b' '; length].chunks(64 * 1024) {
                client.send(&chunk(piece));
            }
            client.send(b"0\r\n\r\n");
            check(&client.receive(), 400, "invalid_request", &operation.request);
        }
        // Told to be endless: answered before it is sent.
        let mut client = Client::connect(sandbox.address());
        client.send(&operation.request.head(Some(1 << 40)));
        check(&client.receive(), 400, "invalid_request", &operation.request);
        // Chunks that are none.
        let mut client = Client::connect(sandbox.address());
        client.send(&operation.request.head(None));
        client.send(b"zz\r\n");
        assert_ne!(client.try_receive().map_or(400, |answer| answer.status), 500);
    }
    assert_eq!(get("/api/v2/webhooks/").expect(&sandbox, 200)["count"], 1);
}

#[test]
fn fields_that_are_wrong_are_told_each_by_its_name() {
    let sandbox = start();
    let id = subscribe(&sandbox, "all", RECEIVER);
    let wrong = |field: &str| -> Vec<String> {
        let strings = ["null", "1", "true", "[]", "{}", "\"\""].map(str::to_owned);
        match field {
            "event_type" => {
                [&strings[..], &["\"moon.rose\"".into(), "\"screening.*\"".into(), "\"ALL\"".into()]].concat()
            }
            "webhook_url" => {
                let urls = [
                    "http://example.com/",
                    "ftp://localhost/",
                    "example.com",
                    "https://",
                    "http://localhost@example.com/",
                ];
                let long = format!("https://example.com/{}", "x".repeat(2048));
                let urls = urls.map(str::to_owned).into_iter().chain([long]).map(|url| format!("\"{url}\""));
                strings.into_iter().chain(urls).collect()
            }
            "description" => [&strings[..5], &[format!("\"{}\"", "x".repeat(1001))]].concat(),
            "filters" => {
                let long = format!("{{\"a\": \"{}\"}}", "x".repeat(64 * 1024));
                ["null", "1", "true", "[]", "\"\""].map(str::to_owned).into_iter().chain([long]).collect()
            }
            _ => ["null", "1", "\"true\"", "[]", "{}"].map(str::to_owned).to_vec(),
        }
    };
    let good = [("event_type", "\"all\"".to_owned()), ("webhook_url", format!("\"{RECEIVER}\""))];
    for version in ["v1", "v2"] {
        let base = format!("/api/{version}/webhooks/");
        let webhook = format!("{base}{id}/");
        let all = ["event_type", "webhook_url", "description", "filters"];
        let mut operations = vec![
            ("POST", base.clone(), all.to_vec(), &good[..]),
            ("PATCH", webhook, [&all[..], &["is_active"]].concat(), &[]),
            ("POST", format!("{base}test/"), vec!["webhook_url"], &[]),
        ];
        if version == "v2" {
            operations.push(("PUT", format!("{base}config/"), vec!["webhook_url"], &[]));
        }
        for (method, path, fields, needed) in operations {
            for field in fields {
                for value in wrong(field) {
                    if method == "PUT" && value == "null" {
                        continue; // the one field that may be
                    }
                    let needed = needed.iter().filter(|(name, _)| *name != field);
                    let members = needed.map(|(name, value)| format!("\"{name}\": {value}"));
                    let members = members.chain([format!("\"{field}\": {value}")]).collect::<Vec<_>>().join(", ");
                    let request = request(method, &path).json(&format!("{{{members}}}"));
                    let body = refused(&sandbox, &request, 400, "validation_error");
                    let errors = body["errors"].as_object().unwrap();
                    assert_eq!(errors.keys().collect::<Vec<_>>(), [field], "{value}");
                }
            }
        }
        // All at once, and what is missing too.
        let body = refused(
            &sandbox,
            &post(&base).json(r#"{"description": 1, "filters": 2, "x": 3}"#),
            400,
            "validation_error",
        );
        assert_eq!(body["errors"].as_object().unwrap().len(), 4);
        let body = refused(&sandbox, &post(&base), 400, "validation_error");
        assert_eq!(body["errors"].as_object().unwrap().len(), 2);
        refused(&sandbox, &post(&format!("{base}test/")), 400, "validation_error");
    }
    refused(&sandbox, &request("PUT", "/api/v2/webhooks/config/").json("{}"), 400, "validation_error");
    assert_eq!(get("/api/v2/webhooks/").expect(&sandbox, 200)["count"], 1);
}

#[test]
fn pages_and_cursors_that_are_none() {
    let sandbox = start();
    let logs = |version: &str, query: &str| get(&format!("/api/{version}/webhooks/logs/?{query}"));
    for version in ["v1", "v2"] {
        for size in ["0", "-1", "x", "", "1.5", "%00", "99999999999999999999", "1e3"] {
            refused(&sandbox, &logs(version, &format!("page_size={size}")), 400, "validation_error");
        }
        refused(&sandbox, &logs(version, "page_size=1&page_size=2"), 400, "invalid_request");
        logs(version, "page_size=101").expect(&sandbox, 200);
        logs(version, "page_size=9223372036854775807").expect(&sandbox, 200);
        for garbage in ["%%%=&&&=%ff&%zz", "a=b&c", "=", "&&&&", "%ff=%ff", "page%5B%5D=1"] {
            logs(version, garbage).expect(&sandbox, 200);
        }
    }
    for page in ["0", "-1", "x", "", "99999999999999999999"] {
        refused(&sandbox, &logs("v1", &format!("page={page}")), 400, "validation_error");
    }
    let far = logs("v1", "page=9223372036854775807&page_size=100").expect(&sandbox, 200);
    assert_eq!(far["logs"], serde_json::json!([]));
    // Garbled, and a row that there is not.
    for cursor in ["", "x", "%ff", "eyJpZCI6IDEyMzR9", "eyJpZCI6IDB9", "eyJpZCI6IC0xfQ==", "e30=", "eyJpZCI6ICJ4In0="] {
        for side in ["after", "before"] {
            refused(&sandbox, &logs("v2", &format!("{side}={cursor}")), 400, "invalid_request");
        }
    }
}

#[test]
fn weird_idempotency_keys() {
    let sandbox = start();
    for operation in operations(UNKNOWN).into_iter().filter(|operation| operation.request.method != "GET") {
        for key in ["", "a b", "\u{fc}", "a\tb", &"x".repeat(256)] {
            refused(&sandbox, &operation.request.clone().with("idempotency-key", key), 400, "invalid_request");
        }
        let twice = operation.request.clone().with("idempotency-key", "a").with("idempotency-key", "b");
        refused(&sandbox, &twice, 400, "invalid_request");
    }
    get("/api/v2/webhooks/").with("idempotency-key", "a b").expect(&sandbox, 200);
}

#[test]
fn bad_input_to_the_control_api() {
    let sandbox = start();
    let put = |path: &str, body: &str| request("PUT", path).without("authorization").json(body);
    refused(&sandbox, &post("/sandbox/trigger").without("authorization").json("{}"), 401, "authentication_failed");
    for body in [
        "{}",
        "[]",
        r#"{"event_type": 1}"#,
        r#"{"event_type": "all"}"#,
        r#"{"event_type": ""}"#,
        r#"{"event_type": "test", "count": 0}"#,
        r#"{"event_type": "test", "count": -1}"#,
        r#"{"event_type": "test", "count": 18446744073709551615}"#,
        r#"{"event_type": "test", "rate": 0}"#,
        r#"{"event_type": "test", "rate": "x"}"#,
        r#"{"event_type": "test", "unknown": 1}"#,
    ] {
        refused(&sandbox, &post("/sandbox/trigger").json(body), 400, "invalid_request");
    }
    for (path, body) in [
        ("/sandbox/clock", "{}"),
        ("/sandbox/clock", r#"{"speed": 0}"#),
        ("/sandbox/clock", r#"{"speed": -1}"#),
        ("/sandbox/clock", r#"{"speed": 1e300}"#),
        ("/sandbox/clock", r#"{"speed": null}"#),
        ("/sandbox/faults", r#"{"strikes": {"moon": {}}}"#),
        ("/sandbox/faults", r#"{"strikes": {"delay": {"probability": 2}}}"#),
        ("/sandbox/faults", r#"{"delay_ms": 18446744073709551615}"#),
        ("/sandbox/faults", r#"{"delay_ms": -1}"#),
        ("/sandbox/faults", "[]"),
        ("/sandbox/api-failures", "{}"),
        ("/sandbox/api-failures", r#"{"status": 200}"#),
        ("/sandbox/api-failures", r#"{"status": 600}"#),
        ("/sandbox/api-failures", r#"{"status": 503, "count": -1}"#),
    ] {
        refused(&sandbox, &put(path, body), 400, "invalid_request");
    }
    for after in ["x", "-1", "99999999999999999999"] {
        refused(&sandbox, &get(&format!("/sandbox/attempts?after={after}")), 400, "invalid_request");
    }
    for (method, path) in [("POST", "/health"), ("DELETE", "/sandbox/faults"), ("PUT", "/openapi.json")] {
        refused(&sandbox, &request(method, path), 405, "invalid_request");
    }
    refused(&sandbox, &get("/sandbox/"), 404, "not_found");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_never_answered_with_500(seeds in prop::collection::vec(any::<(u64, Vec<u8>, String)>(), 40)) {
        let sandbox = start();
        let id = subscribe(&sandbox, "all", RECEIVER);
        let operations = operations(&id);
        for (number, bytes, text) in seeds {
            let chosen = &operations[usize::try_from(number % operations.len() as u64).unwrap()].request;
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let plain: String = text.chars().filter(char::is_ascii_graphic).collect();
            let mut requests = vec![chosen.clone().body(bytes.clone())];
            for tail in [&encoded, &plain] {
                let mut query = chosen.clone();
                query.path = format!("{}?{tail}&after={tail}&page={tail}", chosen.path);
                let mut path = chosen.clone();
                path.path = format!("/api/v2/webhooks/{tail}/");
                requests.extend([query, path]);
            }
            let body = serde_json::json!({ "event_type": text, "webhook_url": text, "description": text, "filters": { text: number } });
            requests.push(post("/api/v2/webhooks/").json(&body.to_string()));
            for request in requests {
                let mut client = Client::connect(sandbox.address());
                client.send(&[request.head(Some(request.body.len())), request.body.clone()].concat());
                // A head that is no HTTP may end the connection.
                if let Some(answer) = client.try_receive() {
                    prop_assert!(answer.status != 500, "{:?}", request);
                    prop_assert!(answer.status < 500 || answer.status == 502, "{:?}", request);
                }
            }
        }
        get("/health").expect(&sandbox, 200);
    }
}
