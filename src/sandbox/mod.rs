//! A server that plays KYC Genie: its management API, and deliveries that are signed, retried and logged.

mod api;
mod assumptions;
mod deliver;
mod store;

pub use assumptions::Assumptions;
