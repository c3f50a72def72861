//! What workers promise of the effects of their handlers, as types.

use std::pin::pin;

use tokio::time::Instant;

use super::store::{CommitError, InboxError, InboxStore, Lease, TransactionalStore};
use crate::dedupe::Settled;
use crate::dispatch::{HandlerError, Handlers, Interest, Outcome, Ran, run};
use crate::event::WebhookEvent;
use crate::ids::EventType;
use crate::receiver::guarded;
use crate::time::Timestamp;
use crate::verify::Delivery;

/// Handlers that write into the database of the inbox `T` belongs to: their effects and the completion are committed
/// together, or neither is.
///
/// `T` is what they write with: [`SqliteEffects`](crate::inbox::SqliteEffects) for SQLite,
/// [`PostgresEffects`](crate::inbox::PostgresEffects) for PostgreSQL. What a handler does by other
/// ways, such as a call of an API, is not undone when the commit fails, and may happen again:
/// pass [`Delivery::effect_key`] on there.
///
/// `#[handlers(Event, effects = T)]` writes the implementation; it can be written by hand as well.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle webhook events with `{T}`",
    note = "write `#[handlers(Event, effects = {T})]` on an impl block of it, implement `TransactionalHandlers<{T}>` by \
            hand, or give it to `workers`, which promise less"
)]
pub trait TransactionalHandlers<T>: Send + Sync + 'static {
    /// The events it handles.
    type Event: WebhookEvent;

    /// What the handlers take of an event of this type. Where it is not the payload, that is not decoded; where it is
    /// nothing, no transaction is begun.
    fn interest(&self, event_type: &EventType) -> Interest {
        let _ = event_type;
        Interest::Payload
    }

    /// Runs the handler for `event`. What is written with `effects` is committed when the outcome is
    /// [`Outcome::Handled`] or [`Outcome::Unhandled`], and thrown away otherwise.
    fn handle(&self, event: Self::Event, delivery: &Delivery, effects: &mut T) -> impl Future<Output = Outcome> + Send;

    /// Runs the handler for an event in which the interest is [`Interest::Delivery`]. What is written is committed as
    /// by [`handle`](Self::handle).
    fn handle_undecoded(&self, delivery: &Delivery, effects: &mut T) -> impl Future<Output = Outcome> + Send {
        let _ = (delivery, effects);
        std::future::ready(Outcome::Unhandled)
    }
}

/// The promise of [`Inbox::workers`](crate::inbox::Inbox::workers): a handler runs at least once. It is not run again
/// after its completion was recorded; a process that dies between the effect and that record has it run again.
#[derive(Clone, Copy, Debug)]
pub struct AtLeastOnce<H>(pub(super) H);

/// The promise of [`Inbox::transactional_workers`](crate::inbox::Inbox::transactional_workers): what a handler writes
/// with the effects it is handed is there exactly once, whatever dies when.
#[derive(Clone, Copy, Debug)]
pub struct ExactlyOnce<H>(pub(super) H);

/// How workers run handlers and record that they are done: [`AtLeastOnce`] or [`ExactlyOnce`], and nothing else.
pub trait Promise<E, S>: Send + Sync + 'static {
    /// What a run has to be committed with.
    #[doc(hidden)]
    type Effects: Send;

    /// Whether a completion may be tried again by itself, without the run that led to it.
    #[doc(hidden)]
    const COMPLETES_ALONE: bool;

    /// What the handlers take of an event of this type.
    #[doc(hidden)]
    fn interest(&self, event_type: &EventType) -> Interest;

    /// What nothing has to be committed with: for an event that nobody wants.
    #[doc(hidden)]
    fn nothing(&self) -> Self::Effects;

    /// Makes ready for a run. It may wait for others, so what a run may take counts from its end.
    #[doc(hidden)]
    fn begin(&self, store: &S, lease: &Lease) -> impl Future<Output = Result<Self::Effects, InboxError>> + Send;

    /// Runs the handler; `None` where it takes no payload. A panic or the `deadline` is a failure that is worth a retry.
    #[doc(hidden)]
    fn run(
        &self,
        effects: &mut Self::Effects,
        event: Option<E>,
        delivery: &Delivery,
        deadline: Instant,
    ) -> impl Future<Output = Outcome> + Send;

    /// Records that it is done.
    #[doc(hidden)]
    fn complete(
        &self,
        store: &S,
        lease: &Lease,
        effects: Self::Effects,
        now: Timestamp,
    ) -> impl Future<Output = Result<Settled, CommitError>> + Send;
}

