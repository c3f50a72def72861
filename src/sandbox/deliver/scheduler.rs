//! What is sent when: one thread that owns the queue, and writes to the store in batches.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Core;
use super::attempt::{self, Outcome};
use super::faults::{Fault, Plan, mix};
use super::queue::{Item, Queue};
use super::schedule::{self, Next};
use crate::sandbox::store::{Claimed, Done, Due, Place, StoreError, micros};
use crate::time::{Clock as _, SystemClock};

pub(super) enum Command {
    /// Deliveries that are in the store now, and are due.
    Added(Vec<Due>),
    Ended(Box<Ended>),
    /// Waits are shorter than in life by this from now on, those that run included.
    Speed(f64),
    /// Starts nothing more, and ends with what is in flight, or after this long.
    Stop(Duration, Option<oneshot::Sender<()>>),
}

/// An attempt that was made.
pub(super) struct Ended {
    place: Place,
    attempt: u32,
    max_attempts: u32,
    started_at: i64,
    outcome: Outcome,
}

pub(super) struct Scheduler {
    pub(super) core: Arc<Core>,
    pub(super) queue: Queue,
    pub(super) commands: Receiver<Command>,
    /// For the attempts to tell their ends.
    pub(super) told: Sender<Command>,
    pub(super) runtime: Handle,
    pub(super) speed: f64,
    /// Attempts that are not recorded yet.
    pub(super) ended: Vec<Done>,
    pub(super) stopping: Option<(Instant, Option<oneshot::Sender<()>>)>,
}

/// How many commands are taken before anything is sent.
const BATCH: usize = 512;

