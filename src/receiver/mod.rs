//! The whole story of a delivery: verify → claim → decode → dispatch → settle.
//!
//! No framework's types are in here. [`Receiver::receive`] takes a [`RequestView`] and gives an [`Answer`]; the edges
//! around it read a body in their own way and end in the same steps.

mod answer;
mod budget;
mod builder;
mod effect_key;
mod mode;
mod readiness;
mod record;

pub use answer::{Answer, Disposition};
pub(crate) use budget::{Budget, Held};
pub use builder::{BuildError, NoHandlers, OnUndecodable, ReceiverBuilder};
pub(crate) use builder::{Limits, Settings};
pub use effect_key::EffectKey;
pub use mode::Mode;
pub use readiness::{Readiness, ReadinessBuilder, Unready};
pub(crate) use record::Record;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::time::Instant;

use crate::causes::Causes;
use crate::dedupe::{Claim, ClaimKey, Claimed, DedupeStore, Fingerprint};
use crate::dispatch::{Handlers, Interest, Outcome, Ran, run};
use crate::event::{Opened, WebhookEvent};
use crate::meter::{self, Named, Stopwatch};
use crate::request::RequestView;
use crate::scheme::Scheme;
use crate::store::MemoryStore;
use crate::time::{Clock, Timestamp};
use crate::verify::{Delivery, Identity, Keys, Verified, Verifier};

/// Receives the deliveries of one provider. A clone is another handle to the same receiver.
///
/// Build one outside of any closure that runs once per worker, so that all workers share its memory.
pub struct Receiver<H = NoHandlers, S = MemoryStore> {
    inner: Arc<Inner<H, S>>,
}

struct Inner<H, S> {
    verifier: Verifier,
    store: Arc<S>,
    handlers: H,
    settings: Settings,
    clock: Arc<dyn Clock>,
    budget: Arc<Budget>,
    draining: AtomicBool,
}

impl Receiver {
    /// Starts to build a receiver of deliveries that are signed as `scheme` says with `keys`: a
    /// [`Keyring`](crate::Keyring), [`Tenants`](crate::Tenants), or a choice of one's own.
    pub fn builder(scheme: Scheme, keys: impl Into<Keys>) -> ReceiverBuilder {
        ReceiverBuilder::new(scheme, keys.into())
    }
}

impl<H, S: Mode<H>> Receiver<H, S> {
    /// Receives a whole request as of `now`, and says what to answer.
    ///
    /// Cancelling the future drops the handler where it waits and releases the claim, so that the sender's retry runs.
    pub async fn receive(&self, request: RequestView<'_>, now: Timestamp) -> Answer {
        let record = Record::begin();
        let disposition = match self.admit().and_then(|()| self.verify(&request, now)) {
            Ok(mut verified) => record.in_span(S::work(self, &mut verified, now, &record)).await,
            Err(disposition) => disposition,
        };
        self.end(record, &disposition)
    }
}

impl<H: Handlers, S: DedupeStore> Receiver<H, S> {
    /// All that comes after verification: claim, decode, dispatch, settle.
    async fn work(&self, verified: &mut Verified<Bytes>, now: Timestamp, record: &Record) -> Disposition {
        record.verified(verified.delivery());
        let claim = match self.claim(verified, now).await {
            Ok(claim) => claim,
            Err(disposition) => return disposition,
        };
        let started = Instant::now();
        let disposition = match guarded(|| self.decode(verified, record)) {
            Ok(Ok(event)) => {
                let watch = Stopwatch::start();
                let disposition = self.dispatch(event, verified.delivery(), started).await;
                meter::handled(verified.delivery().source().as_str(), "inline", disposition.outcome(), watch);
                disposition
            }
            Ok(Err(disposition)) | Err(disposition) => disposition,
        };
        self.settle(claim, &disposition, now.saturating_add(started.elapsed())).await;
        disposition
    }

    /// Decodes the event; `None` where the handler takes no payload.
    fn decode(&self, verified: &mut Verified<Bytes>, record: &Record) -> Result<Option<H::Event>, Disposition> {
        let opened = open::<H::Event>(verified.raw(), verified.delivery())?;
        record.event_type(&opened.event_type);
        let event = match self.inner.handlers.interest(&opened.event_type) {
            Interest::Payload => {
                let decoded = decode(&opened, self.inner.settings.on_undecodable)?;
                Some(decoded.ok_or(Disposition::Unhandled)?)
            }
            // Whatever a handler is run for is JSON to its end.
            Interest::Delivery => {
                opened.close().map_err(Disposition::Malformed)?;
                None
            }
            Interest::Nothing => return Err(Disposition::Unhandled),
        };
        verified.set_event_type(opened.event_type);
        Ok(event)
    }

