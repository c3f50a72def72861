//! The inbox as its trait describes it, in memory: a list of rows, looked through from the first to the last each time.
//!
//! Where the trait leaves a choice (which of those that are due at the same moment, which of those that may be
//! forgotten) the model does not choose: it looks at what the store chose, says whether it might, and follows it.

use std::collections::BTreeSet;
use std::time::Duration;

use countersign::inbox::{Accepted, Batch, Entry, Incoming, Lease, Query, Replay, State, Stats, Wanted};
use countersign::{Settled, Timestamp};

/// What is wrong with a store.
pub type Wrong = String;

#[derive(Clone, Debug)]
pub struct Row {
    pub number: i64,
    pub incoming: Incoming,
    pub state: State,
    pub due: Timestamp,
    pub attempts: u32,
    silent: u32,
    token: Option<u128>,
    pub finished: Option<Timestamp>,
    error: Option<String>,
}

#[derive(Debug)]
pub struct Model {
    pub rows: Vec<Row>,
    tokens: BTreeSet<u128>,
    highest: i64,
    retention: Duration,
    keep_dead: Option<Duration>,
}

macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}

impl Row {
    fn new(number: i64, incoming: Incoming, state: State, now: Timestamp) -> Self {
        let (attempts, silent, token, finished, error) = (0, 0, None, None, None);
        Self { number, incoming, state, due: now, attempts, silent, token, finished, error }
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Pending | State::Running | State::Waiting)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        matches!(self.state, State::Pending | State::Running) && self.due <= now
    }

    fn has_ended_silently(&self, now: Timestamp) -> bool {
        self.state == State::Running && self.due <= now
    }

    fn is_suspect(&self, wanted: &Wanted, now: Timestamp) -> bool {
        self.has_ended_silently(now) && self.silent + 1 >= wanted.silent_before_suspect()
    }
}

impl Model {
    pub fn new(retention: Duration, keep_dead: Option<Duration>) -> Self {
        Self { rows: Vec::new(), tokens: BTreeSet::new(), highest: 0, retention, keep_dead }
    }

    fn is_free(&self, row: &Row, now: Timestamp) -> bool {
        row.state == State::Done && row.finished.is_some_and(|at| at.saturating_add(self.retention) <= now)
    }

    fn may_be_forgotten(&self, row: &Row, now: Timestamp) -> bool {
        let dead_for = |keep| row.finished.is_some_and(|at| at.saturating_add(keep) <= now);
        self.is_free(row, now) || (row.state == State::Dead && self.keep_dead.is_some_and(dead_for))
    }

    fn is_busy(&self, entity: Option<&str>) -> bool {
        entity.is_some() && self.rows.iter().any(|row| row.is_open() && row.incoming.entity.as_deref() == entity)
    }

    fn holder(&mut self, lease: &Lease) -> Option<&mut Row> {
        let held = |row: &&mut Row| row.state == State::Running && row.token == Some(lease.token);
        self.rows.iter_mut().find(|row| row.number == lease.number).filter(held)
    }

    pub fn is_current(&self, lease: &Lease) -> bool {
        self.rows.iter().any(|row| row.state == State::Running && row.token == Some(lease.token))
    }

    /// Lets the first that waits of this entity go.
    fn promote(&mut self, entity: Option<&str>, now: Timestamp) {
        let Some(entity) = entity else { return };
        let waits = |row: &&mut Row| row.state == State::Waiting && row.incoming.entity.as_deref() == Some(entity);
        if let Some(next) = self.rows.iter_mut().find(waits) {
            (next.state, next.due) = (State::Pending, now);
        }
    }

    /// `newest` is the number of the newest entry afterwards.
    pub fn accept(
        &mut self,
        incoming: &Incoming,
        now: Timestamp,
        accepted: Accepted,
        newest: Option<i64>,
    ) -> Result<(), Wrong> {
        if let Some(at) = self.rows.iter().position(|row| row.incoming.key == incoming.key) {
            let known = &self.rows[at];
            if !self.is_free(known, now) {
                let same = known.incoming.fingerprint == incoming.fingerprint;
                let right = if same { Accepted::Duplicate(known.state) } else { Accepted::Conflict };
                ensure!(accepted == right, "{accepted:?}, and it is {right:?} of {known:?}");
                return Ok(());
            }
            self.rows.remove(at);
        }
        ensure!(accepted == Accepted::New, "{accepted:?}, and it is new");
        let Some(number) = newest.filter(|newest| *newest > self.highest) else {
            return Err(format!("the newest is {newest:?} after {}", self.highest));
        };
        self.highest = number;
        let busy = self.is_busy(incoming.entity.as_deref());
        let state = if busy { State::Waiting } else { State::Pending };
        self.rows.push(Row::new(number, incoming.clone(), state, now));
        Ok(())
    }

