//! The OpenAPI document: committed, current, and true of the answers.

use std::path::Path;

use countersign::sandbox::{ApiFailure, Sandbox};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::common::{RECEIVER, Request, get, json as body_of, post, request, start, subscribe, text};
use crate::receiver::receiver;
use crate::seed::StateFile;

const DOCUMENT: &str = "src/sandbox/api/openapi.json";

#[test]
fn the_committed_document_is_current() {
    let served = text(&get("/openapi.json").without("authorization").send(&start()));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "{DOCUMENT} is not what the code makes: UPDATE=1 cargo test --all-features --test sandbox_api openapi, and \
         read the difference"
    );
}

/// The document, made strict: an object has no members but those that are listed.
struct Document {
    paths: Value,
    components: Value,
}

impl Document {
    fn of(sandbox: &Sandbox) -> Self {
        let mut document = body_of(&get("/openapi.json").send(sandbox));
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let components = document["components"].take();
        let mut components = components;
        for schema in components["schemas"].as_object_mut().unwrap().values_mut() {
            if schema.get("properties").is_some() {
                schema["additionalProperties"] = false.into();
            }
        }
        Self { paths: document["paths"].take(), components }
    }

    fn validator(&self, schema: &Value) -> Validator {
        let schema = json!({ "allOf": [schema], "components": self.components });
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
    }

    fn operation(&self, request: &Request) -> (&str, &Value) {
        let path = request.path.split('?').next().unwrap();
        let fits = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
            let same = |(wanted, given): (&&str, &&str)| wanted.starts_with('{') || wanted == given;
            template.len() == path.len() && template.iter().zip(&path).all(same)
        };
        let paths = self.paths.as_object().unwrap().keys();
        let template = paths.filter(|template| fits(template)).min_by_key(|template| template.matches('{').count());
        let template = template.unwrap_or_else(|| panic!("{path} is not in the document"));
        (template, &self.paths[template][request.method.to_lowercase()])
    }

    /// Sends it and holds the answer against the document; `told`: the document lists its status.
    fn check(&self, sandbox: &Sandbox, request: &Request, status: u16, told: bool) -> Value {
        let response = request.send(sandbox);
        assert_eq!(response.status, status, "{request:?}: {}", text(&response));
        let (template, operation) = self.operation(request);
        let responses = &operation["responses"];
        let listed = responses.get(status.to_string());
        assert!(listed.is_some() || !told, "{} {template} does not list {status}", request.method);
        let schema = &listed.unwrap_or(&responses["default"])["content"]["application/json"]["schema"];
        let body = body_of(&response);
        if let Err(error) = self.validator(schema).validate(&body) {
            panic!("{} {template} {status}: {error} at {} in {body}", request.method, error.instance_path());
        }
        body
    }
}

