//! Deliveries: from an event to signed requests, their attempts and their retries.

mod attempt;
mod emit;
mod example;
mod faults;
mod queue;
mod raw;
mod record;
mod schedule;
mod scheduler;
mod send;
mod sign;
mod target;
mod trigger;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{fmt, io};

use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use uuid::Uuid;

pub use faults::{Fault, Faults, Strike};
pub use record::Attempt;
pub(super) use target::{Targets, check_url};
pub use trigger::{Trigger, Triggered};

use attempt::Delivering;
use faults::Plan;
use queue::{Item, Queue};
use record::Attempts;
use scheduler::{Command, Scheduler};
use send::Sender;
use sign::Signing;

use crate::sandbox::store::{Store, StoreError, Unretried};
use crate::sandbox::{Assumptions, Sandbox, SandboxError};
use crate::scheme::Scheme;

/// What the engine is told once.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) scheme: Scheme,
    pub(super) assumptions: Assumptions,
    /// By how much waits are shorter than in life; more than 0.
    pub(super) speed: f64,
    /// What the jitter of retries is made of.
    pub(super) seed: u64,
    pub(super) targets: Targets,
}

/// How many deliveries there are of each kind: unfinished ones now, finished ones since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Not yet tried.
    pub pending: u64,
    /// Tried, and waiting for the next attempt.
    pub retrying: u64,
    /// Being sent at this moment.
    pub in_flight: u64,
    /// Delivered since the start.
    pub delivered: u64,
    /// Given up since the start.
    pub failed: u64,
}

/// What an inline test delivery came to. It was delivered when the status is 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestOutcome {
    /// What the receiver answered; `None` when it could not be reached or did not answer in time.
    pub(super) http_status_code: Option<u16>,
    /// Why it failed, as in the log; `None` when it did not.
    pub(super) error: Option<String>,
}

/// Why a delivery cannot be retried by hand.
#[derive(Debug, thiserror::Error)]
pub(super) enum RetryError {
    /// The tenant has no such log row.
    #[error("there is no such log row")]
    NotFound,
    /// The row has not failed for good, or its delivery is on its way again.
    #[error("the delivery's status is {status}")]
    NotFailed {
        /// `pending`, `delivered`, `retrying` or `failed`, as in the log.
        status: &'static str,
    },
    /// The sandbox has stopped.
    #[error("the sandbox has stopped")]
    Stopped,
    /// The state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What delivers. Cheap to clone; ends with its last handle.
#[derive(Clone)]
pub(super) struct Engine {
    handle: Arc<EngineHandle>,
}

/// What the threads share.
struct Core {
    store: Arc<Store>,
    delivering: Delivering,
    assumptions: Assumptions,
    seed: u64,
    speed: watch::Sender<f64>,
    /// What goes wrong, and the row id of the newest delivery before it was set.
    faults: Mutex<(Faults, i64)>,
    attempts: Mutex<Attempts>,
    status: Mutex<Status>,
    unfinished: watch::Sender<u64>,
}

struct EngineHandle {
    core: Arc<Core>,
    commands: mpsc::Sender<Command>,
    stopped: AtomicBool,
    runtime: Option<Runtime>,
    scheduler: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts on threads of its own, and takes up what the state holds unfinished.
    ///
    /// # Errors
    ///
    /// When the scheme needs what the sandbox cannot supply, the state cannot be read, or there are no threads.
    pub(super) fn start(store: Arc<Store>, settings: Settings) -> Result<Self, SandboxError> {
        let Settings { scheme, assumptions, speed, seed, targets } = settings;
        check_speed(speed)?;
        let signing = Signing::new(&scheme, &assumptions.user_agent, &assumptions.id_prefix)?;
        let sender = Sender::new(assumptions.timeout).map_err(|error| SandboxError::Thread(io::Error::other(error)))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("countersign-sandbox-send")
            .enable_all()
            .build()
            .map_err(SandboxError::Thread)?;
        let mut queue = Queue::default();
        let mut unfinished = 0;
        store.unfinished(|found| {
            unfinished += 1;
            let item = Item { seq: found.seq, tried: found.tried, held: false };
            queue.push(&Arc::from(found.url), found.due_at, item);
        })?;
        let core = Arc::new(Core {
            delivering: Delivering { signing, sender, targets },
            assumptions,
            seed,
            speed: watch::Sender::new(speed),
            faults: Mutex::new((Faults::none(), store.newest_delivery()?)),
            attempts: Mutex::default(),
            status: Mutex::new(Status { retrying: queue.retrying() as u64, ..Status::default() }),
            unfinished: watch::Sender::new(unfinished),
            store,
        });
        let (commands, received) = mpsc::channel();
        let scheduler = Scheduler {
            core: Arc::clone(&core),
            queue,
            commands: received,
            told: commands.clone(),
            runtime: runtime.handle().clone(),
            speed,
            ended: Vec::new(),
            stopping: None,
        };
        let scheduler = std::thread::Builder::new()
            .name("countersign-sandbox-deliver".to_owned())
            .spawn(move || scheduler.run())
            .map_err(SandboxError::Thread)?;
        let handle = EngineHandle {
            core,
            commands,
            stopped: AtomicBool::new(false),
            runtime: Some(runtime),
            scheduler: Some(scheduler),
        };
        Ok(Self { handle: Arc::new(handle) })
    }

