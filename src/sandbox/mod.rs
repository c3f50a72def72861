//! A server that plays KYC Genie: its management API, and deliveries that are signed, retried and logged.

mod api;
mod assumptions;
mod deliver;
mod error;
mod event_types;
mod store;

pub use assumptions::{Assumptions, LogRows, TestFailure, TestSigning};
pub use error::{SandboxError, StateProblem};