    /// `entries` is what is listed afterwards.
    pub fn claim(&mut self, wanted: Wanted, now: Timestamp, batch: &Batch, entries: &[Entry]) -> Result<(), Wrong> {
        let alone = !self
            .rows
            .iter()
            .any(|row| row.state == State::Running && row.due > now && row.silent >= wanted.silent_before_suspect());
        let suspects: BTreeSet<i64> =
            self.rows.iter().filter(|row| row.is_suspect(&wanted, now)).map(|row| row.number).collect();
        self.follow_burials(wanted, now, batch, entries)?;
        let leasable: Vec<Row> =
            self.rows.iter().filter(|row| row.is_due(now) && row.attempts < wanted.max_attempts).cloned().collect();
        let spent_left = self
            .rows
            .iter()
            .filter(|row| row.is_due(now) && row.attempts >= wanted.max_attempts && !suspects.contains(&row.number))
            .count();
        let numbers: BTreeSet<i64> = batch.leased.iter().map(|leased| leased.lease.number).collect();
        let at_once = batch.leased.iter().filter(|leased| suspects.contains(&leased.lease.number)).count();
        // Those that were buried may have been in the way of others, which are the next claim's.
        let cut_short = batch.buried > 0;
        let full = batch.leased.len() == wanted.limit || cut_short;
        ensure!(batch.leased.len() <= wanted.limit, "{} are leased", batch.leased.len());
        ensure!(numbers.len() == batch.leased.len(), "one is leased twice: {numbers:?}");
        ensure!(at_once <= usize::from(alone), "{at_once} suspects run beside others, or one another");
        ensure!(full || spent_left == 0, "what has used up its attempts is left, and there is room");
        for leased in &batch.leased {
            let Some(row) = leasable.iter().find(|row| row.number == leased.lease.number) else {
                return Err(format!("{:?} was not due, or has no attempt left", leased.lease));
            };
            ensure!(leased.lease.attempt == row.attempts + 1, "attempt {} after {row:?}", leased.lease.attempt);
            ensure!(self.tokens.insert(leased.lease.token), "a token comes twice");
            ensure!(leased.fingerprint == row.incoming.fingerprint, "another fingerprint");
            ensure!(leased.delivery == row.incoming.delivery, "another delivery");
        }
        // Suspects first, one of them; then what else has ended without a word; then what is pending. Of each kind the
        // longest due first.
        let kind = |row: &Row| match row.state {
            State::Running if suspects.contains(&row.number) => 0,
            State::Running => 1,
            _ => 2,
        };
        let (taken, left): (Vec<&Row>, Vec<&Row>) = leasable.iter().partition(|row| numbers.contains(&row.number));
        for one in &left {
            let beside_a_suspect = kind(one) == 0 && (!alone || at_once > 0);
            ensure!(full || beside_a_suspect, "{one:?} is left, and there is room");
            let passed_over = |other: &&&Row| {
                (kind(other) == kind(one) && other.due > one.due)
                    || (kind(other) > kind(one) && !beside_a_suspect && !(kind(one) == 0 && cut_short))
            };
            if let Some(other) = taken.iter().find(passed_over) {
                return Err(format!("{one:?} is left, and {other:?} is not"));
            }
        }
        let until = now.saturating_add(wanted.lease.max(Duration::from_millis(1)));
        for leased in &batch.leased {
            let held = self.rows.iter_mut().find(|row| row.number == leased.lease.number);
            let row = held.ok_or("it is there")?;
            row.silent += u32::from(row.state == State::Running);
            (row.state, row.due, row.token) = (State::Running, until, Some(leased.lease.token));
            row.attempts += 1;
        }
        let due_later = |row: &&Row| matches!(row.state, State::Pending | State::Running) && row.due > now;
        let next = self.rows.iter().filter(due_later).map(|row| row.due).min();
        ensure!(batch.next_due == next, "next due at {:?}, and it is {next:?}", batch.next_due);
        Ok(())
    }

