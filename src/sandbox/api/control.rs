//! The sandbox's own control API: no part of the provider's.

use actix_web::{HttpResponse, get, post, put};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::sandbox::Mode;
use crate::sandbox::api::answer::{mime, ok};
use crate::sandbox::api::call::Call;
use crate::sandbox::api::control_types::{AttemptBody, AttemptsQuery, FaultsBody, StatusBody, TriggeredBody};
use crate::sandbox::api::error::ApiError;
use crate::sandbox::api::failures::ApiFailure;
use crate::sandbox::api::types::ErrorBody;
use crate::sandbox::deliver::{Faults, Trigger};

pub(super) fn mount(services: &mut ServiceConfig<'_>) {
    services
        .service(trigger)
        .service(faults)
        .service(set_faults)
        .service(clock)
        .service(set_clock)
        .service(api_failures)
        .service(set_api_failures)
        .service(status)
        .service(attempts)
        .service(tenant)
        .service(document)
        .service(health);
}

/// An event to be delivered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TriggerBody {
    #[schema(min_length = 1, max_length = 256, examples("screening.completed"))]
    event_type: String,
    /// The envelope's `data`; an example unless given.
    #[serde(default)]
    #[schema(value_type = Value)]
    data: Option<Value>,
    /// How many events; 1 unless given.
    #[serde(default = "one")]
    #[schema(minimum = 1, maximum = 1_000_000, default = 1)]
    count: u64,
    /// How many of them in a second; all at once unless given. The speed multiplies it.
    #[serde(default)]
    #[schema(exclusive_minimum = 0, maximum = 100_000)]
    rate: Option<f64>,
}

const fn one() -> u64 {
    1
}

/// Trigger
///
/// Makes the deliveries of an event, for the tenant of the key. With a rate, answers when the last event was triggered;
/// closing the connection ends it early.
#[utoipa::path(
    tag = "sandbox",
    request_body = TriggerBody,
    responses(
        (status = 200, description = "Triggered", body = TriggeredBody),
        (status = 400, description = "Cannot be done", body = ErrorBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[post("/sandbox/trigger")]
async fn trigger(call: Call) -> Result<HttpResponse, ApiError> {
    let body: TriggerBody = call.body()?;
    let mut trigger = Trigger::new(body.event_type).count(body.count);
    if let Some(data) = body.data {
        trigger = trigger.data(data);
    }
    if let Some(rate) = body.rate {
        trigger = trigger.rate(rate);
    }
    ok(&TriggeredBody::from(call.api.engine.trigger(call.tenant()?.id, &trigger).await?))
}

/// Faults
#[utoipa::path(tag = "sandbox", responses((status = 200, description = "What goes wrong now", body = FaultsBody)))]
#[get("/sandbox/faults")]
async fn faults(call: Call) -> Result<HttpResponse, ApiError> {
    ok(&FaultsBody::from(call.api.engine.faults()))
}

/// Set Faults
///
/// Replaces all of them; an empty object ends them.
#[utoipa::path(
    tag = "sandbox",
    request_body = FaultsBody,
    responses(
        (status = 200, description = "What goes wrong now", body = FaultsBody),
        (status = 400, description = "Cannot be done", body = ErrorBody),
    )
)]
#[put("/sandbox/faults")]
async fn set_faults(call: Call) -> Result<HttpResponse, ApiError> {
    let body: FaultsBody = call.body()?;
    call.api.engine.set_faults(Faults::from(body))?;
    ok(&FaultsBody::from(call.api.engine.faults()))
}

/// By how much waits are shorter than in life.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClockBody {
    #[schema(exclusive_minimum = 0)]
    speed: f64,
}

/// Clock
#[utoipa::path(tag = "sandbox", responses((status = 200, description = "The speed now", body = ClockBody)))]
#[get("/sandbox/clock")]
async fn clock(call: Call) -> Result<HttpResponse, ApiError> {
    ok(&ClockBody { speed: call.api.engine.speed() })
}

