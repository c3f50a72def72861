//! One run of one delivery: restore, decode, dispatch, settle.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Instrument;

use super::crew::{Crew, TROUBLE, soon};
use super::held::{Holding, Word};
use crate::causes::{Causes, in_one_line};
use crate::dedupe::{Fingerprint, Settled};
use crate::dispatch::{HandlerError, Interest, Outcome};
use crate::event::WebhookEvent;
use crate::ids::Source;
use crate::inbox::promise::Promise;
use crate::inbox::step;
use crate::inbox::store::{CommitError, InboxError, InboxStore, Lease, Leased, named};
use crate::meter::{self, Stopwatch, timed};
use crate::receiver::{guarded, open};
use crate::verify::Verified;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Somebody else has the delivery, or the lease will run out.
    Lost,
    /// It was cut short, or could not begin, and given back.
    Released,
    /// How it went is recorded.
    Settled,
}

/// What is to be recorded.
enum Verdict<T> {
    Dead(String, Reason),
    Done(T),
    /// Nothing has run, and that is not its fault.
    NotRun,
    Retry(String, Option<Duration>),
}

/// Why a delivery is given up, as metrics have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// It has had all its attempts.
    Attempts,
    /// A handler says that no try can mend it.
    Permanent,
    /// What was kept is not what was verified, or is not an event.
    Unreadable,
}

/// A delivery that is worked on: by which lease, and whose it is.
struct Task {
    lease: Lease,
    source: Source,
}

/// An event to be handled, as far as its handler takes it.
struct Ready<E> {
    verified: Verified<Bytes>,
    event: Option<E>,
    interest: Interest,
}

impl<E: WebhookEvent, S: InboxStore, P: Promise<E, S>> Crew<E, S, P> {
    pub(super) async fn job(self: Arc<Self>, leased: Leased, holding: Holding) -> Ended {
        let delivery = &leased.delivery;
        let span = tracing::info_span!(
            "webhook_work",
            number = leased.lease.number,
            attempt = leased.lease.attempt,
            source = %delivery.source,
            tenant = delivery.tenant.as_ref().map(AsRef::<str>::as_ref),
            delivery_id = delivery.id.as_ref().map(AsRef::<str>::as_ref),
            event_type = delivery.event_type.as_ref().map(AsRef::<str>::as_ref),
        );
        self.handle(leased, holding).instrument(span).await
    }

    async fn handle(&self, leased: Leased, mut holding: Holding) -> Ended {
        let task = Task { lease: holding.lease, source: leased.delivery.source.clone() };
        let verdict = match guarded(|| self.read(leased)) {
            Err(_panicked) => Verdict::Retry("decoding panicked".to_owned(), None),
            Ok(Err(verdict)) => verdict,
            Ok(Ok(ready)) => {
                step::reached("handler", "starting");
                let first = {
                    let mut run = pin!(self.run(&task, ready));
                    let mut stopped = pin!(holding.stopped());
                    poll_fn(|cx| {
                        if let Poll::Ready(word) = stopped.as_mut().poll(cx) {
                            return Poll::Ready(Err(word));
                        }
                        run.as_mut().poll(cx).map(Ok)
                    })
                    .await
                };
                // The handler is gone by now, with all that it held: nobody has the delivery before.
                match first {
                    Ok(verdict) => verdict,
                    Err(Word::Release) => return self.release(&task).await,
                    Err(Word::Lost | Word::Go) => {
                        tracing::warn!(
                            "the lease was lost; the handler was dropped, and another worker has the delivery"
                        );
                        return self.lost(&task, "running");
                    }
                }
            }
        };
        step::reached("handler", "ended");
        self.settle(&task, verdict).await
    }

    /// Makes a delivery of what was kept, and an event of that.
    fn read(&self, leased: Leased) -> Result<Ready<E>, Verdict<P::Effects>> {
        if Fingerprint::of(&leased.delivery.raw) != leased.fingerprint {
            return Err(Verdict::Dead(
                "the stored body is not the one that was accepted".to_owned(),
                Reason::Unreadable,
            ));
        }
        let mut verified = match &self.verifier {
            None => leased.delivery.trusted_again(),
            Some(verifier) => verifier.verify_stored(&leased.delivery).map_err(|rejection| {
                let text = format!("the stored delivery does not verify: {}", rejection.as_str());
                if rejection.is_ours() { Verdict::Retry(text, None) } else { Verdict::Dead(text, Reason::Unreadable) }
            })?,
        };
        let raw = verified.raw().clone();
        let opened = open::<E>(&raw, verified.delivery());
        let opened = opened
            .map_err(|disposition| Verdict::Dead(disposition.reason().unwrap_or_default(), Reason::Unreadable))?;
        let interest = self.promise.interest(&opened.event_type);
        let event = match interest {
            Interest::Payload => E::decode(&opened.event_type, opened.payload())
                // The program may be behind the provider: a newer one may read it.
                .map_err(|error| Verdict::Retry(format!("the payload does not decode: {error}"), None))?,
            Interest::Delivery | Interest::Nothing => None,
        };
        verified.set_event_type(opened.event_type);
        Ok(Ready { verified, event, interest })
    }

