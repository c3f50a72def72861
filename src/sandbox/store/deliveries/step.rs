//! One step of the scheduler: what attempts came to, and what is sent next.

use std::collections::HashMap;

use rusqlite::{OptionalExtension as _, Row, Transaction, named_params, params};

use super::{DELIVERED, FAILED, NewRow, PENDING, RETRYING, next_log_numbers, reopen};
use crate::keyring::Secret;
use crate::sandbox::LogRows;
use crate::sandbox::store::{Store, StoreError};

/// Which rows an attempt belongs to.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Place {
    pub(in crate::sandbox) seq: i64,
    tenant: i64,
    subscription: Option<i64>,
    log: i64,
    outcome: i64,
}

/// A delivery that is to be sent now.
pub(in crate::sandbox) struct Claimed {
    pub(in crate::sandbox) place: Place,
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) event_type: String,
    pub(in crate::sandbox) url: String,
    pub(in crate::sandbox) body: Vec<u8>,
    /// The attempt that this is, from 1.
    pub(in crate::sandbox) attempt: u32,
    /// The attempt with which it ends.
    pub(in crate::sandbox) max_attempts: u32,
    /// What it is signed with, the newest first; nothing where it is not signed.
    pub(in crate::sandbox) secrets: Vec<Secret>,
}

