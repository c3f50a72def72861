//! What every example needs: a server on a free port, and a sender that speaks plain HTTP.
#![allow(dead_code, unreachable_pub, reason = "not every example uses all of it")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::{HttpServiceFactory, Server, ServerHandle};
use actix_web::{App, HttpServer};
use countersign::{Clock, Delivery, DeliveryId, SystemClock, Timestamp};

pub type Failure = Box<dyn std::error::Error>;

/// The headers of a delivery, as `Signer` gives them.
pub type Headers = Vec<(String, String)>;

/// Starts a server with one service on a free port of the loopback.
pub fn serve<S>(service: impl Fn() -> S + Clone + Send + 'static) -> Result<(SocketAddr, ServerHandle), Failure>
where
    S: HttpServiceFactory + 'static,
{
    let (addr, server) = listen(0, service)?;
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Ok((addr, handle))
}

/// Binds a port; await the server to run it until Ctrl-C.
pub fn listen<S>(port: u16, service: impl Fn() -> S + Clone + Send + 'static) -> Result<(SocketAddr, Server), Failure>
where
    S: HttpServiceFactory + 'static,
{
    let server = HttpServer::new(move || App::new().service(service())).workers(1).bind(("127.0.0.1", port))?;
    Ok((server.addrs()[0], server.run()))
}

/// Serves on a port that is bound already: a provider wants the address before it shows the secret that a receiver needs.
pub fn listen_on<S>(listener: TcpListener, service: impl Fn() -> S + Clone + Send + 'static) -> Result<Server, Failure>
where
    S: HttpServiceFactory + 'static,
{
    Ok(HttpServer::new(move || App::new().service(service())).workers(1).listen(listener)?.run())
}

/// Posts a body and returns the status and the value of `Retry-After`.
pub async fn post(
    addr: SocketAddr,
    path: &str,
    headers: Headers,
    body: impl Into<Vec<u8>>,
) -> Result<(u16, Option<String>), Failure> {
    let url = format!("http://{addr}{path}");
    let body = body.into();
    let sent = actix_web::web::block(move || {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .new_agent();
        let mut request = agent.post(url);
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        request.send(&body[..])
    });
    let reply = sent.await??;
    let retry_after = reply.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok((reply.status().as_u16(), retry_after))
}

/// The present moment, `ago` earlier.
pub fn now_minus(ago: Duration) -> Result<Timestamp, Failure> {
    Ok(SystemClock.now().saturating_sub(ago))
}

/// The present moment.
pub fn now() -> Result<Timestamp, Failure> {
    now_minus(Duration::ZERO)
}

/// The id of a delivery, for printing.
pub fn id(delivery: &Delivery) -> &str {
    delivery.id().map_or("(no id)", DeliveryId::as_str)
}
