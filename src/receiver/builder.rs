//! Builds a receiver, and finds every mistake at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::time::Instant;

use crate::dedupe::{DedupeStore, RetentionTooShort, check_retention};
use crate::dispatch::HandlerError;
use crate::event::PayloadError;
use crate::keyring::KeyringError;
use crate::receiver::{Budget, Disposition, Inner, Receiver};
use crate::scheme::Scheme;
use crate::store::{Forgetful, MemoryStore, MemoryStoreError};
use crate::time::{Clock, SystemClock};
use crate::verify::{Keys, Verifier};

/// How much longer than a handler may run its claim lasts: time for a busy machine to notice the limit and settle.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// Builds a [`Receiver`]. Decide in this order: what remembers, what runs, and then the limits.
#[must_use = "a builder does nothing until `build` is called"]
pub struct ReceiverBuilder<H = NoHandlers, S = MemoryStore> {
    scheme: Scheme,
    keys: Keys,
    store: MakeStore<S>,
    handlers: H,
    settings: Settings,
    clock: Arc<dyn Clock>,
    keeps_headers: bool,
}

/// Makes the store when everything else has been said: the default one takes memory that a user's own does not need.
type MakeStore<S> = Box<dyn FnOnce() -> Result<Remembering<S>, MemoryStoreError>>;

/// A store, and for how long it remembers what is done.
struct Remembering<S> {
    store: S,
    retention: Duration,
    /// What is wrong with its settings, each with what would work.
    mistakes: Vec<String>,
}

/// A receiver without handlers of its own: it stands in front of the user's routes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHandlers;

/// What becomes of a delivery of a known type whose payload does not decode.
///
/// It is genuine, so the program is behind the provider: the fault is ours until proved otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUndecodable {
    /// Answer 200 and record an error: the sender will not come back.
    Acknowledge,
    /// Answer 500, so that the sender comes back, perhaps to a newer program. The default: nothing is lost.
    #[default]
    Retry,
}

/// What a receiver was told, other than scheme, keys, store and handlers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) time_limit: Duration,
    pub(crate) retry_after: Duration,
    pub(crate) on_undecodable: OnUndecodable,
    bytes_in_flight: usize,
    retry_horizon: Option<Duration>,
}

/// Limits on the reading of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The longest body, in bytes.
    pub(crate) body: usize,
    /// The longest time from the head to the end of the body.
    pub(crate) deadline: Duration,
    /// Bytes a second, on average since the head, once `grace` is over.
    pub(crate) min_rate: usize,
    /// For how long a body may be slower than `min_rate`.
    pub(crate) grace: Duration,
}

impl OnUndecodable {
    pub(crate) fn disposition(self, error: PayloadError) -> Disposition {
        match self {
            Self::Acknowledge => Disposition::Permanent(HandlerError::permanent(error)),
            Self::Retry => Disposition::Undecodable(error),
        }
    }
}

impl Settings {
    /// When a handler that began at `started` is dropped; a limit too long to add is 30 years.
    pub(crate) fn deadline(&self, started: Instant) -> Instant {
        started.checked_add(self.time_limit).unwrap_or_else(|| started + Duration::from_secs(30 * 365 * 24 * 60 * 60))
    }

    /// How long a claim lasts: always longer than what runs under it.
    pub(crate) fn lease(&self) -> Duration {
        self.time_limit.saturating_add(LEASE_MARGIN)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits {
                body: 1024 * 1024,
                deadline: Duration::from_secs(10),
                min_rate: 1024,
                grace: Duration::from_secs(2),
            },
            // Standard Webhooks, "Deliverability and reliability": senders wait 15 to 30 seconds for an answer.
            time_limit: Duration::from_secs(15),
            retry_after: Duration::from_secs(5),
            on_undecodable: OnUndecodable::default(),
            bytes_in_flight: 64 * 1024 * 1024,
            retry_horizon: None,
        }
    }
}