    /// A new signing secret, written as the scheme says secrets are: `whsec_` and 52 characters of A–Z2–7 where that fits.
    pub(super) fn new_secret(&self) -> String {
        self.handle.core.delivering.signing.new_secret()
    }

    /// Makes the deliveries of one event or many, for the tenant with this row id. Returns when the last event has been
    /// triggered, not when it is delivered. Dropping the future stops a trigger that has not come to its end.
    pub(super) async fn trigger(&self, tenant: i64, trigger: &Trigger) -> Result<Triggered, SandboxError> {
        let core = &self.handle.core;
        let checked = trigger.checked(core.store.is_live(tenant)?)?;
        core.delivering.signing.body(&checked.event_type, &checked.data, "id")?;
        let each = core.store.targets(tenant, &checked.event_type)?.len() as u64;
        let all = checked.count.saturating_mul(each).saturating_add(*core.unfinished.borrow());
        if all > Trigger::MAX_DELIVERIES {
            return Err(SandboxError::Invalid(format!(
                "this would make {all} unfinished deliveries, more than {}: trigger fewer events",
                Trigger::MAX_DELIVERIES
            )));
        }
        let emitting = emit::emit(Arc::clone(core), self.handle.commands.clone(), tenant, checked, each);
        self.on_runtime(emitting).await?
    }

    /// Sends a failed delivery again: the same id and body, signed anew. Returns the id of the log row that it gets.
    pub(super) async fn retry(&self, tenant: i64, log: Uuid) -> Result<Uuid, RetryError> {
        let core = &self.handle.core;
        if self.is_stopped() {
            return Err(RetryError::Stopped);
        }
        let Assumptions { manual_retry_attempts, log_rows, .. } = core.assumptions;
        let retried = core.store.retry(tenant, log, manual_retry_attempts.max(1), log_rows, scheduler::now());
        let (row, due) = retried.map_err(|error| match error {
            Unretried::NotFound => RetryError::NotFound,
            Unretried::NotFailed(status) => RetryError::NotFailed { status },
            Unretried::Store(error) => RetryError::Store(error),
        })?;
        core.unfinished.send_modify(|unfinished| *unfinished += 1);
        let _ = self.handle.commands.send(Command::Added(vec![due]));
        Ok(row)
    }

    /// Sends a `test` event to `url` at once, and waits for what comes of it. `url` has passed [`check_url`].
    pub(super) async fn test(&self, tenant: i64, url: &str) -> Result<TestOutcome, SandboxError> {
        let core = Arc::clone(&self.handle.core);
        let url = url.to_owned();
        self.on_runtime(async move { emit::test(&core, tenant, &url).await }).await?
    }

