//! How a lease ends.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Inner;
use super::columns::{lock_of, text};
use super::rows::read;
use crate::dedupe::Settled;
use crate::inbox::row::{DEAD, DONE, PENDING, bounded};
use crate::inbox::step;
use crate::inbox::{InboxError, Lease};
use crate::remote::postgres::{Failure, Locked, Params, Statement};
use crate::time::Timestamp;

/// How a lease is settled.
pub(super) enum Settle<'a> {
    Complete,
    Dead { error: &'a str },
    Release,
    Retry { due: Timestamp, error: &'a str },
}

/// What the statements make of it.
pub(super) struct Change {
    number: i64,
    token: [u8; 16],
    state: i16,
    due: i64,
    finished: Option<i64>,
    refund: i32,
    error: Option<String>,
}

impl Change {
    pub(super) fn new(lease: &Lease, how: &Settle<'_>, now: Timestamp) -> Self {
        let finished = Some(now.as_millis());
        let (state, due, finished, refund, error) = match how {
            Settle::Complete => (DONE, now, finished, 0, None),
            Settle::Dead { error } => (DEAD, now, finished, 0, Some(*error)),
            Settle::Release => (PENDING, now, None, 1, None),
            Settle::Retry { due, error } => (PENDING, *due, None, 0, Some(*error)),
        };
        Self {
            number: lease.number,
            token: lease.token.to_be_bytes(),
            state: i16::from(state),
            due: due.as_millis(),
            finished,
            refund,
            error: error.map(|error| bounded(&text(error))),
        }
    }
}

/// What a statement saw.
struct Seen {
    did: bool,
    /// Whether something else may be due now.
    next: bool,
    /// It was as it was to become, and by this lease.
    already: bool,
    /// It is leased under this token, and others may wait for it.
    entity: Option<i64>,
}

impl Seen {
    fn read(row: &Row, change: &Change) -> Result<Self, InboxError> {
        let (state, mine): (Option<i16>, Option<bool>) = (read(row, "state")?, read(row, "mine")?);
        let mine = mine.unwrap_or(false);
        let next = change.finished.is_none() || read(row, "silent")?;
        Ok(Self {
            did: read(row, "did")?,
            next,
            already: mine && state == Some(change.state),
            entity: if mine && state == Some(1) { read(row, "entity")? } else { None },
        })
    }
}

impl Inner {
    pub(super) async fn settle(
        &self,
        name: &'static str,
        lease: &Lease,
        how: &Settle<'_>,
        now: Timestamp,
    ) -> Result<Settled, InboxError> {
        let change = Change::new(lease, how, now);
        let Change { number, token, state, due, finished, refund, error } = &change;
        let token = token.as_slice();
        let params: [&(dyn ToSql + Sync); 7] = [number, &token, state, due, finished, refund, error];
        step::reached(name, "committing");
        let (row, again) = self.row(&self.statements.settle, &params).await?;
        let seen = Seen::read(&row, &change)?;
        let settled = match seen.entity {
            Some(entity) if !seen.did => {
                let mut more: Vec<&(dyn ToSql + Sync)> = params.to_vec();
                more.push(&entity);
                let (rows, again) = self.in_order(&[entity], &self.statements.finish, &more).await?;
                let row = rows.first().ok_or_else(|| InboxError::unavailable("a statement gave no row"))?;
                let seen = Seen::read(row, &change)?;
                let next = read(row, "next")?;
                (seen.did || (again && seen.already), seen.next || next)
            }
            _ => (seen.did || (again && seen.already), seen.next),
        };
        step::reached(name, "committed");
        let (settled, next) = settled;
        self.ring_if(settled && next);
        Ok(if settled { Settled::Current } else { Settled::Superseded })
    }

    /// A statement under the locks of entities, or of none.
    pub(super) async fn in_order(
        &self,
        entities: &[i64],
        text: &str,
        params: Params<'_>,
    ) -> Result<(Vec<Row>, bool), Failure> {
        let mut locks: Vec<i64> = entities.iter().map(|entity| lock_of(*entity, self.salt)).collect();
        locks.sort_unstable();
        locks.dedup();
        let statements = [Statement { text, params }];
        let begin = self.statements.begin.as_str();
        self.link.ask(&Locked { locks: &locks, begin, statements: &statements }, self.link.deadline()).await
    }

    /// The one row of a statement, and whether it was run again.
    pub(super) async fn row(&self, text: &str, params: Params<'_>) -> Result<(Row, bool), InboxError> {
        let (mut rows, again) = self.link.ask(&Statement { text, params }, self.link.deadline()).await?;
        let row = rows.pop().ok_or_else(|| InboxError::unavailable("a statement gave no row"))?;
        Ok((row, again))
    }
}
