//! Errors, and the one function that turns them into answers.

use std::collections::BTreeMap;
use std::fmt;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sandbox::api::answer::mime;
use crate::sandbox::api::types::{ErrorBody, FailedTest, SampledDetails, SampledFailure};
use crate::sandbox::store::StoreError;
use crate::sandbox::{SandboxError, TestFailure};

/// What is wrong with each field.
pub(super) type FieldErrors = BTreeMap<&'static str, Vec<String>>;

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub(super) enum ApiError {
    /// 409: it contradicts what there is.
    Conflict(&'static str),
    /// Any status, as told through the control API.
    Forced { status: StatusCode, retry_after: Option<u64> },
    /// 500. What happened stands in the log.
    Internal,
    /// 400: it cannot be read, or makes no sense as a whole.
    Invalid(String),
    /// 405: the path takes only these.
    Method(Vec<Method>),
    /// 404.
    NotFound(String),
    /// 429: seconds to wait.
    RateLimited(u64),
    /// 408: its body did not come.
    Slow,
    /// 503: the sandbox is about to end.
    Stopping,
    /// 502: the receiver did not take a test delivery.
    TestFailed { http_status_code: Option<u16>, shape: TestFailure },
    /// 401.
    Unauthenticated,
    /// 400: fields that are wrong.
    Validation(FieldErrors),
    /// 400: something is in a status in which it cannot be done.
    WrongStatus { message: &'static str, current_status: &'static str },
}

impl ApiError {
    /// Logs what nobody should see and hides it.
    pub(super) fn internal(error: &dyn fmt::Display) -> Self {
        tracing::error!(%error, "the sandbox failed");
        Self::Internal
    }

    /// One field that is wrong.
    pub(super) fn field(field: &'static str, message: &str) -> Self {
        Self::Validation(BTreeMap::from([(field, vec![message.to_owned()])]))
    }

    /// The answer on the wire: the only place where it is made.
    pub(super) fn answer(&self, request_id: Uuid) -> HttpResponse {
        let (status, code, error) = self.parts();
        let mut answer = HttpResponse::build(status);
        match self {
            Self::Method(allowed) => {
                let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                answer.insert_header((header::ALLOW, allowed));
            }
            Self::RateLimited(seconds) | Self::Forced { retry_after: Some(seconds), .. } => {
                answer.insert_header((header::RETRY_AFTER, *seconds));
            }
            Self::Unauthenticated => {
                answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            _ => {}
        }
        answer.insert_header(mime()).insert_header((REQUEST_ID, request_id_value(request_id)));
        let body = match *self {
            Self::TestFailed { http_status_code, shape: TestFailure::AsSampled } => {
                let details = SampledDetails { http_status_code };
                FailedTest::Sampled(SampledFailure { error: "server_error", message: error, details })
            }
            _ => {
                let (errors, details) = self.particulars();
                FailedTest::Envelope(ErrorBody { error, code, request_id, errors, details })
            }
        };
        // Texts and numbers only: there is nothing in it that JSON cannot hold.
        answer.body(serde_json::to_vec_pretty(&body).unwrap_or_default())
    }

    /// Status, code and text. The codes and their statuses are published, but for 405 and 408, whose code is an assumption.
    fn parts(&self) -> (StatusCode, &'static str, String) {
        let said = |status, code, text: &str| (status, code, text.to_owned());
        match self {
            Self::Conflict(text) => said(StatusCode::CONFLICT, "conflict", text),
            Self::Forced { status, .. } => {
                (*status, code_of(*status), "This answer was ordered through the sandbox's control API.".to_owned())
            }
            Self::Internal => said(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "The sandbox failed."),
            Self::Invalid(text) => said(StatusCode::BAD_REQUEST, "invalid_request", text),
            Self::Method(_) => said(
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request",
                "This method is not allowed here; the header Allow says which are.",
            ),
            Self::NotFound(text) => said(StatusCode::NOT_FOUND, "not_found", text),
            Self::RateLimited(_) => said(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many requests; Retry-After says when to return.",
            ),
            Self::Slow => {
                said(StatusCode::REQUEST_TIMEOUT, "invalid_request", "The request's body did not arrive in time.")
            }
            Self::Stopping => said(StatusCode::SERVICE_UNAVAILABLE, "server_error", "The sandbox is stopping."),
            Self::TestFailed { http_status_code: Some(status), .. } => {
                (StatusCode::BAD_GATEWAY, "upstream_error", format!("Webhook endpoint returned HTTP {status}"))
            }
            Self::TestFailed { http_status_code: None, .. } => {
                said(StatusCode::BAD_GATEWAY, "upstream_error", "Webhook endpoint could not be reached")
            }
            Self::Unauthenticated => said(
                StatusCode::UNAUTHORIZED,
                "authentication_failed",
                "A valid API key is required: Authorization: Bearer <key>.",
            ),
            Self::Validation(_) => {
                said(StatusCode::BAD_REQUEST, "validation_error", "The request is not valid; `errors` says why.")
            }
            Self::WrongStatus { message, .. } => said(StatusCode::BAD_REQUEST, "invalid_request", message),
        }
    }

    fn particulars(&self) -> (Option<FieldErrors>, Option<Value>) {
        match self {
            Self::TestFailed { http_status_code, .. } => (None, Some(json!({ "http_status_code": http_status_code }))),
            Self::Validation(errors) => (Some(errors.clone()), None),
            Self::WrongStatus { current_status, .. } => (None, Some(json!({ "current_status": current_status }))),
            _ => (None, None),
        }
    }
}

/// The header that correlates an answer with its request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) fn request_id_value(request_id: Uuid) -> HeaderValue {
    // A UUID is visible ASCII.
    HeaderValue::from_str(&request_id.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// The code that goes with a status, as published; the others by their hundred.
fn code_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_failed",
        402 => "insufficient_credits",
        403 => "permission_denied",
        404 => "not_found",
        409 => "conflict",
        412 => "precondition_failed",
        428 => "precondition_required",
        429 => "rate_limited",
        502..=504 => "upstream_error",
        500.. => "server_error",
        _ => "invalid_request",
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.parts().1)
    }
}

/// Carries an error from a handler to the gate, which answers it.
impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.parts().0
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<SandboxError> for ApiError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Invalid(text) => Self::Invalid(text),
            SandboxError::Stopped => Self::Stopping,
            other => Self::internal(&other),
        }
    }
}
