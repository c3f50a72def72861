//! What operators ask, and what keeps the tables small. None of it is waited for by a sender, so it may take longer.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Inner;
use super::columns::{hash_of, lock_of, text};
use super::rows::{delivery, entry, optional_time, read};
use crate::inbox::row::{DEAD, DONE, PENDING, number_of};
use crate::inbox::{Entry, InboxError, Query, Replay, Stats};
use crate::remote::postgres::{Locked, Params, Statement};
use crate::time::Timestamp;
use crate::verify::StoredDelivery;

impl Inner {
    pub(super) async fn list(&self, query: &Query) -> Result<Vec<Entry>, InboxError> {
        // The number of the state stands in the text so that the indexes of single states can be used.
        let mut state = query.state.map_or_else(|| "true".to_owned(), |state| format!("state = {}", number_of(state)));
        if let Some(entity) = &query.entity {
            // And so that those of an entity are found by their index.
            state += &format!(" AND held.entity = '{}'::bigint", hash_of(entity));
        }
        let order = if query.before.is_some() { "DESC" } else { "ASC" };
        let statement = self.statements.list.replace("{state}", &state).replace("{order}", order);
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let before = query.before.unwrap_or(i64::MAX);
        let source = query.source.as_ref().map(AsRef::<str>::as_ref);
        let event_type = query.event_type.as_ref().map(AsRef::<str>::as_ref);
        let delivery_id = query.delivery_id.as_ref().map(AsRef::<str>::as_ref);
        let finished = query.finished_until.map(Timestamp::as_millis);
        let tenant = query.tenant.as_ref().map(AsRef::<str>::as_ref);
        let entity = query.entity.as_deref().map(text);
        let params: [&(dyn ToSql + Sync); 9] =
            [&query.after, &before, &source, &event_type, &delivery_id, &finished, &limit, &tenant, &entity];
        let rows = self.patiently(&statement, &params).await?;
        rows.iter().map(entry).collect()
    }

    pub(super) async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, InboxError> {
        let rows = self.patiently(&self.statements.show, &[&number]).await?;
        rows.first().map(|row| Ok((entry(row)?, delivery(row)?))).transpose()
    }

    pub(super) async fn stats(&self) -> Result<Stats, InboxError> {
        let row = self.patiently_one(&self.statements.stats, &[]).await?;
        let count = |column| read::<i64>(&row, column).map(i64::unsigned_abs);
        Ok(Stats {
            pending: count("pending")?,
            running: count("running")?,
            waiting: count("waiting")?,
            done: count("done")?,
            dead: count("dead")?,
            oldest: optional_time(&row, "oldest")?,
        })
    }

    pub(super) async fn prune(&self, limit: usize, now: Timestamp) -> Result<u64, InboxError> {
        let mut pruned = 0;
        let (done, dead) = (&self.statements.prune, &self.statements.prune_dead);
        for (statement, keep) in [(done, Some(self.retention)), (dead, self.keep_dead)] {
            let Some(keep) = keep else { continue };
            let left = i64::try_from(limit).unwrap_or(i64::MAX).saturating_sub(pruned);
            let before = now.saturating_sub(keep).as_millis();
            let row = self.patiently_one(statement, &[&before, &left, &now.as_millis()]).await?;
            pruned += read::<i64>(&row, "pruned")?;
        }
        Ok(pruned.unsigned_abs())
    }

    pub(super) async fn replay(&self, what: Replay, now: Timestamp) -> Result<u64, InboxError> {
        let replayed = match what {
            Replay::One(number) => {
                let rows = self.patiently(&self.statements.replay_one, &[&number]).await?;
                self.replay_these(&rows, &[PENDING, DONE, DEAD], now).await?
            }
            Replay::AllDead => self.replay_all_dead(now).await?,
        };
        self.ring_if(replayed > 0);
        Ok(replayed)
    }

    async fn replay_all_dead(&self, now: Timestamp) -> Result<u64, InboxError> {
        let (mut replayed, mut after) = (0, i64::MIN);
        loop {
            let rows = self.patiently(&self.statements.replay_all, &[&after, &PAGE]).await?;
            let Some(last) = rows.last() else { return Ok(replayed) };
            after = read(last, "number")?;
            replayed += self.replay_these(&rows, &[DEAD], now).await?;
        }
    }

    /// Those of them that are in one of these states still, behind what is in front of them.
    async fn replay_these(&self, rows: &[Row], states: &[u8], now: Timestamp) -> Result<u64, InboxError> {
        let (mut numbers, mut locks) = (Vec::<i64>::new(), Vec::new());
        for row in rows {
            numbers.push(read(row, "number")?);
            locks.extend(read::<Option<i64>>(row, "entity")?.map(|entity| lock_of(entity, self.salt)));
        }
        locks.sort_unstable();
        locks.dedup();
        let states: Vec<i16> = states.iter().map(|state| i16::from(*state)).collect();
        let params: [&(dyn ToSql + Sync); 3] = [&numbers, &now.as_millis(), &states];
        let rows = self.patiently_locked(&locks, &self.statements.replay, &params).await?;
        let replayed: i64 = rows.first().map_or(Ok(0), |row| read(row, "replayed"))?;
        Ok(replayed.unsigned_abs())
    }

    pub(super) async fn patiently_one(&self, text: &str, params: Params<'_>) -> Result<Row, InboxError> {
        let mut rows = self.patiently(text, params).await?;
        rows.pop().ok_or_else(|| InboxError::unavailable("a statement gave no row"))
    }

    async fn patiently(&self, text: &str, params: Params<'_>) -> Result<Vec<Row>, InboxError> {
        self.patiently_locked(&[], text, params).await
    }

    async fn patiently_locked(&self, locks: &[i64], text: &str, params: Params<'_>) -> Result<Vec<Row>, InboxError> {
        let patience = PATIENCE.max(self.link.response_timeout);
        let begin = format!("{}; SET LOCAL statement_timeout = {}", self.statements.begin, patience.as_millis());
        let asked = Locked { locks, begin: &begin, statements: &[Statement { text, params }] };
        let (rows, _) = self.link.ask(&asked, Instant::now() + patience).await?;
        Ok(rows)
    }
}

/// How long the answer to an operator may take: a million rows are counted in it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many dead are replayed in one transaction, which holds a lock for each of their entities.
const PAGE: i64 = 64;
