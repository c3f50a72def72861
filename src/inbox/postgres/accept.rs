//! Accepts that wait share a statement, and so a commit.
//!
//! What comes while as many statements are under way as may be waits for the next one, which takes all of it. So nobody
//! waits while it is quiet, and under load many deliveries cost one round trip and one flush. Each is told after the
//! commit that it was part of.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::{self, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::Inner;
use super::columns::Columns;
use super::rows::{fingerprint, optional_time, read, state_of};
use crate::dedupe::Fingerprint;
use crate::inbox::row::tokens;
use crate::inbox::step;
use crate::inbox::{Accepted, InboxError, Incoming, State};
use crate::remote::postgres::{Failure, Impatient, Link, Locked, Question, Statement};
use crate::remote::reason;
use crate::time::Timestamp;

/// The most deliveries that one statement takes, and the most bytes of their bodies.
const MAX_BATCH: usize = 256;
const MAX_BYTES: usize = 4 << 20;

/// How many are written at once by themselves when they cannot be written together.
const AT_ONCE: usize = 4;

/// What waits to be written.
pub(super) struct Accepts {
    /// The connections for it.
    link: Link,
    waiting: Mutex<Waiting>,
    /// How many may wait.
    room: usize,
    /// How many statements may be under way.
    writers: usize,
    home: Handle,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// How many are in a statement that is under way.
    writing: usize,
    writers: usize,
}

/// One delivery that somebody waits for.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) incoming: Incoming,
    pub(super) now: Timestamp,
    /// By which it is known again when the answer was lost.
    pub(super) nonce: [u8; 16],
    deadline: Instant,
    reply: oneshot::Sender<Result<Accepted, InboxError>>,
}

/// What the statement says of a key.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// It is written now, in this state.
    New(State),
    /// It was there.
    Held(Held),
    /// Somebody else has written it at the same moment.
    Unclear,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    number: i64,
    fingerprint: Fingerprint,
    state: State,
    finished_at: Option<Timestamp>,
    /// The accept that wrote it, unless it was leased since.
    nonce: Option<[u8; 16]>,
}

