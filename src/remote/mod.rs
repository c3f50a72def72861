//! What stores that answer over a network have in common: calls whose end nobody saw, and how often to say so.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub(crate) use crate::causes::{Listed, in_one_line as reason};
use crate::dedupe::Settled;

/// Work that goes on when nobody waits for it any more. Bounded in number and in time: what does not fit is left to
/// the end of the lease.
#[derive(Debug)]
pub(crate) struct Later {
    /// The runtime that the store was built on, for callers without one.
    home: Option<Handle>,
    /// What can wait has a line of its own, so that a completion neither stands behind it nor finds no room: the sender
    /// is about to come back, and what is not recorded by then runs again.
    settling: Line,
    can_wait: Line,
}

/// Who waits, and who may make an attempt: after an outage there is something to make up for of every delivery that came
/// meanwhile, and whoever waits for an answer now comes before all that.
#[derive(Clone, Debug)]
struct Line {
    room: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Line {
    fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(MOST_TASKS)), turns: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }
}

/// Whether a task in the background is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Again,
    Ended,
}

impl Later {
    pub(crate) fn here() -> Self {
        Self { home: Handle::try_current().ok(), settling: Line::new(), can_wait: Line::new() }
    }

    /// Makes attempts in the background until one of them ends it or `limit` is over. Neither blocks nor panics
    /// without a runtime; it is then not done.
    pub(crate) fn run<F>(&self, limit: Duration, attempt: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = Next> + Send + 'static,
    {
        if !self.run_in(&self.can_wait, limit, attempt) {
            tracing::debug!(
                "a claim is left to the end of its lease: nothing could be done about it in the background"
            );
        }
    }

    /// Tells whether there is a runtime for it, and room.
    fn run_in<F>(&self, line: &Line, limit: Duration, mut attempt: impl FnMut() -> F + Send + 'static) -> bool
    where
        F: Future<Output = Next> + Send + 'static,
    {
        let runtime = Handle::try_current().ok().or_else(|| self.home.clone());
        let Line { room, turns } = line.clone();
        let (Some(runtime), Ok(room)) = (runtime, room.try_acquire_owned()) else { return false };
        drop(runtime.spawn(async move {
            let _room = room;
            let end = Instant::now() + limit;
            let mut pause = FIRST_PAUSE;
            while let Ok(turn) = timeout_at(end, turns.acquire()).await {
                let next = attempt().await;
                drop(turn);
                if next == Next::Ended || Instant::now() >= end {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }));
        true
    }

    /// Settles a claim in the background: until the store has answered, whatever the answer is.
    pub(crate) fn settle<F, E>(&self, limit: Duration, mut settle: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = Result<Settled, E>> + Send + 'static,
    {
        let settling = self.run_in(&self.settling, limit, move || {
            let settled = settle();
            async move { if settled.await.is_ok() { Next::Ended } else { Next::Again } }
        });
        if !settling {
            tracing::warn!("how a delivery ended cannot be recorded any more: it may run again after its lease");
        }
    }

    /// Takes back a claim of which nobody knows whether it was made.
    ///
    /// The store may execute it after it was asked to take it back, as when a frozen server goes on with what lies in
    /// its sockets. So an answer that there was nothing to take back is not believed at once.
    pub(crate) fn take_back<F, E>(&self, mut release: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = Result<Settled, E>> + Send + 'static,
    {
        let misses = Arc::new(AtomicU64::new(0));
        self.run(TAKE_BACK_LIMIT, move || {
            let (released, misses) = (release(), Arc::clone(&misses));
            async move {
                match released.await {
                    Ok(Settled::Current) => Next::Ended,
                    Ok(Settled::Superseded) if misses.fetch_add(1, Ordering::Relaxed) + 1 >= MISSES => Next::Ended,
                    Ok(Settled::Superseded) | Err(_) => Next::Again,
                }
            }
        });
    }
}

/// Does something when it is dropped, unless it was told that there is no need.
pub(crate) struct Unless<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Unless<F> {
    pub(crate) fn new(otherwise: F) -> Self {
        Self(Some(otherwise))
    }

    pub(crate) fn settled(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Unless<F> {
    fn drop(&mut self) {
        if let Some(otherwise) = self.0.take() {
            otherwise();
        }
    }
}

/// Names for claims, so that one whose answer was lost can be found again. Never the same twice, in any process.
#[derive(Debug)]
pub(crate) struct Nonces {
    store: u64,
    count: AtomicU64,
}

impl Nonces {
    pub(crate) fn new() -> Result<Self, getrandom::Error> {
        let mut store = [0; 8];
        getrandom::fill(&mut store)?;
        Ok(Self { store: u64::from_le_bytes(store), count: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self) -> u128 {
        u128::from(self.store) << 64 | u128::from(self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// Tells an operator once that a store has gone away, why, and once that it is back.
#[derive(Debug)]
pub(crate) struct Health {
    name: &'static str,
    what: &'static str,
    away: AtomicBool,
}

impl Health {
    /// Of the store `name`, which is `what` to its operator.
    pub(crate) const fn new(name: &'static str, what: &'static str) -> Self {
        Self { name, what, away: AtomicBool::new(false) }
    }

    pub(crate) fn answers(&self) {
        if self.away.load(Ordering::Relaxed) && self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(store = self.name, "{} answers again", self.what);
        }
    }

    pub(crate) fn fails(&self, error: &(dyn std::error::Error + 'static)) {
        if !self.away.swap(true, Ordering::Relaxed) {
            let reason = reason(error);
            tracing::error!(store = self.name, reason, "{} is away: deliveries are answered 503", self.what);
        }
    }
}

/// The store did not answer in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no answer within {} ms", .0.as_millis())]
pub(crate) struct TooLate(pub(crate) Duration);

/// What outlasts every preset: the longest retry horizon is the 76 hours of Standard Webhooks, and five minutes of
/// tolerance count twice.
pub(crate) const DEFAULT_RETENTION: Duration = Duration::from_hours(80);
pub(crate) const MIN_RETENTION: Duration = Duration::from_millis(1);
pub(crate) const MAX_RETENTION: Duration = Duration::from_hours(24 * 366);
/// Leaves half of the second within which a sender is told to come back.
pub(crate) const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_millis(500);
pub(crate) const MIN_RESPONSE_TIMEOUT: Duration = Duration::from_millis(10);
pub(crate) const MAX_RESPONSE_TIMEOUT: Duration = Duration::from_millis(900);

/// After how long the kernel gives up a connection whose other side does not acknowledge.
#[cfg(any(feature = "postgres", target_os = "linux"))]
pub(crate) const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// How much longer than it must a store keeps a record, by its own clock: what receivers' clocks may be apart.
pub(crate) const SLACK: Duration = Duration::from_hours(1);
/// For how long a completion is tried: as long as an outage may take that nobody need be told of.
pub(crate) const COMPLETE_LIMIT: Duration = Duration::from_mins(10);
/// For how long a release is tried: past it the lease has ended.
pub(crate) const RELEASE_LIMIT: Duration = Duration::from_mins(1);

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const MISSES: u64 = 6;
const MOST_TASKS: usize = 1024;
const MOST_AT_ONCE: usize = 4;
const TAKE_BACK_LIMIT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::dedupe::StoreError;

    #[test]
    fn without_a_runtime_nothing_is_done_and_nothing_panics() {
        let later = Later::here();
        later.run(RELEASE_LIMIT, || async { unreachable!("there is no runtime") });
    }

    #[tokio::test]
    async fn a_claim_is_taken_back_though_it_was_made_late() {
        let later = Later::here();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let mut asked = 0;
        later.take_back(move || {
            asked += 1;
            tell.send(asked).expect("the test listens");
            std::future::ready(match asked {
                1 | 3 => Err(StoreError::Full),
                2 | 4 => Ok(Settled::Superseded),
                _ => Ok(Settled::Current),
            })
        });
        let mut last = 0;
        while let Some(asked) = told.recv().await {
            last = asked;
        }
        assert_eq!(last, 5);
    }

    /// A frozen server would have all of it to do, again and again, before it came to what is asked of it now.
    #[tokio::test]
    async fn few_of_many_tasks_ask_a_store_at_once_and_no_completion_waits_for_what_can_wait() {
        let later = Later::here();
        let (taken_back, completed) = (Counted::default(), Counted::default());
        // More than there is room for.
        for _ in 0..=MOST_TASKS {
            let counted = taken_back.clone();
            later.take_back(move || counted.clone().ask());
        }
        settle_down().await;
        for _ in 0..20 {
            let counted = completed.clone();
            later.settle(COMPLETE_LIMIT, move || counted.clone().ask());
        }
        let mut answered = 0;
        for more in [0, 1, 10] {
            completed.answers.add_permits(more);
            answered += more;
            settle_down().await;
            assert_eq!(taken_back.asked.load(Ordering::Relaxed), MOST_AT_ONCE);
            assert_eq!(completed.asked.load(Ordering::Relaxed), answered + MOST_AT_ONCE);
        }
        completed.answers.add_permits(20);
        taken_back.answers.add_permits(MOST_TASKS);
        let all = u32::try_from(MOST_TASKS).expect("few");
        let _completed = later.settling.room.acquire_many(all).await.expect("open");
        let _taken_back = later.can_wait.room.acquire_many(all).await.expect("open");
        assert_eq!(taken_back.asked.load(Ordering::Relaxed), MOST_TASKS);
        assert_eq!(completed.asked.load(Ordering::Relaxed), 20);
    }

    /// A store that counts what it is asked, and answers when it is let.
    #[derive(Clone)]
    struct Counted {
        asked: Arc<AtomicUsize>,
        answers: Arc<Semaphore>,
    }

    impl Default for Counted {
        fn default() -> Self {
            Self { asked: Arc::default(), answers: Arc::new(Semaphore::new(0)) }
        }
    }

    impl Counted {
        async fn ask(self) -> Result<Settled, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.answers.acquire().await.expect("open").forget();
            Ok(Settled::Current)
        }
    }

    /// Everything runs on one thread: after so many turns nobody has anything to do any more.
    async fn settle_down() {
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_a_store_never_answers_ends_all_the_same() {
        let later = Later::here();
        let before = Instant::now();
        later.settle(FIRST_PAUSE * 3, || std::future::ready(Err(StoreError::Full)));
        let all = u32::try_from(MOST_TASKS).expect("few");
        let _all = later.settling.room.acquire_many(all).await.expect("open");
        assert!(before.elapsed() >= FIRST_PAUSE * 3);
    }

    #[test]
    fn a_reason_names_every_cause_once() {
        let error = StoreError::unavailable(TooLate(Duration::from_millis(750)));
        assert_eq!(reason(&error), "the dedupe store is unavailable: no answer within 750 ms");
    }
}
