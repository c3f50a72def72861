//! Answers, their members in the order in which the samples of the API reference have them. The OpenAPI document is
//! made of these types.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::sandbox::api::answer::{as_text, in_micros, in_millis, maybe_in_micros, maybe_in_millis, one_line};
use crate::sandbox::store::{LogRow, Subscription};

/// A subscription that was made.
#[derive(Serialize, ToSchema)]
pub(super) struct CreatedWebhook {
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) webhook_id: Uuid,
    pub(super) event_type: String,
    #[schema(format = "uri")]
    pub(super) webhook_url: String,
    /// Shown here and never again.
    #[schema(min_length = 1)]
    pub(super) secret_key: String,
    pub(super) message: String,
}

/// How deliveries went.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    pub(super) total_deliveries: u64,
    pub(super) successful_deliveries: u64,
    pub(super) failed_deliveries: u64,
}

impl From<&Subscription> for Stats {
    fn from(from: &Subscription) -> Self {
        Self { total_deliveries: from.total, successful_deliveries: from.successful, failed_deliveries: from.failed }
    }
}

/// The subscriptions in v1.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookListV1 {
    pub(super) webhooks: Vec<WebhookV1>,
}

/// A subscription in v1's list.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookV1 {
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) id: Uuid,
    pub(super) event_type: String,
    #[schema(format = "uri")]
    pub(super) webhook_url: String,
    pub(super) is_active: bool,
    pub(super) description: String,
    #[serde(serialize_with = "one_line")]
    pub(super) stats: Stats,
}

impl From<Subscription> for WebhookV1 {
    fn from(from: Subscription) -> Self {
        Self {
            stats: Stats::from(&from),
            id: from.id,
            event_type: from.event_type,
            webhook_url: from.webhook_url,
            is_active: from.is_active,
            description: from.description,
        }
    }
}

/// The subscriptions in v2.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookListV2 {
    pub(super) count: usize,
    pub(super) results: Vec<WebhookV2>,
}

/// A subscription in v2's list.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookV2 {
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) id: Uuid,
    pub(super) event_type: String,
    #[schema(format = "uri")]
    pub(super) webhook_url: String,
    pub(super) is_active: bool,
    pub(super) description: String,
    #[schema(value_type = Object)]
    pub(super) filters: Value,
    #[schema(value_type = String, format = DateTime)]
    #[serde(serialize_with = "in_millis")]
    pub(super) created_at: i64,
    #[serde(serialize_with = "one_line")]
    pub(super) stats: Stats,
    /// The last attempt to deliver.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    #[serde(serialize_with = "maybe_in_millis")]
    pub(super) last_triggered_at: Option<i64>,
}

impl From<Subscription> for WebhookV2 {
    fn from(from: Subscription) -> Self {
        Self {
            stats: Stats::from(&from),
            filters: object(&from.filters),
            id: from.id,
            event_type: from.event_type,
            webhook_url: from.webhook_url,
            is_active: from.is_active,
            description: from.description,
            created_at: from.created_at,
            last_triggered_at: from.last_triggered_at,
        }
    }
}

/// One subscription.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookDetail {
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) id: Uuid,
    pub(super) event_type: String,
    #[schema(format = "uri")]
    pub(super) webhook_url: String,
    pub(super) is_active: bool,
    pub(super) description: String,
    #[schema(value_type = Object)]
    pub(super) filters: Value,
    #[schema(value_type = String, format = DateTime)]
    #[serde(serialize_with = "in_micros")]
    pub(super) created_at: i64,
    #[schema(value_type = String, format = DateTime)]
    #[serde(serialize_with = "in_micros")]
    pub(super) updated_at: i64,
    pub(super) stats: Stats,
    /// The last attempt to deliver.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    #[serde(serialize_with = "maybe_in_micros")]
    pub(super) last_triggered_at: Option<i64>,
}

impl From<Subscription> for WebhookDetail {
    fn from(from: Subscription) -> Self {
        Self {
            stats: Stats::from(&from),
            filters: object(&from.filters),
            id: from.id,
            event_type: from.event_type,
            webhook_url: from.webhook_url,
            is_active: from.is_active,
            description: from.description,
            created_at: from.created_at,
            updated_at: from.updated_at,
            last_triggered_at: from.last_triggered_at,
        }
    }
}

/// A subscription that was changed.
#[derive(Serialize, ToSchema)]
pub(super) struct UpdatedWebhook {
    pub(super) message: String,
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) id: Uuid,
}

