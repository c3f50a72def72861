//! KYC Genie: how its deliveries are signed, and which events they hold.
//!
//! Its documents list 36 event types and `test`, and hardly any payload. [`Event`] has all of them, grouped as its
//! documents group them (`onboarding.*` is [`Onboarding`]). A payload type holds what is published as typed optional
//! fields and keeps everything else readable ([`Data`]); a field that is missing, new, or of another type than
//! published never fails. Event types that are not listed are [`Event::Unknown`].
//!
//! The core of this crate knows nothing of this module.

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
#[cfg(feature = "macros")]
mod event;
mod payload;

#[cfg(feature = "macros")]
#[cfg_attr(docsrs, doc(cfg(feature = "macros")))]
pub use event::{Alert, Batch, Case, Event, NonDocument, Onboarding, Report, Response, Screening, Verification};
pub use payload::{
    AlertPayload, AutoflagPayload, BatchPayload, CasePayload, CheckAnswersPayload, ClientReportPayload, Data,
    NonDocumentPayload, OnboardingPayload, ResponsePayload, ScreeningPayload, TestPayload, VerificationPayload,
};

use crate::scheme::Scheme;

/// How KYC Genie signs: **an assumption**, to be confirmed with one captured delivery.
///
/// Published is this much: deliveries are signed by HMAC with the subscription's secret, and secrets begin with
/// `whsec_` (Webhooks API reference, "Create Webhook" and "Rotate Webhook Secret"). Header names, hash, encoding, signed
/// content, and how key bytes are made of the secret are not. The prefix is the one that the Standard Webhooks
/// specification defines, so this is that scheme under KYC Genie's name, with its tolerance of five minutes and its
/// retry horizon of 76 hours; retries are not published either.
///
/// Where it turns out to be different, replace this one value: by [`Scheme::builder`], or by a file that
/// [`Scheme::from_toml`] reads. [`Scheme::to_toml`] of this value is a good start.
#[must_use]
pub fn scheme() -> Scheme {
    Scheme::standard_webhooks_of("kycgenie")
}
