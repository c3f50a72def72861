//! The listener on its port: every request is read, written down if that is wanted, verified, passed on and printed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, Error, HttpMessage as _, HttpRequest, HttpResponse, HttpServer, web};
use bytes::{Bytes, BytesMut};
use countersign::{Delivery, Disposition, MemoryStore, NoHandlers, Receiver, RequestView, Verified, Verifier, actix};
use futures_util::{StreamExt as _, stream};

use super::BODY_LIMIT;
use super::capture::{Capture, Captures, Request};
use super::report::{Report, Reporter};
use crate::exit::Failure;
use crate::http::{self, Sender};
use crate::{moment, runtime};

/// How long a body may take before the receiver is asked what to do about it.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// How long requests that are being served may take to end after Ctrl-C, in seconds.
const SHUTDOWN: u64 = 5;

/// What is one hop's business, and what the client writes itself.
const NOT_FORWARDED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// All that the listener needs.
pub(super) struct Listener {
    pub(super) verifying: Option<(Receiver<NoHandlers, MemoryStore>, Verifier)>,
    pub(super) forward: Option<Sender>,
    pub(super) captures: Option<Captures>,
    pub(super) reporter: Reporter,
}

/// What the route leaves for the report.
struct Passed {
    delivery: Delivery,
    forwarded: Option<Result<u16, String>>,
}

