//! What every request passes, in this order: its path, failures on demand, its key, the rate limit, its method, its
//! body, and its idempotency key.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use actix_web::{Error, HttpMessage as _, HttpResponse};
use uuid::Uuid;

use crate::sandbox::api::answer::mime;
use crate::sandbox::api::call::Admitted;
use crate::sandbox::api::error::{REQUEST_ID, request_id_value};
use crate::sandbox::api::idempotency::{Held, Turn, claim};
use crate::sandbox::api::{Api, ApiError, body};
use crate::sandbox::store::{Answered, Tenant};

/// Answers `request`, by its handler if it gets that far.
pub(super) async fn gate(
    api: Data<Api>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (started, request_id) = (Instant::now(), Uuid::new_v4());
    let mut response = match admit(&api, &mut request).await {
        Ok(Passed::Again(answered)) => {
            let answer = again(answered);
            request.into_response(answer)
        }
        Ok(Passed::On { held, lost }) => work(request, next, request_id, held, lost).await?,
        Err(error) => request.into_response(error.answer(request_id)),
    };
    let headers = response.headers_mut();
    if !headers.contains_key(REQUEST_ID) {
        headers.insert(REQUEST_ID, request_id_value(request_id));
    }
    // Neither the query, which is anybody's text, nor a header or a body.
    tracing::info!(
        method = %response.request().method(),
        path = response.request().path(),
        status = response.status().as_u16(),
        request_id = %request_id,
        micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "sandbox answered"
    );
    Ok(response)
}

/// What became of a request before its handler.
enum Passed {
    /// It was answered before.
    Again(Answered),
    /// It goes on, perhaps holding its idempotency key, and perhaps to lose its answer.
    On { held: Option<Held>, lost: Option<ApiError> },
}

async fn admit(api: &Api, request: &mut ServiceRequest) -> Result<Passed, ApiError> {
    let route = api.routes.find(request.path())?;
    let of_provider = request.path().starts_with("/api/");
    let mut lost = None;
    if of_provider && let Some(ordered) = api.failures.take() {
        if !ordered.after_work {
            return Err(ordered.error);
        }
        lost = Some(ordered.error);
    }
    let tenant = if route.needs_key() { Some(authenticate(api, request)?) } else { None };
    if of_provider && let Some(tenant) = &tenant {
        api.rate.admit(tenant.id, Instant::now())?;
    }
    route.check(request.method())?;
    let body = body::read(request, api.assumptions.max_body).await?;
    let mut held = None;
    if of_provider && let Some(tenant) = &tenant {
        match claim(api, tenant.id, request, &body)? {
            Turn::Free => {}
            Turn::Ours(ours) => held = Some(ours),
            Turn::Again(answered) => return Ok(Passed::Again(answered)),
        }
    }
    request.extensions_mut().insert(Admitted { tenant, body });
    Ok(Passed::On { held, lost })
}

/// Whose key the request carries: one `Authorization: Bearer <key>`.
fn authenticate(api: &Api, request: &ServiceRequest) -> Result<Tenant, ApiError> {
    let mut lines = request.headers().get_all(header::AUTHORIZATION);
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(ApiError::Unauthenticated) };
    let line = line.to_str().map_err(|_| ApiError::Unauthenticated)?;
    let (kind, key) = line.split_once(' ').ok_or(ApiError::Unauthenticated)?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::Unauthenticated);
    }
    api.store.tenant_of(key.trim())?.ok_or(ApiError::Unauthenticated)
}

async fn work(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    request_id: Uuid,
    held: Option<Held>,
    lost: Option<ApiError>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (request, answer) = next.call(request).await?.map_into_boxed_body().into_parts();
    let status = answer.status();
    let answer = match answer.error() {
        Some(error) => match error.as_error::<ApiError>() {
            Some(error) => error.answer(request_id),
            None => ApiError::Invalid("The request cannot be read.".to_owned()).answer(request_id),
        },
        None if status == StatusCode::NOT_FOUND => {
            ApiError::NotFound("There is nothing at this path.".to_owned()).answer(request_id)
        }
        None => answer,
    };
    let answer = match held {
        Some(held) => keep(answer, held, request_id),
        None => answer,
    };
    let answer = match lost {
        Some(error) => error.answer(request_id),
        None => answer,
    };
    Ok(ServiceResponse::new(request, answer))
}

/// Keeps an answer under its idempotency key.
fn keep(answer: HttpResponse, held: Held, request_id: Uuid) -> HttpResponse {
    let (answer, body) = answer.into_parts();
    let Ok(body) = body.try_into_bytes() else {
        return ApiError::internal(&"an answer of the management API was streamed").answer(request_id);
    };
    match held.settle(answer.status().as_u16(), &body, request_id) {
        Ok(()) => answer.set_body(body).map_into_boxed_body(),
        Err(error) => error.answer(request_id),
    }
}

fn again(answered: Answered) -> HttpResponse {
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(status)
        .insert_header(mime())
        .insert_header((REQUEST_ID, request_id_value(answered.request_id)))
        .body(Bytes::from(answered.body))
}
