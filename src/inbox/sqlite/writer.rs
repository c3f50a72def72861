//! One thread that writes, and commits for many at once.
//!
//! What comes while a commit is under way waits for the next one and shares it: one `fsync` for all of them. Each is
//! told after the commit that it was part of, and not before. When a commit fails, nothing of it was written, and all
//! that shared it are told so.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::connection::{Place, Writing};
use super::keys::Keys;
use crate::inbox::step;
use crate::inbox::store::InboxError;

/// The most that one commit takes: enough for the fsync to be a small part of it.
const MAX_BATCH: usize = 512;

/// From how many in the last commit on the next one waits for those who are about to come back.
const BUSY: usize = 4;

/// The longest that it waits for them.
const LONGEST_LINGER: Duration = Duration::from_millis(2);

/// The writing thread, and what waits for it. Ends, when it is dropped, after all of that is written.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// The last commit: how many shared it, and how long it took.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    jobs: usize,
    took: Duration,
}

/// What is to be done in a transaction.
trait Job: Send {
    fn name(&self) -> &'static str;
    fn run(&mut self, transaction: &Transaction<'_>, keys: &mut Keys) -> rusqlite::Result<()>;
    fn end(self: Box<Self>, committed: Result<(), &Failure>);
}

struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
    /// How many bounded jobs may wait.
    room: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    bounded: usize,
    closed: bool,
}

struct Task<T, F> {
    name: &'static str,
    work: Option<F>,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, InboxError>>,
    queue: Option<Arc<Queue>>,
}

/// Why a commit failed, to be told to each that shared it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failure(String);

impl Writer {
    /// Starts the thread; `writing` is the open database.
    pub(super) fn start(place: Place, writing: Writing, room: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue { waiting: Mutex::default(), more: Condvar::new(), room });
        let theirs = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("countersign-inbox".to_owned());
        let thread = thread.spawn(move || serve(&theirs, &place, writing))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Does `work` in the next transaction, if there is room for it, and gives what came of it after the commit.
    pub(super) async fn bounded<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Transaction<'_>, &mut Keys) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, InboxError> {
        let (reply, told) = oneshot::channel();
        let queue = Some(Arc::clone(&self.queue));
        let task = Task { name, work: Some(work), result: None, reply, queue };
        if !self.queue.push(Box::new(task), true) {
            return Err(InboxError::Full);
        }
        told.await.unwrap_or_else(|_| Err(InboxError::unavailable("its writer has ended")))
    }

    /// The same for what frees room, and so is never refused.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl FnOnce(&Transaction<'_>, &mut Keys) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, InboxError> {
        let (reply, told) = oneshot::channel();
        let task = Task { name, work: Some(work), result: None, reply, queue: None };
        self.queue.push(Box::new(task), false);
        told.await.unwrap_or_else(|_| Err(InboxError::unavailable("its writer has ended")))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.more.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // What it was asked to write is written when this returns.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No job runs under the lock, so nothing half-done is behind a poisoned one.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Box<dyn Job>, bounded: bool) -> bool {
        let mut waiting = self.lock();
        if bounded && waiting.bounded >= self.room {
            return false;
        }
        waiting.bounded += usize::from(bounded);
        waiting.jobs.push_back(job);
        drop(waiting);
        self.more.notify_one();
        true
    }

    /// Waits for work and takes up to a batch of it; `None` when there will be none any more.
    ///
    /// Those who were told of the last commit are about to come back, while what came during it is here already. With
    /// one commit for the ones and another for the others each would wait for both. So under load it lingers until they
    /// are here too, and never for longer than a quarter of the time that a commit takes.
    fn take(&self, last: Last) -> Option<Vec<Box<dyn Job>>> {
        let mut waiting = self.lock();
        while waiting.jobs.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if last.jobs >= BUSY {
            let enough = (waiting.jobs.len() + last.jobs).min(MAX_BATCH);
            let few = |waiting: &mut Waiting| waiting.jobs.len() < enough && !waiting.closed;
            let linger = (last.took / 4).min(LONGEST_LINGER);
            waiting = self.more.wait_timeout_while(waiting, linger, few).unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = waiting.jobs.len().min(MAX_BATCH);
        Some(waiting.jobs.drain(..count).collect())
    }
}

fn serve(queue: &Queue, place: &Place, writing: Writing) {
    let mut writing = Some(writing);
    let mut last = Last::default();
    while let Some(mut jobs) = queue.take(last) {
        let started = Instant::now();
        // A panic would be a mistake of ours. It costs this commit, not all that come after it.
        let committed = std::panic::catch_unwind(AssertUnwindSafe(|| batch(&mut writing, place, &mut jobs)));
        let committed = committed.unwrap_or_else(|_panic| {
            writing = None;
            Err(Failure("a write panicked".to_owned()))
        });
        if let Err(failure) = &committed {
            tracing::error!(error = %failure.0, writes = jobs.len(), "the inbox could not write; nothing was acknowledged");
        }
        last = Last { jobs: jobs.len(), took: started.elapsed() };
        for job in jobs {
            job.end(committed.as_ref().copied());
        }
    }
}

/// Does all `jobs` in one transaction.
fn batch(writing: &mut Option<Writing>, place: &Place, jobs: &mut [Box<dyn Job>]) -> Result<(), Failure> {
    // A connection that has failed is not asked again: a new one finds out whether the trouble is over.
    let open = match writing {
        Some(open) => open,
        None => writing.insert(place.open().map_err(|error| Failure(error.to_string()))?),
    };
    let done = transact(open, jobs);
    if let Err(error) = &done
        && error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy)
    {
        *writing = None;
    }
    done.map_err(|error| Failure(error.to_string()))
}

fn transact(writing: &mut Writing, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let (connection, keys) = writing.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    keys.begin();
    for job in &mut *jobs {
        job.run(&transaction, keys)?;
        if transaction.is_autocommit() {
            // SQLite has rolled all of it back, or an effect has ended the transaction.
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
            return Err(rusqlite::Error::SqliteFailure(code, Some("the transaction was ended within".to_owned())));
        }
    }
    jobs.iter().for_each(|job| step::reached(job.name(), "committing"));
    transaction.commit()?;
    jobs.iter().for_each(|job| step::reached(job.name(), "committed"));
    Ok(())
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&Transaction<'_>, &mut Keys) -> rusqlite::Result<T> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, transaction: &Transaction<'_>, keys: &mut Keys) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(transaction, keys)?);
        }
        Ok(())
    }

    fn end(self: Box<Self>, committed: Result<(), &Failure>) {
        if let Some(queue) = &self.queue {
            queue.lock().bounded -= 1;
        }
        let result = match (committed, self.result) {
            (Ok(()), Some(result)) => Ok(result),
            (Err(failure), _) => Err(InboxError::unavailable(failure.clone())),
            (Ok(()), None) => Err(InboxError::unavailable("it was not done")),
        };
        // Whoever asked may have given up; what is written is written all the same.
        let _ = self.reply.send(result);
    }
}