/// Serves until Ctrl-C, or until it is enough; `started` is told the URL.
pub(super) fn serve(
    bind: SocketAddr,
    listener: Listener,
    started: impl FnOnce(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let listener = Arc::new(listener);
    actix_web::rt::System::new().block_on(async move {
        let shared = web::Data::from(Arc::clone(&listener));
        let receiver = listener.verifying.as_ref().map(|(receiver, _)| receiver.clone());
        let server = HttpServer::new(move || {
            let route = web::resource("/{path:.*}");
            let app = App::new().app_data(shared.clone()).wrap(from_fn(observe));
            match &receiver {
                Some(receiver) => app.service(route.wrap(receiver.middleware()).route(web::route().to(pass))),
                None => app.service(route.route(web::route().to(unready))),
            }
        });
        let server = actix::harden(server).workers(1).max_connections(256).shutdown_timeout(SHUTDOWN).disable_signals();
        let server = server.bind(bind).map_err(|reason| in_use(bind, &reason))?;
        let address = server.addrs().first().copied().unwrap_or(bind);
        let running = server.run();
        let handle = running.handle();
        let running = actix_web::rt::spawn(running);
        let interrupted = runtime::interruption()?;
        started(&format!("http://{address}"))?;
        tokio::select! {
            () = interrupted => {}
            () = listener.reporter.enough() => {}
        }
        handle.stop(true).await;
        match running.await {
            Ok(ended) => ended.map_err(Failure::system("serving")),
            Err(_) => Err(Failure::System { what: "serving".to_owned(), reason: io::Error::other("the server ended") }),
        }
    })
}

fn in_use(bind: SocketAddr, reason: &io::Error) -> Failure {
    Failure::unusable(format!("cannot listen on {bind}: {reason}"), "use --bind with another port, or port 0 for any")
}

/// Around everything: reads, captures, lets the receiver decide, and reports.
async fn observe(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(listener) = request.app_data::<web::Data<Listener>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let at = moment::now();
    let (body, whole) = read_ahead(&mut request).await;
    let headers = headers_of(request.request());
    let path = request.path().to_owned();
    let captured = listener.captures.as_ref().filter(|_| whole).and_then(|captures| {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let method = request.method().as_str();
        listener.capture(captures, &Request { method, target, headers: &headers, body: &body })
    });
    let response = next.call(request).await?;
    let extensions = response.response().extensions();
    let disposition = extensions.get::<Disposition>();
    let passed = response.request().extensions_mut().remove::<Passed>();
    // What is known of a duplicate is not told by the receiver, and stands in its signed request.
    let again = match (&passed, disposition, &listener.verifying) {
        (None, Some(Disposition::Duplicate | Disposition::InFlight | Disposition::Conflict), Some((_, verifier))) => {
            verifier.verify(&RequestView::new(&headers, body.clone()), at).ok()
        }
        _ => None,
    };
    listener.reporter.print(&Report {
        at,
        path: &path,
        size: body.len(),
        status: response.status().as_u16(),
        disposition,
        delivery: passed.as_ref().map(|passed| &passed.delivery).or(again.as_ref().map(Verified::delivery)),
        forwarded: passed.as_ref().and_then(|passed| passed.forwarded.as_ref()),
        captured,
    });
    drop(extensions);
    Ok(response.map_into_boxed_body())
}

/// The body, as far as it comes in time and within the limit, and whether that is all of it. The request is given all
/// of it back: what to do about a body that is too long or too slow is the receiver's decision.
async fn read_ahead(request: &mut ServiceRequest) -> (Bytes, bool) {
    let mut payload = request.take_payload();
    let mut body = BytesMut::new();
    let deadline = tokio::time::Instant::now() + BODY_DEADLINE;
    let mut broken = None;
    let whole = loop {
        match tokio::time::timeout_at(deadline, payload.next()).await {
            Ok(None) => break true,
            Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
            Ok(Some(Err(error))) => {
                broken = Some(error);
                break false;
            }
            Err(_) => break false,
        }
        if body.len() > BODY_LIMIT {
            break false;
        }
    };
    let body = body.freeze();
    if whole {
        request.set_payload(Payload::from(body.clone()));
    } else {
        let begun = stream::iter(std::iter::once(Ok(body.clone())).chain(broken.map(Err)));
        request.set_payload(Payload::Stream { payload: Box::pin(begun.chain(payload)) });
    }
    (body, whole)
}

/// A verified and new delivery: passed on where that is wanted.
async fn pass(request: HttpRequest, verified: Verified<Bytes>, listener: web::Data<Listener>) -> HttpResponse {
    let delivery = verified.delivery().clone();
    let Some(forward) = &listener.forward else {
        request.extensions_mut().insert(Passed { delivery, forwarded: None });
        return HttpResponse::Ok().finish();
    };
    let headers: Vec<_> =
        headers_of(&request).into_iter().filter(|(name, _)| !NOT_FORWARDED.contains(&name.as_str())).collect();
    let (forwarded, response) = match forward.post(&headers, verified.raw().clone()).await {
        Ok(answer) => (Ok(answer.status), answer_as(&answer)),
        Err(error) => {
            let timed_out = matches!(error, http::Error::Timeout { .. });
            let status = if timed_out { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
            (Err(error.to_string()), HttpResponse::new(status))
        }
    };
    request.extensions_mut().insert(Passed { delivery, forwarded: Some(forwarded) });
    response
}

/// The forward's answer is the sender's; a redirect is not, since a sender would not follow it.
fn answer_as(answer: &http::Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).ok().filter(|status| !status.is_redirection());
    let mut response = HttpResponse::build(status.unwrap_or(StatusCode::BAD_GATEWAY));
    if let Some(seconds) = &answer.retry_after {
        response.insert_header(("retry-after", seconds.as_str()));
    }
    response.finish()
}

async fn unready() -> HttpResponse {
    HttpResponse::ServiceUnavailable().insert_header(("retry-after", "30")).body("nothing is verified here\n")
}

impl Listener {
    fn capture(&self, captures: &Captures, request: &Request<'_>) -> Option<std::path::PathBuf> {
        match captures.write(request, moment::now()) {
            Ok(Capture::Last(path)) => {
                self.reporter.note("the limit of captured requests is reached; no further ones are written");
                Some(path)
            }
            Ok(Capture::No) => None,
            Ok(Capture::Written(path)) => Some(path),
            Err(error) => {
                self.reporter.note(&format!("a request could not be captured: {error}"));
                None
            }
        }
    }
}

fn headers_of(request: &HttpRequest) -> Vec<(String, Vec<u8>)> {
    let lines = request.headers().iter();
    lines.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
