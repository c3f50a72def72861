//! Takes what is due, as much as there are hands for, and waits for more without asking all the time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::Drained;
use super::held::Held;
use super::job::Ended;
use super::settings::Settings;
use crate::causes::Causes;
use crate::dedupe::Settled;
use crate::event::WebhookEvent;
use crate::inbox::promise::Promise;
use crate::inbox::store::{InboxStore, Leased, Wanted, named};
use crate::inbox::{Inbox, Listener};
use crate::meter::{self, timed};
use crate::time::Timestamp;
use crate::verify::Verifier;

/// How long a store that cannot answer is left alone.
pub(super) const TROUBLE: Duration = Duration::from_secs(1);

/// How long the end of others is waited for before more is leased: little beside a commit.
const GATHER: Duration = Duration::from_millis(2);

/// How long those that are told to give back may take for it.
const GRACE: Duration = Duration::from_secs(5);

/// How many entries are forgotten in one transaction: few, so that nobody waits long for it.
const PRUNED_AT_ONCE: usize = 500;

pub(super) struct Crew<E, S, P> {
    pub(super) inbox: Inbox<E, S>,
    pub(super) promise: P,
    pub(super) verifier: Option<Verifier>,
    pub(super) settings: Settings,
    pub(super) held: Arc<Held>,
    /// Renewals come one after the other, so that what is noted of a lease is what was asked last.
    renewing: Mutex<()>,
}

/// Why the crew looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Due,
    JobEnded,
    Stop,
}

/// What a look at the inbox came to.
struct Looked {
    /// How long to wait for more.
    wait: Duration,
    /// Whether there may be more already, for whoever has hands.
    more: bool,
    /// The store cannot answer: what is accepted meanwhile is no reason to ask it sooner.
    trouble: bool,
}

impl Looked {
    const TROUBLE: Self = Self { wait: TROUBLE, more: false, trouble: true };
}

type Stop = watch::Receiver<Option<Instant>>;

impl<E: WebhookEvent, S: InboxStore, P: Promise<E, S>> Crew<E, S, P> {
    pub(super) fn new(inbox: Inbox<E, S>, promise: P, verifier: Option<Verifier>, settings: Settings) -> Self {
        Self { inbox, promise, verifier, settings, held: Arc::default(), renewing: Mutex::default() }
    }

    /// Works until it is told to stop, or nobody is there any more to tell it.
    pub(super) async fn work(self: Arc<Self>, mut stop: Stop) -> Drained {
        let mut jobs = JoinSet::new();
        let mut upkeep = JoinSet::new();
        upkeep.spawn(Arc::clone(&self).keep_renewing());
        upkeep.spawn(Arc::clone(&self).prune());
        #[cfg(feature = "metrics")]
        upkeep.spawn(Arc::clone(&self).sample());
        let mut bell = self.inbox.store.bell().listen();
        loop {
            bell.hush();
            let Some(looked) = unless_over(self.take(&mut jobs), stop.clone()).await else {
                return self.drain(jobs, &stop).await;
            };
            // From now on, however many end meanwhile.
            let look = soon(looked.wait);
            let mut bell = (!looked.trouble).then_some(&mut bell);
            loop {
                match self.wait(&mut jobs, &mut stop, bell.as_deref_mut(), look).await {
                    Woken::Stop => return self.drain(jobs, &stop).await,
                    // Whoever ended makes room for what is due already, if there is anything.
                    Woken::JobEnded if !looked.more => {}
                    Woken::JobEnded => {
                        gather(&mut jobs).await;
                        break;
                    }
                    Woken::Due => break,
                }
            }
        }
    }

