//! What a store does, and what it answers.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use super::key::{ClaimKey, Fingerprint};
use crate::meter::Failing;
use crate::time::Timestamp;

/// Remembers which deliveries are being worked on and which are done.
///
/// An implementation keeps these promises, which the conformance suite (feature `testing`) checks:
///
/// - each method is **one arbitrated step**: of any number of simultaneous claims of one key, at most one is
///   [`Claimed::New`]. Looking up first and inserting afterwards is not enough;
/// - a claim whose lease has run out may be taken over; the new claim has a higher epoch. Epochs never repeat for a
///   key, whatever became of it in between;
/// - `complete`, `release` and `extend` act only for the current epoch, and change nothing otherwise. Until somebody
///   takes over, the epoch stays current even after its lease ran out;
/// - something done or in flight under another fingerprint is a [`Claimed::Conflict`]; a released key is free for any
///   fingerprint;
/// - something done is remembered for [`DedupeStore::retention`], never shorter, and is free afterwards;
/// - every moment comes in as `now`; the store's own clock may only tell it when to clean up;
/// - a future that is dropped before it was polled has done nothing.
///
/// A store that cannot answer returns an error. It never answers "new" because it does not know.
pub trait DedupeStore: Send + Sync + 'static {
    /// Whether this store remembers nothing. A receiver then neither makes keys nor claims: every delivery is new.
    #[doc(hidden)]
    const DANGER_REMEMBERS_NOTHING: bool = false;

    /// What metrics call it.
    const ENGINE: &'static str = "other";

    /// Claims `key` until `lease` from `now`.
    ///
    /// # Errors
    ///
    /// When the store has no room ([`StoreError::Full`]) or cannot be reached.
    fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        lease: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<Claimed, StoreError>> + Send;

    /// Records that the work under `claim` is done.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; whether it was recorded is then unknown.
    fn complete(&self, claim: &ClaimToken, now: Timestamp) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Gives the key back, as if it had never been claimed.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; the lease then runs out by itself.
    fn release(&self, claim: &ClaimToken, now: Timestamp) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Makes the lease of `claim` end `lease` after `now`.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; the lease may then end when it did before.
    fn extend(
        &self,
        claim: &ClaimToken,
        lease: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<Settled, StoreError>> + Send;

    /// Releases without waiting, as far as that is possible: what a dropped [`Claim`](super::Claim) does. A remote
    /// store sends the release in the background, and leaves the rest to the end of the lease. Must not block.
    fn abandon(&self, claim: &ClaimToken);

    /// For how long something done is remembered.
    fn retention(&self) -> Duration;

    /// Whether the store answers and could record a claim now: what readiness asks. Cheap, however much is remembered,
    /// and changes nothing that a claim can see. A store in the process always can.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached, takes no writes, or has no room.
    fn ping(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        std::future::ready(Ok(()))
    }
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "only a new claim may be worked on"]
pub enum Claimed {
    /// The key is taken by a delivery with another body. Somebody should know.
    Conflict,
    /// The work was done already.
    Done,
    /// Somebody is working on it, and holds it until then unless they are done earlier.
    InFlight {
        /// When the lease of the present holder ends.
        until: Timestamp,
    },
    /// It is ours to work on.
    New(ClaimToken),
}

/// Whether a claim could still be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a superseded claim has changed nothing"]
pub enum Settled {
    /// The claim was the current one, and it was done.
    Current,
    /// Somebody else has taken over, or the claim was settled before: nothing was changed.
    Superseded,
}

/// Proof of a claim: what a store handed out with [`Claimed::New`].
///
/// It is only as good as its epoch is current; it is kept by [`Claim`](super::Claim), which settles it exactly once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimToken {
    /// What was claimed.
    pub key: ClaimKey,
    /// The body it was claimed for.
    pub fingerprint: Fingerprint,
    /// Which claim of this key it is: higher than every earlier one.
    pub epoch: u64,
    /// When it was claimed.
    pub claimed_at: Timestamp,
}

/// Why a store could not answer. Each of them is the receiver's trouble and not the sender's: 503, try again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No room for another key without forgetting one that is still needed.
    #[error(
        "the dedupe store is full of keys that it may not forget yet: give it more room (`capacity` in memory, `maxmemory` \
         in Redis), or a shorter `retention`"
    )]
    Full,
    /// It could not be reached, or it failed.
    #[error("the dedupe store is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl StoreError {
    /// The store could not be reached, or it failed, for the reason `error`.
    #[must_use]
    pub fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

impl Failing for StoreError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unavailable(_) => "unavailable",
        }
    }
}
