//! The client against the OpenAPI document that the sandbox's code generates: what it asks for, and what it is answered.

#![cfg(feature = "client")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test ends so")]

mod client_server;

use std::collections::BTreeSet;
use std::path::Path;

use client_server::{Request, Server, body, recorded};
use countersign::kycgenie::client::{ApiVersion, Client, LogId, LogQuery, NewWebhook, WebhookChanges, WebhookId};
use serde_json::{Value, json};

const URL: &str = "https://api.yourcompany.com/webhooks/screening";

struct Document(Value);

/// An operation of the document: a method and a path with its parameters as they are called.
type Name = (String, String);

impl Document {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sandbox/api/openapi.json");
        Self(serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    }

    /// All operations of the provider's API; what the sandbox has beside it is not the client's.
    fn operations(&self) -> BTreeSet<Name> {
        let paths = self.0["paths"].as_object().unwrap().iter().filter(|(path, _)| path.starts_with("/api/"));
        let methods = ["get", "put", "post", "patch", "delete"];
        paths
            .flat_map(|(path, item)| {
                let has = methods.iter().filter(|method| item.get(method).is_some());
                has.map(|method| ((*method).to_owned(), path.clone())).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The operation that a request is of.
    fn find(&self, request: &Request) -> Name {
        let path = request.target.split('?').next().unwrap();
        let fits = |template: &str| {
            let (given, wanted): (Vec<_>, Vec<_>) = (path.split('/').collect(), template.split('/').collect());
            given.len() == wanted.len() && given.iter().zip(&wanted).all(|(a, b)| a == b || b.starts_with('{'))
        };
        let method = request.method.to_lowercase();
        let mut found: Vec<Name> =
            self.operations().into_iter().filter(|(own, template)| *own == method && fits(template)).collect();
        // `config`, `logs` and `test` also fit where an id stands: the one with fewer parameters is meant.
        found.sort_by_key(|(_, template)| template.matches('{').count());
        found.into_iter().next().unwrap_or_else(|| panic!("{} is not in the document", request.line()))
    }

    fn operation(&self, (method, path): &Name) -> &Value {
        &self.0["paths"][path][method]
    }

    /// Checks `instance` against a schema of the document, with what it refers to.
    fn check(&self, what: &str, schema: &Value, formats: bool, instance: &Value) {
        let whole = json!({ "allOf": [schema], "components": self.0["components"] });
        let validator = jsonschema::draft202012::options().should_validate_formats(formats).build(&whole).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(instance).map(|error| format!("{} {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{what}: {errors:?}");
    }

    fn check_request(&self, request: &Request) -> Name {
        let name = self.find(request);
        let operation = self.operation(&name);
        let line = request.line();

        match &operation["requestBody"] {
            Value::Null => assert!(request.body.is_empty(), "{line} has a body that is not in the document"),
            wanted => {
                assert_eq!(request.header("content-type"), Some("application/json"), "{line}");
                let schema = &wanted["content"]["application/json"]["schema"];
                self.check(&line, schema, true, &serde_json::from_slice(&request.body).unwrap());
            }
        }

        let empty = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap_or(&empty);
        let query = request.target.split_once('?').map_or("", |(_, query)| query);
        for (parameter, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let declared = parameters.iter().find(|own| own["in"] == "query" && own["name"] == parameter);
            let declared = declared.unwrap_or_else(|| panic!("{line}: `{parameter}` is not in the document"));
            let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
            self.check(&line, &declared["schema"], true, &value);
        }
        let template = name.1.split('/').zip(request.target.split(['/', '?']).collect::<Vec<_>>());
        for (wanted, given) in template.filter(|(wanted, _)| wanted.starts_with('{')) {
            let declared = parameters.iter().find(|own| format!("{{{}}}", own["name"].as_str().unwrap()) == wanted);
            self.check(&line, &declared.unwrap()["schema"], true, &json!(given));
        }
        name
    }

    /// Checks a recorded answer against what the document says of that status.
    fn check_answer(&self, name: &Name, file: &str, formats: bool) {
        let status = String::from_utf8(recorded(file)).unwrap().split(' ').nth(1).unwrap().to_owned();
        let answers = &self.operation(name)["responses"];
        let answer = answers.get(&status).or_else(|| answers.get("default")).unwrap();
        let schema = &answer["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{name:?} has no {status} in the document");
        self.check(&format!("{name:?} {file}"), schema, formats, &serde_json::from_str(&body(file)).unwrap());
    }
}

/// Makes the call that is answered by the file.
async fn call(client: &Client, file: &str) {
    let webhook = WebhookId::new("f67f165d-0d1e-4eb7-81e6-3494a260dcd4").unwrap();
    let row = LogId::new("a1b2c3d4-e5f6-7890-abcd-ef1234567890").unwrap();
    let all = serde_json::Map::new();
    match file.rsplit_once('/').unwrap().1.trim_end_matches(".http") {
        "create" => {
            let new = NewWebhook::new("screening.completed", URL);
            let _ = client.create(&new).await.unwrap();
            let _ = client.create(&new.description("Production screening webhook").filters(all)).await.unwrap();
        }
        "list" => drop(client.list().await.unwrap()),
        "get" => drop(client.get(&webhook).await.unwrap()),
        "update" => {
            client.update(&webhook, &WebhookChanges::new()).await.unwrap();
            let changes = WebhookChanges::new().is_active(false).webhook_url(URL).event_type("all").description("");
            client.update(&webhook, &changes.filters(all)).await.unwrap();
        }
        "delete" => drop(client.delete(&webhook).await.unwrap()),
        "rotate_secret" => drop(client.rotate_secret(&webhook).await.unwrap()),
        "config_get" | "config_get_unset" => drop(client.config().await.unwrap()),
        "config_update" => {
            client.update_config(Some(URL)).await.unwrap();
            client.update_config(None).await.unwrap();
        }
        "config_delete" => drop(client.delete_config().await.unwrap()),
        "logs" => {
            let page = client.logs_page(&LogQuery::new().page_size(20)).await.unwrap();
            client.logs_page(page.next().unwrap()).await.unwrap();
            client.logs_page(&LogQuery::new()).await.unwrap();
        }
        "retry" => drop(client.retry(&row).await.unwrap()),
        "test" | "test_failed" | "test_failed_envelope" => drop(client.test(URL).await.unwrap()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn requests_and_recorded_answers_are_as_the_document_says_and_nothing_of_it_is_left_out() {
    let document = Document::read();
    let mut covered = BTreeSet::new();
    let both = ["create", "get", "update", "delete", "rotate_secret", "retry", "test", "test_failed"];
    let v2 =
        ["list", "logs", "config_get", "config_get_unset", "config_update", "config_delete", "test_failed_envelope"];
    let calls = both
        .iter()
        .flat_map(|name| [(ApiVersion::V1, format!("v2/{name}.http")), (ApiVersion::V2, format!("v2/{name}.http"))])
        .chain(v2.iter().map(|name| (ApiVersion::V2, format!("v2/{name}.http"))))
        .chain(["v1/list.http", "v1/logs.http"].map(|name| (ApiVersion::V1, name.to_owned())));
    for (version, file) in calls {
        let server = Server::file(&file);
        call(&server.client(version), &file).await;
        for request in server.requests() {
            let name = document.check_request(&request);
            // The envelope's request id is a text in the provider's documents; the sandbox makes it a UUID.
            document.check_answer(&name, &file, !file.ends_with("envelope.http"));
            covered.insert(name);
        }
    }
    assert_eq!(covered, document.operations());
}

#[test]
fn recorded_errors_are_as_the_document_says() {
    let document = Document::read();
    let name = ("post".to_owned(), "/api/v2/webhooks/{webhook_id}/rotate-secret/".to_owned());
    for file in ["validation_map", "invalid_request", "authentication_failed", "rate_limited", "server_error"] {
        document.check_answer(&name, &format!("errors/{file}.http"), false);
    }
}

#[test]
#[should_panic(expected = "webhook_url")]
fn a_body_that_is_not_as_the_document_says_is_found() {
    let document = Document::read();
    let operation = document.operation(&("post".to_owned(), "/api/v2/webhooks/".to_owned()));
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    document.check("create", schema, true, &json!({ "event_type": "all" }));
}
