//! Deliveries on their way, and the log rows that they leave. Times are microseconds since the Unix epoch.

mod step;

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Row, Transaction, named_params, params};
use uuid::Uuid;

pub(in crate::sandbox) use step::{Claimed, Done, Place};

use super::{Store, StoreError};
use crate::sandbox::LogRows;

/// The statuses of a log row as they are stored.
pub(in crate::sandbox) const STATUSES: [&str; 4] = ["pending", "delivered", "failed", "retrying"];
const PENDING: i64 = 0;
const DELIVERED: i64 = 1;
const FAILED: i64 = 2;
const RETRYING: i64 = 3;

/// Events of one type for one tenant.
pub(in crate::sandbox) struct NewEvents<'a> {
    pub(in crate::sandbox) tenant: i64,
    pub(in crate::sandbox) event_type: &'a str,
    pub(in crate::sandbox) id_prefix: &'a str,
    pub(in crate::sandbox) max_attempts: u32,
    pub(in crate::sandbox) now: i64,
}

/// Where an event goes: a subscription and its URL, or the tenant's own URL.
pub(in crate::sandbox) struct Target {
    subscription: Option<i64>,
    url: Arc<str>,
}

/// A delivery that is due.
#[derive(Debug)]
pub(in crate::sandbox) struct Due {
    pub(in crate::sandbox) seq: i64,
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) url: Arc<str>,
    /// Whether it has been tried before.
    pub(in crate::sandbox) tried: bool,
}

/// A delivery that was unfinished when the state was opened.
pub(in crate::sandbox) struct Unfinished {
    pub(in crate::sandbox) seq: i64,
    pub(in crate::sandbox) due_at: i64,
    pub(in crate::sandbox) url: String,
    pub(in crate::sandbox) tried: bool,
}

/// Why a row cannot be retried.
pub(in crate::sandbox) enum Unretried {
    NotFound,
    NotFailed(&'static str),
    Store(StoreError),
}

impl From<StoreError> for Unretried {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Store {
    /// Whether the tenant is that of live keys.
    pub(in crate::sandbox) fn is_live(&self, tenant: i64) -> Result<bool, StoreError> {
        self.transact(|tx| {
            tx.prepare_cached("SELECT live FROM tenant WHERE id = ?")?.query_row([tenant], |row| row.get(0))
        })
    }

    /// What signs deliveries to the tenant's own URL.
    pub(in crate::sandbox) fn tenant_secret(&self, tenant: i64) -> Result<String, StoreError> {
        self.transact(|tx| {
            tx.prepare_cached("SELECT secret FROM tenant WHERE id = ?")?.query_row([tenant], |row| row.get(0))
        })
    }