    /// Runs the handler.
    async fn dispatch(&self, event: Option<H::Event>, delivery: &Delivery, started: Instant) -> Disposition {
        let handlers = &self.inner.handlers;
        let deadline = self.inner.settings.deadline(started);
        let ran = match event {
            Some(event) => match guarded(|| handlers.handle(event, delivery)) {
                Ok(handler) => run(pin!(handler), deadline).await,
                Err(panicked) => return panicked,
            },
            None => match guarded(|| handlers.handle_undecoded(delivery)) {
                Ok(handler) => run(pin!(handler), deadline).await,
                Err(panicked) => return panicked,
            },
        };
        match ran {
            Ran::Ended(Outcome::Handled) => Disposition::Handled,
            Ran::Ended(Outcome::Permanent(error)) => Disposition::Permanent(error),
            Ran::Ended(Outcome::Retry(error)) => Disposition::Failed(error),
            Ran::Ended(Outcome::Unhandled) => Disposition::Unhandled,
            Ran::Panicked => Disposition::Panicked,
            Ran::TimedOut => Disposition::TimedOut,
        }
    }
}

impl<H, S> Receiver<H, S> {
    /// Whether anything is taken in at all now.
    pub(crate) fn admit(&self) -> Result<(), Disposition> {
        if self.inner.draining.load(Ordering::Relaxed) { Err(Disposition::Overloaded) } else { Ok(()) }
    }

    fn verify(&self, request: &RequestView<'_>, now: Timestamp) -> Result<Verified<Bytes>, Disposition> {
        if request.body().len() > self.inner.settings.limits.body {
            return Err(Disposition::TooLarge);
        }
        self.inner.verifier.verify(request, now).map_err(Disposition::Rejected)
    }

    /// Closes the record of a request and gives the answer.
    pub(crate) fn end(&self, record: Record, disposition: &Disposition) -> Answer {
        let answer = disposition.answer(self.pause());
        self.end_as(record, disposition, answer.status());
        answer
    }

    /// Closes the record of a delivery that somebody else, such as the user's own route, answered with `status`.
    pub(crate) fn end_as(&self, record: Record, disposition: &Disposition, status: u16) {
        record.end_as(self.inner.verifier.scheme().name(), disposition, status);
    }

    /// How long a sender is asked to wait before another try.
    pub(crate) fn pause(&self) -> std::time::Duration {
        self.inner.settings.retry_after
    }
}

impl<H, S: DedupeStore> Receiver<H, S> {
    /// Claims a delivery. What comes back as an error is a duplicate, or a store that cannot tell; `None` is a store
    /// that remembers nothing.
    pub(crate) async fn claim(
        &self,
        verified: &Verified<Bytes>,
        now: Timestamp,
    ) -> Result<Option<Claim<S>>, Disposition> {
        if S::DANGER_REMEMBERS_NOTHING {
            return Ok(None);
        }
        let delivery = verified.delivery();
        let key = claim_key(delivery);
        let fingerprint = Fingerprint::of(delivery.raw());
        let claiming = self.inner.store.claim(&key, fingerprint, self.inner.settings.lease(), now);
        match meter::timed(named::<S>(), "claim", claiming).await {
            Ok(Claimed::New(token)) => Ok(Some(Claim::new(Arc::clone(&self.inner.store), token))),
            Ok(Claimed::Done) => Err(Disposition::Duplicate),
            Ok(Claimed::InFlight { .. }) => Err(Disposition::InFlight),
            Ok(Claimed::Conflict) => Err(Disposition::Conflict),
            Err(error) => {
                tracing::error!(error = %Causes(&error), "the dedupe store cannot answer; the sender is asked to come back");
                Err(Disposition::StoreUnavailable)
            }
        }
    }

    /// Completes the claim of what is done and releases that of what is to be tried again.
    pub(crate) async fn settle(&self, claim: Option<Claim<S>>, disposition: &Disposition, now: Timestamp) {
        let Some(claim) = claim else { return };
        let done = disposition.answer(self.pause()).is_success();
        let settled = if done {
            meter::timed(named::<S>(), "complete", claim.complete(now)).await
        } else {
            meter::timed(named::<S>(), "release", claim.release(now)).await
        };
        match settled {
            Ok(crate::dedupe::Settled::Current) => {}
            Ok(crate::dedupe::Settled::Superseded) => {
                tracing::error!("the claim was taken over by another run; the event may have been handled twice");
            }
            // The work is done or undone already: what the sender is told stays true without the record.
            Err(error) => {
                tracing::error!(error = %Causes(&error), done, "the dedupe store did not record how the delivery ended");
            }
        }
    }
}

