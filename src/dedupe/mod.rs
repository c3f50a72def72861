//! The claim protocol: who may work on a delivery, and how it is remembered that somebody did.
//!
//! Senders deliver at least once, and sometimes twice at the same moment. Before a delivery is worked on, its
//! [`ClaimKey`] is claimed in a [`DedupeStore`]; afterwards the claim is completed (the work is done, remember it) or
//! released (the work failed, let the sender's retry run):
//!
//! ```text
//!            claim                    complete
//!   (free) ─────────▶ in flight ───────────────▶ done ──▶ (free, after the retention)
//!     ▲                 │    │ the lease runs out
//!     │     release,    │    ▼
//!     └──── abandon ────┘  may be taken over: a new claim with a higher epoch
//! ```
//!
//! Every arrow is one arbitrated step of the store. A claim carries an epoch, and whoever holds an older one can
//! change nothing any more ([`Settled::Superseded`]): that fences off a handler that was slow, not dead.
//!
//! This room holds the protocol and its policy. Stores live elsewhere, and each of them runs the same conformance
//! suite (feature `testing`).

mod claim;
mod key;
mod retention;
mod store;

pub use claim::Claim;
pub use key::{ClaimKey, Fingerprint};
pub use retention::{RetentionTooShort, check_retention};
pub use store::{ClaimToken, Claimed, DedupeStore, Settled, StoreError};