    async fn run(&self, task: &Task, ready: Ready<E>) -> Verdict<P::Effects> {
        let Ready { verified, event, interest } = ready;
        if matches!((&event, interest), (None, Interest::Payload) | (_, Interest::Nothing)) {
            // Known to nobody, and done: nothing runs, and its effects are none.
            return Verdict::Done(self.promise.nothing());
        }
        let watch = Stopwatch::start();
        let mut effects = match self.promise.begin(self.inbox.store(), &task.lease).await {
            Ok(effects) => effects,
            Err(error) => {
                meter::handled(task.source.as_str(), "inbox", "store_unavailable", watch);
                tracing::error!(error = %Causes(&error), "the handler could not begin; the delivery is given back");
                // Not at once, or it would be leased again at once. Who is told to stop does not wait for this.
                tokio::time::sleep(TROUBLE).await;
                return Verdict::NotRun;
            }
        };
        // What it waited for was the end of others, or the store: none of it is the handler's time.
        let (watch, deadline) = (Stopwatch::start(), soon(self.settings.time_limit));
        let outcome = self.promise.run(&mut effects, event, verified.delivery(), deadline).await;
        meter::handled(task.source.as_str(), "inbox", word(&outcome), watch);
        match outcome {
            Outcome::Handled | Outcome::Unhandled => Verdict::Done(effects),
            Outcome::Permanent(error) => Verdict::Dead(error.to_string(), Reason::Permanent),
            Outcome::Retry(error) => failed(&error),
        }
    }