/// The longest sleep: the system's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How long to wait when the store fails.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl Scheduler {
    pub(super) fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            match self.commands.recv_timeout(pause) {
                Ok(command) => self.take_in(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for _ in 0..BATCH {
                match self.commands.try_recv() {
                    Ok(command) => self.take_in(command),
                    Err(_) => break,
                }
            }
            let stepped = self.step();
            self.tell_status();
            if let Err(error) = &stepped {
                tracing::error!(%error, "the sandbox's state cannot be written; trying again");
            }
            if let Some((deadline, done)) = &mut self.stopping {
                let is_over = Instant::now() >= *deadline;
                if is_over || (self.queue.in_flight() == 0 && self.ended.is_empty()) {
                    let _ = done.take().map(|done| done.send(()));
                    return;
                }
            }
            pause = match stepped {
                Ok(true) => Duration::ZERO,
                Ok(false) => self.pause(),
                Err(_) => STORE_PAUSE,
            };
        }
    }

    fn take_in(&mut self, command: Command) {
        match command {
            Command::Added(added) => {
                let now = now();
                for due in added {
                    self.queue.push(&due.url, now, Item { seq: due.seq, tried: due.tried, held: false });
                }
            }
            Command::Ended(ended) => {
                let done = self.conclude(*ended);
                // Its place is free before its end is recorded: the next is claimed in the same transaction.
                self.queue.finished(done.place.seq, done.next_at);
                self.ended.push(done);
            }
            Command::Speed(speed) => {
                let now = now();
                let factor = std::mem::replace(&mut self.speed, speed) / speed;
                self.queue.stretch(now, factor);
                if let Err(error) = self.core.store.stretch_waits(now, factor) {
                    tracing::error!(%error, "the sandbox's state cannot be written: after a restart the waits are the old ones");
                }
            }
            Command::Stop(grace, done) => self.stopping = Some((Instant::now() + grace, done)),
        }
    }

    /// Records what has ended, and sends what is due. Whether more may be sent at once.
    fn step(&mut self) -> Result<bool, StoreError> {
        let now = now();
        self.queue.advance(now);
        let taken = if self.stopping.is_some() { Vec::new() } else { self.take_due(now) };
        if taken.is_empty() && self.ended.is_empty() {
            return Ok(false);
        }
        let claims: Vec<i64> = taken.iter().map(|item| item.seq).collect();
        let assumptions = &self.core.assumptions;
        let rows = assumptions.log_rows;
        let step = self.core.store.step(now, &self.ended, &claims, rows, assumptions.inactive_stops_retries);
        let step = match step {
            Ok(step) => step,
            Err(error) => {
                // The last one taken goes back first, so that the order stays.
                taken.into_iter().rev().for_each(|item| self.queue.put_back(item));
                return Err(error);
            }
        };
        let mut finished = (0, 0);
        for done in std::mem::take(&mut self.ended) {
            if done.next_at.is_none() {
                *(if done.delivered { &mut finished.0 } else { &mut finished.1 }) += 1;
            }
        }
        for seq in &step.given_up {
            self.queue.finished(*seq, None);
            finished.1 += 1;
        }
        let more = !step.given_up.is_empty();
        for claimed in step.claimed {
            self.send(claimed, now);
        }
        self.tell_finished(finished.0, finished.1);
        Ok(more)
    }

    /// Everything that may be sent now, but for what a fault holds back.
    fn take_due(&mut self, now: i64) -> Vec<Item> {
        let mut taken = Vec::new();
        while let Some(item) = self.queue.take() {
            let plan = if item.held { Plan::default() } else { self.core.plan(item.seq, !item.tried) };
            let later = |wait: Duration| now.saturating_add(self.shortened(wait));
            if plan.has(Fault::Delay) {
                self.queue.hold_until(item, later(plan.times.delay));
            } else if plan.has(Fault::Reorder) {
                let overtakers = plan.chance(Fault::Reorder).u32(1..=3);
                self.queue.hold_until_overtaken(item, overtakers, later(plan.times.reorder));
            } else {
                taken.push(item);
            }
        }
        taken
    }

    fn send(&self, claimed: Claimed, started_at: i64) {
        let plan = self.core.plan(claimed.place.seq, claimed.attempt == 1);
        let core = Arc::clone(&self.core);
        let told = self.told.clone();
        self.runtime.spawn(async move {
            let sent = attempt::run(&core.delivering, &claimed, &plan, SystemClock.now());
            let outcome = AssertUnwindSafe(sent).catch_unwind().await.unwrap_or_else(|_| Outcome::broken());
            let Claimed { place, attempt, max_attempts, .. } = claimed;
            let ended = Ended { place, attempt, max_attempts, started_at, outcome };
            // Nobody listens once the sandbox has stopped.
            let _ = told.send(Command::Ended(Box::new(ended)));
        });
    }

    /// What follows from an attempt, and when.
    fn conclude(&self, ended: Ended) -> Done {
        let Ended { place, attempt, max_attempts, started_at, outcome } = ended;
        let core = &self.core;
        {
            let mut attempts = core.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.requests.into_iter().for_each(|request| attempts.push(request));
        }
        let mut chance = fastrand::Rng::with_seed(mix(core.seed, place.seq.cast_unsigned(), u64::from(attempt)));
        let next =
            schedule::next(attempt, max_attempts, outcome.status, outcome.retry_after, &core.assumptions, chance.f64());
        let next_at = match next {
            Next::Again(wait) => Some(now().saturating_add(self.shortened(wait))),
            Next::Delivered | Next::GivenUp => None,
        };
        Done {
            place,
            started_at,
            delivered: next == Next::Delivered,
            http_status_code: outcome.status,
            error: outcome.error,
            next_at,
        }
    }

    /// A wait at the present speed, in microseconds.
    fn shortened(&self, wait: Duration) -> i64 {
        (wait.as_secs_f64() * 1e6 / self.speed) as i64
    }

    fn tell_finished(&self, delivered: u64, failed: u64) {
        if delivered + failed > 0 {
            {
                let mut status = self.core.status.lock().unwrap_or_else(PoisonError::into_inner);
                status.delivered += delivered;
                status.failed += failed;
            }
            self.tell_status();
            self.core.unfinished.send_modify(|unfinished| *unfinished = unfinished.saturating_sub(delivered + failed));
        }
    }

    fn tell_status(&self) {
        let mut status = self.core.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.in_flight = self.queue.in_flight() as u64;
        status.retrying = self.queue.retrying() as u64;
    }

    /// How long to sleep unless a command comes.
    fn pause(&self) -> Duration {
        let stop = self.stopping.as_ref().map(|(deadline, _)| deadline.saturating_duration_since(Instant::now()));
        let due = match self.queue.next_due() {
            // A millisecond is the clock's own step.
            Some(due) => Duration::from_micros(u64::try_from(due - now()).unwrap_or(0)).max(Duration::from_millis(1)),
            None => LONGEST_SLEEP,
        };
        stop.unwrap_or(LONGEST_SLEEP).min(due).min(LONGEST_SLEEP)
    }
}

pub(super) fn now() -> i64 {
    micros(SystemClock.now())
}