impl<H, S> Receiver<H, S> {
    /// Refuses new deliveries from now on with 503 and `Retry-After`; those that are being worked on end as usual.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Relaxed);
    }

    /// What is remembered, and by whom.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.inner.store
    }

    /// The user's handlers.
    #[must_use]
    pub fn handlers(&self) -> &H {
        &self.inner.handlers
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.inner.verifier
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.inner.budget
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
}

/// What metrics call a dedupe store.
pub(crate) const fn named<S: DedupeStore>() -> Named {
    Named { store: "dedupe", engine: S::ENGINE }
}

/// Runs code of the user's that does not wait, such as that which decodes a payload, and keeps its panics inside.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Disposition> {
    // What it worked on is the delivery, of which nothing is looked at again but to name it.
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| Disposition::Panicked)
}

/// Reads the envelope of a verified body as far as its type and the beginning of its payload.
pub(crate) fn open<'a, E: WebhookEvent>(raw: &'a Bytes, delivery: &Delivery) -> Result<Opened<'a>, Disposition> {
    let known = |name: &str| crate::event::static_name(E::VARIANTS, name);
    E::ENVELOPE.open(raw, delivery.event_type().cloned(), known).map_err(Disposition::Malformed)
}

/// Decodes the payload where it stands, and reads the envelope to its end.
pub(crate) fn decode<E: WebhookEvent>(opened: &Opened<'_>, policy: OnUndecodable) -> Result<Option<E>, Disposition> {
    let decoded = E::decode(&opened.event_type, opened.payload());
    // A body that is not JSON is the sender's mistake, whatever became of its payload.
    opened.close().map_err(Disposition::Malformed)?;
    decoded.map_err(|error| policy.disposition(error))
}

/// The signed identity of a delivery: its id where the signature covers it, otherwise what was signed.
pub(crate) fn claim_key(delivery: &Delivery) -> ClaimKey {
    match (delivery.identity(), delivery.id()) {
        (Identity::SignedId, Some(id)) => ClaimKey::for_id(delivery.source(), delivery.tenant(), id),
        (Identity::Content(digest), _) => ClaimKey::for_content(delivery.source(), delivery.tenant(), &digest),
        (Identity::SignedId, None) => unreachable!("an identity by id comes with the id"),
    }
}

impl<H, S> Clone for Receiver<H, S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<H, S> fmt::Debug for Receiver<H, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("verifier", &self.inner.verifier)
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::dedupe::{ClaimToken, Settled, StoreError};
    use crate::keyring::{Keyring, Secret};
    use crate::verify::{Message, Signer};

    struct Away;

    /// As errors of a network are: what they say stands in their causes.
    #[derive(Debug, thiserror::Error)]
    #[error("error communicating with the server")]
    struct Broken(#[source] io::Error);

    fn away<T>() -> Result<T, StoreError> {
        Err(StoreError::unavailable(Broken(io::Error::other("connection reset by peer"))))
    }

    impl DedupeStore for Away {
        async fn claim(&self, _: &ClaimKey, _: Fingerprint, _: Duration, _: Timestamp) -> Result<Claimed, StoreError> {
            away()
        }

        async fn complete(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
            away()
        }

        async fn release(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
            away()
        }

        async fn extend(&self, _: &ClaimToken, _: Duration, _: Timestamp) -> Result<Settled, StoreError> {
            away()
        }

        fn abandon(&self, _: &ClaimToken) {}

        fn retention(&self) -> Duration {
            Duration::from_hours(1000)
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_store_that_fails_is_logged_with_all_its_causes_in_one_line() {
        let keyring = Keyring::single(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let scheme = Scheme::standard_webhooks();
        let receiver = Receiver::builder(scheme.clone(), keyring.clone()).dedupe(Away).build().unwrap();
        let now = Timestamp::from_secs(1_790_000_000);
        let headers = Signer::new(scheme, keyring).unwrap().sign(&Message::new(b"{}", now).id("msg_1")).unwrap();
        let verified = receiver.verify(&RequestView::new(&headers, "{}"), now).unwrap();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        // With one subscriber alone, tracing asks the default of whichever thread comes by first, and remembers its "never".
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        tracing::subscriber::with_default(subscriber, || {
            tracing::callsite::rebuild_interest_cache();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let claimed = runtime.block_on(receiver.claim(&verified, now));
            assert!(matches!(claimed, Err(Disposition::StoreUnavailable)));
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let causes = "unavailable: error communicating with the server: connection reset by peer";
        assert!(text.lines().count() == 1 && text.contains(causes), "{text}");
    }
}
