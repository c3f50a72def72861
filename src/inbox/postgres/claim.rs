//! Leasing what is due.

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Inner;
use super::columns::lock_of;
use super::rows::{count, leased, optional_time, read};
use super::settle::Settle;
use crate::causes::Causes;
use crate::dedupe::Settled;
use crate::inbox::row::{RUNNING, last_words, malformed_words, tokens};
use crate::inbox::step;
use crate::inbox::{Batch, InboxError, Lease, Wanted};
use crate::remote::Unless;
use crate::remote::postgres::{Locked, Params, Statement};
use crate::time::Timestamp;

/// What one statement has leased, and what it saw beside that.
#[derive(Default)]
struct Taken {
    batch: Batch,
    /// One that is suspected of killing its process is due, and none is running.
    suspect: bool,
    /// What has used up its attempts, and is dead.
    spent: Vec<Spent>,
    /// What is leased and cannot be read, and why.
    malformed: Vec<(Lease, String)>,
}

struct Spent {
    number: i64,
    token: Vec<u8>,
    entity: Option<i64>,
    attempts: u32,
    running: bool,
    last_error: Option<String>,
}

/// Leases what is due, one suspect at most among it.
pub(super) async fn claim(inner: &Arc<Inner>, wanted: Wanted, now: Timestamp) -> Result<Batch, InboxError> {
    let mut batch = Batch::default();
    match fill(inner, wanted, now, &mut batch).await {
        // What is leased by now is nobody else's: kept from the worker it would lose an attempt, time and again.
        Err(error) if !batch.leased.is_empty() => {
            let error = Causes(&error);
            tracing::error!(%error, leased = batch.leased.len(), "the inbox failed while leasing; the rest is left");
            Ok(batch)
        }
        filled => filled.map(|()| batch),
    }
}

async fn fill(inner: &Arc<Inner>, wanted: Wanted, now: Timestamp, batch: &mut Batch) -> Result<(), InboxError> {
    let mut room = Batch::MOST_BURIED;
    // The buried make way for others, so it may take more than one look. What is leased does not wait for that: the next
    // claim comes soon, and leases run out.
    loop {
        let taken = take(inner, wanted, now, false).await?;
        let suspect = taken.suspect && wanted.limit > taken.batch.leased.len();
        let mut buried = keep(inner, wanted, taken, now, batch, &mut room).await?;
        if suspect {
            let taken = take(inner, Wanted { limit: 1, ..wanted }, now, true).await?;
            buried |= keep(inner, wanted, taken, now, batch, &mut room).await?;
        }
        if !buried || !batch.leased.is_empty() || room == 0 {
            return Ok(());
        }
    }
}

/// Adds what is leased to the batch, and buries what cannot be worked on. Tells whether anything was buried.
async fn keep(
    inner: &Arc<Inner>,
    wanted: Wanted,
    taken: Taken,
    now: Timestamp,
    batch: &mut Batch,
    room: &mut u64,
) -> Result<bool, InboxError> {
    batch.leased.extend(taken.batch.leased);
    batch.next_due = taken.batch.next_due;
    let spent = bury(inner, &wanted, taken.spent, now, batch, room).await?;
    Ok(bury_malformed(inner, taken.malformed, now, batch).await? || spent)
}

/// Leases what the statement finds. What it may have leased without our knowing is taken back.
async fn take(inner: &Arc<Inner>, wanted: Wanted, now: Timestamp, suspect: bool) -> Result<Taken, InboxError> {
    let mut tries = 0;
    loop {
        let drawn = tokens(wanted.limit)?;
        let bytes: Vec<Vec<u8>> = drawn.iter().map(|token| token.to_be_bytes().to_vec()).collect();
        let unsure = Unless::new(|| take_back_later(inner, bytes.clone(), now));
        let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
        let until = wanted.until(now);
        let (silent, most) = (signed(wanted.silent_before_suspect()), signed(wanted.max_attempts));
        let (millis, until) = (now.as_millis(), until.as_millis());
        let params: [&(dyn ToSql + Sync); 6] = [&millis, &limit, &silent, &until, &bytes, &most];
        step::reached("claim", "committing");
        match inner.ask_for_leases(&params, suspect).await {
            Ok((rows, false)) => {
                step::reached("claim", "committed");
                let taken = read_taken(&rows, &drawn)?;
                unsure.settled();
                return Ok(taken);
            }
            // It was asked twice under the same tokens: which rows the first one leased cannot be told from those of
            // the second, and nobody holds the former.
            Ok((_, true)) if tries < MOST_TRIES => tries += 1,
            Ok((_, true)) => return Err(InboxError::unavailable("connections are lost while leasing")),
            Err(failure) => {
                if !failure.sent {
                    unsure.settled();
                }
                return Err(failure.trouble.into());
            }
        }
    }
}