    /// Leases what is due and sets to work on it.
    async fn take(self: &Arc<Self>, jobs: &mut JoinSet<Ended>) -> Looked {
        let Settings { concurrency, lease, max_attempts, look_every, .. } = self.settings;
        let limit = concurrency.saturating_sub(jobs.len());
        if limit == 0 {
            return Looked { wait: look_every, more: true, trouble: false };
        }
        // What has run out by the clock is due to this process too, after a step of the clock, a suspended machine or a
        // store that hung: it would overtake its own handlers.
        if self.held.has_run_out(self.now()) {
            self.renew().await;
        }
        let now = self.now();
        if self.held.has_run_out(now) {
            return Looked::TROUBLE;
        }
        let wanted = Wanted { limit, lease, max_attempts };
        match timed(named::<S>(), "claim", self.inbox.store.claim(wanted, now)).await {
            Ok(batch) => {
                if batch.buried > 0 {
                    tracing::error!(
                        dead = batch.buried,
                        "deliveries have had all their attempts, and are kept with the dead"
                    );
                    // Whose they are is not told.
                    meter::buried("", "silent", batch.buried);
                }
                let until = wanted.until(now);
                let hold = |leased: Leased| (self.held.hold(leased.lease, until), leased);
                let taken: Vec<_> = batch.leased.into_iter().map(hold).collect();
                let count = taken.len();
                // An answer that came so late is good for nothing before it is said again. Jobs that lost theirs are told.
                if count > 0 && until <= self.now() && !self.renew().await {
                    tracing::error!(
                        leases = count,
                        "leases had run out when they were told of; they are left to others"
                    );
                    return Looked::TROUBLE;
                }
                for (holding, leased) in taken {
                    jobs.spawn(Arc::clone(self).job(leased, holding));
                }
                if batch.buried > 0 {
                    // They were in the way of others, that may be due.
                    return Looked { wait: Duration::ZERO, more: true, trouble: false };
                }
                let next = batch.next_due.map_or(look_every, |next| next.since(now).min(look_every));
                Looked { wait: next.max(Duration::from_millis(1)), more: count == limit, trouble: false }
            }
            Err(error) => {
                tracing::error!(error = %Causes(&error), "the inbox cannot be read; the workers look again in a moment");
                Looked::TROUBLE
            }
        }
    }

