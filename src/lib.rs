#![doc = include_str!("docs/crate.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(feature = "actix"),
    allow(dead_code, unused_imports, reason = "what only an edge uses is idle without one")
)]

// What the macros write names this crate from outside, in here as elsewhere.
#[cfg(feature = "macros")]
#[allow(unused_extern_crates, reason = "the paths that the macros write are not seen by the lint")]
extern crate self as countersign;

// The rooms, from the ground up: a room uses only those above it in this list (`tests/layering.rs`).
mod causes;
mod ids;
mod json;
mod request;
mod time;

mod crypto;
#[cfg(any(feature = "client", feature = "sandbox"))]
mod http_date;

mod encoding;
mod meter;

mod keyring;
pub mod scheme;

mod dedupe;
mod event;
mod verify;

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;
mod dispatch;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod remote;
mod store;

mod receiver;

#[cfg(feature = "actix")]
pub mod actix;
pub mod inbox;
pub mod kycgenie;

#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub mod identify;
#[cfg(feature = "sandbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "sandbox")))]
pub mod sandbox;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics {
    #![doc = include_str!("../docs/operations.md")]

    pub use crate::meter::{METRICS, Metric, MetricKind, describe};
}

// The public interface, in the order in which a user meets it. One name for each type; everything else is private.

// Who signs, and with what.
pub use encoding::{MacEncoding, SecretEncoding, SecretFormat};
pub use keyring::{Key, KeyFile, KeyFileRotation, KeyInfo, Keyring, KeyringError, Rotation, Secret, SecretError};
#[doc(inline)]
pub use scheme::{HeadError, Scheme, SchemeBuilder, SchemeError};
pub use verify::{KeyResolver, Keys, Tenant, Tenants};

// The receiver.
pub use receiver::{
    Answer, BuildError, Disposition, EffectKey, Mode, NoHandlers, OnUndecodable, Readiness, ReadinessBuilder, Receiver,
    ReceiverBuilder, Unready,
};

// What remembers.
pub use dedupe::{
    Claim, ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, RetentionTooShort, Settled, StoreError,
    check_retention,
};
pub use store::{Forgetful, MemoryStore, MemoryStoreBuilder, MemoryStoreError, MemoryStoreMistake, WhenFull};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use store::{PostgresStore, PostgresStoreBuilder, PostgresStoreError, PostgresStoreMistake};
#[cfg(feature = "redis")]
#[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
pub use store::{RedisStore, RedisStoreBuilder, RedisStoreError, RedisStoreMistake};

// What keeps deliveries, to be worked on later; all of it is in `inbox`.
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
#[doc(inline)]
pub use inbox::PostgresInbox;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
#[doc(inline)]
pub use inbox::SqliteInbox;
#[doc(inline)]
pub use inbox::{Inbox, InboxStore};

// Events and their handlers.
#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
pub use countersign_macros::{WebhookEvent, handlers, on, otherwise};
pub use dispatch::{HandlerError, Handlers, Interest, IntoOutcome, Outcome, ResultExt};
pub use event::{
    Envelope, EnvelopeError, FromPayload, PayloadError, RawPayload, Unknown, Variant, VariantKind, WebhookEvent,
};
pub use verify::{Authenticated, Delivery, Verified};

// Without a framework: verifying, signing, and what they work on.
pub use request::{FieldLine, Headers, PathParams, RequestHead, RequestView};
pub use verify::{Message, Rejection, RejectionKind, SignError, Signer, Verifier};

// Names and time.
pub use ids::{DeliveryId, EventType, InvalidId, KeyId, Source, TenantId};
pub use time::{Clock, InvalidTimestamp, SystemClock, Timestamp};

#[cfg(all(test, feature = "macros"))]
mod macro_tests;

/// The README's example is compiled with the documentation's.
#[cfg(all(doctest, feature = "actix", feature = "macros"))]
#[doc = include_str!("../README.md")]
struct Readme;
