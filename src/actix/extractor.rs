//! The event as an argument of a route behind the middleware.

use std::fmt;
use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, dev};
use bytes::Bytes;

use crate::actix::respond::plain;
use crate::event::WebhookEvent;
use crate::receiver::{self, Disposition, OnUndecodable, Settings, open};
use crate::verify::Verified;

/// What the middleware leaves in the request for the extractor.
pub(super) struct Slot {
    verified: Verified<Bytes>,
    on_undecodable: OnUndecodable,
    pause: Duration,
}

impl Slot {
    pub(super) fn new(verified: Verified<Bytes>, settings: &Settings) -> Self {
        Self {
            verified,
            on_undecodable: settings.on_undecodable,
            pause: settings.retry_after,
        }
    }
}

/// The decoded event; behind [`Receiver::middleware`](crate::Receiver::middleware) only.
impl<E: WebhookEvent> FromRequest for Verified<E> {
    type Error = ExtractError;
    type Future = Ready<Result<Self, ExtractError>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        ready(extract(request, decode))
    }
}

/// The signed bytes; behind [`Receiver::middleware`](crate::Receiver::middleware) only.
impl FromRequest for Verified<Bytes> {
    type Error = ExtractError;
    type Future = Ready<Result<Self, ExtractError>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        ready(extract(request, |slot| Ok(slot.verified.clone())))
    }
}

fn extract<T>(
    request: &HttpRequest,
    take: impl FnOnce(&Slot) -> Result<Verified<T>, Disposition>,
) -> Result<Verified<T>, ExtractError> {
    let extensions = request.extensions();
    let Some(slot) = extensions.get::<Slot>() else {
        tracing::error!(
            path = request.match_pattern(),
            "`Verified<_>` needs the receiver's middleware: wrap this route with `receiver.middleware()`"
        );
        return Err(ExtractError(Cause::NoMiddleware));
    };
    take(slot).map_err(|disposition| {
        ExtractError(Cause::Refused {
            disposition,
            pause: slot.pause,
        })
    })
}

fn decode<E: WebhookEvent>(slot: &Slot) -> Result<Verified<E>, Disposition> {
    let raw = slot.verified.raw();
    let opened = open::<E>(raw, slot.verified.delivery())?;
    let event = receiver::decode::<E>(&opened, slot.on_undecodable)?.ok_or(Disposition::Unhandled)?;
    Ok(slot.verified.clone().decoded(opened.event_type, event))
}

/// Why a route did not get its event. As a response it is what the status table says.
#[derive(Debug)]
pub struct ExtractError(Cause);

#[derive(Debug)]
enum Cause {
    NoMiddleware,
    Refused { disposition: Disposition, pause: Duration },
}

impl ExtractError {
    /// Why, as one word: `no_middleware`, or what became of the delivery.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Cause::NoMiddleware => "no_middleware",
            Cause::Refused { disposition, .. } => disposition.outcome(),
        }
    }
}

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::NoMiddleware => f.write_str("the route is not behind the receiver's middleware"),
            Cause::Refused { .. } => write!(f, "the delivery cannot be handed to the route: {}", self.kind()),
        }
    }
}

impl std::error::Error for ExtractError {}

impl ResponseError for ExtractError {
    fn status_code(&self) -> StatusCode {
        self.error_response().status()
    }

    fn error_response(&self) -> HttpResponse {
        match &self.0 {
            Cause::NoMiddleware => plain(&Disposition::Released.answer(Duration::ZERO)),
            Cause::Refused { disposition, pause } => plain(&disposition.answer(*pause)),
        }
    }
}
