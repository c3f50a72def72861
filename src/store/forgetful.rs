//! The store that is none.

use std::time::Duration;

use crate::dedupe::{ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Settled, StoreError};
use crate::time::Timestamp;

/// Remembers nothing, so every delivery is new; see
/// [`ReceiverBuilder::danger_without_dedupe`](crate::ReceiverBuilder::danger_without_dedupe), which alone makes it.
#[derive(Debug)]
pub struct Forgetful(());

impl Forgetful {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl DedupeStore for Forgetful {
    const DANGER_REMEMBERS_NOTHING: bool = true;

    async fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        _lease: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        Ok(Claimed::New(ClaimToken { key: *key, fingerprint, epoch: 0, claimed_at: now }))
    }

    async fn complete(&self, _claim: &ClaimToken, _now: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Current)
    }

    async fn release(&self, _claim: &ClaimToken, _now: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Current)
    }

    async fn extend(&self, _claim: &ClaimToken, _lease: Duration, _now: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Current)
    }

    fn abandon(&self, _claim: &ClaimToken) {}

    fn retention(&self) -> Duration {
        Duration::MAX
    }
}