    /// Those that went to the dead: each might, and their number is what was told.
    fn follow_burials(
        &mut self,
        wanted: Wanted,
        now: Timestamp,
        batch: &Batch,
        entries: &[Entry],
    ) -> Result<(), Wrong> {
        let mut buried = 0;
        for at in 0..self.rows.len() {
            let number = self.rows[at].number;
            let after = entries.iter().find(|entry| entry.number == number).map(|entry| entry.state);
            let row = &mut self.rows[at];
            if after != Some(State::Dead) || row.state == State::Dead {
                continue;
            }
            ensure!(row.is_due(now) && row.attempts >= wanted.max_attempts, "{row:?} is dead, and might have lived");
            buried += 1;
            let why = if row.state == State::Running { "without a word" } else { "`max_attempts`" };
            (row.state, row.finished) = (State::Dead, Some(now));
            let before = row.error.take();
            let told = entries.iter().find(|entry| entry.number == number).and_then(|entry| entry.last_error.clone());
            let says = |what: &str| told.as_deref().is_some_and(|told| told.contains(what));
            ensure!(says(why), "it is dead without saying why: {told:?}");
            ensure!(before.as_deref().is_none_or(says), "{before:?} is forgotten: {told:?}");
            row.error = told;
            let entity = row.incoming.entity.clone();
            self.promote(entity.as_deref(), now);
        }
        ensure!(batch.buried == buried, "{} buried, and {buried} are dead now", batch.buried);
        Ok(())
    }

    pub fn extend(&mut self, leases: &[Lease], lease: Duration, now: Timestamp) -> Vec<Settled> {
        let extended = leases.iter().map(|one| match self.holder(one) {
            Some(row) => {
                row.due = now.saturating_add(lease);
                Settled::Current
            }
            None => Settled::Superseded,
        });
        extended.collect()
    }

    pub fn complete(&mut self, lease: &Lease, now: Timestamp) -> Settled {
        self.end(lease, State::Done, None, now)
    }

    pub fn dead(&mut self, lease: &Lease, error: &str, now: Timestamp) -> Settled {
        self.end(lease, State::Dead, Some(error.to_owned()), now)
    }

    fn end(&mut self, lease: &Lease, state: State, error: Option<String>, now: Timestamp) -> Settled {
        let Some(row) = self.holder(lease) else { return Settled::Superseded };
        (row.state, row.finished, row.error, row.silent, row.token) = (state, Some(now), error, 0, None);
        let entity = row.incoming.entity.clone();
        self.promote(entity.as_deref(), now);
        Settled::Current
    }

    pub fn retry(&mut self, lease: &Lease, due: Timestamp, error: &str) -> Settled {
        let Some(row) = self.holder(lease) else { return Settled::Superseded };
        (row.state, row.due, row.error, row.silent, row.token) = (State::Pending, due, Some(error.to_owned()), 0, None);
        Settled::Current
    }

    pub fn release(&mut self, lease: &Lease, now: Timestamp) -> Settled {
        let Some(row) = self.holder(lease) else { return Settled::Superseded };
        (row.state, row.due, row.silent, row.token) = (State::Pending, now, 0, None);
        row.attempts -= 1;
        Settled::Current
    }

    pub fn replay(&mut self, what: Replay, now: Timestamp) -> u64 {
        let mut replayed = 0;
        for at in 0..self.rows.len() {
            let row = &self.rows[at];
            let meant = match what {
                Replay::One(number) => row.number == number && !matches!(row.state, State::Running | State::Waiting),
                _ => row.state == State::Dead,
            };
            if !meant {
                continue;
            }
            let busy = row.state != State::Pending && self.is_busy(row.incoming.entity.as_deref());
            let row = &mut self.rows[at];
            row.state = if busy { State::Waiting } else { State::Pending };
            (row.due, row.attempts, row.silent, row.finished) = (now, 0, 0, None);
            replayed += 1;
        }
        replayed
    }

