//! `Idempotency-Key`: the same request again gets the same answer, and is not done twice.
//!
//! The header is published, and that repeating it makes a retry safe; everything else is an assumption. A key is a
//! tenant's and belongs to one method, path, query and body. An answer below 500 is kept, the secret in it included.

use std::sync::Arc;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use uuid::Uuid;

use crate::dedupe::Fingerprint;
use crate::sandbox::api::{Api, ApiError};
use crate::sandbox::store::{Answered, Claim, Store};

const HEADER: &str = "idempotency-key";

/// The longest key in bytes.
const MAX_LEN: usize = 255;

/// A key that this request holds. What is not settled is released, also when the request is abandoned.
pub(super) struct Held {
    store: Arc<Store>,
    tenant: i64,
    key: String,
    settled: bool,
}

/// What a key means for a request.
pub(super) enum Turn {
    /// It has none, or needs none.
    Free,
    /// It is to be worked on, and its answer kept.
    Ours(Held),
    /// It was answered already.
    Again(Answered),
}

/// Takes the key of `request`, if it has one and changes anything.
pub(super) fn claim(api: &Api, tenant: i64, request: &ServiceRequest, body: &[u8]) -> Result<Turn, ApiError> {
    if *request.method() == Method::GET {
        return Ok(Turn::Free);
    }
    let Some(key) = key(request)? else { return Ok(Turn::Free) };
    let mut content = format!("{} {}\n", request.method(), request.uri()).into_bytes();
    content.extend_from_slice(body);
    let fingerprint = Fingerprint::of(&content).as_u128().to_be_bytes();
    let now = api.now();
    let retention = i64::try_from(api.assumptions.idempotency_retention.as_micros()).unwrap_or(i64::MAX);
    match api.store.claim_key(tenant, &key, &fingerprint, now, now.saturating_sub(retention))? {
        Claim::Ours => Ok(Turn::Ours(Held { store: api.store.clone(), tenant, key, settled: false })),
        Claim::Answered(answered) => Ok(Turn::Again(answered)),
        Claim::Running => Err(ApiError::Conflict("The request with this Idempotency-Key is still being worked on.")),
        Claim::Taken => Err(ApiError::Conflict("This Idempotency-Key belongs to another request.")),
    }
}

fn key(request: &ServiceRequest) -> Result<Option<String>, ApiError> {
    let mut lines = request.headers().get_all(HEADER);
    let Some(key) = lines.next() else { return Ok(None) };
    let visible = key.as_bytes().iter().all(u8::is_ascii_graphic) && (1..=MAX_LEN).contains(&key.len());
    match key.to_str() {
        Ok(key) if visible && lines.next().is_none() => Ok(Some(key.to_owned())),
        _ => Err(ApiError::Invalid(format!(
            "An Idempotency-Key is one header of 1 to {MAX_LEN} visible ASCII characters."
        ))),
    }
}

impl Held {
    /// Keeps the answer, unless it says that the request may succeed another time.
    pub(super) fn settle(mut self, status: u16, body: &[u8], request_id: Uuid) -> Result<(), ApiError> {
        if status < 500 {
            let answered = Answered { status, body: body.to_vec(), request_id };
            self.store.settle_key(self.tenant, &self.key, &answered)?;
            self.settled = true;
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled
            && let Err(error) = self.store.release_key(self.tenant, &self.key)
        {
            tracing::error!(%error, "an idempotency key stays taken until the sandbox is started again");
        }
    }
}
