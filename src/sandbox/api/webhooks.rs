//! Subscriptions: create, list, get, update, delete, rotate.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, delete, get, patch, post};

use crate::sandbox::api::answer::{json, ok};
use crate::sandbox::api::call::Call;
use crate::sandbox::api::error::ApiError;
use crate::sandbox::api::requests::{CreateWebhook, UpdateWebhook};
use crate::sandbox::api::types::{
    CreatedWebhook, Done, ErrorBody, RotatedSecret, UpdatedWebhook, WebhookDetail, WebhookListV1, WebhookListV2,
};
use crate::sandbox::api::validate::Validator;
use crate::sandbox::store::{Changes, NewSubscription};

/// Create Webhook
#[utoipa::path(
    tag = "webhooks",
    request_body = CreateWebhook,
    responses(
        (status = 201, description = "Created; the secret is shown here only", body = CreatedWebhook),
        (status = 400, description = "Not valid", body = ErrorBody),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[post("/webhooks/")]
pub(super) async fn create(call: Call) -> Result<HttpResponse, ApiError> {
    let body: CreateWebhook = call.body()?;
    let tenant = call.tenant()?;
    let assumptions = &call.api.assumptions;
    let mut validator = Validator::new(assumptions);
    validator.require("event_type", &body.event_type);
    validator.require("webhook_url", &body.webhook_url);
    let event_type = validator.event_type(body.event_type);
    let webhook_url = validator.webhook_url(body.webhook_url);
    let description = validator.description(body.description);
    let filters = validator.filters(body.filters);
    validator.finish()?;
    let (event_type, webhook_url) = (event_type.unwrap_or_default(), webhook_url.unwrap_or_default());
    let secret_key = call.api.engine.new_secret();
    let new = NewSubscription {
        event_type: &event_type,
        webhook_url: &webhook_url,
        description: description.as_deref().unwrap_or_default(),
        filters: filters.as_deref().unwrap_or("{}"),
        secret: &secret_key,
    };
    let made = call.api.store.subscribe(tenant.id, &new, assumptions.refuse_duplicates, call.api.now())?;
    let webhook_id = made.ok_or(ApiError::Conflict("There is a subscription of this type to this URL."))?;
    let message = "Webhook created successfully".to_owned();
    json(StatusCode::CREATED, &CreatedWebhook { webhook_id, event_type, webhook_url, secret_key, message })
}

/// List Webhooks
#[utoipa::path(
    tag = "webhooks",
    responses((status = 200, description = "All of them", body = WebhookListV1)),
    security(("bearer" = []))
)]
#[get("/webhooks/")]
pub(super) async fn list_v1(call: Call) -> Result<HttpResponse, ApiError> {
    let webhooks = call.api.store.subscriptions(call.tenant()?.id)?;
    ok(&WebhookListV1 { webhooks: webhooks.into_iter().map(Into::into).collect() })
}

/// List Webhooks
#[utoipa::path(
    tag = "webhooks",
    responses((status = 200, description = "All of them", body = WebhookListV2)),
    security(("bearer" = []))
)]
#[get("/webhooks/")]
pub(super) async fn list_v2(call: Call) -> Result<HttpResponse, ApiError> {
    let results = call.api.store.subscriptions(call.tenant()?.id)?;
    ok(&WebhookListV2 { count: results.len(), results: results.into_iter().map(Into::into).collect() })
}

/// Get Webhook
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "Webhook identifier")),
    responses(
        (status = 200, description = "The subscription", body = WebhookDetail),
        (status = 400, description = "Not a UUID", body = ErrorBody),
        (status = 404, description = "There is none", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[get("/webhooks/{webhook_id}/")]
pub(super) async fn get(call: Call) -> Result<HttpResponse, ApiError> {
    let id = call.id("webhook_id")?;
    let webhook = call.api.store.subscription(call.tenant()?.id, id)?.ok_or_else(missing)?;
    ok(&WebhookDetail::from(webhook))
}

/// Update Webhook
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "Webhook identifier")),
    request_body = Option<UpdateWebhook>,
    responses(
        (status = 200, description = "Updated", body = UpdatedWebhook),
        (status = 400, description = "Not valid", body = ErrorBody),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[patch("/webhooks/{webhook_id}/")]
pub(super) async fn update(call: Call) -> Result<HttpResponse, ApiError> {
    let id = call.id("webhook_id")?;
    let body: UpdateWebhook = call.body()?;
    let tenant = call.tenant()?;
    let mut validator = Validator::new(&call.api.assumptions);
    let event_type = validator.event_type(body.event_type);
    let webhook_url = validator.webhook_url(body.webhook_url);
    let is_active = validator.is_active(body.is_active);
    let description = validator.description(body.description);
    let filters = validator.filters(body.filters);
    validator.finish()?;
    let changes = Changes {
        event_type: event_type.as_deref(),
        webhook_url: webhook_url.as_deref(),
        is_active,
        description: description.as_deref(),
        filters: filters.as_deref(),
    };
    if !call.api.store.change_subscription(tenant.id, id, &changes, call.api.now())? {
        return Err(missing());
    }
    ok(&UpdatedWebhook { message: "Webhook updated".to_owned(), id })
}

/// Delete Webhook
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "Webhook identifier")),
    responses(
        (status = 200, description = "Deleted", body = Done),
        (status = 400, description = "Not a UUID", body = ErrorBody),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[delete("/webhooks/{webhook_id}/")]
pub(super) async fn delete(call: Call) -> Result<HttpResponse, ApiError> {
    let id = call.id("webhook_id")?;
    if !call.api.store.unsubscribe(call.tenant()?.id, id)? {
        return Err(missing());
    }
    ok(&Done { message: "Webhook deleted successfully".to_owned() })
}

/// Rotate Webhook Secret
#[utoipa::path(
    tag = "webhooks",
    params(("webhook_id" = String, Path, format = "uuid", description = "Webhook to rotate the secret for")),
    responses(
        (status = 200, description = "Rotated; the secret is shown here only", body = RotatedSecret),
        (status = 400, description = "Not a UUID", body = ErrorBody),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[post("/webhooks/{webhook_id}/rotate-secret/")]
pub(super) async fn rotate_secret(call: Call) -> Result<HttpResponse, ApiError> {
    let id = call.id("webhook_id")?;
    let secret_key = call.api.engine.new_secret();
    let now = call.api.now();
    let overlap = i64::try_from(call.api.assumptions.rotation_overlap.as_micros()).unwrap_or(i64::MAX);
    let overlap_until = (overlap > 0).then(|| now.saturating_add(overlap));
    if !call.api.store.rotate_secret(call.tenant()?.id, id, &secret_key, overlap_until, now)? {
        return Err(missing());
    }
    ok(&RotatedSecret { secret_key, message: "Webhook secret rotated successfully".to_owned() })
}

fn missing() -> ApiError {
    ApiError::NotFound("There is no webhook with this id.".to_owned())
}