    /// `entries` is what is listed afterwards.
    pub fn prune(&mut self, limit: usize, now: Timestamp, pruned: u64, entries: &[Entry]) -> Result<(), Wrong> {
        let (there, gone): (Vec<Row>, Vec<Row>) = std::mem::take(&mut self.rows)
            .into_iter()
            .partition(|row| entries.iter().any(|entry| entry.number == row.number));
        let kept_on = gone.iter().find(|row| !self.may_be_forgotten(row, now));
        ensure!(kept_on.is_none(), "{kept_on:?} is forgotten");
        let more = there.iter().filter(|row| self.may_be_forgotten(row, now)).count();
        ensure!(gone.len() as u64 == pruned, "{pruned} are pruned, and {} are gone", gone.len());
        let right = limit.min(gone.len() + more);
        ensure!(gone.len() == right, "{} are pruned, and {right} should be", gone.len());
        self.rows = there;
        Ok(())
    }

    pub fn list(&self, query: &Query) -> Vec<i64> {
        let wanted = |row: &&Row| {
            row.number > query.after
                && query.before.is_none_or(|before| row.number < before)
                && query.state.is_none_or(|state| row.state == state)
                && query.delivery_id.as_ref().is_none_or(|id| row.incoming.delivery.id.as_ref() == Some(id))
                && query.tenant.as_ref().is_none_or(|tenant| row.incoming.delivery.tenant.as_ref() == Some(tenant))
                && query.entity.as_ref().is_none_or(|entity| row.incoming.entity.as_ref() == Some(entity))
                && query.finished_until.is_none_or(|until| row.finished.is_some_and(|at| at <= until))
        };
        let mut numbers: Vec<i64> = self.rows.iter().filter(wanted).map(|row| row.number).collect();
        if query.before.is_some() {
            numbers.reverse();
        }
        numbers.truncate(query.limit);
        numbers
    }

    /// That these are all the entries there are, as they are.
    pub fn compare(&self, entries: &[Entry], stats: &Stats) -> Result<(), Wrong> {
        let numbers: Vec<i64> = entries.iter().map(|entry| entry.number).collect();
        ensure!(numbers == self.list(&Query::all()), "{numbers:?} are listed, and there are {:?}", self.rows);
        for (entry, row) in entries.iter().zip(&self.rows) {
            let due = matches!(row.state, State::Pending | State::Running).then_some(row.due);
            let same = entry.state == row.state
                && entry.due_at == due
                && entry.attempts == row.attempts
                && entry.entity == row.incoming.entity
                && entry.finished_at == row.finished
                && entry.last_error == row.error
                && entry.received_at == row.incoming.delivery.received_at
                && entry.delivery_id == row.incoming.delivery.id;
            ensure!(same, "{entry:?} is listed, and it is {row:?}");
        }
        let count = |state| self.rows.iter().filter(|row| row.state == state).count() as u64;
        let counts = (stats.pending, stats.running, stats.waiting, stats.done, stats.dead);
        let [pending, running, waiting, done, dead] =
            [State::Pending, State::Running, State::Waiting, State::Done, State::Dead].map(count);
        ensure!(counts == (pending, running, waiting, done, dead), "{stats:?}, and there are {:?}", self.rows);
        let oldest = self.rows.iter().find(|row| row.is_open()).map(|row| row.incoming.delivery.received_at);
        ensure!(stats.oldest == oldest, "the oldest is of {:?}, and it is of {oldest:?}", stats.oldest);
        self.one_of_an_entity()
    }

    /// Of the model itself: of an entity one is pending or running, if any is not at its end.
    fn one_of_an_entity(&self) -> Result<(), Wrong> {
        let entities: BTreeSet<&str> = self.rows.iter().filter_map(|row| row.incoming.entity.as_deref()).collect();
        for entity in entities {
            let open = |row: &&Row| row.is_open() && row.incoming.entity.as_deref() == Some(entity);
            let active = self.rows.iter().filter(open).filter(|row| row.state != State::Waiting).count();
            let any = self.rows.iter().any(|row| open(&row));
            ensure!(active == usize::from(any), "{active} of `{entity}` are pending or running");
        }
        Ok(())
    }
}
