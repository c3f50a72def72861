//! The tenant's own URL, which gets every event for which there is no subscription. Only v2 has it: the API reference
//! shows it nowhere, and the SDK calls v2.

use actix_web::{HttpResponse, delete, get, put};

use crate::sandbox::api::answer::ok;
use crate::sandbox::api::call::Call;
use crate::sandbox::api::error::ApiError;
use crate::sandbox::api::requests::UpdateConfig;
use crate::sandbox::api::types::{Config, Done, ErrorBody, UpdatedConfig};
use crate::sandbox::api::validate::Validator;

/// Get Webhook Config
#[utoipa::path(
    tag = "webhooks",
    operation_id = "get_config",
    responses((status = 200, description = "The URL, if there is one", body = Config)),
    security(("bearer" = []))
)]
#[get("/webhooks/config/")]
pub(super) async fn get(call: Call) -> Result<HttpResponse, ApiError> {
    let webhook_url = call.tenant()?.webhook_url.clone();
    ok(&Config { enabled: webhook_url.is_some(), webhook_url })
}

/// Update Webhook Config
#[utoipa::path(
    tag = "webhooks",
    operation_id = "update_config",
    request_body = UpdateConfig,
    responses(
        (status = 200, description = "Updated", body = UpdatedConfig),
        (status = 400, description = "Not valid", body = ErrorBody),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[put("/webhooks/config/")]
pub(super) async fn update(call: Call) -> Result<HttpResponse, ApiError> {
    let body: UpdateConfig = call.body()?;
    let mut validator = Validator::new(&call.api.assumptions);
    validator.require("webhook_url", &body.webhook_url);
    let webhook_url = validator.webhook_url_or_null(body.webhook_url).flatten();
    validator.finish()?;
    call.api.store.set_tenant_url(call.tenant()?.id, webhook_url.as_deref())?;
    // Not published.
    ok(&UpdatedConfig { message: "Webhook configuration updated".to_owned(), webhook_url })
}

/// Delete Webhook Config
#[utoipa::path(
    tag = "webhooks",
    operation_id = "delete_config",
    responses(
        (status = 200, description = "Deleted", body = Done),
        (status = 409, description = "The idempotency key belongs to another request", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[delete("/webhooks/config/")]
pub(super) async fn delete(call: Call) -> Result<HttpResponse, ApiError> {
    call.api.store.set_tenant_url(call.tenant()?.id, None)?;
    // Not published.
    ok(&Done { message: "Webhook configuration deleted".to_owned() })
}