#[test]
fn every_answer_is_as_the_document_says() {
    let file = StateFile::new();
    let sandbox = crate::common::start_with(Sandbox::builder().state_file(file.path()).speed(1000.0));
    let document = Document::of(&sandbox);
    let mut seen = std::collections::BTreeSet::new();
    let mut check = |request: Request, status: u16| {
        let (template, _) = document.operation(&request);
        if status < 300 {
            seen.insert((request.method.to_lowercase(), template.to_owned()));
        }
        document.check(&sandbox, &request, status, true)
    };
    for (version, list) in [("v1", "logs"), ("v2", "results")] {
        let base = format!("/api/{version}/webhooks/");
        let dead = receiver(404);
        let create = |url: &str| post(&base).json(&json!({ "event_type": "all", "webhook_url": url }).to_string());
        let id = check(create(&dead), 201)["webhook_id"].as_str().unwrap().to_owned();
        let webhook = format!("{base}{id}/");
        check(get(&base), 200);
        check(get(&webhook), 200);
        check(post("/sandbox/trigger").json(r#"{"event_type": "case.opened", "count": 3}"#), 200);
        crate::common::wait(sandbox.settled(std::time::Duration::from_secs(30))).unwrap();
        let page = check(get(&format!("{base}logs/?page_size=2")), 200);
        let row = page[list][0]["id"].as_str().unwrap().to_owned();
        check(post(&format!("{base}logs/{row}/retry/")), 200);
        crate::common::wait(sandbox.settled(std::time::Duration::from_secs(30))).unwrap();
        check(get(&base), 200);
        check(get(&webhook), 200);
        check(request("PATCH", &webhook).json(r#"{"is_active": false}"#), 200);
        check(post(&format!("{webhook}rotate-secret/")), 200);
        let test = |status| post(&format!("{base}test/")).json(&json!({ "webhook_url": receiver(status) }).to_string());
        check(test(204), 200);
        check(test(500), 502);
        check(request("DELETE", &webhook), 200);

        for request in [
            get(&webhook),
            request("PATCH", &webhook),
            request("DELETE", &webhook),
            post(&format!("{webhook}rotate-secret/")),
            post(&format!("{base}logs/{id}/retry/")),
        ] {
            check(request.clone(), 404);
            check(request.clone().without("authorization"), 401);
            let mut malformed = request;
            malformed.path = malformed.path.replace(&id, "x");
            check(malformed, 400);
        }
        for request in [create("http://example.com/"), post(&format!("{base}test/")).json("{}"), post(&base).json("{")]
        {
            check(request.clone(), 400);
            check(request.without("authorization"), 401);
        }
        check(get(&format!("{base}logs/?page_size=0")), 400);
        check(create(RECEIVER).with("idempotency-key", version), 201);
        check(create(&dead).with("idempotency-key", version), 409);
        for status in [403, 429, 500] {
            sandbox.fail_api(ApiFailure::new(status).retry_after(1)).unwrap();
            check(get(&base), status);
        }
    }
    let config = "/api/v2/webhooks/config/";
    check(get(config), 200);
    check(request("PUT", config).json(&json!({ "webhook_url": RECEIVER }).to_string()), 200);
    check(get(config), 200);
    check(request("PUT", config).json("{}"), 400);
    check(request("DELETE", config), 200);
    for path in ["faults", "clock", "api-failures", "status", "attempts", "tenant"] {
        check(get(&format!("/sandbox/{path}")), 200);
    }
    check(get("/sandbox/tenant").key("nobody"), 401);
    check(post("/sandbox/trigger").json("{}"), 400);
    check(get("/sandbox/attempts?after=x"), 400);
    let faults = json!({ "seed": 1, "strikes": { "delay": { "next": 1 }, "wrong_key": { "probability": 0.5 } } });
    check(request("PUT", "/sandbox/faults").json(&faults.to_string()), 200);
    check(request("PUT", "/sandbox/faults").json("{}"), 200);
    check(request("PUT", "/sandbox/clock").json(r#"{"speed": 60}"#), 200);
    check(request("PUT", "/sandbox/api-failures").json(r#"{"status": 503, "count": 0}"#), 200);
    for request in [request("PUT", "/sandbox/clock"), request("PUT", "/sandbox/api-failures")] {
        check(request, 400);
    }
    check(request("PUT", "/sandbox/faults").json("[]"), 400);
    check(get("/openapi.json"), 200);
    check(get("/health"), 200);

    for (path, item) in document.paths.as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            assert!(seen.contains(&(method.clone(), path.clone())), "{method} {path} was not tried");
        }
    }
    // What no operation lists is an error of the same form.
    document.check(&sandbox, &get("/api/v2/webhooks/").with("content-encoding", "br"), 400, false);
}

#[test]
fn requests_that_the_document_refuses_are_refused() {
    let sandbox = start();
    let document = Document::of(&sandbox);
    let id = subscribe(&sandbox, "all", RECEIVER);
    let create = [
        json!({ "event_type": "all", "webhook_url": RECEIVER }),
        json!({ "event_type": "all", "webhook_url": RECEIVER, "description": "d", "filters": { "a": 1 } }),
        json!({ "event_type": "all" }),
        json!({ "webhook_url": RECEIVER }),
        json!({ "event_type": 1, "webhook_url": RECEIVER }),
        json!({ "event_type": "", "webhook_url": RECEIVER }),
        json!({ "event_type": "all", "webhook_url": null }),
        json!({ "event_type": "all", "webhook_url": "not a url" }),
        json!({ "event_type": "all", "webhook_url": RECEIVER, "description": null }),
        json!({ "event_type": "all", "webhook_url": RECEIVER, "description": "x".repeat(1001) }),
        json!({ "event_type": "all", "webhook_url": RECEIVER, "filters": [] }),
    ];
    let update = [json!({}), json!({ "is_active": true }), json!({ "is_active": 1 }), json!({ "description": 1 })];
    let config =
        [json!({ "webhook_url": null }), json!({ "webhook_url": RECEIVER }), json!({}), json!({ "webhook_url": 1 })];
    let cases = [
        (post("/api/v2/webhooks/"), create.to_vec()),
        (request("PATCH", &format!("/api/v1/webhooks/{id}/")), update.to_vec()),
        (request("PUT", "/api/v2/webhooks/config/"), config.to_vec()),
    ];
    for (request, bodies) in cases {
        let (template, operation) = document.operation(&request);
        let validator = document.validator(&operation["requestBody"]["content"]["application/json"]["schema"]);
        for body in bodies {
            let answer = request.clone().json(&body.to_string()).send(&sandbox);
            assert_eq!(answer.status < 300, validator.is_valid(&body), "{template}: {body}: {}", text(&answer));
        }
    }
}