    /// The newest active subscription of this very URL, and its secrets, the newest first; with none, no secret.
    pub(in crate::sandbox) fn secrets_for_url(
        &self,
        tenant: i64,
        url: &str,
        now: i64,
    ) -> Result<(Option<i64>, Vec<String>), StoreError> {
        self.transact(|tx| {
            let found = tx
                .prepare_cached(
                    "SELECT seq, secret, CASE WHEN previous_until > ?3 THEN previous_secret END FROM subscription \
                     WHERE tenant = ?1 AND webhook_url = ?2 AND is_active ORDER BY seq DESC LIMIT 1",
                )?
                .query_row(params![tenant, url, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            Ok(match found {
                Some((seq, secret, previous)) => {
                    let previous: Option<String> = previous;
                    (Some(seq), std::iter::once(secret).chain(previous).collect())
                }
                None => (None, Vec::new()),
            })
        })
    }

    /// Where an event of this type goes now: each active subscription to its type, to its group or to `all`; the
    /// tenant's own URL where there is none.
    pub(in crate::sandbox) fn targets(&self, tenant: i64, event_type: &str) -> Result<Vec<Target>, StoreError> {
        self.transact(|tx| targets(tx, tenant, event_type))
    }

    /// The deliveries of `count` events, pending and due at once. `body` makes a delivery's body, given its id.
    pub(in crate::sandbox) fn add_events(
        &self,
        new: &NewEvents<'_>,
        count: usize,
        body: impl Fn(&str) -> Vec<u8>,
    ) -> Result<Vec<Due>, StoreError> {
        self.transact(|tx| {
            let targets = targets(tx, new.tenant, new.event_type)?;
            let mut added = Vec::with_capacity(count * targets.len());
            let mut log = next_log_numbers(tx, new.tenant, count * targets.len())?;
            let mut insert = tx.prepare_cached(
                "INSERT INTO delivery (id, tenant, subscription, event_type, webhook_url, body, max_attempts, log, due_at) \
                 VALUES (:id, :tenant, :subscription, :event_type, :url, :body, :max_attempts, :log, :now)",
            )?;
            for _ in 0..count {
                for target in &targets {
                    let id = format!("{}{}", new.id_prefix, Uuid::now_v7().simple());
                    insert.execute(named_params! {
                        ":id": id, ":tenant": new.tenant, ":subscription": target.subscription,
                        ":event_type": new.event_type, ":url": &*target.url, ":body": body(&id),
                        ":max_attempts": new.max_attempts, ":log": log, ":now": new.now,
                    })?;
                    let seq = tx.last_insert_rowid();
                    let row = NewRow { tenant: new.tenant, number: log, delivery: seq, attempt: 1, now: new.now };
                    row.insert(tx, PENDING, None, None)?;
                    log += 1;
                    added.push(Due { seq, id, url: Arc::clone(&target.url), tried: false });
                }
            }
            Ok(added)
        })
    }

    /// Makes a failed delivery due again, for `attempts` more. Tells the row that it gets, and what is due.
    pub(in crate::sandbox) fn retry(
        &self,
        tenant: i64,
        log: Uuid,
        attempts: u32,
        rows: LogRows,
        now: i64,
    ) -> Result<(Uuid, Due), Unretried> {
        self.transact(|tx| {
            let found = tx
                .prepare_cached(
                    "SELECT log.status, log.delivery, d.id, d.webhook_url, d.attempts, d.due_at IS NOT NULL, newest.status, \
                     newest.number, newest.id \
                     FROM log JOIN delivery d ON d.seq = log.delivery \
                     JOIN log newest ON newest.tenant = d.tenant AND newest.number = d.log \
                     WHERE log.id = ? AND log.tenant = ?",
                )?
                .query_row(params![&log.as_bytes()[..], tenant], |row| {
                    let url = Arc::from(row.get::<_, String>(3)?);
                    let due = Due { seq: row.get(1)?, id: row.get(2)?, url, tried: true };
                    Ok((row.get(0)?, due, row.get::<_, u32>(4)?, row.get(5)?, row.get(6)?, row.get(7)?, Uuid::from_bytes(row.get(8)?)))
                })
                .optional()?;
            let Some((status, due, made, unfinished, newest, number, newest_id)) = found else {
                return Err(Unretried::NotFound);
            };
            let status = if status == FAILED && unfinished { newest } else { status };
            if status != FAILED {
                return Err(Unretried::NotFailed(status_name(status)));
            }
            let (number, id) = match rows {
                LogRows::PerAttempt => {
                    let row = NewRow {
                        tenant,
                        number: next_log_numbers(tx, tenant, 1)?,
                        delivery: due.seq,
                        attempt: made + 1,
                        now,
                    };
                    (row.number, row.insert(tx, PENDING, None, None)?)
                }
                LogRows::PerDelivery => {
                    reopen(tx, tenant, number, made + 1)?;
                    (number, newest_id)
                }
            };
            tx.prepare_cached("UPDATE delivery SET due_at = ?, max_attempts = ?, log = ? WHERE seq = ?")?
                .execute(params![now, made.saturating_add(attempts), number, due.seq])?;
            Ok((id, due))
        })
    }

    /// Logs a delivery to the test endpoint's URL that has been sent already.
    pub(in crate::sandbox) fn add_test(
        &self,
        new: &NewEvents<'_>,
        id: &str,
        url: &str,
        body: &[u8],
        signing: (bool, Option<i64>),
        outcome: (bool, Option<u16>, Option<&str>),
    ) -> Result<(), StoreError> {
        let (signed, subscription) = signing;
        let (delivered, code, error) = outcome;
        self.transact(|tx| {
            let number = next_log_numbers(tx, new.tenant, 1)?;
            let status = if delivered { DELIVERED } else { FAILED };
            // Below zero, so that it takes no place among the deliveries that faults are counted by.
            tx.prepare_cached(
                "INSERT INTO delivery (seq, id, tenant, subscription, event_type, webhook_url, body, signed, attempts, \
                 max_attempts, outcome, log) VALUES ((SELECT MIN(0, COALESCE(MIN(seq), 0)) FROM delivery) - 1, \
                 ?, ?, ?, ?, ?, ?, ?, 1, 1, ?, ?)",
            )?
            .execute(params![
                id,
                new.tenant,
                subscription,
                new.event_type,
                url,
                body,
                signed,
                status,
                number
            ])?;
            let delivery = tx.last_insert_rowid();
            let row = NewRow { tenant: new.tenant, number, delivery, attempt: 1, now: new.now };
            row.insert(tx, status, code, error).map(drop)
        })
    }

    /// Brings forward, or puts off, everything that waits: a wait is multiplied by `factor`.
    pub(in crate::sandbox) fn stretch_waits(&self, now: i64, factor: f64) -> Result<(), StoreError> {
        self.transact(|tx| {
            tx.execute(
                // At most a century, so that the sum stays a whole number.
                "UPDATE delivery SET due_at = ?1 + CAST(MIN((due_at - ?1) * ?2, 3e15) AS INTEGER) WHERE due_at > ?1",
                params![now, factor],
            )?;
            tx.execute(
                "UPDATE log SET next_retry_at = d.due_at FROM delivery d WHERE d.due_at IS NOT NULL \
                 AND log.tenant = d.tenant AND log.number = d.log AND log.status = ?",
                [RETRYING],
            )?;
            Ok(())
        })
    }

    /// Everything unfinished, in the order of their making.
    pub(in crate::sandbox) fn unfinished(&self, mut each: impl FnMut(Unfinished)) -> Result<(), StoreError> {
        self.transact(|tx| {
            let mut all = tx.prepare(
                "SELECT seq, due_at, webhook_url, attempts > 0 FROM delivery WHERE due_at IS NOT NULL ORDER BY due_at, seq",
            )?;
            let mut rows = all.query([])?;
            while let Some(row) = rows.next()? {
                each(Unfinished { seq: row.get(0)?, due_at: row.get(1)?, url: row.get(2)?, tried: row.get(3)? });
            }
            Ok(())
        })
    }

    /// The number of the newest triggered delivery; 0 when there was none.
    pub(in crate::sandbox) fn newest_delivery(&self) -> Result<i64, StoreError> {
        self.transact(|tx| {
            tx.query_row("SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'delivery'), 0)", [], |row| {
                row.get(0)
            })
        })
    }
}

fn targets(tx: &Transaction<'_>, tenant: i64, event_type: &str) -> Result<Vec<Target>, StoreError> {
    let group = event_type.split_once('.').map(|(group, _)| format!("{group}.*"));
    let mut matching = tx.prepare_cached(
        "SELECT seq, webhook_url FROM subscription \
         WHERE tenant = ? AND is_active AND event_type IN (?, 'all', ?) ORDER BY seq",
    )?;
    let target = |row: &Row<'_>| {
        let url: String = row.get(1)?;
        Ok(Target { subscription: row.get(0)?, url: Arc::from(url) })
    };
    let matching: Vec<Target> =
        matching.query_map(params![tenant, event_type, group], target)?.collect::<Result<_, _>>()?;
    if !matching.is_empty() {
        return Ok(matching);
    }
    let mut fallback =
        tx.prepare_cached("SELECT NULL, webhook_url FROM tenant WHERE id = ? AND webhook_url IS NOT NULL")?;
    fallback.query_map([tenant], target)?.collect()
}

/// Takes `count` numbers of log rows; the first of them.
fn next_log_numbers(tx: &Transaction<'_>, tenant: i64, count: usize) -> Result<i64, StoreError> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let last: i64 = tx
        .prepare_cached("UPDATE tenant SET log_count = log_count + ? WHERE id = ? RETURNING log_count")?
        .query_row([count, tenant], |row| row.get(0))?;
    Ok(last - count + 1)
}

struct NewRow {
    tenant: i64,
    number: i64,
    delivery: i64,
    attempt: u32,
    now: i64,
}

impl NewRow {
    fn insert(
        &self,
        tx: &Transaction<'_>,
        status: i64,
        code: Option<u16>,
        error: Option<&str>,
    ) -> Result<Uuid, StoreError> {
        let id = Uuid::now_v7();
        tx.prepare_cached(
            "INSERT INTO log (tenant, number, id, delivery, status, http_status_code, attempt_number, error_message, \
             created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            self.tenant,
            self.number,
            &id.as_bytes()[..],
            self.delivery,
            status,
            code,
            self.attempt,
            error,
            self.now
        ])?;
        Ok(id)
    }
}

fn reopen(tx: &Transaction<'_>, tenant: i64, number: i64, attempt: u32) -> Result<(), StoreError> {
    tx.prepare_cached(
        "UPDATE log SET status = ?, attempt_number = ?, http_status_code = NULL, error_message = NULL, \
         next_retry_at = NULL WHERE tenant = ? AND number = ?",
    )?
    .execute(params![PENDING, attempt, tenant, number])
    .map(drop)
}

pub(super) fn status_name(status: i64) -> &'static str {
    usize::try_from(status).ok().and_then(|status| STATUSES.get(status)).copied().unwrap_or("unknown")
}
