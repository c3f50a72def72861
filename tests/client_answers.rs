//! The client without the sandbox's help: what it asks for, byte for byte, and what it makes of recorded answers.

#![cfg(feature = "client")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test ends so")]

mod client_server;

use std::time::Duration;

use client_server::{KEY, Request, Server, body};
use countersign::kycgenie::client::{
    ApiVersion, Client, DeliveryStatus, Error, ErrorCode, ErrorKind, LogId, LogQuery, NewWebhook, WebhookChanges,
    WebhookId,
};
use countersign::{Secret, Timestamp};

const BOTH: [(ApiVersion, &str); 2] = [(ApiVersion::V1, "v1"), (ApiVersion::V2, "v2")];
const WEBHOOK: &str = "f67f165d-0d1e-4eb7-81e6-3494a260dcd4";
const ROW: &str = "a1b2c3d4-e5f6-7890-abcd-ef1234567890";
const URL: &str = "https://api.yourcompany.com/webhooks/screening";

fn webhook() -> WebhookId {
    WebhookId::new(WEBHOOK).unwrap()
}

fn row() -> LogId {
    LogId::new(ROW).unwrap()
}

fn at(text: &str) -> Option<Timestamp> {
    Some(Timestamp::parse_rfc3339(text).unwrap())
}

fn exposed(secret: &Secret) -> &str {
    std::str::from_utf8(secret.expose_secret()).unwrap()
}

/// Every header that the client sends.
fn check_headers(request: &Request, changes: bool) {
    let mut names: Vec<String> = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort();
    let mut expected = vec!["accept", "authorization", "host", "user-agent"];
    if changes {
        expected.push("idempotency-key");
    }
    if !request.body.is_empty() {
        expected.extend(["content-length", "content-type"]);
        assert_eq!(request.header("content-type"), Some("application/json"));
    } else if request.method == "POST" || request.method == "PUT" || request.method == "PATCH" {
        expected.push("content-length");
        assert_eq!(request.header("content-length"), Some("0"));
    }
    expected.sort_unstable();
    assert_eq!(names, expected, "{}", request.line());
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(request.header("user-agent"), Some(concat!("countersign/", env!("CARGO_PKG_VERSION"))));
    if let Some(key) = request.header("idempotency-key") {
        let uuid = uuid_parts(key);
        assert!(uuid, "{key} is not a UUID of version 4");
    }
}

fn uuid_parts(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        && parts[2].starts_with('4')
        && parts[3].starts_with(['8', '9', 'a', 'b'])
}

/// The one request that was made: its line behind `/api/{version}/webhooks/`, and its body.
fn asked(server: &Server, version: &str) -> (String, String) {
    let request = server.request();
    check_headers(&request, request.method != "GET");
    let (method, target) = (request.method.clone(), request.target.clone());
    let path = target.strip_prefix(&format!("/api/{version}/webhooks/")).unwrap_or_else(|| panic!("{target}"));
    (format!("{method} {path}"), request.text().to_owned())
}

fn said(line: &str, body: &str) -> (String, String) {
    (line.to_owned(), body.to_owned())
}

#[tokio::test]
async fn create_asks_and_answers_as_the_reference_shows() {
    for (version, name) in BOTH {
        let server = Server::file("v2/create.http");
        let new = NewWebhook::new("screening.completed", URL).description("Production screening webhook");
        let created = server.client(version).create(&new).await.unwrap();
        assert_eq!(created.id, WEBHOOK);
        assert_eq!((created.event_type.as_str(), created.webhook_url.as_str()), ("screening.completed", URL));
        assert_eq!(exposed(&created.secret), "whsec_A1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6Q7R8S9T0U1V2W3X4Y5Z6");
        assert_eq!(created.message, "Webhook created successfully");
        let body = format!(
            r#"{{"event_type":"screening.completed","webhook_url":"{URL}","description":"Production screening webhook"}}"#
        );
        assert_eq!(asked(&server, name), said("POST ", &body));
    }
}

