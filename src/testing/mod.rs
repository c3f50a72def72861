//! For tests: a clock that stands still, what a unit test hands to a handler, and the conformance suite for dedupe stores.

mod clock;
pub mod dedupe;
mod handler;

pub use clock::FakeClock;
pub use handler::{delivery, event, payload};