/// Set Clock
#[utoipa::path(
    tag = "sandbox",
    request_body = ClockBody,
    responses(
        (status = 200, description = "The speed now", body = ClockBody),
        (status = 400, description = "Cannot be done", body = ErrorBody),
    )
)]
#[put("/sandbox/clock")]
async fn set_clock(call: Call) -> Result<HttpResponse, ApiError> {
    let body: ClockBody = call.body()?;
    call.api.engine.set_speed(body.speed)?;
    ok(&ClockBody { speed: call.api.engine.speed() })
}

/// Answers that are still to fail.
#[derive(Serialize, ToSchema)]
struct FailuresLeft {
    left: u32,
}

/// Failures Of The API
#[utoipa::path(tag = "sandbox", responses((status = 200, description = "How many are left", body = FailuresLeft)))]
#[get("/sandbox/api-failures")]
async fn api_failures(call: Call) -> Result<HttpResponse, ApiError> {
    ok(&FailuresLeft { left: call.api.failures.left() })
}

/// Set Failures Of The API
///
/// The next answers of the management API fail so. Replaces what was ordered before.
#[utoipa::path(
    tag = "sandbox",
    request_body = ApiFailure,
    responses(
        (status = 200, description = "How many are left", body = FailuresLeft),
        (status = 400, description = "Cannot be done", body = ErrorBody),
    )
)]
#[put("/sandbox/api-failures")]
async fn set_api_failures(call: Call) -> Result<HttpResponse, ApiError> {
    call.api.failures.order(call.body()?)?;
    ok(&FailuresLeft { left: call.api.failures.left() })
}

/// Status
#[utoipa::path(tag = "sandbox", responses((status = 200, description = "What is on its way", body = StatusBody)))]
#[get("/sandbox/status")]
async fn status(call: Call) -> Result<HttpResponse, ApiError> {
    ok(&StatusBody::new(call.api.engine.status(), call.api.engine.speed(), call.api.failures.left()))
}

/// What was sent.
#[derive(Serialize, ToSchema)]
struct AttemptList {
    attempts: Vec<AttemptBody>,
}

/// Attempts
///
/// What was sent, of all tenants, with what was done wrong on purpose: the newest 10,000.
#[utoipa::path(
    tag = "sandbox",
    params(AttemptsQuery),
    responses(
        (status = 200, description = "In their order", body = AttemptList),
        (status = 400, description = "Not a number", body = ErrorBody),
    )
)]
#[get("/sandbox/attempts")]
async fn attempts(call: Call) -> Result<HttpResponse, ApiError> {
    let query: AttemptsQuery = call.query()?;
    let attempts = call.api.engine.attempts(query.after);
    ok(&AttemptList { attempts: attempts.into_iter().map(Into::into).collect() })
}

/// What one account sees in one mode.
#[derive(Serialize, ToSchema)]
struct TenantBody {
    account: String,
    /// `test` or `live`.
    #[schema(pattern = "^(test|live)$")]
    mode: &'static str,
    #[schema(required, format = "uri")]
    webhook_url: Option<String>,
    /// Signs what goes to `webhook_url`; the provider shows it nowhere.
    secret_key: String,
}

/// Tenant
///
/// Whose key it is, and the secret of what goes to the tenant's own URL.
#[utoipa::path(
    tag = "sandbox",
    responses(
        (status = 200, description = "The tenant", body = TenantBody),
        (status = 401, description = "No valid API key", body = ErrorBody),
    ),
    security(("bearer" = []))
)]
#[get("/sandbox/tenant")]
async fn tenant(call: Call) -> Result<HttpResponse, ApiError> {
    let tenant = call.tenant()?.clone();
    ok(&TenantBody {
        account: tenant.account,
        mode: if tenant.mode == Mode::Live { "live" } else { "test" },
        webhook_url: tenant.webhook_url,
        secret_key: tenant.secret,
    })
}

/// OpenAPI Document
#[utoipa::path(tag = "sandbox", responses((status = 200, description = "This document", body = Object)))]
#[get("/openapi.json")]
async fn document(call: Call) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().insert_header(mime()).body(call.api.document.clone()))
}

/// That the sandbox is there.
#[derive(Serialize, ToSchema)]
struct Health {
    status: &'static str,
}

/// Health
#[utoipa::path(tag = "sandbox", responses((status = 200, description = "It is there", body = Health)))]
#[get("/health")]
async fn health() -> Result<HttpResponse, ApiError> {
    ok(&Health { status: "ok" })
}
