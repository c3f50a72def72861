//! The provider's management API over HTTP, v1 and v2, and the sandbox's own control API beside it.
//!
//! Every request passes the [`gate`]: route, key, limits, body, idempotency. A handler then reads what it was given as a
//! [`Call`](call::Call) and returns an answer or an [`ApiError`]; [`ApiError::answer`] is the one place where an error
//! becomes bytes.

mod answer;
mod body;
mod call;
mod config;
mod control;
mod control_types;
mod deliveries;
mod error;
mod failures;
mod gate;
mod idempotency;
mod openapi;
mod rate;
mod requests;
mod routes;
mod serve;
mod types;
mod validate;
mod webhooks;

use std::sync::Arc;

use crate::sandbox::Assumptions;
use crate::sandbox::deliver::Engine;
use crate::sandbox::store::{Store, micros};
use crate::time::{Clock, SystemClock};

use error::ApiError;
pub use failures::ApiFailure;
pub(super) use failures::Failures;
use rate::RateLimit;
use routes::Routes;
pub(super) use serve::Served;

/// What all requests share.
pub(super) struct Api {
    store: Arc<Store>,
    engine: Engine,
    assumptions: Assumptions,
    failures: Arc<Failures>,
    rate: RateLimit,
    routes: Routes,
    document: String,
}

impl Api {
    pub(super) fn new(store: Arc<Store>, engine: Engine, assumptions: Assumptions, failures: Arc<Failures>) -> Self {
        let document = openapi::document();
        Self {
            rate: RateLimit::new(assumptions.rate_limit),
            routes: Routes::of(&document),
            document: openapi::text(&document),
            store,
            engine,
            assumptions,
            failures,
        }
    }

    /// The present moment in microseconds.
    fn now(&self) -> i64 {
        micros(SystemClock.now())
    }
}