impl<S: InboxStore, H: Handlers> Promise<H::Event, S> for AtLeastOnce<H> {
    type Effects = ();

    const COMPLETES_ALONE: bool = true;

    fn interest(&self, event_type: &EventType) -> Interest {
        self.0.interest(event_type)
    }

    fn nothing(&self) {}

    async fn begin(&self, _store: &S, _lease: &Lease) -> Result<(), InboxError> {
        Ok(())
    }

    async fn run(&self, (): &mut (), event: Option<H::Event>, delivery: &Delivery, deadline: Instant) -> Outcome {
        let ran = match event {
            Some(event) => match guarded(|| self.0.handle(event, delivery)) {
                Ok(handler) => run(pin!(handler), deadline).await,
                Err(_panicked) => Ran::Panicked,
            },
            None => match guarded(|| self.0.handle_undecoded(delivery)) {
                Ok(handler) => run(pin!(handler), deadline).await,
                Err(_panicked) => Ran::Panicked,
            },
        };
        outcome(ran)
    }

    async fn complete(&self, store: &S, lease: &Lease, (): (), now: Timestamp) -> Result<Settled, CommitError> {
        Ok(store.complete(lease, now).await?)
    }
}

impl<S: TransactionalStore, H: TransactionalHandlers<S::Effects>> Promise<H::Event, S> for ExactlyOnce<H> {
    /// None where no handler runs.
    type Effects = Option<S::Effects>;

    const COMPLETES_ALONE: bool = false;

    fn interest(&self, event_type: &EventType) -> Interest {
        self.0.interest(event_type)
    }

    fn nothing(&self) -> Self::Effects {
        None
    }

    async fn begin(&self, store: &S, lease: &Lease) -> Result<Self::Effects, InboxError> {
        store.begin(lease).await.map(Some)
    }

    async fn run(
        &self,
        effects: &mut Self::Effects,
        event: Option<H::Event>,
        delivery: &Delivery,
        deadline: Instant,
    ) -> Outcome {
        let Some(effects) = effects else { return Outcome::Unhandled };
        let ran = match event {
            Some(event) => match guarded(|| self.0.handle(event, delivery, effects)) {
                Ok(handler) => run(pin!(handler), deadline).await,
                Err(_panicked) => Ran::Panicked,
            },
            None => match guarded(|| self.0.handle_undecoded(delivery, effects)) {
                Ok(handler) => run(pin!(handler), deadline).await,
                Err(_panicked) => Ran::Panicked,
            },
        };
        outcome(ran)
    }

    async fn complete(
        &self,
        store: &S,
        lease: &Lease,
        effects: Self::Effects,
        now: Timestamp,
    ) -> Result<Settled, CommitError> {
        match effects {
            Some(effects) => store.commit(lease, effects, now).await,
            None => Ok(store.complete(lease, now).await?),
        }
    }
}

fn outcome(ran: Ran<Outcome>) -> Outcome {
    match ran {
        Ran::Ended(outcome) => outcome,
        Ran::Panicked => Outcome::Retry(HandlerError::retryable("the handler panicked")),
        Ran::TimedOut => Outcome::Retry(HandlerError::retryable("the handler took longer than its `time_limit`")),
    }
}
