//! What takes deliveries out of the inbox and works on them.

mod crew;
mod held;
mod job;
mod settings;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::crew::{Crew, soon};
use self::settings::Settings;
pub use self::settings::{WorkersError, WorkersMistake};
use super::Inbox;
use super::backoff::Backoff;
use super::promise::Promise;
use super::store::InboxStore;
use crate::event::WebhookEvent;
use crate::verify::Verifier;

/// Builds [`Workers`]. Decide in this order: how many at once, how often, and how long a run may take.
///
/// What is out of the range that a method names is refused by [`start`](Self::start), every such setting at once and each
/// with what would work.
#[must_use = "a builder does nothing until `start` is called"]
pub struct WorkersBuilder<E, S, P> {
    inbox: Inbox<E, S>,
    promise: P,
    verifier: Option<Verifier>,
    settings: Settings,
}

impl<E, S, P> WorkersBuilder<E, S, P> {
    pub(super) fn new(inbox: Inbox<E, S>, promise: P) -> Self {
        Self { inbox, promise, verifier: None, settings: Settings::default() }
    }

    /// How many handlers may run at once: 1 to 65,536; 16 unless set.
    pub fn concurrency(mut self, handlers: usize) -> Self {
        self.settings.concurrency = handlers;
        self
    }

    /// How often a delivery is tried before it goes to the dead: once at least; 20 times unless set, which with the default
    /// pauses is about seven hours. Attempts are counted when they begin, so one that kills the process counts.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    /// The pauses between attempts; 1 s to 1 h unless set. A handler's
    /// [`retry_after`](crate::HandlerError::retry_after) makes a pause longer, never shorter.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.settings.backoff = backoff;
        self
    }

    /// How long one handler may run: more than nothing; 5 min unless set. Past it the handler is dropped where it waits,
    /// and the delivery tried again. What it waits for before it runs, such as one of the connections that handlers have,
    /// does not count.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.settings.time_limit = limit;
        self
    }

    /// For how long a delivery is leased, 30 ms to a day; 30 s unless set. Leases are renewed three times as often while
    /// their handlers run, so this is not how long a handler may take, but how long after the end of a process its
    /// deliveries are taken up by another one.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How long to wait at most before looking for what another process has accepted: 10 ms at least; 1 s unless set. What
    /// this process accepts, gives back or replays wakes the workers at once, and what is due later wakes them when it is.
    pub fn look_every(mut self, pause: Duration) -> Self {
        self.settings.look_every = pause;
        self
    }

    /// How long to wait before the store is told again to forget what need not be remembered any more: 10 ms at least; a
    /// minute unless set.
    pub fn prune_every(mut self, pause: Duration) -> Self {
        self.settings.prune_every = pause;
        self
    }

    /// How long to wait before what is in the inbox is counted again, for the metrics: 10 ms at least; 15 s unless set. It
    /// reads an index from end to end, in one process after the other: with a million remembered deliveries that is some
    /// 40 ms of reading from a file that has other work. See [`metrics`](crate::metrics).
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn sample_every(mut self, pause: Duration) -> Self {
        self.settings.sample_every = pause;
        self
    }

    /// Verifies the signature of each delivery anew before it is handled, with the keys of `verifier` that counted when
    /// it came in. What somebody wrote into the store without a key goes to the dead; so does what was signed with a key
    /// that has been taken out of the keyring. Unless set, what is in the store is trusted; see
    /// [`inbox`](crate::inbox).
    pub fn verify_again(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }
}

impl<E: WebhookEvent, S: InboxStore, P: Promise<E, S>> WorkersBuilder<E, S, P> {
    /// Starts to work, on the tokio runtime that this is called in.
    ///
    /// # Errors
    ///
    /// All mistakes in the settings at once, each with what would work.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Workers, WorkersError> {
        let Self { inbox, promise, verifier, settings } = self;
        settings.check()?;
        let (stop, stopped) = watch::channel(None);
        let crew = Crew::new(inbox, promise, verifier, settings);
        Ok(Workers { stop, task: tokio::spawn(Arc::new(crew).work(stopped)) })
    }
}

/// Workers that are at work.
///
/// Dropping them lets what is running end in the background, and takes nothing new; [`drain`](Self::drain) waits for it.
#[derive(Debug)]
#[must_use = "workers stop when they are dropped"]
pub struct Workers {
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<Drained>,
}

/// How the work ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// How many handlers were running when it was asked to end, and came to their own end.
    pub finished: usize,
    /// How many were cut short at the deadline, or could not begin for want of the store. Their deliveries are due again,
    /// the attempt not counted.
    pub released: usize,
}

impl Workers {
    /// Takes nothing new, waits until what is running has ended, at most for `within`, and gives back the rest.
    pub async fn drain(self, within: Duration) -> Drained {
        self.stop.send_replace(Some(soon(within)));
        self.task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the workers did not end by themselves; their leases will run out");
            Drained::default()
        })
    }
}

impl<E, S, P> fmt::Debug for WorkersBuilder<E, S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkersBuilder").field("inbox", &self.inbox).field("settings", &self.settings).finish()
    }
}
