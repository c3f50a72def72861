//! Whether a process can take deliveries now.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::meter;
use crate::receiver::{Mode, NoHandlers, Receiver};

/// Tells a load balancer whether to send deliveries here: every receiver has a key that counts, its store could record
/// something, and the process is not about to end.
///
/// Stores are asked at most once in [`fresh_for`](ReadinessBuilder::fresh_for), however many probes come and however many
/// of them hang up, so probes may come from strangers. What is wrong is told to the log, once when it begins and once when
/// it is over, and to no one who probes.
///
/// A clone is another handle to the same. Make one outside of the closure that makes an `App`, of all receivers of the
/// process. `Readiness::at` and `actix::liveness_at` (feature `actix`) serve probes.
#[derive(Clone)]
pub struct Readiness {
    inner: Arc<Inner>,
}

/// Builds a [`Readiness`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct ReadinessBuilder {
    checks: Vec<Check>,
    within: Duration,
    fresh_for: Duration,
}

/// Why a process is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unready {
    /// It is about to end, or a receiver was told to drain.
    #[error("draining")]
    Draining,
    /// A keyring has no key that counts now.
    #[error("no key counts now")]
    Keys,
    /// A store could not record anything now, or did not say so in time.
    #[error("a store cannot record anything now")]
    Store,
}

struct Inner {
    checks: Arc<[Check]>,
    within: Duration,
    fresh_for: Duration,
    draining: AtomicBool,
    last: Mutex<Option<Look>>,
    /// What the last look found, so that only changes are told.
    well: Arc<AtomicBool>,
}

/// The last time that the stores were asked, or are being asked.
struct Look {
    begun: Instant,
    found: watch::Receiver<Option<Result<(), Unready>>>,
}

/// What is asked of one receiver, or of one inbox.
struct Check {
    name: String,
    /// What can be told at once.
    now: Box<dyn Fn() -> Result<(), Unready> + Send + Sync>,
    ping: Box<dyn Fn() -> Ping + Send + Sync>,
}

/// How much longer than it may take an answer is waited for: what a busy machine needs to tell it.
const LATE: Duration = Duration::from_millis(250);

type Ping = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl Readiness {
    /// Starts with nothing to ask, 750 ms and 1 s.
    pub fn builder() -> ReadinessBuilder {
        ReadinessBuilder { checks: Vec::new(), within: Duration::from_millis(750), fresh_for: Duration::from_secs(1) }
    }

    /// Answers "not ready" from now on, so that balancers stop sending while everything is still served. The first step
    /// of a graceful end; wait as long as balancers take to notice before you stop the server.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is ready, as of a moment ago.
    ///
    /// # Errors
    ///
    /// With the first reason that was found. It is meant for the program; tell nobody outside.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn check(&self) -> Result<(), Unready> {
        let found = self.found().await;
        meter::probed(match found {
            Ok(()) => "ready",
            Err(Unready::Draining) => "draining",
            Err(Unready::Keys) => "keys",
            Err(Unready::Store) => "store",
        });
        found
    }

    async fn found(&self) -> Result<(), Unready> {
        if self.inner.draining.load(Ordering::Relaxed) {
            return Err(Unready::Draining);
        }
        self.inner.checks.iter().try_for_each(|check| (check.now)())?;
        let mut found = self.inner.look();
        let found = found.wait_for(Option::is_some);
        // Whoever asks may do so on a thread that something has blocked since; then nothing is heard of it.
        let found = timeout(self.inner.within.saturating_add(LATE), found).await;
        let found = found.ok().and_then(Result::ok).and_then(|found| *found);
        // A look that ended without a word has found nothing good.
        found.unwrap_or(Err(Unready::Store))
    }
}