/// That something was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Done {
    pub(super) message: String,
}

/// A new signing secret.
#[derive(Serialize, ToSchema)]
pub(super) struct RotatedSecret {
    /// Shown here and never again.
    #[schema(min_length = 1)]
    pub(super) secret_key: String,
    pub(super) message: String,
}

/// The URL that gets every event for which there is no subscription.
#[derive(Serialize, ToSchema)]
pub(super) struct Config {
    #[schema(required, format = "uri")]
    pub(super) webhook_url: Option<String>,
    /// Whether there is one.
    pub(super) enabled: bool,
}

/// That URL, changed.
#[derive(Serialize, ToSchema)]
pub(super) struct UpdatedConfig {
    pub(super) message: String,
    #[schema(required, format = "uri")]
    pub(super) webhook_url: Option<String>,
}

/// A page of the log in v1.
#[derive(Serialize, ToSchema)]
pub(super) struct LogPageV1 {
    pub(super) total: u64,
    pub(super) page: u64,
    pub(super) page_size: u64,
    pub(super) logs: Vec<LogEntry>,
}

/// A page of the log in v2.
#[derive(Serialize, ToSchema)]
pub(super) struct LogPageV2 {
    pub(super) has_more: bool,
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
    #[schema(required)]
    pub(super) prev_cursor: Option<String>,
    pub(super) results: Vec<LogEntry>,
}

/// One row of the delivery log.
#[derive(Serialize, ToSchema)]
pub(super) struct LogEntry {
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) id: Uuid,
    pub(super) event_type: String,
    #[schema(format = "uri")]
    pub(super) webhook_url: String,
    /// `pending`, `delivered`, `failed` or `retrying`.
    #[schema(pattern = "^(pending|delivered|failed|retrying)$")]
    pub(super) status: &'static str,
    /// What the receiver answered; null without an answer.
    #[schema(required)]
    pub(super) http_status_code: Option<u16>,
    #[schema(minimum = 0)]
    pub(super) attempt_number: u32,
    /// Null on success.
    #[schema(required)]
    pub(super) error_message: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    #[serde(serialize_with = "in_millis")]
    pub(super) created_at: i64,
    /// Null when no retry will follow.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    #[serde(serialize_with = "maybe_in_millis")]
    pub(super) next_retry_at: Option<i64>,
}

impl From<LogRow> for LogEntry {
    fn from(from: LogRow) -> Self {
        Self {
            id: from.id,
            event_type: from.event_type,
            webhook_url: from.webhook_url,
            status: from.status,
            http_status_code: from.http_status_code,
            attempt_number: from.attempt_number,
            error_message: from.error_message,
            created_at: from.created_at,
            next_retry_at: from.next_retry_at,
        }
    }
}

/// A delivery that is sent again.
#[derive(Serialize, ToSchema)]
pub(super) struct RetriedDelivery {
    pub(super) message: String,
    /// The log row of the new attempt: an assumption; it may be the old one's.
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) log_id: Uuid,
}

/// A `test` event that was delivered.
#[derive(Serialize, ToSchema)]
pub(super) struct TestDelivered {
    pub(super) success: bool,
    pub(super) message: String,
    #[schema(required)]
    pub(super) http_status_code: Option<u16>,
}

/// Every error, but for the published sample of a failed test.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// For people.
    pub(super) error: String,
    /// Stable, for programs.
    pub(super) code: &'static str,
    /// The same as in the header `X-Request-ID`.
    #[schema(value_type = String, format = "uuid")]
    #[serde(serialize_with = "as_text")]
    pub(super) request_id: Uuid,
    /// Of each field that is wrong, what is wrong; with `validation_error` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) errors: Option<BTreeMap<&'static str, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(super) details: Option<Value>,
}

/// A failed test: two published sources contradict each other, and a setting chooses.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum FailedTest {
    Sampled(SampledFailure),
    Envelope(ErrorBody),
}

/// A failed test as the API reference shows it.
#[derive(Serialize, ToSchema)]
pub(super) struct SampledFailure {
    /// A code, here.
    pub(super) error: &'static str,
    /// For people.
    pub(super) message: String,
    pub(super) details: SampledDetails,
}

/// What the receiver answered.
#[derive(Serialize, ToSchema)]
pub(super) struct SampledDetails {
    /// Null when it could not be reached.
    #[schema(required)]
    pub(super) http_status_code: Option<u16>,
}

/// Only objects are stored.
fn object(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::Object(serde_json::Map::new()))
}
