//! Verified and new deliveries only, for routes of the user's own.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_web::HttpMessage;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use futures_util::future::LocalBoxFuture;
use tokio::time::Instant;

use crate::actix::extractor::{Seat, Slot};
use crate::actix::intake::take_in;
use crate::actix::respond::{respond, respond_unread};
use crate::dedupe::DedupeStore;
use crate::dispatch::{Ran, run};
use crate::meter::{self, Stopwatch};
use crate::receiver::{Disposition, Receiver, Record};

/// The middleware; made by [`Receiver::middleware`].
pub struct Middleware<H, S> {
    receiver: Receiver<H, S>,
}

/// The service that [`Middleware`] makes.
pub struct MiddlewareService<H, S, I> {
    receiver: Receiver<H, S>,
    inner: Rc<I>,
}

impl<H, S> Middleware<H, S> {
    pub(super) fn new(receiver: Receiver<H, S>) -> Self {
        Self { receiver }
    }
}

impl<H, S, I, B> Transform<I, ServiceRequest> for Middleware<H, S>
where
    H: 'static,
    S: DedupeStore,
    I: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = MiddlewareService<H, S, I>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: I) -> Self::Future {
        ready(Ok(MiddlewareService { receiver: self.receiver.clone(), inner: Rc::new(inner) }))
    }
}

impl<H, S, I, B> Service<ServiceRequest> for MiddlewareService<H, S, I>
where
    H: 'static,
    S: DedupeStore,
    I: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_web::dev::forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let receiver = self.receiver.clone();
        let inner = Rc::clone(&self.inner);
        Box::pin(guard(receiver, inner, request))
    }
}

/// Verifies, claims, calls the route, and settles by its answer.
async fn guard<H, S, I, B>(
    receiver: Receiver<H, S>,
    inner: Rc<I>,
    request: ServiceRequest,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error>
where
    S: DedupeStore,
    I: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    let record = Record::begin();
    let (request, mut payload) = request.into_parts();
    let intake = match take_in(&receiver, &request, &mut payload).await {
        Ok(intake) => intake,
        Err(disposition) => {
            let answer = receiver.end(record, &disposition);
            let response = respond_unread(&answer, disposition, payload);
            return Ok(ServiceResponse::new(request, response).map_into_right_body());
        }
    };
    record.verified(intake.verified.delivery());
    let claim = match record.in_span(receiver.claim(&intake.verified, intake.now)).await {
        Ok(claim) => claim,
        Err(disposition) => {
            let answer = receiver.end(record, &disposition);
            let response = respond(&answer, disposition);
            return Ok(ServiceResponse::new(request, response).map_into_right_body());
        }
    };
    let started = Instant::now();
    let body = intake.verified.raw().clone();
    let seat = Rc::new(Seat::default());
    request.extensions_mut().insert(Slot::new(intake.verified, receiver.settings(), &seat));
    // Nothing here may hold the request from now on: see `Seat`.
    let routed = ServiceRequest::from_parts(request, Payload::from(body));
    let watch = Stopwatch::start();
    let route = pin!(async { inner.call(routed).await });
    let deadline = receiver.settings().deadline(started);
    let ran = record.in_span(run(route, deadline)).await;
    let disposition = match &ran {
        Ran::Ended(Ok(response)) => judge(response.status(), &seat, receiver.pause()),
        Ran::Ended(Err(error)) => judge(status_of(error), &seat, receiver.pause()),
        Ran::Panicked => Disposition::Panicked,
        Ran::TimedOut => Disposition::TimedOut,
    };
    meter::handled(receiver.verifier().scheme().name().as_str(), "inline", disposition.outcome(), watch);
    let now = intake.now.saturating_add(started.elapsed());
    record.in_span(receiver.settle(claim, &disposition, now)).await;
    match ran {
        Ran::Ended(response) => {
            let status = response.as_ref().map_or_else(status_of, ServiceResponse::status);
            receiver.end_as(record, &disposition, status.as_u16());
            let mut response = response?.map_into_left_body();
            response.response_mut().extensions_mut().insert(disposition);
            Ok(response)
        }
        Ran::Panicked | Ran::TimedOut => {
            let answer = receiver.end(record, &disposition);
            let response = respond(&answer, disposition);
            match seat.request() {
                Some(request) => Ok(ServiceResponse::new(request, response).map_into_right_body()),
                None => Err(InternalError::from_response("the route did not answer", response).into()),
            }
        }
    }
}

fn status_of(error: &actix_web::Error) -> StatusCode {
    error.as_response_error().status_code()
}

/// What became of a delivery whose route answered with `status`: what the extractor says, if that is its answer.
fn judge(status: StatusCode, seat: &Seat, pause: Duration) -> Disposition {
    let refusal = seat.take_refusal();
    match refusal.filter(|refusal| refusal.answer(pause).status() == status.as_u16()) {
        Some(refusal) => refusal,
        None if status.is_success() => Disposition::Handled,
        None => Disposition::Released,
    }
}

impl<H, S> fmt::Debug for Middleware<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Middleware").field("receiver", &self.receiver).finish()
    }
}

impl<H, S, I> fmt::Debug for MiddlewareService<H, S, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MiddlewareService").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}