impl Inner {
    /// The last look at the stores, where it is fresh or under way; a new one otherwise. It is a task of its own, so that
    /// a probe that hangs up does not make the next one begin anew. One that is under way for too long has its thread
    /// blocked: it is begun anew, perhaps on another.
    fn look(&self) -> watch::Receiver<Option<Result<(), Unready>>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(look) = &*last {
            let age = now.saturating_duration_since(look.begun);
            let under_way = look.found.borrow().is_none() && look.found.has_changed().is_ok();
            let good = if under_way { age < self.within.saturating_mul(2) } else { age < self.fresh_for };
            if good {
                return look.found.clone();
            }
        }
        let (tell, found) = watch::channel(None);
        *last = Some(Look { begun: now, found: found.clone() });
        let (checks, within, well) = (Arc::clone(&self.checks), self.within, Arc::clone(&self.well));
        drop(tokio::spawn(async move {
            let asked = checks.iter().map(|check| async {
                let pinged = timeout(within, (check.ping)()).await;
                pinged.unwrap_or_else(|_| Err(format!("no answer within {} ms", within.as_millis())))
            });
            let answers = futures_util::future::join_all(asked).await;
            let wrong = checks.iter().zip(&answers).find_map(|(check, answer)| Some((check, answer.as_ref().err()?)));
            if well.swap(wrong.is_none(), Ordering::Relaxed) != wrong.is_none() {
                match wrong {
                    Some((Check { name, .. }, reason)) => tracing::error!(check = name, reason, "not ready"),
                    None => tracing::info!("ready again"),
                }
            }
            tell.send_replace(Some(if wrong.is_none() { Ok(()) } else { Err(Unready::Store) }));
        }));
        found
    }
}

impl ReadinessBuilder {
    /// Asks for the keys and the store of `receiver`, and whether it was told to drain.
    pub fn receiver<H: Send + Sync + 'static, S: Mode<H>>(mut self, receiver: &Receiver<H, S>) -> Self {
        let (looked_at, pinged) = (receiver.clone(), receiver.clone());
        self.checks.push(Check {
            name: receiver.verifier().scheme().name().to_string(),
            now: Box::new(move || {
                looked_at.admit().map_err(|_draining| Unready::Draining)?;
                if looked_at.verifier().has_keys(looked_at.now()) { Ok(()) } else { Err(Unready::Keys) }
            }),
            ping: Box::new(move || {
                let receiver = pinged.clone();
                Box::pin(async move { receiver.store().could_record().await })
            }),
        });
        self
    }

    /// Asks an inbox that no receiver of this process has: for a process of workers alone.
    pub fn inbox<S: Mode<NoHandlers> + Clone>(mut self, inbox: &S) -> Self {
        let inbox = inbox.clone();
        self.checks.push(Check {
            name: "inbox".to_owned(),
            now: Box::new(|| Ok(())),
            ping: Box::new(move || {
                let inbox = inbox.clone();
                Box::pin(async move { inbox.could_record().await })
            }),
        });
        self
    }

    /// How long stores may take to answer; 750 ms unless set, less than the second after which probes usually give up.
    /// With zero nothing that asks a store is ever ready.
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// For how long an answer of the stores is good; 1 s unless set. More often they are not asked.
    pub fn fresh_for(mut self, pause: Duration) -> Self {
        self.fresh_for = pause;
        self
    }

    /// The readiness.
    #[must_use]
    pub fn build(self) -> Readiness {
        let Self { checks, within, fresh_for } = self;
        let inner = Inner {
            checks: checks.into(),
            within,
            fresh_for,
            draining: AtomicBool::new(false),
            last: Mutex::default(),
            well: Arc::new(AtomicBool::new(true)),
        };
        Readiness { inner: Arc::new(inner) }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("checks", &self.inner.checks.iter().map(|check| &check.name).collect::<Vec<_>>())
            .field("draining", &self.inner.draining)
            .field("within", &self.inner.within)
            .field("fresh_for", &self.inner.fresh_for)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ReadinessBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadinessBuilder")
            .field("checks", &self.checks.iter().map(|check| &check.name).collect::<Vec<_>>())
            .field("within", &self.within)
            .field("fresh_for", &self.fresh_for)
            .finish()
    }
}
