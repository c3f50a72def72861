//! Deliveries: from an event to signed requests, their attempts and their retries.

mod attempt;
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

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use uuid::Uuid;

pub use faults::{Fault, Faults, Strike};
pub use record::Attempt;
pub(super) use target::{Targets, UrlError, check_url};
pub use trigger::{Trigger, Triggered};

use attempt::Delivering;
use faults::Plan;
use queue::{Item, Queue};
use record::Attempts;
use scheduler::{Command, Scheduler};
use send::Sender;
use sign::Signing;
use trigger::Checked;

use crate::keyring::Secret;
use crate::sandbox::event_types::TEST;
use crate::sandbox::store::{NewEvents, Store, StoreError, Unretried};
use crate::sandbox::{Assumptions, SandboxError, TestSigning};
use crate::scheme::Scheme;
use crate::time::{Clock as _, SystemClock};

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

/// How many row writes one transaction of a trigger makes at most.
const BATCH: u64 = 512;

/// How often a trigger with a rate wakes up at most.
const TICK: Duration = Duration::from_millis(5);

/// The slowest and the fastest time may go.
const SPEEDS: RangeInclusive<f64> = 0.001..=1_000_000.0;

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
            status: Mutex::default(),
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
        let emitting = emit(Arc::clone(core), self.handle.commands.clone(), tenant, checked, each);
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
        self.on_runtime(async move { test(&core, tenant, &url).await }).await?
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
        let before = self.handle.core.speed.send_replace(speed);
        let _ = self.handle.commands.send(Command::Stretch(before / speed));
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

    /// A wait at the present speed, in microseconds.
    fn shortened(&self, wait: Duration) -> i64 {
        (wait.as_secs_f64() * 1e6 / *self.speed.borrow()) as i64
    }
}

/// Puts the events of a trigger into the store, and tells the scheduler.
async fn emit(
    core: Arc<Core>,
    commands: mpsc::Sender<Command>,
    tenant: i64,
    trigger: Checked,
    each: u64,
) -> Result<Triggered, SandboxError> {
    let mut speed = core.speed.subscribe();
    let mut triggered = Triggered::default();
    let batch = (BATCH / each.max(1)).max(1);
    // With a rate: how many are due by now. The first one is at once.
    let mut owed = 1.0;
    let mut last = Instant::now();
    while triggered.events < trigger.count {
        let mut count = batch.min(trigger.count - triggered.events);
        if let Some(rate) = trigger.rate {
            let rate = rate * *speed.borrow_and_update();
            if owed < 1.0 {
                let wait = Duration::try_from_secs_f64((1.0 - owed) / rate).unwrap_or(Duration::MAX).max(TICK);
                // A change of speed ends the wait, too.
                let _ = tokio::time::timeout(wait, speed.changed()).await;
            }
            owed += last.elapsed().as_secs_f64() * rate;
            last = Instant::now();
            count = count.min(owed as u64);
            owed -= count as f64;
        }
        if count > 0 {
            let new = NewEvents {
                tenant,
                event_type: &trigger.event_type,
                id_prefix: &core.assumptions.id_prefix,
                max_attempts: core.assumptions.max_attempts.max(1),
                now: scheduler::now(),
            };
            // It was made once before, without a mistake.
            let body = |id: &str| {
                let body = core.delivering.signing.body(&trigger.event_type, &trigger.data, id);
                body.map(String::into_bytes).unwrap_or_default()
            };
            let count_of_rows = usize::try_from(count).unwrap_or(usize::MAX);
            let added = tokio::task::block_in_place(|| core.store.add_events(&new, count_of_rows, body))?;
            triggered.events += count;
            triggered.deliveries += added.len() as u64;
            let room = Trigger::MAX_IDS.saturating_sub(triggered.delivery_ids.len());
            triggered.delivery_ids.extend(added.iter().take(room).map(|due| due.id.clone()));
            core.unfinished.send_modify(|unfinished| *unfinished += added.len() as u64);
            commands.send(Command::Added(added)).map_err(|_| SandboxError::Stopped)?;
        }
        tokio::task::yield_now().await;
    }
    Ok(triggered)
}

/// One delivery outside of the queue, with neither faults nor retries.
async fn test(core: &Core, tenant: i64, url: &str) -> Result<TestOutcome, SandboxError> {
    let Assumptions { id_prefix, test_signing, .. } = &core.assumptions;
    let id = format!("{id_prefix}{}", Uuid::now_v7().simple());
    let data = example::data(TEST, core.store.is_live(tenant)?);
    let body = core.delivering.signing.body(TEST, &data, &id)?;
    let secrets = match test_signing {
        TestSigning::TenantSecret => Secret::new(core.store.tenant_secret(tenant)?).into_iter().collect(),
        TestSigning::Unsigned => Vec::new(),
    };
    let signed = !secrets.is_empty();
    let new = NewEvents { tenant, event_type: TEST, id_prefix, max_attempts: 1, now: scheduler::now() };
    let sent = attempt::run_test(&core.delivering, &id, url, body.as_bytes(), secrets, SystemClock.now()).await;
    let delivered = sent.status.is_some_and(attempt::is_success);
    let outcome = (delivered, sent.status, sent.error.as_deref());
    core.store.add_test(&new, &id, url, body.as_bytes(), signed, outcome)?;
    sent.requests.into_iter().for_each(|request| lock(&core.attempts).push(request));
    Ok(TestOutcome { http_status_code: sent.status, error: sent.error })
}

fn check_speed(speed: f64) -> Result<(), SandboxError> {
    if SPEEDS.contains(&speed) {
        Ok(())
    } else {
        Err(SandboxError::Invalid(format!("speed must be from {} to {}", SPEEDS.start(), SPEEDS.end())))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
