//! Answers, laid out byte for byte as the samples of the API reference are.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;
use serde::ser::{Error as _, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::sandbox::api::ApiError;
use crate::sandbox::api::types::Stats;

/// `value` as the body of an answer: two spaces a level, members in the order of the type.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec_pretty(value).map_err(|error| ApiError::internal(&error))?;
    Ok(HttpResponse::build(status).insert_header(mime()).body(body))
}

/// The same with 200.
pub(super) fn ok(value: &impl Serialize) -> Result<HttpResponse, ApiError> {
    json(StatusCode::OK, value)
}

pub(super) fn mime() -> (&'static str, &'static str) {
    ("content-type", "application/json")
}

/// Statistics in lists stand on one line in the samples.
pub(super) fn one_line<S: Serializer>(stats: &Stats, serializer: S) -> Result<S::Ok, S::Error> {
    let Stats { total_deliveries, successful_deliveries, failed_deliveries } = stats;
    let line = format!(
        "{{ \"total_deliveries\": {total_deliveries}, \"successful_deliveries\": {successful_deliveries}, \
         \"failed_deliveries\": {failed_deliveries} }}"
    );
    RawValue::from_string(line).map_err(S::Error::custom)?.serialize(serializer)
}

/// A moment (microseconds since the Unix epoch) as in lists and logs: `2026-01-19T10:30:00.000Z`.
pub(super) fn in_millis<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let at = jiff::Timestamp::from_microsecond(*at).map_err(S::Error::custom)?;
    serializer.collect_str(&format_args!("{at:.3}"))
}

/// The same where it may be missing.
pub(super) fn maybe_in_millis<S: Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => in_millis(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// A moment as in the details of one subscription: `2026-01-19T10:30:00.123456+00:00`.
pub(super) fn in_micros<S: Serializer>(at: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let at = jiff::Timestamp::from_microsecond(*at).map_err(S::Error::custom)?;
    let text = format!("{at:.6}");
    serializer.collect_str(&format_args!("{}+00:00", text.trim_end_matches('Z')))
}

/// The same where it may be missing.
pub(super) fn maybe_in_micros<S: Serializer>(at: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => in_micros(at, serializer),
        None => serializer.serialize_none(),
    }
}

/// An id, as its text.
pub(super) fn as_text<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
