//! What KYC Genie does not publish, each as a setting whose default is an assumption.

use std::time::Duration;

/// What the provider's documents do not say. Every default is **an assumption**.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Assumptions {
    /// How many times a delivery is tried, the first time included.
    pub max_attempts: u32,
    /// How long the receiver may take to answer.
    pub timeout: Duration,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self { max_attempts: 3, timeout: Duration::from_secs(10) }
    }
}