impl ReceiverBuilder {
    pub(super) fn new(scheme: Scheme, keys: Keys) -> Self {
        Self {
            scheme,
            keys,
            store: Box::new(|| MemoryStore::builder().build().map(remembering)),
            handlers: NoHandlers,
            settings: Settings::default(),
            clock: Arc::new(SystemClock),
            keeps_headers: false,
        }
    }
}

fn remembering<S: DedupeStore>(store: S) -> Remembering<S> {
    Remembering { retention: store.retention(), store, mistakes: Vec::new() }
}

impl<H, S> ReceiverBuilder<H, S> {
    /// What remembers deliveries. Unless set, a [`MemoryStore`] with its defaults: good for one process.
    pub fn dedupe<T: DedupeStore>(self, store: T) -> ReceiverBuilder<H, T> {
        let Self { scheme, keys, handlers, settings, clock, .. } = self;
        let store: MakeStore<T> = Box::new(|| Ok(remembering(store)));
        ReceiverBuilder { scheme, keys, store, handlers, settings, clock, keeps_headers: false }
    }

    /// Remembers no delivery: duplicates run again, as often as the sender, or whoever recorded a request of the
    /// sender's, sends them within the tolerance. Only for routes that recognise duplicates themselves.
    pub fn danger_without_dedupe(self) -> ReceiverBuilder<H, Forgetful> {
        self.dedupe(Forgetful::new())
    }

    /// What runs. Without it, put [`Receiver::middleware`](crate::Receiver::middleware) around routes of your own.
    pub fn handlers<T>(self, handlers: T) -> ReceiverBuilder<T, S> {
        let Self { scheme, keys, store, settings, clock, keeps_headers, .. } = self;
        ReceiverBuilder { scheme, keys, store, handlers, settings, clock, keeps_headers }
    }

    /// What keeps deliveries, headers and all, and works on them later; it remembers for `retention` what is done.
    pub(crate) fn kept_in<T: 'static>(
        self,
        store: T,
        retention: Duration,
        mistakes: Vec<String>,
    ) -> ReceiverBuilder<NoHandlers, T> {
        let Self { scheme, keys, settings, clock, .. } = self;
        let store: MakeStore<T> = Box::new(move || Ok(Remembering { store, retention, mistakes }));
        ReceiverBuilder { scheme, keys, store, handlers: NoHandlers, settings, clock, keeps_headers: true }
    }

    /// How long one handler may run; 15 s unless set. Past it the handler is dropped where it waits and the sender
    /// asked to come back. Senders give up after 15 to 30 s (Standard Webhooks), so longer rarely helps.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// The longest body that is read, in bytes; 1 MiB unless set.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.limits.body = bytes;
        self
    }

    /// The longest time that a body may take to arrive; 10 s unless set.
    pub fn body_deadline(mut self, deadline: Duration) -> Self {
        self.settings.limits.deadline = deadline;
        self
    }

    /// How fast a body must arrive on average, in bytes a second, once `grace` is over; 1024 after 2 s unless set.
    /// With 0 only the deadline counts.
    pub fn min_rate(mut self, bytes_per_second: usize, grace: Duration) -> Self {
        self.settings.limits.min_rate = bytes_per_second;
        self.settings.limits.grace = grace;
        self
    }

    /// How many bytes of bodies all requests together may hold; 64 MiB unless set. Past it senders are asked to come
    /// back.
    pub fn bytes_in_flight(mut self, bytes: usize) -> Self {
        self.settings.bytes_in_flight = bytes;
        self
    }

    /// How long senders are asked to wait before another try, in whole seconds and at least one; 5 s unless set.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.settings.retry_after = pause;
        self
    }

    /// For how long the sender may come back, where it is not what the scheme says.
    pub fn retry_horizon(mut self, horizon: Duration) -> Self {
        self.settings.retry_horizon = Some(horizon);
        self
    }

    /// What becomes of a known type of event whose payload does not decode; [`OnUndecodable::Retry`] unless set.
    pub fn on_undecodable(mut self, policy: OnUndecodable) -> Self {
        self.settings.on_undecodable = policy;
        self
    }

    /// What tells the time; the operating system unless set.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl<H, S> ReceiverBuilder<H, S> {
    /// The receiver.
    ///
    /// # Errors
    ///
    /// All mistakes at once, each naming the setting and a value that would work.
    pub fn build(self) -> Result<Receiver<H, S>, BuildError> {
        let Self { scheme, keys, store, handlers, settings, clock, keeps_headers } = self;
        let mut mistakes = settings.mistakes();
        let horizon = settings.retry_horizon.unwrap_or(scheme.retry_horizon());
        let tolerance = scheme.tolerance().unwrap_or_default();
        let verifier = Verifier::new(scheme, keys).map_err(|error| mistakes.push(Mistake::Keys(error)));
        let mut store = store().map_err(|error| mistakes.push(Mistake::Store(error)));
        if let Ok(store) = &mut store {
            let retention = check_retention(store.retention, horizon, tolerance);
            mistakes.extend(retention.err().map(Mistake::Retention));
            mistakes.extend(store.mistakes.drain(..).map(Mistake::Inbox));
        }
        match (verifier, store) {
            (Ok(verifier), Ok(store)) if mistakes.is_empty() => Ok(Receiver {
                inner: Arc::new(Inner {
                    verifier: if keeps_headers { verifier.keeping_headers() } else { verifier },
                    store: Arc::new(store.store),
                    handlers,
                    budget: Arc::new(Budget::new(settings.bytes_in_flight)),
                    settings,
                    clock,
                    draining: AtomicBool::new(false),
                }),
            }),
            _ => Err(BuildError { mistakes }),
        }
    }
}

