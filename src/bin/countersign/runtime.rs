//! The asynchronous runtime, and the signals that end a command.

use std::future::Future;

use crate::exit::Failure;

/// Runs `work` to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::system("starting the runtime"))?;
    let result = runtime.block_on(work);
    // A thread that waits for a line of standard input would keep the program alive.
    runtime.shutdown_background();
    result
}

/// Runs `work` unless it is interrupted first.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let interrupted = interruption()?;
    tokio::select! {
        biased;
        () = interrupted => Err(Failure::Interrupted),
        result = work => result,
    }
}

/// Resolves at Ctrl-C, and at a request to terminate. From this call on neither ends the program by itself.
#[cfg(unix)]
pub(crate) fn interruption() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    let listen = |kind| signal(kind).map_err(Failure::system("listening for signals"));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn interruption() -> Result<impl Future<Output = ()>, Failure> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
