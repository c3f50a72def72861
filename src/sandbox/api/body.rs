//! Reading a request's body, bounded in size and time.

use std::pin::pin;
use std::time::Duration;

use actix_web::HttpMessage as _;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header;
use actix_web::web::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::sandbox::api::ApiError;

/// How long a body may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a body that is too long is read and dropped, so that the client reads the answer instead of a reset.
const DRAINED: usize = 8 * 1024 * 1024;

/// The body, if it is no longer than `most` bytes.
pub(super) async fn read(request: &mut ServiceRequest, most: usize) -> Result<Bytes, ApiError> {
    let encoding = request.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::Invalid("A body with a Content-Encoding is not read.".to_owned()));
    }
    let told = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let drained = most.saturating_add(DRAINED);
    if told.is_some_and(|length: usize| length > drained) {
        return Err(too_long(most));
    }
    let payload = request.take_payload();
    tokio::time::timeout(TIMEOUT, gather(payload, most, drained)).await.map_err(|_| ApiError::Slow)?
}

async fn gather(payload: Payload, most: usize, drained: usize) -> Result<Bytes, ApiError> {
    let mut payload = pin!(payload);
    let mut body = BytesMut::new();
    let mut length = 0_usize;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| ApiError::Invalid("The body ended early or is malformed.".to_owned()))?;
        length = length.saturating_add(chunk.len());
        if length > drained {
            break;
        }
        if length <= most {
            body.extend_from_slice(&chunk);
        }
    }
    if length > most { Err(too_long(most)) } else { Ok(body.freeze()) }
}

fn too_long(most: usize) -> ApiError {
    ApiError::Invalid(format!("The body is longer than {most} bytes."))
}
