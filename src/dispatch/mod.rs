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

    /// Whether a handler takes the payload of this type of event. Where none does, the body is not read behind its
    /// type, whatever it holds there, and [`handle_undecoded`](Self::handle_undecoded) runs instead.
    fn wants(&self, event_type: &EventType) -> bool {
        let _ = event_type;
        true
    }

    /// Runs the handler for `event`.
    fn handle(&self, event: Self::Event, delivery: &Delivery) -> impl Future<Output = Outcome> + Send;

    /// Runs the handler that takes no payload, if there is one for this type of event.
    fn handle_undecoded(&self, delivery: &Delivery) -> impl Future<Output = Outcome> + Send {
        let _ = delivery;
        std::future::ready(Outcome::Unhandled)
    }
}
