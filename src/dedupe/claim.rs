//! A claim that cannot be forgotten.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::store::{ClaimToken, DedupeStore, Settled, StoreError};
use crate::time::Timestamp;

/// A claim that somebody holds: to be completed or released.
///
/// Dropping it (a panic, a cancelled future, a closed connection) abandons it, so that the sender's retry finds the
/// key free and need not wait for the end of the lease.
#[must_use = "dropping a claim releases it"]
pub struct Claim<S: DedupeStore> {
    store: Arc<S>,
    token: ClaimToken,
    settled: bool,
}

impl<S: DedupeStore> Claim<S> {
    /// Takes charge of `token`, which `store` has handed out.
    pub fn new(store: Arc<S>, token: ClaimToken) -> Self {
        Self { store, token, settled: false }
    }

    /// What the store handed out.
    #[must_use]
    pub fn token(&self) -> &ClaimToken {
        &self.token
    }

    /// Records that the work is done.
    ///
    /// From here on the claim is not abandoned any more, even if this fails or is cancelled half-way: the work has been
    /// done, and a store that answers late may yet record it. Where it does not, the lease runs out by itself.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; whether it was recorded is then unknown.
    pub async fn complete(mut self, now: Timestamp) -> Result<Settled, StoreError> {
        self.settled = true;
        self.store.complete(&self.token, now).await
    }

    /// Gives the key back, so that another try may run.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; the claim is then abandoned.
    pub async fn release(mut self, now: Timestamp) -> Result<Settled, StoreError> {
        let settled = self.store.release(&self.token, now).await?;
        self.settled = true;
        Ok(settled)
    }

    /// Makes the lease end `lease` after `now`. [`Settled::Superseded`] means that somebody else has taken over: stop.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; the lease may then end when it did before.
    pub async fn extend(&self, lease: Duration, now: Timestamp) -> Result<Settled, StoreError> {
        self.store.extend(&self.token, lease, now).await
    }
}

impl<S: DedupeStore> Drop for Claim<S> {
    fn drop(&mut self) {
        if !self.settled {
            self.store.abandon(&self.token);
        }
    }
}

impl<S: DedupeStore> fmt::Debug for Claim<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("token", &self.token).finish_non_exhaustive()
    }
}
