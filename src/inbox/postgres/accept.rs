//! Accepts that wait share a statement, and so a commit.
//!
//! What comes while as many statements are under way as may be waits for the next one, which takes all of it. So nobody
//! waits while it is quiet, and under load many deliveries cost one round trip and one flush. Each is told after the
//! commit that it was part of.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::Inner;
use super::columns::{Columns, hash_of};
use super::known::{Held, Known, known};
use super::statements::Statements;
use crate::causes::Causes;
use crate::inbox::row::tokens;
use crate::inbox::step;
use crate::inbox::{Accepted, InboxError, Incoming};
use crate::remote::postgres::{Failure, Impatient, Link, Locked, Question, Statement};
use crate::remote::reason;
use crate::time::Timestamp;

/// The most deliveries that one statement takes, and the most bytes of their bodies.
const MAX_BATCH: usize = 256;
const MAX_BYTES: usize = 4 << 20;

/// The most entities that one statement takes deliveries of. Each is locked, and the server has room for some thousands
/// of locks: `max_locks_per_transaction`, 64 unless set, for each connection that it allows.
const MAX_ENTITIES: usize = 64;

/// Into how many parts is cut what cannot be written together.
const PARTS: usize = 4;

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
            let writer = Writer { inner: Arc::clone(inner), writing: 0, counted: true };
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
    /// It is among the writers of which there may be so many.
    counted: bool,
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
        let (mut jobs, mut bytes, mut entities) = (Vec::new(), 0, HashSet::new());
        while let Some(job) = waiting.jobs.pop_front() {
            // Whoever gave up has told the sender to come back.
            if job.reply.is_closed() {
                continue;
            }
            if let Some(entity) = &job.incoming.entity {
                entities.insert(hash_of(entity));
                if entities.len() > MAX_ENTITIES {
                    waiting.jobs.push_front(job);
                    break;
                }
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
            self.counted = false;
            return None;
        }
        Some(jobs)
    }

    /// Writes them, tells each, and gives back those of which it could not be seen yet what they are.
    ///
    /// One of them may be the trouble of all: one whose key or entity somebody has locked, or that the database cannot
    /// hold. It is looked for part by part, so that a few statements find it and write the others.
    async fn batch(&self, jobs: Vec<Job>) -> Vec<Job> {
        let (mut left, mut over) = (Vec::new(), Vec::new());
        let mut parts = vec![groups(jobs)];
        let mut patience = if parts[0].len() > 1 { Patience::Once } else { Patience::Twice };
        while let Some(mut part) = parts.pop() {
            let first: Vec<&Job> = part.iter().filter_map(|group| group.first()).collect();
            match self.inner.write(&first, patience).await {
                Ok((known, again)) => self.tell(part, &known, again, &mut left, &mut over),
                Err(Trouble::Refused { .. }) if part.len() > 1 => {
                    patience = Patience::Brief;
                    let size = part.len().div_ceil(PARTS);
                    // The first of them last, so that it is the next.
                    while part.len() > size {
                        let behind = (part.len() - 1) / size * size;
                        parts.push(part.split_off(behind));
                    }
                    parts.push(part);
                }
                Err(Trouble::Refused { error, locked }) => {
                    let entity = part[0][0].incoming.entity.clone().filter(|_| locked);
                    refuse(part, &error);
                    // None of the others of its entity would get further.
                    let of_it = |group: &mut Group| entity.is_some() && group[0].incoming.entity == entity;
                    parts.iter_mut().for_each(|part| refuse(part.extract_if(.., of_it).collect(), &error));
                    parts.retain(|part| !part.is_empty());
                }
                Err(Trouble::Away(error)) => refuse(part, &error),
            }
        }
        // Behind all answers: it may have to wait for a lock.
        if let Some(deadline) = left.iter().map(|job: &Job| job.deadline).max() {
            self.inner.forget(&over, deadline).await;
        }
        left
    }

    /// Tells what is known of each. Those of which it is not are `left`, some because of others that are `over`.
    fn tell(
        &self,
        part: Vec<Group>,
        known: &HashMap<[u8; 32], Known>,
        again: bool,
        left: &mut Vec<Job>,
        over: &mut Vec<Held>,
    ) {
        let mut any_new = false;
        for group in part {
            let Some(first) = group.first() else { continue };
            let (key, print) = (first.incoming.key, first.incoming.fingerprint);
            let mut known = known.get(key.as_bytes()).copied().unwrap_or(Known::Unclear);
            for job in group {
                let answer = match known {
                    Known::New(state) => {
                        any_new = true;
                        // The others are copies of this one.
                        known = Known::Held(Held::just_now(print, state));
                        Some(Accepted::New)
                    }
                    Known::Held(held) if again && held.nonce == Some(job.nonce) => {
                        any_new = true;
                        Some(Accepted::New)
                    }
                    Known::Held(held) if held.is_over(self.inner.retention, job.now) => {
                        over.push(held);
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
    }
}

/// A delivery and its copies: the first is written, and the others are told by what became of it.
type Group = Vec<Job>;

fn groups(jobs: Vec<Job>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
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
    groups
}

fn refuse(part: Vec<Group>, error: &InboxError) {
    for job in part.into_iter().flatten() {
        let _ = job.reply.send(Err(copy_of(error)));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.counted {
            // It ended in the middle, or with its runtime before it began. Those who wait are told by the end of their
            // channels; where nobody is left to write, that is everybody.
            let mut waiting = self.inner.accepts.lock();
            waiting.writing -= self.writing;
            waiting.writers -= 1;
            let nobody = if waiting.writers == 0 { std::mem::take(&mut waiting.jobs) } else { VecDeque::new() };
            drop(waiting);
            drop(nobody);
        }
    }
}

/// How long locks are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// A moment: somebody holds one of them, and it is looked for which.
    Brief,
    /// Once as long as may be: those that nobody holds can be written without the others.
    Once,
    /// And once more.
    Twice,
}

/// Why a batch was not written.
enum Trouble {
    /// The server does not want it, and has written nothing.
    Refused {
        error: InboxError,
        /// Because somebody holds a lock.
        locked: bool,
    },
    Away(InboxError),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        let locked = failure.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
        let refused = !failure.sent && failure.code().is_some();
        let error = failure.trouble.into();
        if refused { Self::Refused { error, locked } } else { Self::Away(error) }
    }
}

impl Inner {
    async fn write(&self, jobs: &[&Job], patience: Patience) -> Result<(HashMap<[u8; 32], Known>, bool), Trouble> {
        let deadline = jobs.iter().map(|job| job.deadline).max().unwrap_or_else(Instant::now);
        if patience == Patience::Brief && Instant::now() >= deadline {
            return Err(Trouble::Away(InboxError::TooSlow(self.accepts.link.response_timeout)));
        }
        let columns = Columns::of(jobs, self.salt);
        let params = columns.params();
        let Statements { accept, accept_briefly, accept_in_order, begin, begin_briefly, .. } = &self.statements;
        let (accept, begin) =
            if patience == Patience::Brief { (accept_briefly, begin_briefly) } else { (accept, begin) };
        jobs.iter().for_each(|_| step::reached("accept", "committing"));
        let (rows, again) = if columns.locks.is_empty() {
            self.ask(Statement { text: accept, params: &params }, patience, deadline).await?
        } else {
            let statements = [Statement { text: accept_in_order, params: &params }];
            self.ask(Locked { locks: &columns.locks, begin, statements: &statements }, patience, deadline).await?
        };
        jobs.iter().for_each(|_| step::reached("accept", "committed"));
        let known: Result<HashMap<_, _>, InboxError> = rows.iter().map(known).collect();
        Ok((known.map_err(Trouble::Away)?, again))
    }

    async fn ask<Q: Question>(
        &self,
        question: Q,
        patience: Patience,
        deadline: Instant,
    ) -> Result<(Q::Answer, bool), Failure> {
        if patience == Patience::Twice {
            self.accepts.link.ask(&question, deadline).await
        } else {
            self.accepts.link.ask(&Impatient(question), deadline).await
        }
    }

    /// Makes room for deliveries of the same keys, when the old ones need not be remembered any more.
    async fn forget(&self, over: &[Held], deadline: Instant) {
        if over.is_empty() {
            return;
        }
        let numbers: Vec<i64> = over.iter().map(|held| held.number).collect();
        let ends: Vec<Option<i64>> = over.iter().map(|held| held.finished_at.map(Timestamp::as_millis)).collect();
        let statement = Statement { text: &self.statements.forget, params: &[&numbers, &ends] };
        if let Err(failure) = self.ask(statement, Patience::Once, deadline).await {
            tracing::debug!(error = %Causes(&failure.trouble), "what has expired was not removed; it is tried again");
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
