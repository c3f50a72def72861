//! Requests. The OpenAPI document is made of these types; what is wrong with a field is told by
//! [`Validator`](super::validate::Validator).

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::sandbox::api::validate::Field;

/// A new subscription.
#[derive(Deserialize, ToSchema)]
pub(super) struct CreateWebhook {
    /// One of the event types of the API reference, `all`, or `test`.
    #[schema(value_type = String, required, min_length = 1, examples("screening.completed", "all"))]
    #[serde(default)]
    pub(super) event_type: Field,
    /// HTTPS; the sandbox takes plain HTTP to loopback too.
    #[schema(value_type = String, required, format = "uri", max_length = 2048)]
    #[serde(default)]
    pub(super) webhook_url: Field,
    /// For people.
    #[schema(value_type = String, max_length = 1000)]
    #[serde(default)]
    pub(super) description: Field,
    /// For future use.
    #[schema(value_type = Object)]
    #[serde(default)]
    pub(super) filters: Field,
}

/// What changes; what is missing stays.
#[derive(Deserialize, ToSchema)]
pub(super) struct UpdateWebhook {
    /// One of the event types of the API reference, `all`, or `test`.
    #[schema(value_type = String, min_length = 1)]
    #[serde(default)]
    pub(super) event_type: Field,
    /// HTTPS; the sandbox takes plain HTTP to loopback too.
    #[schema(value_type = String, format = "uri", max_length = 2048)]
    #[serde(default)]
    pub(super) webhook_url: Field,
    /// Whether events are delivered.
    #[schema(value_type = bool)]
    #[serde(default)]
    pub(super) is_active: Field,
    /// For people.
    #[schema(value_type = String, max_length = 1000)]
    #[serde(default)]
    pub(super) description: Field,
    /// For future use.
    #[schema(value_type = Object)]
    #[serde(default)]
    pub(super) filters: Field,
}

/// The URL that gets every event for which there is no subscription.
#[derive(Deserialize, ToSchema)]
pub(super) struct UpdateConfig {
    /// HTTPS; the sandbox takes plain HTTP to loopback too. Null for none.
    #[schema(value_type = Option<String>, required, format = "uri", max_length = 2048)]
    #[serde(default)]
    pub(super) webhook_url: Field,
}

/// Where to send a `test` event.
#[derive(Deserialize, ToSchema)]
pub(super) struct TestWebhook {
    /// HTTPS; the sandbox takes plain HTTP to loopback too.
    #[schema(value_type = String, required, format = "uri", max_length = 2048)]
    #[serde(default)]
    pub(super) webhook_url: Field,
}

/// A page of the log in v1.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Page number, from 1.
    #[param(value_type = Option<i64>, minimum = 1, default = 1)]
    pub(super) page: Option<String>,
    /// Results per page: 50 unless set; more than 100 are taken as 100.
    #[param(value_type = Option<i64>, minimum = 1, default = 50)]
    pub(super) page_size: Option<String>,
}

/// A page of the log in v2.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CursorQuery {
    /// Cursor of the next page, from `next_cursor`.
    pub(super) after: Option<String>,
    /// Cursor of the previous page, from `prev_cursor`: an assumption; other lists of the provider have it.
    pub(super) before: Option<String>,
    /// Results per page: 50 unless set; more than 100 are taken as 100.
    #[param(value_type = Option<i64>, minimum = 1, default = 50)]
    pub(super) page_size: Option<String>,
}
