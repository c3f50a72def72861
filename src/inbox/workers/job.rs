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

use super::crew::Crew;
use super::held::{Holding, Word};
use crate::dedupe::{Fingerprint, Settled};
use crate::dispatch::{HandlerError, Interest, Outcome};
use crate::event::WebhookEvent;
use crate::inbox::promise::Promise;
use crate::inbox::step;
use crate::inbox::store::{CommitError, InboxError, InboxStore, Lease, Leased};
use crate::receiver::{guarded, open};
use crate::verify::Verified;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Somebody else has the delivery, or the lease will run out.
    Lost,
    /// It was cut short, and given back.
    Released,
    /// How it went is recorded.
    Settled,
}

/// What is to be recorded.
enum Verdict<T> {
    Dead(String),
    Done(T),
    Retry(String, Option<Duration>),
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
        let lease = holding.lease;
        let verdict = match guarded(|| self.read(leased)) {
            Err(_panicked) => Verdict::Retry("decoding panicked".to_owned(), None),
            Ok(Err(verdict)) => verdict,
            Ok(Ok(ready)) => {
                step::reached("handler", "starting");
                let mut run = pin!(self.run(&lease, ready));
                let mut stopped = pin!(holding.stopped());
                let first = poll_fn(|cx| {
                    if let Poll::Ready(word) = stopped.as_mut().poll(cx) {
                        return Poll::Ready(Err(word));
                    }
                    run.as_mut().poll(cx).map(Ok)
                });
                match first.await {
                    Ok(verdict) => verdict,
                    Err(Word::Release) => return self.release(&lease).await,
                    Err(Word::Lost | Word::Go) => {
                        tracing::warn!(
                            "the lease was lost; the handler was dropped, and another worker has the delivery"
                        );
                        return Ended::Lost;
                    }
                }
            }
        };
        step::reached("handler", "ended");
        self.settle(&lease, verdict).await
    }

    /// Makes a delivery of what was kept, and an event of that.
    fn read(&self, leased: Leased) -> Result<Ready<E>, Verdict<P::Effects>> {
        if Fingerprint::of(&leased.delivery.raw) != leased.fingerprint {
            return Err(Verdict::Dead("the stored body is not the one that was accepted".to_owned()));
        }
        let mut verified = match &self.verifier {
            None => leased.delivery.trusted_again(),
            Some(verifier) => verifier.verify_stored(&leased.delivery).map_err(|rejection| {
                let text = format!("the stored delivery does not verify: {}", rejection.as_str());
                if rejection.is_ours() { Verdict::Retry(text, None) } else { Verdict::Dead(text) }
            })?,
        };
        let raw = verified.raw().clone();
        let opened = open::<E>(&raw, verified.delivery());
        let opened = opened.map_err(|disposition| Verdict::Dead(disposition.reason().unwrap_or_default()))?;
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

    async fn run(&self, lease: &Lease, ready: Ready<E>) -> Verdict<P::Effects> {
        let Ready { verified, event, interest } = ready;
        let far = || Instant::now() + Duration::from_hours(24 * 365);
        let deadline = Instant::now().checked_add(self.settings.time_limit).unwrap_or_else(far);
        let nobody = matches!((&event, interest), (None, Interest::Payload) | (_, Interest::Nothing));
        let ran = if nobody {
            // Known to nobody, and done: nothing runs, and its effects are none.
            self.promise.run_nothing(self.inbox.store(), lease).await
        } else {
            self.promise.run(self.inbox.store(), lease, event, verified.delivery(), deadline).await
        };
        match ran {
            Ok((Outcome::Handled | Outcome::Unhandled, effects)) => Verdict::Done(effects),
            Ok((Outcome::Permanent(error), _)) => Verdict::Dead(error.to_string()),
            Ok((Outcome::Retry(error), _)) => failed(&error),
            Err(error) => Verdict::Retry(error.to_string(), None),
        }
    }

    async fn settle(&self, lease: &Lease, verdict: Verdict<P::Effects>) -> Ended {
        let store = self.inbox.store();
        let verdict = match verdict {
            Verdict::Done(effects) => match self.promise.complete(store, lease, effects, self.now()).await {
                Ok(settled) => return told(settled, "done"),
                Err(CommitError::Effect(error)) if error.is_permanent() => Verdict::Dead(error.to_string()),
                Err(CommitError::Effect(error)) => failed(&error),
                // Perhaps it was recorded all the same; then what is tried next finds the lease settled.
                Err(CommitError::Inbox(error)) => match self.complete_again(lease, error).await {
                    Ok(ended) => return ended,
                    Err(verdict) => verdict,
                },
            },
            other => other,
        };
        match verdict {
            Verdict::Done(_) => Ended::Lost,
            Verdict::Dead(error) => self.bury(lease, &error).await,
            Verdict::Retry(error, _) if lease.attempt >= self.settings.max_attempts => self.bury(lease, &error).await,
            Verdict::Retry(error, at_least) => {
                let pause = self.settings.backoff.draw(lease.attempt).max(at_least.unwrap_or_default());
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "the delivery will be tried again");
                let retry = || async { store.retry(lease, self.now().saturating_add(pause), &error, self.now()).await };
                self.persist(retry).await.map_or(Ended::Lost, |settled| told(settled, "retry"))
            }
        }
    }

    /// A completion that could not be recorded is tried again where nothing else hangs on it. Effects were thrown away
    /// with their transaction, so the handler has to run again.
    async fn complete_again(&self, lease: &Lease, error: InboxError) -> Result<Ended, Verdict<P::Effects>> {
        if !P::COMPLETES_ALONE {
            return Err(Verdict::Retry(error.to_string(), None));
        }
        tracing::error!(%error, "the completion could not be recorded yet");
        let store = self.inbox.store();
        let settled = self.persist(|| async { store.complete(lease, self.now()).await }).await;
        Ok(settled.map_or(Ended::Lost, |settled| told(settled, "done")))
    }

    async fn bury(&self, lease: &Lease, error: &str) -> Ended {
        tracing::error!(error, "the delivery is given up, and kept with the dead");
        let store = self.inbox.store();
        let dead = self.persist(|| async { store.dead(lease, error, self.now()).await }).await;
        dead.map_or(Ended::Lost, |settled| told(settled, "dead"))
    }

    async fn release(&self, lease: &Lease) -> Ended {
        match self.inbox.store().release(lease, self.now()).await {
            Ok(Settled::Current) => Ended::Released,
            Ok(Settled::Superseded) => Ended::Lost,
            Err(error) => {
                tracing::error!(%error, "a delivery could not be given back; its lease will run out");
                Ended::Lost
            }
        }
    }

    /// Asks a store that cannot answer again, for as long as a lease lasts. Then another worker may have it.
    async fn persist<F, A>(&self, mut ask: F) -> Option<Settled>
    where
        F: FnMut() -> A,
        A: Future<Output = Result<Settled, InboxError>>,
    {
        let until = Instant::now() + self.settings.lease;
        let mut pause = Duration::from_millis(50);
        loop {
            match ask().await {
                Ok(settled) => return Some(settled),
                Err(error) if Instant::now() >= until => {
                    tracing::error!(%error, "how a delivery ended could not be recorded; it will be tried again");
                    return None;
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

fn failed<T>(error: &HandlerError) -> Verdict<T> {
    Verdict::Retry(error.to_string(), error.delay())
}

fn told(settled: Settled, how: &'static str) -> Ended {
    match settled {
        Settled::Current => {
            tracing::info!(outcome = how, "webhook worked on");
            Ended::Settled
        }
        Settled::Superseded => {
            tracing::warn!(outcome = how, "the lease was lost before it was settled; this run has changed nothing");
            Ended::Lost
        }
    }
}

impl<T> fmt::Debug for Verdict<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dead(_) => "Dead",
            Self::Done(_) => "Done",
            Self::Retry(..) => "Retry",
        })
    }
}