impl Claimed {
    /// A delivery that no row stands for.
    pub(in crate::sandbox) fn unlogged(
        id: &str,
        event_type: &str,
        url: &str,
        body: &[u8],
        secrets: Vec<Secret>,
    ) -> Self {
        Self {
            place: Place { seq: 0, tenant: 0, subscription: None, log: 0, outcome: 0 },
            id: id.to_owned(),
            event_type: event_type.to_owned(),
            url: url.to_owned(),
            body: body.to_owned(),
            attempt: 1,
            max_attempts: 1,
            secrets,
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Done {
    pub(in crate::sandbox) place: Place,
    pub(in crate::sandbox) started_at: i64,
    pub(in crate::sandbox) delivered: bool,
    pub(in crate::sandbox) http_status_code: Option<u16>,
    pub(in crate::sandbox) error: Option<String>,
    /// When it is tried again; `None` when it is delivered or given up.
    pub(in crate::sandbox) next_at: Option<i64>,
}

/// What the scheduler learns of one step.
#[derive(Default)]
pub(in crate::sandbox) struct Step {
    pub(in crate::sandbox) claimed: Vec<Claimed>,
    /// Due ones that are not sent: failed without an attempt, since their subscription is gone or switched off.
    pub(in crate::sandbox) given_up: Vec<i64>,
}

impl Store {
    /// Records what attempts came to, and claims what is to be sent next: one transaction for both.
    pub(in crate::sandbox) fn step(
        &self,
        now: i64,
        done: &[Done],
        claims: &[i64],
        rows: LogRows,
        inactive_stops: bool,
    ) -> Result<Step, StoreError> {
        self.transact(|tx| {
            let mut tally = Tally::default();
            for done in done {
                record(tx, done, &mut tally)?;
            }
            let mut step = Step::default();
            for seq in claims {
                match claim(tx, *seq, now, rows, inactive_stops)? {
                    Some(Claim::Send(claimed)) => step.claimed.push(*claimed),
                    Some(Claim::GivenUp(place)) => {
                        tally.count(&place, false);
                        step.given_up.push(*seq);
                    }
                    // Somebody else has emptied the table.
                    None => step.given_up.push(*seq),
                }
            }
            tally.write(tx)?;
            Ok(step)
        })
    }
}

fn record(tx: &Transaction<'_>, done: &Done, tally: &mut Tally) -> Result<(), StoreError> {
    let place = &done.place;
    let status = match (done.delivered, done.next_at) {
        (true, _) => DELIVERED,
        (false, Some(_)) => RETRYING,
        (false, None) => FAILED,
    };
    tx.prepare_cached(
        "UPDATE log SET status = ?, http_status_code = ?, error_message = ?, next_retry_at = ? \
         WHERE tenant = ? AND number = ?",
    )?
    .execute(params![status, done.http_status_code, done.error, done.next_at, place.tenant, place.log])?;
    let outcome = if status == RETRYING { place.outcome } else { status };
    tx.prepare_cached("UPDATE delivery SET attempts = attempts + 1, due_at = ?, outcome = ? WHERE seq = ?")?
        .execute(params![done.next_at, outcome, place.seq])?;
    tally.attempted(place, done.started_at);
    if status != RETRYING {
        tally.count(place, done.delivered);
    }
    Ok(())
}

enum Claim {
    Send(Box<Claimed>),
    GivenUp(Place),
}

fn claim(
    tx: &Transaction<'_>,
    seq: i64,
    now: i64,
    rows: LogRows,
    inactive_stops: bool,
) -> Result<Option<Claim>, StoreError> {
    let found = tx
        .prepare_cached(
            "SELECT d.id, d.tenant, d.subscription, d.event_type, d.webhook_url, d.body, d.signed, d.attempts, \
             d.max_attempts, d.outcome, d.log, l.status, s.is_active, s.secret, \
             CASE WHEN s.previous_until > :now THEN s.previous_secret END, t.secret \
             FROM delivery d JOIN tenant t ON t.id = d.tenant \
             JOIN log l ON l.tenant = d.tenant AND l.number = d.log \
             LEFT JOIN subscription s ON s.seq = d.subscription \
             WHERE d.seq = :seq AND d.due_at IS NOT NULL",
        )?
        .query_row(named_params! { ":seq": seq, ":now": now }, |row| read_claim(row, seq))
        .optional()?;
    let Some(Found { mut claimed, row_status, active }) = found else { return Ok(None) };
    let place = &mut claimed.place;
    let stopped = match (place.subscription, active) {
        (Some(_), None) => Some("the webhook was deleted"),
        (Some(_), Some(false)) if inactive_stops => Some("the webhook was disabled"),
        _ => None,
    };
    if let Some(why) = stopped {
        // A row that has failed already keeps what it failed of.
        tx.prepare_cached(
            "UPDATE log SET status = ?, next_retry_at = NULL, error_message = COALESCE(error_message, ?) \
             WHERE tenant = ? AND number = ?",
        )?
        .execute(params![FAILED, why, place.tenant, place.log])?;
        tx.prepare_cached("UPDATE delivery SET due_at = NULL, outcome = ? WHERE seq = ?")?
            .execute(params![FAILED, seq])?;
        return Ok(Some(Claim::GivenUp(claimed.place)));
    }
    if row_status != PENDING {
        match rows {
            LogRows::PerAttempt => {
                place.log = next_log_numbers(tx, place.tenant, 1)?;
                let row =
                    NewRow { tenant: place.tenant, number: place.log, delivery: seq, attempt: claimed.attempt, now };
                row.insert(tx, PENDING, None, None)?;
                tx.prepare_cached("UPDATE delivery SET log = ? WHERE seq = ?")?.execute([place.log, seq])?;
            }
            LogRows::PerDelivery => reopen(tx, place.tenant, place.log, claimed.attempt)?,
        }
    }
    Ok(Some(Claim::Send(Box::new(claimed))))
}

struct Found {
    claimed: Claimed,
    row_status: i64,
    active: Option<bool>,
}

fn read_claim(row: &Row<'_>, seq: i64) -> Result<Found, StoreError> {
    let subscription: Option<i64> = row.get(2)?;
    let signed: bool = row.get(6)?;
    let secrets: [Option<String>; 2] = match (signed, subscription) {
        (false, _) => [None, None],
        (true, Some(_)) => [row.get(13)?, row.get(14)?],
        (true, None) => [row.get(15)?, None],
    };
    let place = Place { seq, tenant: row.get(1)?, subscription, log: row.get(10)?, outcome: row.get(9)? };
    let claimed = Claimed {
        place,
        id: row.get(0)?,
        event_type: row.get(3)?,
        url: row.get(4)?,
        body: row.get(5)?,
        attempt: row.get::<_, u32>(7)?.saturating_add(1),
        max_attempts: row.get(8)?,
        secrets: secrets.into_iter().flatten().filter_map(|secret| Secret::new(secret).ok()).collect(),
    };
    Ok(Found { claimed, row_status: row.get(11)?, active: row.get(12)? })
}

/// What a step changes in the statistics of subscriptions, summed up so that each is written once.
#[derive(Default)]
struct Tally(HashMap<i64, Change>);

#[derive(Default)]
struct Change {
    successful: i64,
    failed: i64,
    attempted_at: Option<i64>,
}

impl Tally {
    fn attempted(&mut self, place: &Place, at: i64) {
        if let Some(subscription) = place.subscription {
            let change = self.0.entry(subscription).or_default();
            change.attempted_at = change.attempted_at.max(Some(at));
        }
    }

    /// A delivery counts once: what a retry by hand comes to takes the place of what it came to before.
    fn count(&mut self, place: &Place, delivered: bool) {
        let Some(subscription) = place.subscription else { return };
        let change = self.0.entry(subscription).or_default();
        match place.outcome {
            DELIVERED => change.successful -= 1,
            FAILED => change.failed -= 1,
            _ => {}
        }
        *(if delivered { &mut change.successful } else { &mut change.failed }) += 1;
    }

    fn write(self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        let mut update = tx.prepare_cached(
            "UPDATE subscription SET total = total + ?2 + ?3, successful = successful + ?2, failed = failed + ?3, \
             last_triggered_at = COALESCE(MAX(last_triggered_at, ?4), ?4, last_triggered_at) WHERE seq = ?1",
        )?;
        for (subscription, change) in self.0 {
            update.execute(params![subscription, change.successful, change.failed, change.attempted_at])?;
        }
        Ok(())
    }
}
