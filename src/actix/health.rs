//! Liveness and readiness, for whoever starts, stops and balances processes.

use std::fmt;
use std::rc::Rc;

use actix_service::fn_service;
use actix_web::HttpResponse;
use actix_web::dev::{AppService, HttpServiceFactory, Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::http::{Method, StatusCode};

use crate::actix::respond::close_after;
use crate::receiver::Readiness;

/// A service for [`App::service`](actix_web::App::service) that answers 200 at `path` for as long as the process serves
/// requests. It asks nothing else: a store that is away is no reason to start a process anew.
///
/// GET and HEAD; other methods are answered 405.
#[must_use]
pub fn liveness_at(path: &str) -> Health {
    Health { path: path.to_owned(), readiness: None }
}

impl Readiness {
    /// A service for [`App::service`](actix_web::App::service) that answers 200 at `path` while the process is ready, and
    /// 503 otherwise, always with the same words: who probes learns nothing else.
    ///
    /// GET and HEAD; other methods are answered 405.
    #[cfg_attr(docsrs, doc(cfg(feature = "actix")))]
    #[must_use]
    pub fn at(&self, path: &str) -> Health {
        Health { path: path.to_owned(), readiness: Some(self.clone()) }
    }
}

/// A probe at a path; made by [`liveness_at`] and [`Readiness::at`].
pub struct Health {
    path: String,
    readiness: Option<Readiness>,
}

impl HttpServiceFactory for Health {
    fn register(self, config: &mut AppService) {
        let resource = super::resource(config, self.path);
        let readiness = Rc::new(self.readiness);
        let service = fn_service(move |request: ServiceRequest| {
            let readiness = Rc::clone(&readiness);
            async move { Ok::<_, actix_web::Error>(answer(readiness.as_ref().as_ref(), request).await) }
        });
        config.register_service(resource, None, service, None);
    }
}

async fn answer(readiness: Option<&Readiness>, request: ServiceRequest) -> ServiceResponse {
    let (request, payload) = request.into_parts();
    let (status, text) = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        (StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD\n")
    } else {
        match readiness {
            None => (StatusCode::OK, "alive\n"),
            Some(readiness) => match readiness.check().await {
                Ok(()) => (StatusCode::OK, "ready\n"),
                Err(_unready) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            },
        }
    };
    let mut response = HttpResponse::new(status);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    let response = match payload {
        Payload::None => response.set_body(text).map_into_boxed_body(),
        // A probe has no body, and nobody reads one.
        rest => close_after(response, text, rest),
    };
    ServiceResponse::new(request, response)
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("path", &self.path).field("readiness", &self.readiness).finish()
    }
}
