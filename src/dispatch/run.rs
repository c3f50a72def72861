//! One run of a handler: within a time limit, and with its panics kept inside.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::Poll;

use futures_util::FutureExt;
use tokio::time::Instant;

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

/// Polls `handler` to its end, its panic, or the `deadline`.
///
/// A handler that never waits is polled once, and no timer set up for it. It is taken by reference so that its state,
/// which may be large, is not moved about.
pub(crate) async fn run<T>(handler: Pin<&mut impl Future<Output = T>>, deadline: Instant) -> Ran<T> {
    // The handler's own state is dropped after a panic and never looked at again.
    let mut guarded = AssertUnwindSafe(handler).catch_unwind();
    let ended = match poll_now(&mut guarded).await {
        Poll::Ready(ended) => Ok(ended),
        Poll::Pending => tokio::time::timeout_at(deadline, guarded).await,
    };
    match ended {
        Ok(Ok(output)) => Ran::Ended(output),
        Ok(Err(_panic)) => Ran::Panicked,
        Err(_elapsed) => Ran::TimedOut,
    }
}

async fn poll_now<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}
