//! How a store's own pool connects.

use deadpool_postgres::Connect;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls};

/// Runs connections on the runtime that the store was built on. Each of actix-web's workers has a runtime of its own, and
/// a connection that lived on one would stand still for all of them while a handler there computes, and die with it.
pub(super) struct AtHome(pub(super) Handle);

impl Connect for AtHome {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let (home, config) = (self.0.clone(), config.clone());
        async move {
            let there = AbortOnDrop(home.spawn(connect(config.clone())));
            match there.await {
                Some(connected) => connected,
                // That runtime has ended.
                None => connect(config).await,
            }
        }
        .boxed()
    }
}

/// A connection, which lives on the present runtime.
pub(crate) async fn connect(config: Config) -> Result<(Client, JoinHandle<()>), Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to PostgreSQL has ended");
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