    /// What goes wrong with deliveries that are triggered from now on.
    pub(super) fn set_faults(&self, faults: Faults) -> Result<(), SandboxError> {
        faults.check()?;
        let core = &self.handle.core;
        let newest = core.store.newest_delivery()?;
        *lock(&core.faults) = (faults, newest);
        Ok(())
    }

    pub(super) fn faults(&self) -> Faults {
        lock(&self.handle.core.faults).0.clone()
    }

    /// Changes by how much waits are shorter than in life, those that run included.
    pub(super) fn set_speed(&self, speed: f64) -> Result<(), SandboxError> {
        check_speed(speed)?;
        self.handle.core.speed.send_replace(speed);
        let _ = self.handle.commands.send(Command::Speed(speed));
        Ok(())
    }

    pub(super) fn speed(&self) -> f64 {
        *self.handle.core.speed.borrow()
    }

    pub(super) fn status(&self) -> Status {
        let core = &self.handle.core;
        let status = *lock(&core.status);
        let pending = core.unfinished.borrow().saturating_sub(status.in_flight + status.retrying);
        Status { pending, ..status }
    }

    /// Waits until no delivery is unfinished, at most this long. Whether that came about.
    pub(super) async fn settled(&self, timeout: Duration) -> bool {
        let mut unfinished = self.handle.core.unfinished.subscribe();
        let settled = async move { unfinished.wait_for(|unfinished| *unfinished == 0).await.is_ok() };
        // On the engine's own runtime, since the caller's may have no timer.
        let waiting = async move { tokio::time::timeout(timeout, settled).await.unwrap_or(false) };
        self.on_runtime(waiting).await.unwrap_or(false)
    }

    /// The newest attempts, those with a number above `after`, at most 10,000.
    pub(super) fn attempts(&self, after: u64) -> Vec<Attempt> {
        lock(&self.handle.core.attempts).after(after)
    }

    /// Starts nothing more, lets what is being sent end within `grace`, and stops. What is not finished is taken up again
    /// at the next start with the same state.
    pub(super) async fn shutdown(&self, grace: Duration) {
        self.handle.stopped.store(true, Ordering::SeqCst);
        let (done, ended) = oneshot::channel();
        if self.handle.commands.send(Command::Stop(grace, Some(done))).is_ok() {
            // An error means that it has ended already.
            let _ = ended.await;
        }
    }

    fn is_stopped(&self) -> bool {
        self.handle.stopped.load(Ordering::SeqCst)
    }

    /// Runs `work` on the engine's own runtime; dropping the future ends it.
    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, SandboxError> {
        struct EndOnDrop(AbortHandle);
        impl Drop for EndOnDrop {
            fn drop(&mut self) {
                self.0.abort();
            }
        }
        if self.is_stopped() {
            return Err(SandboxError::Stopped);
        }
        let runtime = self.handle.runtime.as_ref().ok_or(SandboxError::Stopped)?;
        let task = runtime.spawn(work);
        let _end = EndOnDrop(task.abort_handle());
        task.await.map_err(|_| SandboxError::Stopped)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Drop for EngineHandle {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop(Duration::ZERO, None));
        if let Some(scheduler) = self.scheduler.take() {
            let _ = scheduler.join();
        }
        // Waiting for the threads is forbidden where another runtime runs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Core {
    /// What goes wrong with an attempt of the delivery with this row id.
    fn plan(&self, seq: i64, first_attempt: bool) -> Plan {
        let faults = lock(&self.faults);
        match u64::try_from(seq - faults.1 - 1) {
            Ok(ordinal) => faults.0.plan(ordinal, first_attempt),
            // Triggered before the faults were set.
            Err(_) => Plan::default(),
        }
    }
}

fn check_speed(speed: f64) -> Result<(), SandboxError> {
    let (least, most) = (Sandbox::MIN_SPEED, Sandbox::MAX_SPEED);
    if (least..=most).contains(&speed) {
        Ok(())
    } else {
        Err(SandboxError::Invalid(format!("speed must be from {least} to {most}")))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
