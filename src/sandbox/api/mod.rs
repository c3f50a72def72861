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
mod deliveries;
mod error;
mod failures;
mod gate;
mod idempotency;
mod openapi;
mod rate;
mod routes;
mod types;
mod validate;
mod webhooks;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};

use crate::sandbox::deliver::Engine;
use crate::sandbox::store::Store;
use crate::sandbox::Assumptions;
use crate::time::{Clock, SystemClock};

use error::ApiError;
pub use failures::ApiFailure;
pub(super) use failures::Failures;
use rate::RateLimit;
use routes::Routes;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Few threads: a sandbox shares its machine with what is tested.
const WORKERS: usize = 2;

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
        crate::sandbox::store::micros(SystemClock.now())
    }
}

/// Serves `api` at `listener`, on threads of its own; must be called inside an actix system.
pub(super) fn serve(listener: TcpListener, api: Api) -> std::io::Result<Server> {
    let api = web::Data::new(api);
    let server = HttpServer::new(move || {
        let (app, _) = openapi::mount(App::new().app_data(api.clone()));
        app.wrap(from_fn(gate::gate))
    });
    Ok(server
        .workers(WORKERS)
        .client_request_timeout(HEAD_TIMEOUT)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run())
}
