//! The delivery log, retries by hand, and the test delivery.

use actix_web::{HttpResponse, get, post};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::sandbox::api::answer::ok;
use crate::sandbox::api::call::Call;
use crate::sandbox::api::error::ApiError;
use crate::sandbox::api::requests::{CursorQuery, PageQuery, TestWebhook};
use crate::sandbox::api::types::{ErrorBody, FailedTest, LogPageV1, LogPageV2, RetriedDelivery, TestDelivered};
use crate::sandbox::api::validate::Validator;
use crate::sandbox::deliver::RetryError;
use crate::sandbox::store::Page;

/// Published.
const PAGE_SIZE: i64 = 50;

/// Published; what happens above it is not: it is taken as this.
const MAX_PAGE_SIZE: i64 = 100;

/// Webhook Logs
///
/// Newest first, which is an assumption. A page behind the last one is empty.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "logs",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = LogPageV1),
        (status = 400, description = "Not a page", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[get("/webhooks/logs/")]
pub(super) async fn logs_v1(call: Call) -> Result<HttpResponse, ApiError> {
    let query: PageQuery = call.query()?;
    let mut validator = Validator::new(&call.api.assumptions);
    let page = validator.number("page", query.page.as_deref());
    let size = validator.number("page_size", query.page_size.as_deref());
    validator.finish()?;
    let (page, size) = (page.unwrap_or(1), size.unwrap_or(PAGE_SIZE).min(MAX_PAGE_SIZE));
    let skipped = (page - 1).saturating_mul(size);
    let (total, rows) = call.api.store.log_page(call.tenant()?.id, Page::Skip(skipped), size)?;
    ok(&LogPageV1 {
        total: total.unsigned_abs(),
        page: page.unsigned_abs(),
        page_size: size.unsigned_abs(),
        logs: rows.into_iter().map(Into::into).collect(),
    })
}

/// Webhook Logs
///
/// Newest first, which is an assumption.
#[utoipa::path(
    tag = "webhooks",
    operation_id = "logs",
    params(CursorQuery),
    responses(
        (status = 200, description = "A page", body = LogPageV2),
        (status = 400, description = "Not a page", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[get("/webhooks/logs/")]
pub(super) async fn logs_v2(call: Call) -> Result<HttpResponse, ApiError> {
    let query: CursorQuery = call.query()?;
    let mut validator = Validator::new(&call.api.assumptions);
    let size = validator.number("page_size", query.page_size.as_deref());
    validator.finish()?;
    let size = size.unwrap_or(PAGE_SIZE).min(MAX_PAGE_SIZE);
    let (page, cursor) = match (query.after, query.before) {
        (None, None) => (Page::Skip(0), None),
        (Some(after), None) => cursor(&after).map(|number| (Page::After(number), Some(number)))?,
        (None, Some(before)) => cursor(&before).map(|number| (Page::Before(number), Some(number)))?,
        (Some(_), Some(_)) => return Err(ApiError::Invalid("Give `after` or `before`, not both.".to_owned())),
    };
    let (total, rows) = call.api.store.log_page(call.tenant()?.id, page, size)?;
    if cursor.is_some_and(|number| number > total) {
        return Err(bad_cursor());
    }
    let older = rows.last().map(|row| row.number).filter(|number| *number > 1);
    let newer = rows.first().map(|row| row.number).filter(|number| cursor.is_some() && *number < total);
    ok(&LogPageV2 {
        has_more: older.is_some(),
        next_cursor: older.map(written),
        prev_cursor: newer.map(written),
        results: rows.into_iter().map(Into::into).collect(),
    })
}

/// Retry a Failed Delivery
///
/// Only of a row that has failed for good, which is an assumption.
#[utoipa::path(
    tag = "webhooks",
    params(("log_id" = String, Path, format = "uuid", description = "Log entry identifier")),
    responses(
        (status = 200, description = "On its way", body = RetriedDelivery),
        (status = 400, description = "Not a UUID, or not failed", body = ErrorBody),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[post("/webhooks/logs/{log_id}/retry/")]
pub(super) async fn retry(call: Call) -> Result<HttpResponse, ApiError> {
    let id = call.id("log_id")?;
    let log_id = call.api.engine.retry(call.tenant()?.id, id).await.map_err(|error| match error {
        RetryError::NotFound => ApiError::NotFound("There is no log entry with this id.".to_owned()),
        RetryError::NotFailed { status } => {
            ApiError::WrongStatus { message: "Only a failed delivery can be retried.", current_status: status }
        }
        RetryError::Stopped => ApiError::Stopping,
        RetryError::Store(error) => error.into(),
    })?;
    // Not published.
    ok(&RetriedDelivery { message: "Webhook delivery queued for retry".to_owned(), log_id })
}

/// Test Webhook
#[utoipa::path(
    tag = "webhooks",
    request_body = TestWebhook,
    responses(
        (status = 200, description = "Delivered", body = TestDelivered),
        (status = 400, description = "Not valid", body = ErrorBody),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
        (status = 502, description = "Not delivered", body = FailedTest),
    ),
    security(("bearer" = []))
)]
#[post("/webhooks/test/")]
pub(super) async fn test(call: Call) -> Result<HttpResponse, ApiError> {
    let body: TestWebhook = call.body()?;
    let mut validator = Validator::new(&call.api.assumptions);
    validator.require("webhook_url", &body.webhook_url);
    let webhook_url = validator.webhook_url(body.webhook_url);
    validator.finish()?;
    let outcome = call.api.engine.test(call.tenant()?.id, &webhook_url.unwrap_or_default()).await?;
    let http_status_code = outcome.http_status_code;
    if outcome.error.is_some() || !http_status_code.is_some_and(|status| (200..300).contains(&status)) {
        return Err(ApiError::TestFailed { http_status_code, shape: call.api.assumptions.test_failure });
    }
    ok(&TestDelivered { success: true, message: "Test webhook delivered successfully".to_owned(), http_status_code })
}

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor {
    id: i64,
}

/// The number of the row at which a page ended.
fn cursor(text: &str) -> Result<i64, ApiError> {
    let decoded = BASE64.decode(text).ok();
    let cursor = decoded.and_then(|decoded| serde_json::from_slice::<Cursor>(&decoded).ok());
    cursor.map(|cursor| cursor.id).filter(|number| *number >= 1).ok_or_else(bad_cursor)
}

/// As the published cursor is made; to be taken as it is.
fn written(number: i64) -> String {
    BASE64.encode(format!("{{\"id\": {number}}}"))
}

fn bad_cursor() -> ApiError {
    ApiError::Invalid("This is not a cursor of this list.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_written_as_the_sample_is() {
        assert_eq!(written(1234), "eyJpZCI6IDEyMzR9");
        for number in [1, 12, 1234, i64::MAX] {
            assert_eq!(cursor(&written(number)).unwrap(), number);
        }
        for text in
            ["", "1234", "eyJpZCI6IDB9", "eyJpZCI6IC0xfQ==", "e30=", "\u{0}", "eyJpZCI6IDEyMzR9eyJpZCI6IDEyMzR9"]
        {
            assert!(cursor(text).is_err(), "{text}");
        }
    }
}