    /// Waits for what comes first. With all hands busy it is only their end, or the order to stop.
    async fn wait(
        &self,
        jobs: &mut JoinSet<Ended>,
        stop: &mut Stop,
        bell: Option<&mut Listener>,
        look: Instant,
    ) -> Woken {
        let busy = jobs.len() >= self.settings.concurrency;
        let mut stopped = pin!(stop.changed());
        let mut heard = pin!(async {
            match bell {
                Some(bell) => bell.heard().await,
                None => std::future::pending().await,
            }
        });
        let mut timer = pin!(sleep_until(look));
        poll_fn(|cx| {
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Woken::Stop);
            }
            if !busy && (heard.as_mut().poll(cx).is_ready() || timer.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Woken::Due);
            }
            match jobs.poll_join_next(cx) {
                Poll::Ready(Some(ended)) => {
                    tell(ended.as_ref());
                    Poll::Ready(Woken::JobEnded)
                }
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    async fn drain(&self, mut jobs: JoinSet<Ended>, stop: &Stop) -> Drained {
        let deadline = *stop.borrow();
        let mut drained = Drained::default();
        let mut count = |ended: Result<Ended, tokio::task::JoinError>| {
            tell(ended.as_ref());
            match ended {
                Ok(Ended::Settled) => drained.finished += 1,
                Ok(Ended::Released) => drained.released += 1,
                Ok(Ended::Lost) | Err(_) => {}
            }
        };
        // Without a deadline somebody dropped the handle: what is running comes to its own end.
        let cut = async {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let mut cut = pin!(cut);
        let mut cutting = false;
        let mut over: Option<Instant> = None;
        while !jobs.is_empty() {
            let next = poll_fn(|cx| {
                if !cutting && cut.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                jobs.poll_join_next(cx).map(Some)
            });
            let next = match over {
                Some(over) => tokio::time::timeout_at(over, next).await,
                None => Ok(next.await),
            };
            match next {
                Ok(Some(Some(ended))) => count(ended),
                Ok(Some(None)) => break,
                Ok(None) => {
                    cutting = true;
                    over = Some(Instant::now() + GRACE);
                    self.held.release_all();
                }
                // The store does not answer; the leases will run out.
                Err(_elapsed) => break,
            }
        }
        drained
    }

    /// Renews all leases that are held, three times as often as they run out.
    async fn keep_renewing(self: Arc<Self>) {
        let mut pause = self.settings.lease / 3;
        loop {
            sleep(pause).await;
            let begun = Instant::now();
            let renewed = self.renew().await;
            pause = until_next(self.settings.lease, renewed, begun.elapsed());
        }
    }

    /// Renews all leases that are held now. Tells whether the store has answered.
    async fn renew(&self) -> bool {
        let _one_by_one = self.renewing.lock().await;
        let leases = self.held.all();
        if leases.is_empty() {
            return true;
        }
        let now = self.now();
        let extending = self.inbox.store.extend(&leases, self.settings.lease, now);
        match timed(named::<S>(), "extend", extending).await {
            Ok(extended) => {
                let end = now.saturating_add(self.settings.lease);
                for (lease, settled) in leases.iter().zip(extended) {
                    match settled {
                        Settled::Current => self.held.extended(lease, end),
                        Settled::Superseded => self.held.lost(lease),
                    }
                }
                true
            }
            Err(error) => {
                tracing::error!(error = %Causes(&error), leases = leases.len(), "leases could not be renewed");
                false
            }
        }
    }

    async fn prune(self: Arc<Self>) {
        loop {
            sleep(self.settings.prune_every).await;
            loop {
                let pruning = self.inbox.store.prune(PRUNED_AT_ONCE, self.now());
                match timed(named::<S>(), "prune", pruning).await {
                    Ok(pruned) => {
                        meter::pruned(S::ENGINE, pruned);
                        if pruned < PRUNED_AT_ONCE as u64 {
                            break;
                        }
                    }
                    Err(error) => {
                        tracing::error!(error = %Causes(&error), "the inbox could not be pruned; it will be tried again");
                        break;
                    }
                }
            }
        }
    }

    /// Tells how much is in the inbox, now and then.
    #[cfg(feature = "metrics")]
    async fn sample(self: Arc<Self>) {
        loop {
            if let Err(error) = self.inbox.sample().await {
                tracing::debug!(error = %Causes(&error), "how much is in the inbox could not be told");
            }
            sleep(self.settings.sample_every).await;
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.inbox.clock.now()
    }
}

/// What a store answers, unless it has not when the workers were to end long ago: what it leases to them then is due again
/// when the lease has run out.
async fn unless_over<T>(asked: impl Future<Output = T>, mut stop: Stop) -> Option<T> {
    let over = async {
        let deadline = if stop.changed().await.is_ok() { *stop.borrow() } else { None };
        match deadline {
            Some(deadline) => sleep_until(deadline + GRACE).await,
            None => std::future::pending().await,
        }
    };
    let (mut asked, mut over) = (pin!(asked), pin!(over));
    poll_fn(|cx| match asked.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => over.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// How long after a renewal that took `took` comes the next one. Leases count from when it was asked, not from its answer;
/// where there was none, there is time for some more tries before they end.
fn until_next(lease: Duration, renewed: bool, took: Duration) -> Duration {
    let shortest = lease / 12;
    if renewed { (lease / 3).saturating_sub(took).max(shortest) } else { shortest.saturating_sub(took) }
}

/// `wait` from now; a year where that is too far to tell.
pub(super) fn soon(wait: Duration) -> Instant {
    let far = || Instant::now() + Duration::from_hours(24 * 365);
    Instant::now().checked_add(wait).unwrap_or_else(far)
}

/// Lets others end that are about to, so that what they make room for is leased in one go.
async fn gather(jobs: &mut JoinSet<Ended>) {
    let all = async {
        while let Some(ended) = jobs.join_next().await {
            tell(ended.as_ref());
        }
    };
    // When it is over, the rest is still at work.
    let _ = tokio::time::timeout(GATHER, all).await;
}

/// A job keeps a handler's panics inside; one of its own would be a mistake of ours.
fn tell(ended: Result<&Ended, &tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a worker ended by itself; the lease of its delivery will run out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_renewal_comes_a_third_of_a_lease_after_the_last_was_asked_for() {
        let next = |renewed, took| until_next(Duration::from_secs(12), renewed, Duration::from_secs(took)).as_secs();
        assert_eq!((next(true, 0), next(true, 3), next(true, 60)), (4, 1, 1));
        assert_eq!((next(false, 0), next(false, 5)), (1, 0), "again soon, and at once after it was waited for");
    }
}
