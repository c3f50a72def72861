//! The macros of `countersign`, which re-exports them; depend on that crate, not on this one.
//!
//! Everything they write can be written by hand with `countersign`'s public API, but for the checks at compile time.
//! The logic works on `proc_macro2` tokens, so that the tests of this crate can call it; the functions below are only
//! the doors. Each macro reports all mistakes that it finds at once, at the user's own tokens, and then still writes
//! an implementation that does nothing, so that one mistake does not bring others along.

mod errors;
mod event;
mod handlers;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes an enum a provider's events: writes the implementation of `countersign::WebhookEvent`.
///
/// ```
/// use countersign::{Unknown, WebhookEvent};
///
/// #[derive(Debug, WebhookEvent)]
/// #[event(tag = "event", content = "data")]
/// enum Event {
///     #[event("screening.completed")]
///     ScreeningCompleted(Screening),
///     #[event(group)]
///     Onboarding(Onboarding),
///     #[event("test")]
///     Test,
///     #[event(unknown)]
///     Unknown(Unknown),
/// }
///
/// #[derive(Debug, WebhookEvent)]
/// enum Onboarding {
///     #[event("onboarding.created")]
///     Created,
/// }
///
/// #[derive(Debug, serde::Deserialize)]
/// struct Screening {
///     id: String,
/// }
/// ```
///
/// # On the enum
///
/// | attribute | says |
/// |---|---|
/// | `#[event(tag = "..")]` | the top-level member of the body with the event's type. Without it, the type does not stand in the body (but in a header, as the scheme says) |
/// | `#[event(content = "..")]` | the top-level member with the payload. Without it, the whole body is the payload |
///
/// An enum that is a group of another needs neither; what it says is then not looked at.
///
/// # On each variant
///
/// | attribute | shape | stands for |
/// |---|---|---|
/// | `#[event("a.type")]` | `Name(Payload)` | events of this type; `Payload` is anything that serde deserializes |
/// | `#[event("a.type")]` | `Name` | events of this type; the payload is not looked at |
/// | `#[event(group)]` | `Name(Enum)` | the events of `Enum`, which derives `WebhookEvent` too. Call the variant what the enum is called: `#[on(Name::Member)]` builds on that |
/// | `#[event(unknown)]` | `Name(countersign::Unknown)` | all other types. At most one, and not in a group |
///
/// An event type stands for one variant only, in the enum and its groups together; it is 1 to 256 visible ASCII
/// characters. Without an unknown arm, a type that the enum does not know is decoded as `None`.
#[proc_macro_derive(WebhookEvent, attributes(event))]
pub fn derive_webhook_event(input: TokenStream) -> TokenStream {
    event::derive(input.into()).into()
}

/// Makes the methods of an impl block the handlers of a receiver or of an inbox's workers: writes the implementation of
/// `countersign::Handlers` as one `match`.
///
/// ```
/// use countersign::kycgenie::{Event, Onboarding, Screening, ScreeningPayload};
/// use countersign::{Delivery, HandlerError, handlers};
///
/// struct Compliance;
///
/// #[handlers(Event)]
/// impl Compliance {
///     #[on(Screening::Completed)]
///     async fn cleared(&self, screening: ScreeningPayload, delivery: &Delivery) -> Result<(), HandlerError> {
///         Ok(())
///     }
///
///     #[on(Onboarding)]
///     async fn onboarding(&self, event: Onboarding) -> Result<(), HandlerError> {
///         Ok(())
///     }
///
///     #[otherwise]
///     async fn rest(&self, event: Event) {}
/// }
/// ```
///
/// Methods without `#[on(..)]` or `#[otherwise]` are left alone, and handlers stay ordinary methods, which a unit test
/// may call.
///
/// # Which events
///
/// - `#[on(Variant)]`: a variant of the enum, be it one event or a whole group.
/// - `#[on(Group::Variant)]`: one event of a group; deeper groups go on in the same way. Each group's enum must be in
///   scope under the name of its variant: `Group::Variant` is the pattern `Event::Group(Group::Variant(..))`.
/// - `#[on(A | B)]`: several; where the handler takes the event, their payloads have the same type.
/// - `#[otherwise]`: what no other handler is for, unknown types included.
///
/// Two handlers for one event do not compile. Neither does an event without a handler, unless there is
/// `#[otherwise]`; the arm for unknown types needs no handler.
///
/// # Which signatures
///
/// ```text
/// async fn name(&self)
/// async fn name(&self, event: T)
/// async fn name(&self, delivery: &Delivery)
/// async fn name(&self, event: T, delivery: &Delivery)
/// ```
///
/// `T` is what the variant holds: the payload, or the group's enum; in `#[otherwise]`, the whole enum. A payload that
/// no handler takes is not decoded. A handler returns `()`, `Result<(), E>` where `E` is an error, or
/// `countersign::Outcome`. Its future must be `Send`.
///
/// # Handlers that write in the inbox's transaction
///
/// `#[handlers(Event, effects = T)]` writes the implementation of `countersign::inbox::TransactionalHandlers<T>`
/// instead, for `Inbox::transactional_workers`. `T` is what the inbox's store lets handlers write with, such as
/// `SqliteEffects`. Everything above holds, and handlers may take the effects too; the types tell the arguments apart,
/// so they stand in any order, and each may be left out:
///
/// ```text
/// async fn name(&self, event: T, delivery: &Delivery, effects: &mut SqliteEffects)
/// ```
///
/// ```
/// use countersign::inbox::SqliteEffects;
/// use countersign::kycgenie::{Event, Screening, ScreeningPayload};
/// use countersign::{HandlerError, handlers};
///
/// struct Ledger;
///
/// #[handlers(Event, effects = SqliteEffects)]
/// impl Ledger {
///     #[on(Screening::Completed)]
///     async fn cleared(&self, screening: ScreeningPayload, effects: &mut SqliteEffects) -> Result<(), HandlerError> {
///         let entity: String = screening.data().field("entity_id").ok_or("a screening without an entity")?;
///         effects.write(move |transaction| {
///             transaction.execute("INSERT INTO cleared (entity) VALUES (?1)", [entity])?;
///             Ok(())
///         });
///         Ok(())
///     }
///
///     #[otherwise]
///     async fn rest(&self) {}
/// }
/// ```
#[proc_macro_attribute]
pub fn handlers(args: TokenStream, item: TokenStream) -> TokenStream {
    handlers::handlers(args.into(), &item.into()).into()
}

/// Says which events a handler is for, in an impl block with [`#[handlers(..)]`](macro@handlers).
///
/// There it need not be imported. Anywhere else it is an error.
#[proc_macro_attribute]
pub fn on(_args: TokenStream, item: TokenStream) -> TokenStream {
    handlers::outside("on(..)", &item.into()).into()
}

/// Says that a handler is for all events that no other is for, in an impl block with
/// [`#[handlers(..)]`](macro@handlers).
///
/// There it need not be imported. Anywhere else it is an error.
#[proc_macro_attribute]
pub fn otherwise(_args: TokenStream, item: TokenStream) -> TokenStream {
    handlers::outside("otherwise", &item.into()).into()
}
