//! One thread that writes, and commits for many at once.
//!
//! What comes while a commit is under way waits for the next one and shares it, and so does what comes while that one's
//! transaction is being filled: one `fsync` for all of them. Each is told after the commit that it was part of, and not
//! before. When a commit fails, nothing of it was written, and all that shared it are told so.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::connection::{Place, Writing};
use super::keys::Keys;
use crate::inbox::store::InboxError;
use crate::inbox::{Bell, step};

/// The most jobs that one commit takes: enough for the fsync to be a small part of it.
const COMMIT_JOBS: usize = 512;

/// The most bytes that one commit takes, but for the last job: a commit of large bodies should not keep small ones waiting.
const COMMIT_BYTES: usize = 4 * 1024 * 1024;

/// The most bytes that bounded jobs hold while they wait: as much as a receiver has in flight, unless set otherwise.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;

/// The writing thread, and what waits for it. Ends, when it is dropped, after all of that is written.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be done in a transaction.
trait Job: Send {
    fn name(&self) -> &'static str;
    /// How much memory it holds, where its caller may give up; `None` for what is done in any case.
    fn bounded(&self) -> Option<usize>;
    /// Whether it is not to be done any more: its caller has given up, and has told nobody that it was done.
    fn is_abandoned(&self) -> bool;
    fn run(&mut self, transaction: &Transaction<'_>, keys: &mut Keys) -> rusqlite::Result<()>;
    /// Whether by what it has done something may have become due.
    fn rings(&self) -> bool;
    fn end(self: Box<Self>, committed: Result<(), &Failure>);
}

struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
    /// How many bounded jobs may be here, those of the present commit included.
    room: usize,
    bell: Bell,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    /// How many bounded jobs are here, those of the present commit included.
    bounded: usize,
    /// How much the bounded ones of `jobs` hold.
    bytes: usize,
    /// Whether the thread sleeps until there is something.
    asleep: bool,
    closed: bool,
}

struct Task<T, F> {
    name: &'static str,
    bounded: Option<usize>,
    work: Option<F>,
    result: Option<T>,
    /// Whether a result holds whatever becomes of the commit, because nothing of it is in there.
    holds: fn(&T) -> bool,
    /// Whether it is one by which something may have become due.
    rings: fn(&T) -> bool,
    reply: oneshot::Sender<Result<T, InboxError>>,
}

/// Why a commit failed, to be told to each that shared it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failure(String);

impl Failure {
    fn ended() -> Self {
        Self("its writer has ended".to_owned())
    }
}

