//! What the writing thread does, each within the transaction that it is handed.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::keys::{self, Keys};
use super::retention::recorded;
use super::rows::{DELIVERY, ENTRY, leased};
use crate::dedupe::{ClaimKey, Settled};
use crate::inbox::row::{DEAD, DONE, PENDING, RUNNING, WAITING, last_words, malformed_words, state};
use crate::inbox::{Accepted, Batch, Incoming, Lease, Wanted};
use crate::time::Timestamp;

/// How a lease is settled.
pub(super) enum Settle {
    Complete,
    Dead { error: String },
    Release,
    Retry { due: Timestamp, error: String },
}

/// Writes what is there already: as much of an accept as fails when the disk does.
pub(super) fn ping(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE countersign_inbox_schema SET version = version")?.execute([]).map(drop)
}

pub(super) fn accept(
    tx: &Transaction<'_>,
    keys: &mut Keys,
    incoming: &Incoming,
    headers: &str,
    retention: Duration,
    now: Timestamp,
) -> rusqlite::Result<Accepted> {
    let fingerprint = incoming.fingerprint.as_u128().to_le_bytes();
    let known = keys.find(tx, &incoming.key, |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, u8>(1)?, row.get::<_, [u8; 16]>(2)?, row.get::<_, Option<i64>>(3)?))
    });
    if let Some((number, known_state, known_fingerprint, finished_at)) = known? {
        let ended = finished_at.filter(|_| known_state == DONE).map(Timestamp::from_millis);
        let over = |retention| ended.is_some_and(|at: Timestamp| at.saturating_add(retention) <= now);
        // Another process may have promised to remember for longer.
        if !over(retention) || !over(recorded(tx)?) {
            let same = known_fingerprint == fingerprint;
            return Ok(if same { Accepted::Duplicate(state(known_state)) } else { Accepted::Conflict });
        }
        forget(tx, number)?;
    }
    let number = insert(tx, incoming, headers, fingerprint, now)?;
    keys.add(tx, &incoming.key, number)?;
    Ok(Accepted::New)
}

fn insert(
    tx: &Transaction<'_>,
    incoming: &Incoming,
    headers: &str,
    fingerprint: [u8; 16],
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let delivery = &incoming.delivery;
    let busy = match &incoming.entity {
        Some(entity) => is_busy(tx, entity)?,
        None => false,
    };
    let mut row = tx.prepare_cached(
        "INSERT INTO countersign_inbox (claim, fingerprint, state, due_at, entity, received_at, signed_at, source, \
         tenant, delivery_id, event_type, key_id, authenticated, content_digest) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    let number = row.insert(params![
        incoming.key.as_bytes(),
        fingerprint,
        if busy { WAITING } else { PENDING },
        now.as_millis(),
        incoming.entity,
        delivery.received_at.as_millis(),
        delivery.timestamp.map(Timestamp::as_millis),
        delivery.source.as_str(),
        delivery.tenant.as_ref().map(AsRef::<str>::as_ref),
        delivery.id.as_ref().map(AsRef::<str>::as_ref),
        delivery.event_type.as_ref().map(AsRef::<str>::as_ref),
        delivery.key_id.as_str(),
        delivery.authenticated.bits(),
        delivery.content_digest,
    ])?;
    let mut payload =
        tx.prepare_cached("INSERT INTO countersign_inbox_payload (number, headers, body) VALUES (?1, ?2, ?3)")?;
    payload.execute(params![number, headers, &delivery.raw[..]])?;
    Ok(number)
}

/// Leases what is due under `tokens`, of which there is one for each that is wanted.
pub(super) fn claim(tx: &Transaction<'_>, wanted: Wanted, tokens: &[u128], now: Timestamp) -> rusqlite::Result<Batch> {
    let mut batch = Batch::default();
    let mut tokens = tokens.iter();
    let suspicious = wanted.silent_before_suspect();
    // One that is suspected of killing its process runs beside no other suspect, or all of them would go down with it.
    let mut alone = tx.prepare_cached(
        "SELECT NOT EXISTS (SELECT 1 FROM countersign_inbox WHERE state = 1 AND due_at > ?1 AND silent >= ?2)",
    )?;
    if alone.query_row(params![now.as_millis(), suspicious], |row| row.get(0))? {
        lease_due(tx, "state = 1 AND silent + 1 >= ?3", 1, wanted, &mut tokens, &mut batch, now)?;
    }
    lease_due(tx, "state = 1 AND silent + 1 < ?3", wanted.limit, wanted, &mut tokens, &mut batch, now)?;
    lease_due(tx, "state = 0 AND ?3 > 0", wanted.limit, wanted, &mut tokens, &mut batch, now)?;
    let mut next = tx.prepare_cached(
        "SELECT min(due_at) FROM (SELECT min(due_at) AS due_at FROM countersign_inbox WHERE state = 0 AND due_at > ?1 \
         UNION ALL SELECT min(due_at) FROM countersign_inbox WHERE state = 1 AND due_at > ?1)",
    )?;
    let next = next.query_row([now.as_millis()], |row| row.get::<_, Option<i64>>(0))?;
    batch.next_due = next.map(Timestamp::from_millis);
    Ok(batch)
}

