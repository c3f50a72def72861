//! From a typed event to the handler that wants it, and back with an outcome.
//!
//! `#[handlers(Event)]` writes the implementation of [`Handlers`] as one `match`; it can be written by hand as well.

mod outcome;
mod run;

pub use outcome::{HandlerError, IntoOutcome, Outcome, ResultExt};
pub(crate) use run::{Ran, run};

use crate::event::WebhookEvent;
use crate::ids::EventType;
use crate::verify::Delivery;

/// What handles the events of one receiver.
///
/// Futures are `Send` and own their event, so that the same implementation runs inline and from a queue.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle webhook events",
    note = "write `#[handlers(Event)]` on an impl block of it, or implement the trait by hand"
)]
pub trait Handlers: Send + Sync + 'static {
    /// The events it handles.
    type Event: WebhookEvent;

    /// What the handlers take of an event of this type. Where it is not the payload, that is not decoded.
    fn interest(&self, event_type: &EventType) -> Interest {
        let _ = event_type;
        Interest::Payload
    }

    /// Runs the handler for `event`.
    fn handle(&self, event: Self::Event, delivery: &Delivery) -> impl Future<Output = Outcome> + Send;

    /// Runs the handler for an event in which the interest is [`Interest::Delivery`].
    fn handle_undecoded(&self, delivery: &Delivery) -> impl Future<Output = Outcome> + Send {
        let _ = delivery;
        std::future::ready(Outcome::Unhandled)
    }
}

/// What the handlers take of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// What is known about the delivery, and not its payload: [`Handlers::handle_undecoded`] runs.
    Delivery,
    /// Nothing: it is answered as done, and its body not even read behind the type.
    Nothing,
    /// The decoded payload: [`Handlers::handle`] runs.
    Payload,
}
