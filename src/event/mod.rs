//! Events: a type name and a payload, in an envelope, as a typed enum.
//!
//! Decoding takes two steps. The [`Envelope`] is read as far as the type and the beginning of the payload; then only a
//! payload that a handler takes is decoded, where it stands, and the body read to its end behind it. The body of an
//! event in which nobody has an interest is not read behind its type. A type that the enum does not know is a value
//! ([`Unknown`]), never an error. A payload of a known type that does not decode is a [`PayloadError`], which is the
//! receiver's to answer for, not the sender's.
//!
//! Nothing here knows HTTP or signatures. `#[derive(WebhookEvent)]` writes the implementation; it can be written by
//! hand as well (see `examples/macroless.rs`).

mod envelope;
mod error;
mod payload;
mod variant;

pub use envelope::Envelope;
pub use error::{EnvelopeError, PayloadError};
pub use payload::{FromPayload, RawPayload, Unknown};
pub use variant::{Variant, VariantKind};

pub(crate) use envelope::Opened;
pub(crate) use variant::static_name;

use crate::ids::EventType;

/// An enum of a provider's events.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a webhook event",
    note = "write `#[derive(WebhookEvent)]` on the enum, or implement the trait by hand"
)]
pub trait WebhookEvent: Sized + Send + 'static {
    /// Where the envelope holds the type's name and the payload.
    const ENVELOPE: Envelope;

    /// Every variant with its event types, in order of declaration; groups hold those of their own enum.
    const VARIANTS: &'static [Variant];

    /// The event of this type with this payload; `Ok(None)` for a type that the enum neither knows nor has an
    /// unknown arm for.
    ///
    /// # Errors
    ///
    /// When the type is known and its payload does not decode.
    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError>;
}