#[tokio::test]
async fn create_leaves_out_what_is_not_given_and_sends_what_is() {
    let server = Server::file("v2/create.http");
    let client = server.client(ApiVersion::V2);
    let filters = serde_json::json!({"entity": ["é\n"]}).as_object().unwrap().clone();
    let _ = client.create(&NewWebhook::new("all", "https://a/?x=\"1\"")).await.unwrap();
    let _ = client.create(&NewWebhook::new("all", "https://a/").filters(filters).description("")).await.unwrap();
    let bodies: Vec<String> = server.requests().iter().map(|request| request.text().to_owned()).collect();
    assert_eq!(bodies[0], r#"{"event_type":"all","webhook_url":"https://a/?x=\"1\""}"#);
    assert_eq!(
        bodies[1],
        r#"{"event_type":"all","webhook_url":"https://a/","description":"","filters":{"entity":["é\n"]}}"#
    );
}

#[tokio::test]
async fn list_reads_the_envelopes_of_both_versions() {
    for (version, name) in BOTH {
        let server = Server::file(&format!("{name}/list.http"));
        let list = server.client(version).list().await.unwrap();
        assert_eq!(asked(&server, name), said("GET ", ""));
        let [webhook] = &list[..] else { panic!("{list:?}") };
        assert_eq!(webhook.id, WEBHOOK);
        assert_eq!((webhook.event_type.as_str(), webhook.webhook_url.as_str()), ("screening.completed", URL));
        assert_eq!(
            (webhook.is_active, webhook.description.as_deref()),
            (Some(true), Some("Production screening webhook"))
        );
        let stats = webhook.stats.unwrap();
        assert_eq!(
            (stats.total_deliveries, stats.successful_deliveries, stats.failed_deliveries),
            (Some(127), Some(125), Some(2))
        );
        let times = (webhook.created_at, webhook.last_triggered_at, webhook.updated_at);
        match version {
            ApiVersion::V1 => assert_eq!((times, &webhook.filters), ((None, None, None), &None)),
            _ => {
                assert_eq!(times, (at("2026-01-19T10:30:00Z"), at("2026-01-22T08:15:30Z"), None));
                assert_eq!(webhook.filters.as_ref().map(serde_json::Map::len), Some(0));
            }
        }
    }
}

#[tokio::test]
async fn get_reads_the_other_form_of_times() {
    for (version, name) in BOTH {
        let server = Server::file("v2/get.http");
        let webhook = server.client(version).get(&webhook()).await.unwrap();
        assert_eq!(asked(&server, name), said(&format!("GET {WEBHOOK}/"), ""));
        assert_eq!(webhook.created_at, at("2026-01-19T10:30:00.123456+00:00"));
        assert_eq!(webhook.updated_at, webhook.created_at);
        assert_eq!(webhook.last_triggered_at, at("2026-01-22T08:15:30.987Z"));
        assert_eq!(webhook.stats.unwrap().failed_deliveries, Some(2));
    }
}

#[tokio::test]
async fn update_sends_what_is_to_change_only() {
    for (version, name) in BOTH {
        let server = Server::file("v2/update.http");
        let changes = WebhookChanges::new().is_active(false);
        let updated = server.client(version).update(&webhook(), &changes).await.unwrap();
        assert_eq!((updated.id, updated.message.as_str()), (Some(webhook()), "Webhook updated"));
        assert_eq!(asked(&server, name), said(&format!("PATCH {WEBHOOK}/"), r#"{"is_active":false}"#));
    }
    let server = Server::file("v2/update.http");
    let all = WebhookChanges::new()
        .event_type("all")
        .webhook_url("https://b/")
        .is_active(true)
        .description("")
        .filters(serde_json::Map::new());
    server.client(ApiVersion::V2).update(&webhook(), &all).await.unwrap();
    let expected = r#"{"event_type":"all","webhook_url":"https://b/","is_active":true,"description":"","filters":{}}"#;
    assert_eq!(server.request().text(), expected);
    let server = Server::file("v2/update.http");
    server.client(ApiVersion::V2).update(&webhook(), &WebhookChanges::new()).await.unwrap();
    assert_eq!(server.request().text(), "{}");
}

#[tokio::test]
async fn delete_rotate_and_retry_have_no_body() {
    for (version, name) in BOTH {
        let server = Server::file("v2/delete.http");
        let message = server.client(version).delete(&webhook()).await.unwrap();
        assert_eq!(message, "Webhook deleted successfully");
        assert_eq!(asked(&server, name), said(&format!("DELETE {WEBHOOK}/"), ""));

        let server = Server::file("v2/rotate_secret.http");
        let rotated = server.client(version).rotate_secret(&webhook()).await.unwrap();
        assert_eq!(exposed(&rotated.secret), "whsec_NEW_SECRET_VALUE_HERE");
        assert_eq!(rotated.message, "Webhook secret rotated successfully");
        assert_eq!(asked(&server, name), said(&format!("POST {WEBHOOK}/rotate-secret/"), ""));

        let server = Server::file("v2/retry.http");
        let retried = server.client(version).retry(&row()).await.unwrap();
        assert_eq!(retried.log_id.unwrap(), "0b9f6a52-9f4e-4d3c-8d52-5c1f0e6a7b11");
        assert_eq!(asked(&server, name), said(&format!("POST logs/{ROW}/retry/"), ""));
    }
}

#[tokio::test]
async fn config_is_read_set_unset_and_deleted_in_v2() {
    let server = Server::file("v2/config_get.http");
    let config = server.client(ApiVersion::V2).config().await.unwrap();
    assert_eq!(config.webhook_url.as_deref(), Some("https://api.yourcompany.com/webhooks/rest"));
    assert_eq!(config.enabled, Some(true));
    assert_eq!(asked(&server, "v2"), said("GET config/", ""));

    let server = Server::file("v2/config_get_unset.http");
    let config = server.client(ApiVersion::V2).config().await.unwrap();
    assert_eq!((config.webhook_url, config.enabled), (None, Some(false)));

    let server = Server::file("v2/config_update.http");
    let config = server.client(ApiVersion::V2).update_config(Some("https://b/")).await.unwrap();
    assert_eq!(config.webhook_url.as_deref(), Some("https://api.yourcompany.com/webhooks/rest"));
    assert_eq!(config.message.as_deref(), Some("Webhook configuration updated"));
    assert_eq!(asked(&server, "v2"), said("PUT config/", r#"{"webhook_url":"https://b/"}"#));

    let server = Server::file("v2/config_update.http");
    server.client(ApiVersion::V2).update_config(None).await.unwrap();
    assert_eq!(asked(&server, "v2"), said("PUT config/", r#"{"webhook_url":null}"#));

    let server = Server::file("v2/config_delete.http");
    let message = server.client(ApiVersion::V2).delete_config().await.unwrap();
    assert_eq!(message, "Webhook configuration deleted");
    assert_eq!(asked(&server, "v2"), said("DELETE config/", ""));
}

#[tokio::test]
async fn what_a_version_does_not_have_is_told_without_a_request() {
    let server = Server::file("v2/config_get.http");
    let [v1, v2] = [ApiVersion::V1, ApiVersion::V2].map(|version| server.client(version));
    let errors = [
        v1.config().await.unwrap_err(),
        v1.update_config(None).await.unwrap_err(),
        v1.delete_config().await.unwrap_err(),
        v1.logs_page(&LogQuery::new().after("x")).await.unwrap_err(),
        v2.logs_page(&LogQuery::new().page(2)).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error.kind(), ErrorKind::NotInVersion { .. }), "{error}");
        assert_eq!((error.attempts(), error.may_have_been_done()), (0, false));
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn logs_are_read_in_pages_of_both_versions() {
    for (version, name) in BOTH {
        let server = Server::file(&format!("{name}/logs.http"));
        let client = server.client(version);
        let page = client.logs_page(&LogQuery::new().page_size(20)).await.unwrap();
        assert_eq!(asked(&server, name), said("GET logs/?page_size=20", ""));
        let [entry] = &page.entries[..] else { panic!("{page:?}") };
        assert_eq!((entry.id.as_str(), entry.event_type.as_str()), (ROW, "screening.completed"));
        assert_eq!((&entry.status, entry.http_status_code), (&DeliveryStatus::Failed, Some(500)));
        assert_eq!((entry.attempt_number, entry.error_message.as_deref()), (Some(3), Some("Server error")));
        assert_eq!((entry.created_at, entry.next_retry_at), (at("2026-06-12T14:30:00Z"), None));

        let next = page.next().unwrap().clone();
        match version {
            ApiVersion::V1 => {
                assert_eq!((page.total, page.page, &page.next_cursor), (Some(142), Some(1), &None));
                assert_eq!(next, LogQuery::new().page_size(20).page(2));
            }
            _ => {
                assert_eq!((page.total, page.page, &page.prev_cursor), (None, None, &None));
                assert_eq!(next, LogQuery::new().page_size(20).after("eyJpZCI6IDEyMzR9"));
            }
        }
        client.logs_page(&next).await.unwrap();
        let line = server.requests()[1].target.clone();
        let expected = if name == "v1" { "page=2&page_size=20" } else { "after=eyJpZCI6IDEyMzR9&page_size=20" };
        assert!(line.ends_with(&format!("/webhooks/logs/?{expected}")), "{line}");
    }
}

#[tokio::test]
async fn a_cursor_is_opaque_and_encoded() {
    let server = Server::file("v2/logs.http");
    let client = server.client(ApiVersion::V2);
    client.logs_page(&LogQuery::new()).await.unwrap();
    client.logs_page(&LogQuery::new().after("a+/=&page_size=9 é#")).await.unwrap();
    let lines: Vec<String> = server.requests().iter().map(Request::line).collect();
    assert_eq!(lines[0], "GET /api/v2/webhooks/logs/");
    assert_eq!(lines[1], "GET /api/v2/webhooks/logs/?after=a%2B%2F%3D%26page_size%3D9+%C3%A9%23");
}

#[tokio::test]
async fn a_test_delivery_has_three_outcomes_and_none_is_an_error() {
    for (version, name) in BOTH {
        for (file, success, answered) in [
            ("v2/test.http", true, Some(200)),
            ("v2/test_failed.http", false, Some(404)),
            ("v2/test_failed_envelope.http", false, None),
            ("v2/test_failed_no_details.http", false, None),
            ("odd/test.http", true, None),
        ] {
            let server = Server::file(file);
            let outcome = server.client(version).test("https://example.com/webhook-receiver").await.unwrap();
            assert_eq!((outcome.success, outcome.http_status_code), (success, answered), "{file}");
            let body = r#"{"webhook_url":"https://example.com/webhook-receiver"}"#;
            assert_eq!(asked(&server, name), said("POST test/", body));
        }
    }
    let server = Server::file("v2/test_failed.http");
    let outcome = server.client(ApiVersion::V2).test("https://a/").await.unwrap();
    assert_eq!(outcome.message, "Webhook endpoint returned HTTP 404");
    // The same answer to anything else is what a 502 is.
    let server = Server::file("v2/test_failed.http");
    let error = server.client(ApiVersion::V2).list().await.unwrap_err();
    assert_eq!((error.status(), error.attempts()), (Some(502), 4));
}

#[tokio::test]
async fn an_id_is_one_segment_of_the_path() {
    let server = Server::file("v2/get.http");
    let id = WebhookId::new("../config/?x=%2e#").unwrap();
    server.client(ApiVersion::V2).get(&id).await.unwrap();
    assert_eq!(server.request().line(), "GET /api/v2/webhooks/..%2Fconfig%2F%3Fx=%252e%23/");
}

#[tokio::test]
async fn a_base_with_a_path_is_kept() {
    let server = Server::file("v2/list.http");
    let client = server.builder().base_url(format!("{}/gate/kyc/", server.url())).build().unwrap();
    client.list().await.unwrap();
    assert_eq!(server.request().line(), "GET /gate/kyc/api/v2/webhooks/");
}

#[tokio::test]
async fn null_missing_odd_and_unknown_fields_decode() {
    let client = |name| async move { (Server::file(name), ()) };
    let (server, ()) = client("odd/list.http").await;
    let list = server.client(ApiVersion::V2).list().await.unwrap();
    let shown: Vec<_> = list.iter().map(|webhook| (webhook.event_type.as_str(), webhook.is_active)).collect();
    assert_eq!(shown, [("entity_review.postponed", Some(false)), ("", None), ("", None), ("", None)]);
    assert_eq!(list[0].created_at, at("2026-01-19T10:30:00.123Z"));
    let stats = list[0].stats.unwrap();
    assert_eq!((stats.total_deliveries, stats.successful_deliveries, stats.failed_deliveries), (Some(1), None, None));
    assert_eq!((&list[0].description, &list[0].filters), (&None, &None));
    assert_eq!(list[2].created_at, list[2].updated_at);
    assert_eq!(list[2].filters.as_ref().unwrap()["entity"][0], "a");
    assert_eq!((list[3].created_at, list[3].updated_at, list[3].last_triggered_at), (None, None, None));
    assert_eq!((list[3].stats, &list[3].filters, list[3].webhook_url.as_str()), (None, &None, ""));

    for name in ["odd/list_both_names.http", "odd/list_empty.http"] {
        assert!(Server::file(name).client(ApiVersion::V1).list().await.unwrap().len() < 2);
    }

    let server = Server::file("odd/logs.http");
    let page = server.client(ApiVersion::V2).logs_page(&LogQuery::new()).await.unwrap();
    assert!(page.next().is_none());
    assert_eq!(page.prev_cursor.as_deref(), Some("eyJpZCI6IDF9"));
    let statuses: Vec<_> = page.entries.iter().map(|entry| entry.status.as_str()).collect();
    assert_eq!(statuses, ["parked", "", "", "retrying"]);
    assert_eq!(page.entries[0].next_retry_at, at("2026-06-12T14:35:00.123Z"));
    for entry in &page.entries[1..] {
        assert_eq!((entry.http_status_code, entry.attempt_number, entry.created_at), (None, None, None));
    }

    let server = Server::file("odd/create.http");
    let created = server.client(ApiVersion::V2).create(&NewWebhook::new("all", URL)).await.unwrap();
    assert_eq!((created.id.as_str(), exposed(&created.secret), created.message.as_str()), (WEBHOOK, "whsec_A1B2", ""));

    let server = Server::file("odd/update.http");
    let updated = server.client(ApiVersion::V2).update(&webhook(), &WebhookChanges::new()).await.unwrap();
    assert_eq!((updated.id, updated.message.as_str()), (None, ""));

    let server = Server::file("odd/rotate_secret.http");
    assert_eq!(exposed(&server.client(ApiVersion::V2).rotate_secret(&webhook()).await.unwrap().secret), "whsec_only");

    let server = Server::file("odd/retry.http");
    assert_eq!(server.client(ApiVersion::V2).retry(&row()).await.unwrap().log_id, None);

    let server = Server::file("odd/config.http");
    let config = server.client(ApiVersion::V2).config().await.unwrap();
    assert_eq!((config.webhook_url, config.enabled), (None, None));

    let server = Server::file("odd/no_content.http");
    assert_eq!(server.client(ApiVersion::V2).delete(&webhook()).await.unwrap(), "");
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_told_and_neither_quoted_nor_tried_again() {
    for answer in [
        r#"{"secret_key": ["whsec_planted"], "webhook_id": "a"}"#,
        r#"{"secret_key": "whsec_planted", "webhook_id": "config"}"#,
        r#"{"secret_key": "whsec_planted"}"#,
        r#"{"secret_key": "", "webhook_id": "a"}"#,
        r#"["whsec_planted"]"#,
        r#""whsec_planted""#,
        r#"{"secret_key": "whsec_planted"#,
        "<html>whsec_planted</html>",
        "",
    ] {
        let bytes = client_server::answer(201, answer);
        let server = Server::start(move |_, _| client_server::Reply::Bytes(bytes.clone()));
        let error = server.client(ApiVersion::V2).create(&NewWebhook::new("all", URL)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Undecodable { status: 201, .. }), "{answer}: {error:?}");
        assert!(error.may_have_been_done());
        assert_eq!((error.status(), error.attempts(), server.requests().len()), (Some(201), 1, 1));
        let shown = format!("{error} {error:?} {error:#?}");
        assert!(!shown.contains("planted"), "{shown}");
    }
    for answer in ["{}", r#"{"results": null}"#, r#"{"results": {}}"#, r#"{"results": [{"id": null}]}"#, "[]"] {
        let bytes = client_server::answer(200, answer);
        let server = Server::start(move |_, _| client_server::Reply::Bytes(bytes.clone()));
        for error in [
            server.client(ApiVersion::V2).list().await.unwrap_err(),
            server.client(ApiVersion::V1).logs_page(&LogQuery::new()).await.unwrap_err(),
        ] {
            assert!(matches!(error.kind(), ErrorKind::Undecodable { .. }), "{answer}: {error}");
        }
    }
}

async fn error(name: &str) -> Error {
    let server = Server::file(&format!("errors/{name}.http"));
    server.builder().deadline(Duration::from_secs(5)).build().unwrap().get(&webhook()).await.unwrap_err()
}

#[tokio::test]
async fn all_shapes_of_errors_are_one_type() {
    use ErrorCode as C;
    let header = Some("req_header");
    for (name, status, code, message, request_id) in [
        ("validation_map", 400, C::ValidationError, "Validation failed", Some("req_v1")),
        ("validation_list", 400, C::ValidationError, "Validation failed", None),
        ("invalid_request", 400, C::InvalidRequest, "Only failed deliveries can be retried", Some("req_i1")),
        ("authentication_failed", 401, C::AuthenticationFailed, "Invalid API key", Some("req_a1")),
        ("insufficient_credits", 402, C::InsufficientCredits, "Insufficient credits", None),
        ("permission_denied", 403, C::PermissionDenied, "API key lacks scope", header),
        ("not_found", 404, C::NotFound, "Webhook not found", header),
        ("conflict", 409, C::Conflict, "Idempotency key in use", None),
        ("precondition_required", 428, C::PreconditionRequired, "If-Match is required", None),
        ("rate_limited", 429, C::RateLimited, "Too many requests", Some("req_r1")),
        ("server_error", 500, C::ServerError, "Internal error", Some("req_s1")),
        ("other_shape", 500, C::ServerError, "Something went wrong", header),
        ("code_only", 404, C::NotFound, "", None),
        ("text_only", 400, C::Unstated, "That was wrong", None),
        ("detail_only", 404, C::Unstated, "Not found.", None),
        ("legacy", 409, C::Conflict, "Screening exists", None),
        ("unknown_code", 418, C::Other("teapot".to_owned()), "No coffee", None),
        ("odd_types", 400, C::Unstated, "", None),
        ("html_404", 404, C::Unstated, "", None),
        ("html_502", 502, C::Unstated, "", None),
        ("html_503", 503, C::Unstated, "", None),
        ("empty_500", 500, C::Unstated, "", None),
        ("not_an_object", 400, C::Unstated, "", None),
    ] {
        let error = error(name).await;
        let api = error.api().unwrap_or_else(|| panic!("{name}: {error:?}"));
        assert_eq!((api.status, &api.code, api.message.as_str()), (status, &code, message), "{name}");
        assert_eq!(
            (error.status(), error.code(), error.request_id()),
            (Some(status), Some(&code), request_id),
            "{name}"
        );
        assert_eq!(api.request_id.as_deref(), request_id, "{name}");
        // What was refused in the provider's own words was not done.
        assert_eq!(error.may_have_been_done(), code == C::Unstated || status >= 500, "{name}");
        let shown = error.to_string();
        assert!(shown.starts_with(&format!("cannot get the webhook: HTTP {status}")), "{name}: {shown}");
        assert!(shown.contains(code.as_str()) && shown.contains(message), "{name}: {shown}");
        assert!(request_id.is_none_or(|id| shown.contains(id)), "{name}: {shown}");
        assert!(!format!("{shown} {error:?}").contains(KEY), "{name}");
    }
}

#[tokio::test]
async fn details_and_field_errors_are_there() {
    let invalid = error("invalid_request").await;
    assert_eq!(invalid.api().unwrap().details.as_ref().unwrap()["current_status"], "delivered");
    assert_eq!(error("insufficient_credits").await.api().unwrap().details.as_ref().unwrap()["required_credits"], 3);
    assert_eq!(error("other_shape").await.api().unwrap().details.as_ref().unwrap()["hint"], "later");
    assert_eq!(error("validation_map").await.api().unwrap().details, None);

    let fields = |error: &Error| -> Vec<(Option<String>, Vec<String>)> {
        error.api().unwrap().errors.iter().map(|e| (e.field.clone(), e.messages.clone())).collect()
    };
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let map = error("validation_map").await;
    assert_eq!(
        fields(&map),
        [
            (Some("event_type".to_owned()), texts(&["This field is required."])),
            (Some("webhook_url".to_owned()), texts(&["Enter a valid URL.", "Must be HTTPS."])),
        ]
    );
    assert!(map.to_string().contains("`webhook_url`: Enter a valid URL. Must be HTTPS."), "{map}");
    assert_eq!(
        fields(&error("validation_list").await),
        [
            (Some("q7".to_owned()), texts(&["File is too large"])),
            (Some("b.pdf".to_owned()), texts(&["Not a PDF"])),
            (None, texts(&["Empty"])),
            (None, texts(&["Odd"])),
        ]
    );
    assert_eq!(fields(&error("odd_types").await), [(None, texts(&["all of it"]))]);
}

#[tokio::test]
async fn an_error_says_what_to_do() {
    for (name, advice) in [
        ("authentication_failed", "check the API key"),
        ("permission_denied", "check its scopes"),
        ("not_found", "the mode (test or live) of the API key"),
        ("html_404", "check the base URL"),
        ("detail_only", "check the base URL"),
        ("rate_limited", "it asks to wait 3600 s, longer than the deadline leaves"),
        ("html_503", "it asks to wait 60 s, longer than the deadline leaves"),
        ("empty_500", "it was tried 4 times"),
        ("conflict", "look at its present state"),
        ("insufficient_credits", "too few credits"),
    ] {
        let error = error(name).await;
        assert!(error.to_string().contains(advice), "{name}: {error}");
    }
    assert_eq!(error("html_503").await.retry_after(), Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn what_the_provider_says_is_shown_in_part_and_never_with_the_key() {
    let long = "x".repeat(100_000);
    let body = format!(
        r#"{{"error": "No such key: Bearer {KEY}\r\n\u001b[31m{long}", "code": "code_{KEY}", "request_id": "{KEY}",
            "details": {{"{KEY}": ["{KEY}"]}}, "errors": {{"{KEY}": ["{KEY}"]}}}}"#
    );
    let bytes = client_server::answer_with(401, &format!("X-Request-ID: {KEY}\r\n"), &body[..]);
    let server = Server::start(move |_, _| client_server::Reply::Bytes(bytes.clone()));
    let error = server.client(ApiVersion::V2).list().await.unwrap_err();
    let shown = format!("{error} {error:?} {:?}", error.api());
    assert!(!shown.contains(KEY) && !shown.contains('\u{1b}') && !shown.contains("\r\n"), "{shown}");
    assert!(shown.len() < 4_000, "{}", shown.len());

    let short = body.replace(&long, "");
    let bytes = client_server::answer(401, &short);
    let server = Server::start(move |_, _| client_server::Reply::Bytes(bytes.clone()));
    let error = server.client(ApiVersion::V2).list().await.unwrap_err();
    let api = error.api().unwrap();
    let everything = format!(
        "{error} {error:?} {} {:?} {:?} {:?} {:?}",
        api.message, api.code, api.request_id, api.details, api.errors
    );
    assert!(!everything.contains(KEY), "{everything}");
    assert!(api.message.contains("Bearer [redacted]"), "{}", api.message);
}

#[test]
fn futures_and_values_go_between_threads() {
    fn send<T: Send>(_: &T) {}
    fn both<T: Send + Sync + 'static>() {}
    fn check(client: &Client, keyring: &countersign::Keyring, id: &WebhookId, row: &LogId) {
        let overlap = Duration::ZERO;
        send(&client.create(&NewWebhook::new("all", URL)));
        send(&client.list());
        send(&client.get(id));
        send(&client.update(id, &WebhookChanges::new()));
        send(&client.delete(id));
        send(&client.rotate_secret(id));
        send(&client.rotate_into(id, keyring, overlap));
        send(&client.rotate_into_file(id, "x", &countersign::kycgenie::client::RotationOptions::new(overlap)));
        send(&client.config());
        send(&client.update_config(None));
        send(&client.delete_config());
        send(&client.logs());
        send(&client.logs_page(&LogQuery::new()));
        send(&client.retry(row));
        send(&client.test(URL));
        send(&client.redeliver_failed(Timestamp::UNIX_EPOCH));
    }
    both::<Client>();
    both::<Error>();
    both::<countersign::kycgenie::client::RotateError>();
    let _ = check;
}

#[test]
fn debug_shows_neither_secrets_nor_what_stands_behind_a_host() {
    let new = NewWebhook::new("all", "https://user:planted@a.example:8443/planted?token=planted");
    let changes = WebhookChanges::new().webhook_url("https://a.example/planted").description("planted");
    let webhook: countersign::kycgenie::client::Webhook =
        serde_json::from_str(r#"{"id": "1", "webhook_url": "https://a.example/planted", "description": "planted"}"#)
            .unwrap();
    let created: countersign::kycgenie::client::CreatedWebhook = serde_json::from_str(
        &body("v2/create.http").replace("whsec_A1B2", "planted").replace("/screening", "/planted"),
    )
    .unwrap();
    let row: countersign::kycgenie::client::LogEntry = serde_json::from_str(
        r#"{"id": "1", "webhook_url": "https://a.example/planted", "error_message": "planted", "status": "failed"}"#,
    )
    .unwrap();
    let shown = format!("{new:?} {changes:?} {webhook:?} {created:?} {row:?} {new:#?} {created:#?}");
    assert!(!shown.contains("planted"), "{shown}");
    assert!(shown.contains("https://a.example:8443/.."), "{shown}");
}

#[test]
fn what_is_read_can_be_written_for_machines() {
    let webhook: countersign::kycgenie::client::Webhook = serde_json::from_str(&body("v2/get.http")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&serde_json::to_string(&webhook).unwrap()).unwrap();
    assert_eq!(written["created_at"], "2026-01-19T10:30:00.123Z");
    assert_eq!(written["id"], WEBHOOK);
    assert_eq!(written["stats"]["total_deliveries"], 127);
    assert_eq!(serde_json::from_value::<countersign::kycgenie::client::Webhook>(written).unwrap(), webhook);
}