impl Writer {
    /// Starts the thread; `writing` is the open database. It rings the `bell` after each commit by which something may have
    /// become due, whether anybody waits for what was written or not.
    pub(super) fn start(place: Place, writing: Writing, room: usize, bell: Bell) -> std::io::Result<Self> {
        let queue = Arc::new(Queue { waiting: Mutex::default(), more: Condvar::new(), room, bell });
        let theirs = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("countersign-inbox".to_owned());
        let thread = thread.spawn(move || serve(&theirs, &place, writing))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    /// Does `work`, which holds so many `bytes`, in the next transaction, if there is room for it, and gives what came of it
    /// after the commit. It is not done where the caller gives up before. `rings` says of which results the bell tells.
    pub(super) async fn bounded<T: Send + 'static>(
        &self,
        name: &'static str,
        bytes: usize,
        rings: fn(&T) -> bool,
        work: impl FnOnce(&Transaction<'_>, &mut Keys) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, InboxError> {
        self.ask(name, Some(bytes), |_| false, rings, work).await
    }

    /// The same for what frees room, and so is never refused; and it is done whether anybody waits for it or not.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        name: &'static str,
        rings: fn(&T) -> bool,
        work: impl FnOnce(&Transaction<'_>, &mut Keys) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, InboxError> {
        self.ask(name, None, |_| false, rings, work).await
    }

    /// As [`run`](Self::run), for `work` that undoes itself where it fails with an `E`: that is told whatever becomes of the
    /// commit.
    pub(super) async fn attempt<T: Send + 'static, E: Send + 'static>(
        &self,
        name: &'static str,
        rings: fn(&Result<T, E>) -> bool,
        work: impl FnOnce(&Transaction<'_>, &mut Keys) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> Result<Result<T, E>, InboxError> {
        self.ask(name, None, Result::is_err, rings, work).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        name: &'static str,
        bounded: Option<usize>,
        holds: fn(&T) -> bool,
        rings: fn(&T) -> bool,
        work: impl FnOnce(&Transaction<'_>, &mut Keys) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, InboxError> {
        let (reply, told) = oneshot::channel();
        let task = Task { name, bounded, work: Some(work), result: None, holds, rings, reply };
        self.queue.push(Box::new(task))?;
        told.await.unwrap_or_else(|_| Err(InboxError::unavailable(Failure::ended())))
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

    fn push(&self, job: Box<dyn Job>) -> Result<(), InboxError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(InboxError::unavailable(Failure::ended()));
        }
        if let Some(bytes) = job.bounded() {
            if waiting.is_full(bytes, self.room) {
                waiting.leave_the_abandoned();
            }
            if waiting.is_full(bytes, self.room) {
                return Err(InboxError::Full);
            }
            waiting.bounded += 1;
            waiting.bytes += bytes;
        }
        waiting.jobs.push_back(job);
        let asleep = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if asleep {
            self.more.notify_one();
        }
        Ok(())
    }

    /// Waits for work, and puts what there is of it into `jobs`. `false` when there will be none any more.
    fn take(&self, jobs: &mut Vec<Box<dyn Job>>) -> bool {
        let mut waiting = self.lock();
        loop {
            waiting.fill(jobs);
            if !jobs.is_empty() {
                return true;
            }
            if waiting.closed {
                return false;
            }
            waiting.asleep = true;
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Waiting {
    fn is_full(&self, bytes: usize, room: usize) -> bool {
        // One that is larger than all the room has it for itself.
        self.bounded >= room || (self.bytes > 0 && self.bytes + bytes > QUEUE_BYTES)
    }

    /// Moves to `jobs` what has room in one commit with what is there.
    fn fill(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let mut bytes: usize = jobs.iter().filter_map(|job| job.bounded()).sum();
        while jobs.len() < COMMIT_JOBS && bytes < COMMIT_BYTES {
            let Some(job) = self.jobs.pop_front() else { break };
            if let Some(held) = job.bounded() {
                self.bytes -= held;
                bytes += held;
            }
            if job.is_abandoned() {
                self.bounded -= 1;
            } else {
                jobs.push(job);
            }
        }
    }

    /// A store that does not answer for a while must not hold more and more that nobody waits for.
    fn leave_the_abandoned(&mut self) {
        let (bounded, bytes) = (&mut self.bounded, &mut self.bytes);
        self.jobs.retain(|job| {
            let leave = job.is_abandoned();
            if leave {
                *bounded -= 1;
                *bytes -= job.bounded().unwrap_or(0);
            }
            !leave
        });
    }
}

/// Sees to it that nobody waits for a thread that is not there, however it has ended.
struct Serving<'a>(&'a Queue);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.closed = true;
        let left = std::mem::take(&mut waiting.jobs);
        drop(waiting);
        let ended = Failure::ended();
        left.into_iter().for_each(|job| tell(job, Err(&ended)));
    }
}

fn serve(queue: &Queue, place: &Place, writing: Writing) {
    let _serving = Serving(queue);
    let mut writing = Some(writing);
    let mut jobs = Vec::new();
    while queue.take(&mut jobs) {
        // A panic would be a mistake of ours. It costs this commit, not all that come after it.
        let committed = std::panic::catch_unwind(AssertUnwindSafe(|| batch(&mut writing, place, queue, &mut jobs)));
        let committed = committed.unwrap_or_else(|_panic| {
            writing = None;
            Err(Failure("a write panicked".to_owned()))
        });
        if let Err(failure) = &committed {
            tracing::error!(error = %failure.0, writes = jobs.len(), "the inbox could not write; nothing was acknowledged");
        }
        queue.lock().bounded -= jobs.iter().filter(|job| job.bounded().is_some()).count();
        // Here and once, not where somebody waits for it: whoever asked may have gone, and the workers are to hear all the same.
        if committed.is_ok() && jobs.iter().any(|job| job.rings()) {
            queue.bell.ring();
        }
        for job in jobs.drain(..) {
            tell(job, committed.as_ref().copied());
        }
    }
}

fn tell(job: Box<dyn Job>, committed: Result<(), &Failure>) {
    // What was not run is dropped here, and with it what a handler's writes have captured.
    let told = std::panic::catch_unwind(AssertUnwindSafe(|| job.end(committed)));
    if told.is_err() {
        tracing::error!("what was handed over to be written has panicked as it was dropped");
    }
}

/// Does all `jobs` in one transaction, and what comes meanwhile.
fn batch(
    writing: &mut Option<Writing>,
    place: &Place,
    queue: &Queue,
    jobs: &mut Vec<Box<dyn Job>>,
) -> Result<(), Failure> {
    // A connection that has failed, or whose file has gone, is not asked again: a new one finds out whether the trouble is
    // over.
    if writing.as_ref().is_some_and(|open| !place.holds(open)) {
        *writing = None;
    }
    let open = match writing {
        Some(open) => open,
        None => writing.insert(place.open().map_err(|error| Failure(error.to_string()))?),
    };
    let done = transact(open, queue, jobs);
    if let Err(error) = &done
        && error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy)
    {
        *writing = None;
    }
    done.map_err(|error| Failure(error.to_string()))
}

fn transact(writing: &mut Writing, queue: &Queue, jobs: &mut Vec<Box<dyn Job>>) -> rusqlite::Result<()> {
    let (connection, keys) = writing.parts();
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    keys.begin();
    let mut done = 0;
    while done < jobs.len() {
        for job in &mut jobs[done..] {
            job.run(&transaction, keys)?;
            if transaction.is_autocommit() {
                // SQLite has rolled all of it back, or an effect has ended the transaction.
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
                return Err(rusqlite::Error::SqliteFailure(code, Some("the transaction was ended within".to_owned())));
            }
        }
        done = jobs.len();
        queue.lock().fill(jobs);
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

    fn bounded(&self) -> Option<usize> {
        self.bounded
    }

    fn is_abandoned(&self) -> bool {
        self.bounded.is_some() && self.reply.is_closed()
    }

    fn run(&mut self, transaction: &Transaction<'_>, keys: &mut Keys) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.result = Some(work(transaction, keys)?);
        }
        Ok(())
    }

    fn rings(&self) -> bool {
        self.result.as_ref().is_some_and(self.rings)
    }

    fn end(self: Box<Self>, committed: Result<(), &Failure>) {
        let result = match (committed, self.result) {
            (_, Some(result)) if (self.holds)(&result) => Ok(result),
            (Ok(()), Some(result)) => Ok(result),
            (Err(failure), _) => Err(InboxError::unavailable(failure.clone())),
            (Ok(()), None) => Err(InboxError::unavailable("it was not done")),
        };
        // Whoever asked may have given up; what is written is written all the same.
        let _ = self.reply.send(result);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    /// A mistake of ours, outside of any transaction.
    struct Broken;

    impl Job for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn bounded(&self) -> Option<usize> {
            None
        }

        fn is_abandoned(&self) -> bool {
            panic!("as the test says")
        }

        fn run(&mut self, _: &Transaction<'_>, _: &mut Keys) -> rusqlite::Result<()> {
            Ok(())
        }

        fn rings(&self) -> bool {
            false
        }

        fn end(self: Box<Self>, _: Result<(), &Failure>) {}
    }

    #[tokio::test]
    async fn nobody_waits_for_a_thread_that_has_ended() {
        let path = std::env::temp_dir().join(format!("countersign-writer-{}.sqlite", std::process::id()));
        let place = Place { path: path.clone(), busy_timeout: Duration::ZERO, existing: false };
        let writing = place.open().expect("a database");
        let queue = Arc::new(Queue { waiting: Mutex::default(), more: Condvar::new(), room: 8, bell: Bell::default() });
        let writer = Writer { queue: Arc::clone(&queue), thread: None };
        queue.push(Box::new(Broken)).expect("there is room");
        let ping = || writer.run("ping", |_| false, |tx, _| crate::inbox::sqlite::write::ping(tx));
        let mut waiting = Box::pin(ping());
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits behind the one that is broken");
        assert!(std::thread::spawn(move || serve(&queue, &place, writing)).join().is_err(), "it panics");
        let patience = Duration::from_secs(20);
        for ended in [tokio::time::timeout(patience, waiting).await, tokio::time::timeout(patience, ping()).await] {
            let told = ended.expect("an answer").expect_err("nothing is written");
            assert_eq!(told.to_string(), "the inbox is unavailable: its writer has ended");
        }
        for beside in ["", "-wal", "-shm"] {
            std::fs::remove_file(format!("{}{beside}", path.display())).ok();
        }
    }
}
