//! From an actix request to a verified delivery: what the service and the middleware share.

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use bytes::Bytes;

use crate::actix::body;
use crate::actix::head::{Fields, Params};
use crate::receiver::{Disposition, Held, Receiver};
use crate::request::RequestHead;
use crate::time::Timestamp;
use crate::verify::Verified;

/// A verified delivery, and its share of the bytes in flight for as long as somebody works on it.
pub(super) struct Intake {
    pub(super) verified: Verified<Bytes>,
    pub(super) now: Timestamp,
    pub(super) _held: Held,
}

/// Reads and verifies a request. Where it fails before the end of the body, the rest is still in `payload`.
pub(super) async fn take_in<H, S>(
    receiver: &Receiver<H, S>,
    request: &HttpRequest,
    payload: &mut Payload,
) -> Result<Intake, Disposition> {
    receiver.admit()?;
    if request.method() != Method::POST {
        return Err(Disposition::MethodNotAllowed);
    }
    let headers = request.headers();
    let limits = &receiver.settings().limits;
    if is_encoded(headers) {
        return Err(Disposition::Encoded);
    }
    if announced_length(headers).is_some_and(|length| length > limits.body as u64) {
        return Err(Disposition::TooLarge);
    }
    let now = receiver.now();
    let mut verifying = {
        let fields = Fields(headers);
        let params = Params(request);
        let head = RequestHead::new(&fields).with_params(&params);
        receiver.verifier().begin(&head, now).map_err(Disposition::Rejected)?
    };
    let mut held = receiver.budget().share();
    let body = body::read(payload, limits, &mut held, |chunk| verifying.update(chunk)).await?;
    let verified = verifying.finish(body).map_err(Disposition::Rejected)?;
    Ok(Intake { verified, now, _held: held })
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
