//! Answers as actix responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use bytes::Bytes;

use crate::receiver::{Answer, Disposition};

/// The response for `answer`. What happened goes with it in the response's extensions, for the program's own
/// middleware; none of it is sent.
pub(super) fn respond(answer: &Answer, disposition: Disposition) -> HttpResponse {
    let mut response = plain(answer);
    response.extensions_mut().insert(disposition);
    response
}

/// The response for `answer` and nothing else.
pub(super) fn plain(answer: &Answer) -> HttpResponse {
    match answer.body() {
        "" => bare(answer),
        text => bare(answer).set_body(Bytes::from_static(text.as_bytes())).map_into_boxed_body(),
    }
}

/// The same for a request whose body was not read to its end: the connection is closed after the answer.
///
/// actix-http would go on reading a chunked body that nobody wants, for as long as the client likes to send it. It
/// closes the connection instead while the payload is alive, so the response keeps it alive.
pub(super) fn respond_unread(answer: &Answer, disposition: Disposition, rest: Payload) -> HttpResponse {
    let mut response = bare(answer);
    response.extensions_mut().insert(disposition);
    close_after(response, answer.body(), rest)
}

/// `response` with this text, after which the connection is closed.
pub(super) fn close_after(mut response: HttpResponse, text: &'static str, rest: Payload) -> HttpResponse {
    response.head_mut().set_connection_type(actix_http::ConnectionType::Close);
    let text = Bytes::from_static(text.as_bytes());
    response.set_body(Unread { text: Some(text), _rest: rest }).map_into_boxed_body()
}

fn bare(answer: &Answer) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::new(status);
    let headers = response.headers_mut();
    if let Some(seconds) = answer.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    if !answer.body().is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    }
    response
}

/// The text of an answer, and what is left of the request.
struct Unread {
    text: Option<Bytes>,
    _rest: Payload,
}

impl MessageBody for Unread {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.text.as_ref().map_or(0, |text| text.len() as u64))
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(self.get_mut().text.take().map(Ok))
    }
}
