//! For tests: a clock that stands still, what a unit test hands to a handler, a check
//! of a program's own app, and the conformance suite for dedupe stores.

pub mod app;
mod clock;
pub mod dedupe;
mod handler;

pub use clock::FakeClock;
pub use handler::{delivery, event, payload};