/// Leases up to `limit` of what is due and fits `condition`; what has used up its attempts is buried on the way.
fn lease_due(
    tx: &Transaction<'_>,
    condition: &str,
    limit: usize,
    wanted: Wanted,
    tokens: &mut std::slice::Iter<'_, u128>,
    batch: &mut Batch,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut due = tx.prepare_cached(&format!(
        "SELECT number, attempts, entity, last_error, state FROM countersign_inbox \
         WHERE {condition} AND due_at <= ?1 ORDER BY due_at, number LIMIT ?2",
    ))?;
    let mut lease = tx.prepare_cached(
        "UPDATE countersign_inbox SET state = 1, token = ?2, due_at = ?3, attempts = ?4, silent = silent + ?5 \
         WHERE number = ?1",
    )?;
    let mut read = tx.prepare_cached(&format!(
        "SELECT {ENTRY}, {DELIVERY} FROM countersign_inbox JOIN countersign_inbox_payload USING (number) \
         WHERE number = ?1"
    ))?;
    let until = wanted.until(now).as_millis();
    let mut left = limit.min(tokens.len());
    // The buried make way for others, so it may take more than one look. With too many of them it is another claim's: all
    // accepts wait for this one.
    while left > 0 && batch.buried < Batch::MOST_BURIED {
        let looked = params![now.as_millis(), left as i64, wanted.silent_before_suspect()];
        let found = due.query_map(looked, |row| {
            let running = row.get::<_, u8>(4)? == RUNNING;
            Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get(2)?, row.get::<_, Option<String>>(3)?, running))
        })?;
        let found = found.collect::<rusqlite::Result<Vec<_>>>()?;
        if found.is_empty() {
            break;
        }
        for (number, attempts, entity, last_error, running) in found {
            if batch.buried >= Batch::MOST_BURIED {
                break;
            }
            if attempts >= wanted.max_attempts {
                let error = last_words(running, attempts, wanted.max_attempts, last_error);
                bury(tx, number, entity, &error, now)?;
                batch.buried += 1;
            } else if let Some(token) = tokens.next() {
                left -= 1;
                let attempt = attempts.saturating_add(1);
                lease.execute(params![number, token.to_le_bytes(), until, attempt, running])?;
                let lease = Lease { number, token: *token, attempt };
                match read.query_row([number], |row| leased(row, lease)) {
                    Ok(leased) => batch.leased.push(leased),
                    // No inbox has written that. It must not keep everything else from being worked on.
                    Err(error) if is_malformed(&error) => {
                        bury(tx, number, entity, &malformed_words(&error), now)?;
                        batch.buried += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(())
}

/// Whether it is the row that is wrong, and not the file or the disk.
fn is_malformed(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | QueryReturnedNoRows
            | Utf8Error(..)
    )
}

pub(super) fn extend(tx: &Transaction<'_>, leases: &[Lease], until: Timestamp) -> rusqlite::Result<Vec<Settled>> {
    let mut row =
        tx.prepare_cached("UPDATE countersign_inbox SET due_at = ?3 WHERE number = ?1 AND token = ?2 AND state = 1")?;
    let extended = leases.iter().map(|lease| {
        let rows = row.execute(params![lease.number, lease.token.to_le_bytes(), until.as_millis()])?;
        Ok(if rows == 1 { Settled::Current } else { Settled::Superseded })
    });
    extended.collect()
}

/// Settles a lease if it is still good. Tells as well whether something may have become due.
pub(super) fn settle(
    tx: &Transaction<'_>,
    lease: &Lease,
    how: &Settle,
    now: Timestamp,
) -> rusqlite::Result<(Settled, bool)> {
    let mut row = tx.prepare_cached(
        "UPDATE countersign_inbox SET token = NULL, state = ?3, due_at = ?4, finished_at = ?5, \
         attempts = attempts - ?6, last_error = CASE ?3 WHEN 3 THEN NULL ELSE coalesce(?7, last_error) END \
         WHERE number = ?1 AND token = ?2 AND state = 1 RETURNING entity, silent > 0",
    )?;
    let finished = Some(now.as_millis());
    let (state, due, finished, refund, error) = match how {
        Settle::Complete => (DONE, now, finished, 0, None),
        Settle::Dead { error } => (DEAD, now, finished, 0, Some(error)),
        Settle::Release => (PENDING, now, None, 1, None),
        Settle::Retry { due, error } => (PENDING, *due, None, 0, Some(error)),
    };
    let token = lease.token.to_le_bytes();
    let found = row
        .query_row(params![lease.number, token, state, due.as_millis(), finished, refund, error], |row| {
            Ok((row.get(0)?, row.get::<_, bool>(1)?))
        })
        .optional()?;
    let Some((entity, was_silent)) = found else {
        return Ok((Settled::Superseded, false));
    };
    if was_silent {
        // It has said a word; the next that is suspected may run.
        let mut word = tx.prepare_cached("UPDATE countersign_inbox SET silent = 0 WHERE number = ?1")?;
        word.execute([lease.number])?;
    }
    let next = if finished.is_some() { promote(tx, entity, now)? } else { true };
    Ok((Settled::Current, next || was_silent))
}

/// Makes those of `numbers` due that are in one of `states`, each behind what is in front of it.
pub(super) fn replay(tx: &Transaction<'_>, numbers: &[i64], states: &[u8], now: Timestamp) -> rusqlite::Result<u64> {
    let mut row = tx.prepare_cached(
        "UPDATE countersign_inbox SET state = ?2, due_at = ?3, attempts = 0, silent = 0, finished_at = NULL WHERE number = ?1",
    )?;
    let mut replayed = 0;
    for &number in numbers {
        let mut found = tx.prepare_cached("SELECT state, entity FROM countersign_inbox WHERE number = ?1")?;
        let found = found.query_row([number], |row| Ok((row.get::<_, u8>(0)?, row.get::<_, Option<String>>(1)?)));
        let state = match found.optional()? {
            Some((state, entity)) if states.contains(&state) => match entity {
                Some(entity) if state != PENDING && is_busy(tx, &entity)? => WAITING,
                _ => PENDING,
            },
            _ => continue,
        };
        row.execute(params![number, state, now.as_millis()])?;
        replayed += 1;
    }
    Ok(replayed)
}

pub(super) fn prune(
    tx: &Transaction<'_>,
    limit: usize,
    retention: Duration,
    keep_dead: Option<Duration>,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let longest = recorded(tx)?.max(retention);
    let done_before = now.saturating_sub(longest);
    let dead_before = keep_dead.map(|keep| now.saturating_sub(keep.max(longest)));
    let mut pruned = 0;
    let done =
        ("SELECT number FROM countersign_inbox WHERE state = 3 AND finished_at <= ?1 LIMIT ?2", Some(done_before));
    let dead = ("SELECT number FROM countersign_inbox WHERE state = 4 AND finished_at <= ?1 LIMIT ?2", dead_before);
    for (query, before) in [done, dead] {
        let Some(before) = before else { continue };
        let mut rows = tx.prepare_cached(query)?;
        let rows = rows.query_map(params![before.as_millis(), (limit - pruned) as i64], |row| row.get(0))?;
        let numbers = rows.collect::<rusqlite::Result<Vec<i64>>>()?;
        for number in &numbers {
            forget(tx, *number)?;
        }
        pruned += numbers.len();
    }
    Ok(pruned as u64)
}

fn bury(
    tx: &Transaction<'_>,
    number: i64,
    entity: Option<String>,
    error: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut row = tx.prepare_cached(
        "UPDATE countersign_inbox SET state = 4, token = NULL, finished_at = ?2, last_error = ?3 WHERE number = ?1",
    )?;
    row.execute(params![number, now.as_millis(), error])?;
    promote(tx, entity, now).map(drop)
}

/// Whether a delivery of this entity is to be worked on, or being worked on.
fn is_busy(tx: &Transaction<'_>, entity: &str) -> rusqlite::Result<bool> {
    let mut busy = tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM countersign_inbox WHERE entity IS NOT NULL AND state < 3 AND entity = ?1)",
    )?;
    busy.query_row([entity], |row| row.get(0))
}

/// Lets the next delivery of an entity go, when one of them is done or dead. Tells whether there is one.
fn promote(tx: &Transaction<'_>, entity: Option<String>, now: Timestamp) -> rusqlite::Result<bool> {
    let Some(entity) = entity else { return Ok(false) };
    let mut next = tx.prepare_cached(
        "UPDATE countersign_inbox SET state = 0, due_at = ?2 WHERE number = \
         (SELECT number FROM countersign_inbox \
          WHERE entity IS NOT NULL AND state < 3 AND entity = ?1 ORDER BY number LIMIT 1) AND state = 2",
    )?;
    Ok(next.execute(params![entity, now.as_millis()])? > 0)
}

fn forget(tx: &Transaction<'_>, number: i64) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM countersign_inbox_payload WHERE number = ?1")?.execute([number])?;
    let mut row = tx.prepare_cached("DELETE FROM countersign_inbox WHERE number = ?1 RETURNING claim")?;
    let key = row.query_row([number], |row| row.get(0))?;
    keys::forget(tx, &ClaimKey::from_bytes(key), number)
}
