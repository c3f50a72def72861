//! The event as an argument of a route behind the middleware.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::future::{Ready, ready};
use std::rc::{Rc, Weak};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError, dev};
use bytes::Bytes;

use crate::actix::respond::plain;
use crate::event::WebhookEvent;
use crate::receiver::{self, Answer, Disposition, OnUndecodable, Settings, open};
use crate::verify::Verified;

/// What the middleware leaves in the request for the extractor.
pub(super) struct Slot {
    verified: Verified<Bytes>,
    on_undecodable: OnUndecodable,
    pause: Duration,
    seat: Weak<Seat>,
}

/// What the extractor leaves for the middleware.
///
/// The middleware must not keep the request while it is routed: actix-web's scopes want it for themselves then. The
/// extractor runs when that is over. The request does not own the seat, which would own the request.
#[derive(Default)]
pub(super) struct Seat {
    request: OnceCell<HttpRequest>,
    refusal: Cell<Option<Disposition>>,
}

impl Slot {
    pub(super) fn new(verified: Verified<Bytes>, settings: &Settings, seat: &Rc<Seat>) -> Self {
        Self {
            verified,
            on_undecodable: settings.on_undecodable,
            pause: settings.retry_after,
            seat: Rc::downgrade(seat),
        }
    }
}

impl Seat {
    /// The request, when a route has asked for its event.
    pub(super) fn request(&self) -> Option<HttpRequest> {
        self.request.get().cloned()
    }

    /// Why a route did not get its event.
    pub(super) fn take_refusal(&self) -> Option<Disposition> {
        self.refusal.take()
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
        return Err(ExtractError { kind: "no_middleware", answer: Disposition::Released.answer(Duration::ZERO) });
    };
    let seat = slot.seat.upgrade();
    if let Some(seat) = &seat {
        seat.request.get_or_init(|| request.clone());
    }
    take(slot).map_err(|disposition| {
        let error = ExtractError { kind: disposition.outcome(), answer: disposition.answer(slot.pause) };
        seat.inspect(|seat| seat.refusal.set(Some(disposition)));
        error
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
pub struct ExtractError {
    kind: &'static str,
    answer: Answer,
}

impl ExtractError {
    /// Why, as one word: `no_middleware`, or what became of the delivery.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.kind
    }
}

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the delivery cannot be handed to the route: {}", self.kind)
    }
}

impl std::error::Error for ExtractError {}

impl ResponseError for ExtractError {
    fn status_code(&self) -> StatusCode {
        self.error_response().status()
    }

    fn error_response(&self) -> HttpResponse {
        plain(&self.answer)
    }
}
