//! Answers of the management API that fail on demand, so that a client's retries can be tested for real.

use std::sync::{Mutex, PoisonError};

use actix_web::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sandbox::SandboxError;
use crate::sandbox::api::ApiError;

/// How the next answers of the management API fail. Replaces what was ordered before.
///
/// ```
/// use countersign::sandbox::ApiFailure;
///
/// let busy = ApiFailure::new(503).count(2).retry_after(1);
/// let lost = ApiFailure::new(502).after_work(); // the work is done, its answer is not told: a retry must not do it twice
/// # let _ = (busy, lost);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[must_use = "give it to `Sandbox::fail_api`"]
pub struct ApiFailure {
    /// The status to answer with.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// How many answers fail; 1 unless set, and 0 ends it.
    #[serde(default = "one")]
    #[schema(default = 1)]
    count: u32,
    /// Seconds for the header `Retry-After`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// Whether the request is worked on first, and only its answer is lost.
    #[serde(default)]
    after_work: bool,
}

const fn one() -> u32 {
    1
}

impl ApiFailure {
    /// The next answer, with this status, 400 to 599.
    pub const fn new(status: u16) -> Self {
        Self { status, count: 1, retry_after: None, after_work: false }
    }

    /// The next `count` answers.
    pub const fn count(self, count: u32) -> Self {
        Self { count, ..self }
    }

    /// The same with the header `Retry-After`, in seconds.
    pub const fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The same after the request was worked on: only its answer is lost.
    pub const fn after_work(self) -> Self {
        Self { after_work: true, ..self }
    }

    fn check(&self) -> Result<(), SandboxError> {
        if (400..=599).contains(&self.status) {
            Ok(())
        } else {
            Err(SandboxError::Invalid("status must be from 400 to 599".to_owned()))
        }
    }
}

/// The failures that are ordered and not yet given.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Failures(Mutex<Option<ApiFailure>>);

/// A failure that is to be given now.
pub(super) struct Ordered {
    pub(super) error: ApiError,
    pub(super) after_work: bool,
}

impl Failures {
    pub(in crate::sandbox) fn order(&self, failure: ApiFailure) -> Result<(), SandboxError> {
        failure.check()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure).filter(|failure| failure.count > 0);
        Ok(())
    }

    /// How many answers are still to fail.
    pub(super) fn left(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(0, |failure| failure.count)
    }

    /// The failure of this answer, if it is to fail.
    pub(super) fn take(&self) -> Option<Ordered> {
        let mut ordered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failure = ordered.take()?;
        failure.count -= 1;
        *ordered = Some(failure).filter(|failure| failure.count > 0);
        let status = StatusCode::from_u16(failure.status).ok()?;
        let error = ApiError::Forced { status, retry_after: failure.retry_after };
        Some(Ordered { error, after_work: failure.after_work })
    }
}
