//! For tests: a clock that stands still, and the conformance suite for dedupe stores.

mod clock;
pub mod dedupe;

pub use clock::FakeClock;
