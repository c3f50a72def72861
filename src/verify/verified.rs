//! The proof that a delivery was verified, and what is known about it.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::ids::{DeliveryId, EventType, KeyId, Source, TenantId};
use crate::time::Timestamp;

/// Which parts of a delivery its signature covers. What it does not cover may have been changed on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Authenticated {
    /// The body. Always true: a scheme that does not sign the body cannot be built.
    pub body: bool,
    /// The delivery id.
    pub id: bool,
    /// The sender's time.
    pub timestamp: bool,
    /// The event type.
    pub event_type: bool,
}

impl Authenticated {
    /// The same as a number, for a store to keep: 1 for the body, 2 for the id, 4 for the time, 8 for the type.
    #[must_use]
    pub fn bits(self) -> u8 {
        let Self { body, id, timestamp, event_type } = self;
        [body, id, timestamp, event_type].iter().rev().fold(0, |bits, covered| bits << 1 | u8::from(*covered))
    }

    /// What a store has kept as a number; bits that mean nothing are passed over.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        let [body, id, timestamp, event_type] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        Self { body, id, timestamp, event_type }
    }
}

/// What a delivery is known by when it comes again.
#[derive(Clone, Copy)]
pub(crate) enum Identity {
    /// The digest of what was signed, where no signed id names the delivery.
    Content([u8; 32]),
    /// The delivery id, which is signed.
    SignedId,
}

/// What is known about a verified delivery; handlers take it as `&Delivery`.
#[derive(Clone)]
pub struct Delivery {
    pub(super) source: Source,
    pub(super) tenant: Option<TenantId>,
    pub(super) id: Option<DeliveryId>,
    pub(super) event_type: Option<EventType>,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) received_at: Timestamp,
    pub(super) key_id: KeyId,
    pub(super) authenticated: Authenticated,
    pub(super) identity: Identity,
    /// Those that the scheme reads, where an inbox is to keep them.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) raw: Bytes,
}

impl Delivery {
    /// Who sent it.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whose keys verified it, where keys are chosen by request.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantId> {
        self.tenant.as_ref()
    }

    /// The sender's id of this delivery. Only where [`Authenticated::id`] holds is it more than a label.
    #[must_use]
    pub fn id(&self) -> Option<&DeliveryId> {
        self.id.as_ref()
    }

    /// The event's type; in a handler there always is one.
    #[must_use]
    pub fn event_type(&self) -> Option<&EventType> {
        self.event_type.as_ref()
    }

    /// When the sender says it signed this delivery, to the second; `None` where the scheme has no time.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// When we verified it, by the receiver's clock.
    #[must_use]
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// The key under which the signature matched.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// What the signature covers.
    #[must_use]
    pub fn authenticated(&self) -> Authenticated {
        self.authenticated
    }

    /// The body, byte for byte as it was signed.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }
}

#[cfg(test)]
impl Delivery {
    /// A delivery that nobody signed, for this crate's own unit tests. There is no such thing outside of them.
    pub(crate) fn for_test(event_type: Option<EventType>) -> Self {
        Self {
            source: Source::new("test").unwrap(),
            tenant: None,
            id: None,
            event_type,
            timestamp: None,
            received_at: Timestamp::from_secs(0),
            key_id: KeyId::new("test").unwrap(),
            authenticated: Authenticated { body: true, id: false, timestamp: false, event_type: false },
            identity: Identity::Content([0; 32]),
            headers: Vec::new(),
            raw: Bytes::new(),
        }
    }
}

/// Everything but the body, of which the length is shown.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("source", &self.source)
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("timestamp", &self.timestamp)
            .field("received_at", &self.received_at)
            .field("key_id", &self.key_id)
            .field("authenticated", &self.authenticated)
            .field("raw_len", &self.raw.len())
            .finish()
    }
}

/// A value that came with a valid signature.
///
/// Nobody outside this module can make one, so a function that takes `Verified<T>` cannot be handed a forgery. It
/// derefs to its value, and tells about its [`Delivery`] through the methods of the same names.
#[derive(Clone)]
pub struct Verified<T> {
    value: T,
    delivery: Delivery,
}

impl<T> Verified<T> {
    /// The one place where trust is created: the caller asserts that `delivery`'s signature matched.
    pub(super) fn assertion(value: T, delivery: Delivery) -> Self {
        Self { value, delivery }
    }

    /// The value, without the proof.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The value and what is known about its delivery.
    #[must_use]
    pub fn into_parts(self) -> (T, Delivery) {
        (self.value, self.delivery)
    }

    /// What is known about the delivery.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The sender's id of this delivery; see [`Delivery::id`].
    #[must_use]
    pub fn id(&self) -> Option<&DeliveryId> {
        self.delivery.id()
    }

    /// The event's type, once it is decoded; see [`Delivery::event_type`].
    #[must_use]
    pub fn event_type(&self) -> Option<&EventType> {
        self.delivery.event_type()
    }

    /// When the sender says it signed this delivery.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.delivery.timestamp()
    }

    /// The key under which the signature matched.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        self.delivery.key_id()
    }

    /// What the signature covers.
    #[must_use]
    pub fn authenticated(&self) -> Authenticated {
        self.delivery.authenticated()
    }

    /// The body, byte for byte as it was signed.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        self.delivery.raw()
    }

    /// Notes down the type that stands in the body. It adds no trust: the body is signed.
    pub(crate) fn set_event_type(&mut self, event_type: EventType) {
        self.delivery.event_type = Some(event_type);
    }

    /// The same delivery with the event that its body holds: decoding adds no trust, and takes none away.
    pub(crate) fn decoded<U>(self, event_type: EventType, event: U) -> Verified<U> {
        let delivery = Delivery { event_type: Some(event_type), ..self.delivery };
        Verified { value: event, delivery }
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The delivery only: the value may hold what must not be logged.
impl<T> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}
