//! What operators ask.

use rusqlite::{Connection, OptionalExtension, params};

use super::rows::{DELIVERY, ENTRY, delivery, entry};
use crate::inbox::row::number_of;
use crate::inbox::{Entry, Query, State, Stats};
use crate::time::Timestamp;
use crate::verify::StoredDelivery;

pub(super) fn list(connection: &Connection, query: &Query) -> rusqlite::Result<Vec<Entry>> {
    // The number of the state stands in the text so that the indexes of single states can be used.
    let mut condition = query.state.map_or_else(String::new, |state| format!("AND state = {}", number_of(state)));
    if query.entity.is_some() && matches!(query.state, Some(State::Pending | State::Running | State::Waiting)) {
        // In the words of the index of entities, which SQLite would not take otherwise.
        condition.push_str(" AND entity IS NOT NULL AND state < 3 AND entity = ?9");
    }
    let order = if query.before.is_some() { "DESC" } else { "ASC" };
    // Of these there are few: they are found by their own index, and put in order afterwards.
    let number = if matches!(query.state, Some(State::Dead | State::Running)) { "+number" } else { "number" };
    let text = format!(
        "SELECT {ENTRY} FROM countersign_inbox WHERE {number} > ?1 AND {number} < ?2 {condition} \
         AND (?3 IS NULL OR source = ?3) AND (?4 IS NULL OR event_type = ?4) AND (?5 IS NULL OR delivery_id = ?5) \
         AND (?6 IS NULL OR finished_at <= ?6) AND (?8 IS NULL OR tenant = ?8) AND (?9 IS NULL OR entity = ?9) \
         ORDER BY {number} {order} LIMIT ?7"
    );
    let mut rows = connection.prepare(&text)?;
    let values = params![
        query.after,
        query.before.unwrap_or(i64::MAX),
        query.source.as_ref().map(AsRef::<str>::as_ref),
        query.event_type.as_ref().map(AsRef::<str>::as_ref),
        query.delivery_id.as_ref().map(AsRef::<str>::as_ref),
        query.finished_until.map(Timestamp::as_millis),
        i64::try_from(query.limit).unwrap_or(i64::MAX),
        query.tenant.as_ref().map(AsRef::<str>::as_ref),
        query.entity,
    ];
    rows.query_map(values, entry)?.collect()
}

pub(super) fn show(connection: &Connection, number: i64) -> rusqlite::Result<Option<(Entry, StoredDelivery)>> {
    let mut row = connection.prepare(&format!(
        "SELECT {ENTRY}, {DELIVERY} FROM countersign_inbox JOIN countersign_inbox_payload USING (number) \
         WHERE number = ?1"
    ))?;
    let found = row.query_row([number], |row| {
        let entry = entry(row)?;
        let delivery = delivery(row, &entry)?;
        Ok((entry, delivery))
    });
    found.optional()
}

/// The numbers of all the dead, in their order, out of the index that holds little else.
pub(super) fn dead(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut rows = connection.prepare("SELECT number FROM countersign_inbox WHERE state = 4 ORDER BY +number")?;
    rows.query_map([], |row| row.get(0))?.collect()
}

/// Each number is counted in an index that holds little else. The plus keeps SQLite from looking for the least number by
/// walking over all that is done.
pub(super) fn stats(connection: &Connection) -> rusqlite::Result<Stats> {
    let count = |condition: &str| {
        let text = format!("SELECT count(*) FROM countersign_inbox WHERE {condition}");
        connection.query_row(&text, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
    };
    let oldest = connection.query_row(
        "SELECT received_at FROM countersign_inbox \
         WHERE number IN (SELECT min(+number) FROM countersign_inbox WHERE state = 0 \
                          UNION ALL SELECT min(+number) FROM countersign_inbox WHERE state = 1 \
                          UNION ALL SELECT min(+number) FROM countersign_inbox \
                          WHERE entity IS NOT NULL AND state < 3 AND state = 2) \
         ORDER BY number LIMIT 1",
        [],
        |row| row.get(0),
    );
    Ok(Stats {
        pending: count("state = 0")?,
        running: count("state = 1")?,
        waiting: count("entity IS NOT NULL AND state < 3 AND state = 2")?,
        done: count("state = 3")?,
        dead: count("state = 4")?,
        oldest: oldest.optional()?.map(Timestamp::from_millis),
    })
}