    async fn settle(&self, task: &Task, verdict: Verdict<P::Effects>) -> Ended {
        let (store, lease) = (self.inbox.store(), &task.lease);
        // What may be recorded already, by a call whose answer nobody saw.
        let mut unseen = None;
        let verdict = match verdict {
            Verdict::Done(effects) => {
                let completing = self.promise.complete(store, lease, effects, self.now());
                match timed(named::<S>(), "complete", completing).await {
                    Ok(settled) => return ended(self.told(task, settled, Recorded::Done)),
                    Err(CommitError::Effect(error)) if error.is_permanent() => {
                        Verdict::Dead(error.to_string(), Reason::Permanent)
                    }
                    Err(CommitError::Effect(error)) => failed(&error),
                    Err(CommitError::Inbox(error)) if P::COMPLETES_ALONE => {
                        tracing::error!(error = %Causes(&error), "the completion could not be recorded yet");
                        let complete = || store.complete(lease, self.now());
                        return ended(self.persist(task, Recorded::Done, Some(Recorded::Done), complete).await);
                    }
                    // Where they were not committed, effects are gone, and the handler has to run again.
                    Err(CommitError::Inbox(error)) => {
                        unseen = Some(Recorded::Done);
                        Verdict::Retry(in_one_line(&error), None)
                    }
                }
            }
            other => other,
        };
        match verdict {
            Verdict::Done(_) => self.unrecorded(task),
            Verdict::NotRun => self.release(task).await,
            Verdict::Dead(error, reason) => self.bury(task, &error, reason, unseen).await,
            Verdict::Retry(error, _) if lease.attempt >= self.settings.max_attempts => {
                self.bury(task, &error, Reason::Attempts, unseen).await
            }
            Verdict::Retry(error, at_least) => {
                let pause = self.settings.backoff.draw(lease.attempt).max(at_least.unwrap_or_default());
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "the delivery will be tried again");
                let retry = || store.retry(lease, self.now().saturating_add(pause), &error, self.now());
                ended(self.persist(task, Recorded::Retry, unseen, retry).await)
            }
        }
    }

    async fn bury(&self, task: &Task, error: &str, reason: Reason, unseen: Option<Recorded>) -> Ended {
        let store = self.inbox.store();
        let dead = || store.dead(&task.lease, error, self.now());
        let recorded = self.persist(task, Recorded::Dead, unseen, dead).await;
        if recorded == Some(Recorded::Dead) {
            tracing::error!(error, "the delivery is given up, and kept with the dead");
            meter::buried(task.source.as_str(), reason.as_str(), 1);
        }
        ended(recorded)
    }

    async fn release(&self, task: &Task) -> Ended {
        let releasing = self.inbox.store().release(&task.lease, self.now());
        match timed(named::<S>(), "release", releasing).await {
            Ok(Settled::Current) => {
                self.attempted(task, "released", None);
                Ended::Released
            }
            Ok(Settled::Superseded) => self.lost(task, "settling"),
            Err(error) => {
                tracing::error!(error = %Causes(&error), "a delivery could not be given back; its lease will run out");
                self.unrecorded(task)
            }
        }
    }

    /// Asks a store that cannot answer again, for as long as a lease lasts. Then another worker may have it. `unseen` is
    /// what a call before this may have recorded without an answer. Tells as what it is recorded, if it is.
    async fn persist<F, A>(
        &self,
        task: &Task,
        how: Recorded,
        mut unseen: Option<Recorded>,
        mut ask: F,
    ) -> Option<Recorded>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<Settled, InboxError>>,
    {
        let until = soon(self.settings.lease);
        let mut pause = Duration::from_millis(50);
        loop {
            match timed(named::<S>(), how.operation(), ask()).await {
                Ok(settled) => {
                    let Some(how) = unseen.filter(|_| settled == Settled::Superseded) else {
                        return self.told(task, settled, how);
                    };
                    tracing::info!(
                        outcome = how.as_str(),
                        "webhook worked on: recorded by an earlier try, or taken over"
                    );
                    return Some(self.counted(task, how));
                }
                Err(error) if Instant::now() >= until => {
                    let error = Causes(&error);
                    tracing::error!(%error, "how a delivery ended could not be recorded; it will be tried again");
                    self.unrecorded(task);
                    return None;
                }
                Err(_) => {
                    unseen = unseen.or(Some(how));
                    tokio::time::sleep(pause).await;
                }
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn told(&self, task: &Task, settled: Settled, how: Recorded) -> Option<Recorded> {
        match settled {
            Settled::Current => {
                tracing::info!(outcome = how.as_str(), "webhook worked on");
                Some(self.counted(task, how))
            }
            Settled::Superseded => {
                let outcome = how.as_str();
                tracing::warn!(outcome, "the lease was lost before it was settled; this run has changed nothing");
                self.lost(task, "settling");
                None
            }
        }
    }

    fn counted(&self, task: &Task, how: Recorded) -> Recorded {
        let last = (how != Recorded::Retry).then_some(task.lease.attempt);
        self.attempted(task, how.as_str(), last);
        how
    }

    /// Somebody else has the delivery.
    fn lost(&self, task: &Task, noticed: &'static str) -> Ended {
        meter::lease_lost(S::ENGINE, noticed);
        self.attempted(task, "lost", None);
        Ended::Lost
    }

    /// The lease will run out.
    fn unrecorded(&self, task: &Task) -> Ended {
        self.attempted(task, "unrecorded", None);
        Ended::Lost
    }

    fn attempted(&self, task: &Task, result: &'static str, number: Option<u32>) {
        meter::attempted(&self.inbox.name, S::ENGINE, task.source.as_str(), result, number);
    }
}

/// What an attempt is recorded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recorded {
    Done,
    Dead,
    Retry,
}

impl Recorded {
    /// In logs and metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Retry => "retry",
        }
    }

    /// The store's operation that does so.
    const fn operation(self) -> &'static str {
        match self {
            Self::Done => "complete",
            Self::Dead => "dead",
            Self::Retry => "retry",
        }
    }
}

fn ended(recorded: Option<Recorded>) -> Ended {
    recorded.map_or(Ended::Lost, |_| Ended::Settled)
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Permanent => "permanent",
            Self::Unreadable => "unreadable",
        }
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Handled => "handled",
        Outcome::Permanent(_) => "permanent",
        Outcome::Retry(_) => "failed",
        Outcome::Unhandled => "unhandled",
    }
}

fn failed<T>(error: &HandlerError) -> Verdict<T> {
    Verdict::Retry(error.to_string(), error.delay())
}

impl<T> fmt::Debug for Verdict<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dead(..) => "Dead",
            Self::Done(_) => "Done",
            Self::NotRun => "NotRun",
            Self::Retry(..) => "Retry",
        })
    }
}