impl Accepts {
    pub(super) fn new(link: Link, room: usize, writers: usize, home: Handle) -> Self {
        Self { link, waiting: Mutex::default(), room, writers, home }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that can panic runs under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one delivery, with others that come at the same time.
pub(super) async fn accept(inner: &Arc<Inner>, incoming: Incoming, now: Timestamp) -> Result<Accepted, InboxError> {
    let nonce = tokens(1)?.first().copied().unwrap_or_default().to_be_bytes();
    let accepts = &inner.accepts;
    let deadline = accepts.link.deadline();
    let (reply, told) = oneshot::channel();
    {
        let mut waiting = accepts.lock();
        if waiting.jobs.len() + waiting.writing >= accepts.room {
            return Err(InboxError::Full);
        }
        waiting.jobs.push_back(Job { incoming, now, nonce, deadline, reply });
        if waiting.writers < accepts.writers {
            waiting.writers += 1;
            drop(waiting);
            let writer = Writer { inner: Arc::clone(inner), writing: 0 };
            drop(accepts.home.spawn(writer.write()));
        }
    }
    let told = tokio::time::timeout_at(deadline, told).await;
    // It may be kept after all.
    let told = told.map_err(|_elapsed| InboxError::TooSlow(accepts.link.response_timeout))?;
    told.unwrap_or_else(|_| Err(InboxError::unavailable("the runtime that it was built on has ended")))
}

/// Writes what waits until there is nothing left. Makes room when it is dropped, however it ends.
struct Writer {
    inner: Arc<Inner>,
    writing: usize,
}

impl Writer {
    async fn write(mut self) {
        while let Some(jobs) = self.take() {
            let jobs = self.batch(jobs).await;
            if !jobs.is_empty() {
                let mut waiting = self.inner.accepts.lock();
                jobs.into_iter().rev().for_each(|job| waiting.jobs.push_front(job));
            }
        }
    }

    /// Up to a batch of what waits; `None` when nothing does.
    fn take(&mut self) -> Option<Vec<Job>> {
        let mut waiting = self.inner.accepts.lock();
        waiting.writing -= std::mem::take(&mut self.writing);
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(job) = waiting.jobs.pop_front() {
            // Whoever gave up has told the sender to come back.
            if job.reply.is_closed() {
                continue;
            }
            bytes += job.incoming.delivery.raw.len();
            jobs.push(job);
            if jobs.len() >= MAX_BATCH || bytes >= MAX_BYTES {
                break;
            }
        }
        self.writing = jobs.len();
        waiting.writing += self.writing;
        if jobs.is_empty() {
            // Under the same lock, so that what comes next starts another one.
            waiting.writers -= 1;
            return None;
        }
        Some(jobs)
    }

    /// Writes them, tells each, and gives back those of which it could not be seen yet what they are.
    async fn batch(&self, jobs: Vec<Job>) -> Vec<Job> {
        // Of copies of one delivery the first is written, and the others are told by what became of it.
        let mut groups: Vec<Vec<Job>> = Vec::new();
        let mut at: HashMap<[u8; 32], usize> = HashMap::with_capacity(jobs.len());
        for job in jobs {
            match at.get(job.incoming.key.as_bytes()) {
                Some(&group) => groups[group].push(job),
                None => {
                    at.insert(*job.incoming.key.as_bytes(), groups.len());
                    groups.push(vec![job]);
                }
            }
        }
        match self.write_groups(groups, true).await {
            Ok(left) => left,
            // One of them may be the trouble of all: one that somebody holds, or that the database cannot hold.
            Err(groups) => {
                let alone = stream::iter(groups).map(|group| self.write_groups(vec![group], false));
                let left = alone.buffer_unordered(AT_ONCE).map(Result::unwrap_or_default);
                left.concat().await
            }
        }
    }

    /// Writes the first of each group and tells all. Gives the groups back where the server refuses them and there are
    /// several, so that each is `together` with others no more.
    async fn write_groups(&self, groups: Vec<Vec<Job>>, together: bool) -> Result<Vec<Job>, Vec<Vec<Job>>> {
        let first: Vec<&Job> = groups.iter().filter_map(|group| group.first()).collect();
        let together = together && first.len() > 1;
        match self.inner.write(&first, together).await {
            Ok((known, again)) => Ok(self.tell(groups, &known, again).await),
            Err(Trouble::Refused(_)) if together => Err(groups),
            Err(Trouble::Refused(error) | Trouble::Away(error)) => {
                for job in groups.into_iter().flatten() {
                    let _ = job.reply.send(Err(copy_of(&error)));
                }
                Ok(Vec::new())
            }
        }
    }

    async fn tell(&self, groups: Vec<Vec<Job>>, known: &HashMap<[u8; 32], Known>, again: bool) -> Vec<Job> {
        let mut left = Vec::new();
        let mut any_new = false;
        for group in groups {
            let Some(first) = group.first() else { continue };
            let (key, print) = (first.incoming.key, first.incoming.fingerprint);
            let mut known = known.get(key.as_bytes()).copied().unwrap_or(Known::Unclear);
            for job in group {
                let answer = match known {
                    Known::New(state) => {
                        any_new = true;
                        // The others are copies of this one.
                        known =
                            Known::Held(Held { number: 0, fingerprint: print, state, finished_at: None, nonce: None });
                        Some(Accepted::New)
                    }
                    Known::Held(held) if again && held.nonce == Some(job.nonce) => {
                        any_new = true;
                        Some(Accepted::New)
                    }
                    Known::Held(held) if held.is_over(self.inner.retention, job.now) => {
                        self.inner.forget(&held).await;
                        None
                    }
                    Known::Held(held) if held.fingerprint != job.incoming.fingerprint => Some(Accepted::Conflict),
                    Known::Held(held) => Some(Accepted::Duplicate(held.state)),
                    Known::Unclear => None,
                };
                match answer {
                    // Whoever asked may have given up.
                    Some(answer) => drop(job.reply.send(Ok(answer))),
                    None if Instant::now() < job.deadline => left.push(job),
                    None => {
                        let late = InboxError::TooSlow(self.inner.accepts.link.response_timeout);
                        let _ = job.reply.send(Err(late));
                    }
                }
            }
        }
        self.inner.ring_if(any_new);
        left
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.writing > 0 {
            // It ended in the middle; those who wait are told by the end of their channels.
            let mut waiting = self.inner.accepts.lock();
            waiting.writing -= self.writing;
            waiting.writers -= 1;
        }
    }
}

/// Why a batch was not written.
enum Trouble {
    /// The server does not want it, and has written nothing.
    Refused(InboxError),
    Away(InboxError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let refused = !failure.sent && failure.code().is_some();
        let error = failure.trouble.into();
        if refused { Self::Refused(error) } else { Self::Away(error) }
    }
}

impl Held {
    fn is_over(&self, retention: std::time::Duration, now: Timestamp) -> bool {
        self.state == State::Done && self.finished_at.is_some_and(|at| at.saturating_add(retention) <= now)
    }
}

impl Inner {
    async fn write(&self, jobs: &[&Job], together: bool) -> Result<(HashMap<[u8; 32], Known>, bool), Trouble> {
        let columns = Columns::of(jobs, self.salt);
        let params = columns.params();
        let deadline = jobs.iter().map(|job| job.deadline).max().unwrap_or_else(Instant::now);
        jobs.iter().for_each(|_| step::reached("accept", "committing"));
        let (rows, again) = if columns.locks.is_empty() {
            let statement = Statement { text: &self.statements.accept, params: &params };
            self.ask(statement, together, deadline).await?
        } else {
            let statements = [Statement { text: &self.statements.accept_in_order, params: &params }];
            let (locks, begin) = (&columns.locks, self.statements.begin.as_str());
            self.ask(Locked { locks, begin, statements: &statements }, together, deadline).await?
        };
        jobs.iter().for_each(|_| step::reached("accept", "committed"));
        let known: Result<HashMap<_, _>, InboxError> = rows.iter().map(known).collect();
        Ok((known.map_err(Trouble::Away)?, again))
    }

    /// For several together no lock is asked for twice: those that nobody holds can be written by themselves.
    async fn ask<Q: Question>(
        &self,
        question: Q,
        together: bool,
        deadline: Instant,
    ) -> Result<(Q::Answer, bool), Failure> {
        if together {
            self.accepts.link.ask(&Impatient(question), deadline).await
        } else {
            self.accepts.link.ask(&question, deadline).await
        }
    }

    /// Makes room for a delivery of the same key, when the old one need not be remembered any more.
    async fn forget(&self, held: &Held) {
        let finished_at = held.finished_at.map(Timestamp::as_millis);
        let params: [&(dyn ToSql + Sync); 2] = [&held.number, &finished_at];
        let statement = Statement { text: &self.statements.forget, params: &params };
        if let Err(failure) = self.link.ask(&statement, self.link.deadline()).await {
            tracing::debug!(error = %failure.trouble, "what has expired was not removed; it is tried again");
        }
    }
}

/// The same for each of those who shared it.
fn copy_of(error: &InboxError) -> InboxError {
    match error {
        InboxError::Full => InboxError::Full,
        InboxError::TooSlow(limit) => InboxError::TooSlow(*limit),
        InboxError::Unavailable(cause) => InboxError::unavailable(reason(cause.as_ref())),
    }
}

fn known(row: &Row) -> Result<([u8; 32], Known), InboxError> {
    let key: &[u8] = read(row, "claim_key")?;
    let key = key.try_into().map_err(InboxError::unavailable)?;
    if read::<Option<i16>>(row, "new")?.is_some() {
        return Ok((key, Known::New(state_of(row, "new")?)));
    }
    // Nothing where the key was found but its delivery is just being forgotten.
    let (Some(number), Some(_)) = (read(row, "number")?, read::<Option<i16>>(row, "state")?) else {
        return Ok((key, Known::Unclear));
    };
    let held = Held {
        number,
        fingerprint: fingerprint(row)?,
        state: state_of(row, "state")?,
        finished_at: optional_time(row, "finished_at")?,
        nonce: read::<&[u8]>(row, "token")?.try_into().ok(),
    };
    Ok((key, Known::Held(held)))
}
