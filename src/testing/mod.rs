//! For tests: a clock that stands still, what a unit test hands to a handler, a check
//! of a program's own app, and the conformance suites for dedupe stores and inboxes.

pub mod app;
mod clock;
pub mod dedupe;
mod handler;
pub mod inbox;

pub use clock::FakeClock;
pub use handler::{delivery, event, payload};
