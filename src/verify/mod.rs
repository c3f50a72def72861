//! wip
mod verified;
pub use verified::{Authenticated, Delivery, Verified};
