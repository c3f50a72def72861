//! KYC Genie: its scheme, its events, its payloads.

use crate::scheme::Scheme;

/// How KYC Genie signs: **an assumption**.
#[must_use]
pub fn scheme() -> Scheme {
    Scheme::standard_webhooks_of("kycgenie")
}
