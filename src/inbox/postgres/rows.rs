//! Between rows and what they stand for.

use std::error::Error;

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::dedupe::Fingerprint;
use crate::ids::{DeliveryId, EventType, InvalidId, KeyId, Source, TenantId};
use crate::inbox::row::{read_headers, state};
use crate::inbox::{Entry, InboxError, Lease, Leased, State};
use crate::time::Timestamp;
use crate::verify::{Authenticated, StoredDelivery};

/// The columns that [`entry`] reads, of `held` and `delivery`.
pub(super) const ENTRY: &str = "held.number, held.state, held.due_at, held.attempts, held.finished_at, \
    held.last_error, delivery.entity";

/// The columns that [`delivery`] reads.
pub(super) const DELIVERY: &str = "delivery.fingerprint, delivery.received_at, delivery.signed_at, delivery.source, \
    delivery.tenant, delivery.delivery_id, delivery.event_type, delivery.key_id, delivery.authenticated, \
    delivery.content_digest, delivery.headers, delivery.body";

/// The columns of [`DELIVERY`] that an entry has as well.
pub(super) const NAMES: &str = "delivery.received_at, delivery.source, delivery.tenant, delivery.delivery_id, \
    delivery.event_type";

pub(super) fn read<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, InboxError> {
    row.try_get(column).map_err(InboxError::unavailable)
}

pub(super) fn entry(row: &Row) -> Result<Entry, InboxError> {
    let state = state_of(row, "state")?;
    let due = matches!(state, State::Pending | State::Running);
    Ok(Entry {
        number: read(row, "number")?,
        state,
        due_at: due.then(|| time(row, "due_at")).transpose()?,
        attempts: count(row, "attempts")?,
        entity: read(row, "entity")?,
        finished_at: optional_time(row, "finished_at")?,
        received_at: time(row, "received_at")?,
        source: id(row, "source", Source::new)?,
        tenant: optional_id(row, "tenant", TenantId::new)?,
        delivery_id: optional_id(row, "delivery_id", DeliveryId::new)?,
        event_type: optional_id(row, "event_type", EventType::new)?,
        last_error: read(row, "last_error")?,
    })
}

pub(super) fn delivery(row: &Row) -> Result<StoredDelivery, InboxError> {
    let bits: i16 = read(row, "authenticated")?;
    let digest: Option<&[u8]> = read(row, "content_digest")?;
    let digest = digest.map(|digest| digest.try_into().map_err(|error| malformed("content_digest", error)));
    Ok(StoredDelivery {
        source: id(row, "source", Source::new)?,
        tenant: optional_id(row, "tenant", TenantId::new)?,
        id: optional_id(row, "delivery_id", DeliveryId::new)?,
        event_type: optional_id(row, "event_type", EventType::new)?,
        received_at: time(row, "received_at")?,
        timestamp: optional_time(row, "signed_at")?,
        key_id: id(row, "key_id", KeyId::new)?,
        authenticated: Authenticated::from_bits(u8::try_from(bits).map_err(|error| malformed("authenticated", error))?),
        content_digest: digest.transpose()?,
        headers: read_headers(read(row, "headers")?).ok_or_else(|| malformed("headers", "not what was written"))?,
        raw: Bytes::from(read::<Vec<u8>>(row, "body")?),
    })
}

pub(super) fn leased(row: &Row, lease: Lease) -> Result<Leased, InboxError> {
    Ok(Leased { lease, fingerprint: fingerprint(row)?, delivery: delivery(row)? })
}

pub(super) fn fingerprint(row: &Row) -> Result<Fingerprint, InboxError> {
    let bytes: &[u8] = read(row, "fingerprint")?;
    let bytes = bytes.try_into().map_err(|error| malformed("fingerprint", error))?;
    Ok(Fingerprint::from_u128(u128::from_be_bytes(bytes)))
}

pub(super) fn state_of(row: &Row, column: &str) -> Result<State, InboxError> {
    let number: i16 = read(row, column)?;
    Ok(state(u8::try_from(number).map_err(|error| malformed("state", error))?))
}

pub(super) fn count(row: &Row, column: &str) -> Result<u32, InboxError> {
    let number: i32 = read(row, column)?;
    Ok(u32::try_from(number).unwrap_or(0))
}

pub(super) fn optional_time(row: &Row, column: &str) -> Result<Option<Timestamp>, InboxError> {
    Ok(read::<Option<i64>>(row, column)?.map(Timestamp::from_millis))
}

fn time(row: &Row, column: &str) -> Result<Timestamp, InboxError> {
    read(row, column).map(Timestamp::from_millis)
}

fn id<T>(row: &Row, column: &str, new: fn(&str) -> Result<T, InvalidId>) -> Result<T, InboxError> {
    new(read(row, column)?).map_err(|error| malformed(column, error))
}

fn optional_id<T>(row: &Row, column: &str, new: fn(&str) -> Result<T, InvalidId>) -> Result<Option<T>, InboxError> {
    let text: Option<&str> = read(row, column)?;
    text.map(|text| new(text).map_err(|error| malformed(column, error))).transpose()
}

/// Names the column and not what is in it.
fn malformed(column: &str, error: impl Into<Box<dyn Error + Send + Sync>>) -> InboxError {
    InboxError::unavailable(format!("the column `{column}` holds what no inbox has written: {}", error.into()))
}
