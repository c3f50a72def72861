//! The rope between the bells of all processes: `LISTEN` and `NOTIFY`.
//!
//! One connection of its own does both. A ring goes out outside of the transaction that it is about, after its commit,
//! since transactions that notify commit one after the other; and not more often than every few milliseconds, however
//! much is accepted. Our own rings are not heard again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use deadpool_postgres::Pool;
use futures_util::future::{Either, select};
use futures_util::stream::poll_fn;
use futures_util::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls};

use crate::causes::Causes;
use crate::inbox::Bell;
use crate::remote::postgres::quoted;

/// One end of the rope. It is let go when this is dropped.
#[derive(Debug)]
pub(super) struct Rope {
    pulled: Arc<Notify>,
    task: JoinHandle<()>,
}

/// Where the rope hangs.
pub(super) enum Way {
    /// A connection of our own, which hears as well.
    Own(Box<Config>),
    /// A pool that somebody else has made: its connections cannot hear.
    Pool(Pool),
}

impl Rope {
    pub(super) fn hang(way: Way, bell: Bell, schema: &str, home: &Handle) -> Self {
        let pulled = Arc::new(Notify::new());
        let (theirs, channel) = (Arc::clone(&pulled), quoted(&channel_of(schema)));
        let task = match way {
            Way::Own(config) => home.spawn(async move { hold(&config, &channel, &theirs, &bell).await }),
            Way::Pool(pool) => home.spawn(async move { lend(&pool, &channel, &theirs).await }),
        };
        Self { pulled, task }
    }

    /// Rings at the other ends, soon.
    pub(super) fn pull(&self) {
        self.pulled.notify_one();
    }
}

impl Drop for Rope {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The channel of a schema. A channel's name has 63 bytes, as many as a schema's.
fn channel_of(schema: &str) -> String {
    format!("countersign_{:016x}", xxhash_rust::xxh3::xxh3_64(schema.as_bytes()))
}

/// Connects, again and again.
async fn hold(config: &Config, channel: &str, pulled: &Notify, bell: &Bell) {
    let mut pause = FIRST_PAUSE;
    loop {
        match timeout(CONNECT_LIMIT, connect(config, channel, bell)).await {
            Ok(Ok(mut line)) => {
                pause = FIRST_PAUSE;
                // What happened meanwhile nobody has heard: neither we nor, of us, the others.
                bell.ring();
                pulled.notify_one();
                line.serve(channel, pulled).await;
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %Causes(&error), "no connection to listen on; it is tried again");
            }
            Err(_elapsed) => tracing::debug!("no connection to listen on in time; it is tried again"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A connection that listens, and the task that hears on it.
struct Line {
    client: Client,
    ears: Ears,
}

struct Ears(JoinHandle<()>);

impl Drop for Ears {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(config: &Config, channel: &str, bell: &Bell) -> Result<Line, Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let own = Arc::new(AtomicI32::new(0));
    let (bell, ours) = (bell.clone(), Arc::clone(&own));
    let ears = Ears(tokio::spawn(async move {
        let mut messages = poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(ring) = message
                && ring.process_id() != ours.load(Ordering::Acquire)
            {
                bell.ring();
            }
        }
    }));
    own.store(client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?, Ordering::Release);
    client.batch_execute(&format!("LISTEN {channel}")).await?;
    Ok(Line { client, ears })
}

impl Line {
    /// Until the connection is gone.
    async fn serve(&mut self, channel: &str, pulled: &Notify) {
        let ring = format!("NOTIFY {channel}");
        loop {
            let work = sleep(CHECK_EVERY);
            let work = async {
                match select(Box::pin(pulled.notified()), Box::pin(work)).await {
                    Either::Left(_) => true,
                    Either::Right(_) => false,
                }
            };
            let rung = match select(Box::pin(work), &mut self.ears.0).await {
                Either::Left((rung, _)) => rung,
                Either::Right(_) => return,
            };
            // A way that is dead without a word is found out by asking.
            let text = if rung { ring.as_str() } else { "" };
            match timeout(CONNECT_LIMIT, self.client.batch_execute(text)).await {
                Ok(Ok(())) if rung => sleep(GAP).await,
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => {
                    // It goes out when there is a connection again.
                    pulled.notify_one();
                    return;
                }
            }
        }
    }
}

/// Rings on connections of the pool.
async fn lend(pool: &Pool, channel: &str, pulled: &Notify) {
    let ring = format!("NOTIFY {channel}");
    loop {
        pulled.notified().await;
        let rung = async {
            match pool.get().await {
                Ok(object) => object.batch_execute(&ring).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        let rung = timeout(CONNECT_LIMIT, rung.boxed()).await;
        if !matches!(rung, Ok(Ok(()))) {
            tracing::debug!("other processes were not told; they look by themselves");
        }
        sleep(GAP).await;
    }
}

/// How long the server may take to be connected to, or to take a ring.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The shortest time between two rings: little for those who wait, and few hundred transactions a second at most.
const GAP: Duration = Duration::from_millis(5);
/// How often a connection on which nothing happens is asked whether it is there.
const CHECK_EVERY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