fn read_taken(rows: &[Row], drawn: &[u128]) -> Result<Taken, InboxError> {
    let mut taken = Taken::default();
    for row in rows {
        taken.suspect = read(row, "suspect")?;
        taken.batch.next_due = optional_time(row, "next_due")?;
        let Some(number) = read::<Option<i64>>(row, "due_number")? else { continue };
        let attempts = count(row, "attempts_before")?;
        let token: Option<&[u8]> = read(row, "leased_token")?;
        let Some(token) = token else {
            let (token, entity, last_error) =
                (read(row, "token_before")?, read(row, "entity_hash")?, read(row, "error_before")?);
            let running = read::<i16>(row, "state_before")? == i16::from(RUNNING);
            taken.spent.push(Spent { number, token, entity, attempts, running, last_error });
            continue;
        };
        let token = token.try_into().map(u128::from_be_bytes).map_err(InboxError::unavailable)?;
        debug_assert!(drawn.contains(&token), "the tokens are ours");
        let lease = Lease { number, token, attempt: attempts.saturating_add(1) };
        match leased(row, lease) {
            Ok(leased) => taken.batch.leased.push(leased),
            // No inbox has written that. It must not keep everything else from being worked on.
            Err(error) => taken.malformed.push((lease, malformed_words(&error))),
        }
    }
    Ok(taken)
}

/// Puts what has used up its attempts with the dead, unless somebody else does, as far as there is `room`. Tells whether
/// anything was.
async fn bury(
    inner: &Arc<Inner>,
    wanted: &Wanted,
    spent: Vec<Spent>,
    now: Timestamp,
    batch: &mut Batch,
    room: &mut u64,
) -> Result<bool, InboxError> {
    let any = !spent.is_empty();
    for Spent { number, token, entity, attempts, running, last_error } in spent {
        if *room == 0 {
            break;
        }
        *room -= 1;
        let error = last_words(running, attempts, wanted.max_attempts, last_error);
        let (now, most) = (now.as_millis(), signed(wanted.max_attempts));
        let params: [&(dyn ToSql + Sync); 6] = [&number, &token, &now, &error, &most, &entity];
        let (rows, _) = inner.in_order(entity.as_slice(), &inner.statements.bury, &params).await?;
        for row in rows {
            batch.buried += u64::from(read::<bool>(&row, "did")?);
        }
    }
    Ok(any)
}

async fn bury_malformed(
    inner: &Arc<Inner>,
    malformed: Vec<(Lease, String)>,
    now: Timestamp,
    batch: &mut Batch,
) -> Result<bool, InboxError> {
    let any = !malformed.is_empty();
    for (lease, error) in malformed {
        let settled = inner.settle("dead", &lease, &Settle::Dead { error: &error }, now).await?;
        batch.buried += u64::from(settled == Settled::Current);
    }
    Ok(any)
}

fn take_back_later(inner: &Arc<Inner>, tokens: Vec<Vec<u8>>, now: Timestamp) {
    let theirs = Arc::clone(inner);
    inner.later.take_back(move || {
        let (inner, tokens) = (Arc::clone(&theirs), tokens.clone());
        async move {
            let now = now.as_millis();
            let params: [&(dyn ToSql + Sync); 2] = [&tokens, &now];
            let (row, _) = inner.row(&inner.statements.take_back, &params).await?;
            let taken: i64 = read(&row, "taken")?;
            inner.ring_if(taken > 0);
            Ok::<_, InboxError>(if taken > 0 { Settled::Current } else { Settled::Superseded })
        }
    });
}

impl Inner {
    async fn ask_for_leases(
        &self,
        params: Params<'_>,
        suspect: bool,
    ) -> Result<(Vec<Row>, bool), crate::remote::postgres::Failure> {
        let deadline = self.link.deadline();
        if !suspect {
            return self.link.ask(&Statement { text: &self.statements.claim, params }, deadline).await;
        }
        // One process at a time asks for a suspect, and those that come meanwhile get none: the one that has it sees
        // what the one before has leased. It is tried for, not waited for.
        let begin = format!("{}; {}", self.statements.begin, self.alone());
        let statement = Statement { text: &self.statements.claim_suspect, params };
        self.link.ask(&Locked { locks: &[], begin: &begin, statements: &[statement] }, deadline).await
    }

    fn alone(&self) -> String {
        let lock = lock_of(SUSPECTS, self.salt);
        format!("SELECT set_config('countersign.alone', pg_try_advisory_xact_lock({lock})::text, true)")
    }
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Stands for the suspects among the locks.
const SUSPECTS: i64 = i64::from_be_bytes(*b"suspects");
const MOST_TRIES: u32 = 2;
