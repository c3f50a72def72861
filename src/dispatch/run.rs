//! One run of a handler: within a time limit, and with its panics kept inside.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ran<T> {
    /// The handler returned.
    Ended(T),
    /// The handler panicked. What it said stays with the panic hook: it may hold anything.
    Panicked,
    /// The handler took longer than its limit and was dropped.
    TimedOut,
}

/// Polls `handler` to its end, its panic, or its `limit`.
pub(crate) async fn run<T>(handler: impl Future<Output = T>, limit: Duration) -> Ran<T> {
    // The handler's own state is dropped after a panic and never looked at again.
    let guarded = AssertUnwindSafe(handler).catch_unwind();
    match tokio::time::timeout(limit, guarded).await {
        Ok(Ok(output)) => Ran::Ended(output),
        Ok(Err(_panic)) => Ran::Panicked,
        Err(_elapsed) => Ran::TimedOut,
    }
}