impl Settings {
    fn mistakes(&self) -> Vec<Mistake> {
        let zero = |setting, works| Mistake::Zero { setting, works };
        let limits = &self.limits;
        let mut mistakes = Vec::new();
        mistakes.extend(self.time_limit.is_zero().then(|| zero("time_limit", "15 seconds")));
        mistakes.extend((limits.body == 0).then(|| zero("body_limit", "1048576 bytes")));
        mistakes.extend(limits.deadline.is_zero().then(|| zero("body_deadline", "10 seconds")));
        if self.bytes_in_flight < limits.body {
            mistakes.push(Mistake::Budget { bytes_in_flight: self.bytes_in_flight, body_limit: limits.body });
        }
        mistakes
    }
}

/// Why a receiver cannot be built: every mistake, one a line.
#[derive(Debug)]
pub struct BuildError {
    mistakes: Vec<Mistake>,
}

#[derive(Debug, thiserror::Error)]
enum Mistake {
    #[error(
        "`bytes_in_flight` ({bytes_in_flight}) is less than `body_limit` ({body_limit}): no body of that length could be \
         read; set it to at least {body_limit}"
    )]
    Budget { bytes_in_flight: usize, body_limit: usize },
    #[error("{0}")]
    Inbox(String),
    #[error("{0}")]
    Keys(KeyringError),
    #[error("{0}")]
    Retention(RetentionTooShort),
    #[error("{0}")]
    Store(MemoryStoreError),
    #[error("`{setting}` is zero, so nothing could be received; set it to {works}, for example")]
    Zero { setting: &'static str, works: &'static str },
}

impl BuildError {
    /// Each mistake as text, in the order of the builder's methods.
    pub fn mistakes(&self) -> impl Iterator<Item = String> {
        self.mistakes.iter().map(ToString::to_string)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the receiver cannot be built:")?;
        self.mistakes().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl std::error::Error for BuildError {}

impl<H, S> fmt::Debug for ReceiverBuilder<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverBuilder")
            .field("scheme", &self.scheme)
            .field("keys", &self.keys)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
