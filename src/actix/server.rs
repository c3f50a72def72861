//! Server settings that a service cannot set for itself.

use std::fmt;
use std::time::Duration;

use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use actix_web::http::KeepAlive;
use actix_web::{Error, HttpServer};

/// How long the head of a request may take; actix-web's default, which a program may have turned off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection that is being closed may linger, so that its answer is still read.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Sets a server up so that no client can hold a connection for longer than it takes to serve a request.
///
/// - The head of a request must be there within 5 seconds (408 and closed).
/// - Each connection serves one request. actix-web times the first head of a connection only, so on a kept-alive
///   connection a client could stall in the middle of the next head for ever.
/// - A connection that is being closed lingers for 1 second at most.
///
/// The price is a connection per delivery. Behind a proxy that times heads itself (nginx `client_header_timeout`,
/// HAProxy `timeout http-request`) keep connections alive instead and leave this out.
///
/// ```no_run
/// # use actix_web::{App, HttpServer};
/// # async fn run() -> std::io::Result<()> {
/// countersign::actix::harden(HttpServer::new(App::new)).bind(("127.0.0.1", 8080))?.run().await
/// # }
/// ```
pub fn harden<F, I, S, B>(server: HttpServer<F, I, S, B>) -> HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    server
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .keep_alive(KeepAlive::Disabled)
}
