//! How a store's own pool connects.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::causes::Causes;

/// Runs connections on the runtime that the store was built on. Each of actix-web's workers has a runtime of its own, and
/// a connection that lived on one would stand still for all of them while a handler there computes, and die with it.
pub(super) struct AtHome {
    home: Handle,
    gate: Gate,
}

impl AtHome {
    pub(super) fn new(home: Handle) -> Self {
        Self { home, gate: Gate::default() }
    }
}

impl Connect for AtHome {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        async move {
            let attempt = self.gate.pass().await;
            let there = AbortOnDrop(self.home.spawn(connect(config.clone())));
            let connected = match there.await {
                Some(connected) => connected,
                // That runtime has ended.
                None => connect(config).await,
            };
            attempt.answered();
            connected
        }
        .boxed()
    }
}

/// Lets one at a time try to connect while a server does not answer at all, and everybody otherwise.
///
/// What a frozen server does not take up its kernel keeps. When it goes on, it works through every such connection, each
/// with a process of its own, before it comes to those that somebody still waits for.
#[derive(Debug, Default)]
struct Gate {
    silence: Mutex<Option<Silence>>,
    over: Notify,
}

/// Since when nobody has answered, and whether somebody is trying.
#[derive(Clone, Copy, Debug)]
struct Silence {
    last: Instant,
    tried: bool,
}

impl Gate {
    /// Waits while others try in vain; whoever waits has a time limit of its own.
    async fn pass(&self) -> Attempt<'_> {
        loop {
            let over = self.over.notified();
            {
                let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
                match &mut *silence {
                    None => return Attempt { gate: self, answered: false },
                    Some(silence) if !silence.tried && silence.last.elapsed() >= PAUSE => {
                        silence.tried = true;
                        return Attempt { gate: self, answered: false };
                    }
                    Some(_) => {}
                }
            }
            // Whoever tried may only have given up early.
            let _ = timeout(PAUSE, over).await;
        }
    }
}

/// One that was dropped before its time had no answer.
struct Attempt<'a> {
    gate: &'a Gate,
    answered: bool,
}

impl Attempt<'_> {
    /// A refusal is an answer too.
    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let silence = (!self.answered).then(|| Silence { last: Instant::now(), tried: false });
        *self.gate.silence.lock().unwrap_or_else(PoisonError::into_inner) = silence;
        if self.answered {
            self.gate.over.notify_waiters();
        }
    }
}

/// A connection, which lives on the present runtime.
pub(crate) async fn connect(config: Config) -> Result<(Client, JoinHandle<()>), Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %Causes(&error), "a connection to PostgreSQL has ended");
        }
    });
    Ok((client, task))
}

/// A task that nobody waits for any more is not left behind: a frozen server would hold it for ever.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Option<T>;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<T>> {
        self.0.poll_unpin(context).map(Result::ok)
    }
}

/// Between two attempts at a server that does not answer.
const PAUSE: Duration = Duration::from_millis(200);
