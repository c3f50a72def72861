//! Between rows and what they stand for.

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Error, Row};

use crate::dedupe::Fingerprint;
use crate::ids::{DeliveryId, EventType, InvalidId, KeyId, Source, TenantId};
use crate::inbox::row::{read_headers, state};
use crate::inbox::{Entry, Lease, Leased, State};
use crate::time::Timestamp;
use crate::verify::{Authenticated, StoredDelivery};

/// The columns that [`entry`] reads.
pub(super) const ENTRY: &str = "number, state, due_at, attempts, entity, finished_at, received_at, source, tenant, \
     delivery_id, event_type, last_error";

/// The columns that [`delivery`] reads behind those of [`ENTRY`].
pub(super) const DELIVERY: &str = "fingerprint, signed_at, key_id, authenticated, content_digest, headers, body";

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let state = state(row.get(1)?);
    let due = matches!(state, State::Pending | State::Running);
    Ok(Entry {
        number: row.get(0)?,
        state,
        due_at: due.then(|| time(row, 2)).transpose()?,
        attempts: row.get(3)?,
        entity: row.get(4)?,
        finished_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
        received_at: time(row, 6)?,
        source: id(row, 7, Source::new)?,
        tenant: optional_id(row, 8, TenantId::new)?,
        delivery_id: optional_id(row, 9, DeliveryId::new)?,
        event_type: optional_id(row, 10, EventType::new)?,
        last_error: row.get(11)?,
    })
}

pub(super) fn delivery(row: &Row<'_>, entry: &Entry) -> rusqlite::Result<StoredDelivery> {
    Ok(StoredDelivery {
        source: entry.source.clone(),
        tenant: entry.tenant.clone(),
        id: entry.delivery_id.clone(),
        event_type: entry.event_type.clone(),
        received_at: entry.received_at,
        timestamp: row.get::<_, Option<i64>>(13)?.map(Timestamp::from_millis),
        key_id: id(row, 14, KeyId::new)?,
        authenticated: Authenticated::from_bits(row.get(15)?),
        content_digest: row.get(16)?,
        headers: read_headers(&row.get::<_, String>(17)?).ok_or_else(|| malformed(17, "headers"))?,
        raw: Bytes::from(row.get::<_, Vec<u8>>(18)?),
    })
}

pub(super) fn leased(row: &Row<'_>, lease: Lease) -> rusqlite::Result<Leased> {
    let entry = entry(row)?;
    let fingerprint = Fingerprint::from_u128(u128::from_le_bytes(row.get(12)?));
    Ok(Leased { lease, fingerprint, delivery: delivery(row, &entry)? })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

fn id<T>(row: &Row<'_>, column: usize, new: fn(&str) -> Result<T, InvalidId>) -> rusqlite::Result<T> {
    new(&row.get::<_, String>(column)?).map_err(|error| malformed(column, error))
}

fn optional_id<T>(row: &Row<'_>, column: usize, new: fn(&str) -> Result<T, InvalidId>) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| new(&text).map_err(|error| malformed(column, error))).transpose()
}

fn malformed(column: usize, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(column, Type::Text, error.into())
}
