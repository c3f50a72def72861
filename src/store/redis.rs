//! Claims in Redis, shared by any number of machines.
//!
//! Each step is one script, so Redis arbitrates it. Around it stand the clients' side of a network: a bound on every
//! answer, and calls whose answer was lost.

mod builder;
mod home;

pub use builder::{RedisStoreBuilder, RedisStoreError, RedisStoreMistake};

use std::fmt;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, ErrorKind, RedisError, Script, ServerErrorKind};
use tokio::time::{Instant, timeout};

use self::home::Home;
use crate::dedupe::{ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Settled, StoreError};
use crate::remote::{COMPLETE_LIMIT, Health, Later, MAX_RETENTION, Nonces, RELEASE_LIMIT, SLACK, TooLate, Unless};
use crate::time::Timestamp;

#[doc = include_str!("../docs/redis_store.md")]
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    config: ConnectionManagerConfig,
    wire: ArcSwap<Wire>,
    script: Script,
    home: Home,
    prefix: String,
    retention: Duration,
    response_timeout: Duration,
    nonces: Nonces,
    later: Later,
    health: Health,
}

/// The connection that all calls share, until there is another one.
struct Wire {
    connection: ConnectionManager,
    since: Instant,
    /// How many calls in a row had no answer in time on it.
    unanswered: AtomicU32,
}

impl Wire {
    fn new(connection: ConnectionManager) -> Self {
        Self { connection, since: Instant::now(), unanswered: AtomicU32::new(0) }
    }
}

impl RedisStore {
    /// Starts with the server's URL: `redis://[user:password@]host[:port][/database]`, and `rediss://` for TLS where
    /// the program's own dependency on the crate `redis` has one of its TLS features on.
    pub fn builder(url: &str) -> RedisStoreBuilder {
        RedisStoreBuilder::new(Client::open(url))
    }

    /// Starts with a client of the program's own, such as one with certificates for TLS.
    pub fn with_client(client: Client) -> RedisStoreBuilder {
        RedisStoreBuilder::new(Ok(client))
    }

    fn complete_later(&self, claim: &ClaimToken, now: Timestamp) {
        let (inner, token) = (Arc::clone(&self.inner), claim.clone());
        self.inner.later.settle(COMPLETE_LIMIT, move || {
            let (inner, token) = (Arc::clone(&inner), token.clone());
            async move { inner.complete(&token, now).await }
        });
    }

    fn take_back_later(&self, key: ClaimKey, nonce: u128) {
        let inner = Arc::clone(&self.inner);
        self.inner.later.take_back(move || {
            let inner = Arc::clone(&inner);
            async move { inner.settle(&key, &["take_back", &hex(nonce)]).await.map(|(settled, _)| settled) }
        });
    }
}

impl DedupeStore for RedisStore {
    const ENGINE: &'static str = "redis";

    async fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        let inner = &self.inner;
        let (nonce, until) = (inner.nonces.next(), now.saturating_add(lease));
        let ttl = inner.lifetime(lease);
        let args: [&str; 6] = [
            "claim",
            &now.as_millis().to_string(),
            &hex(fingerprint.as_u128()),
            &until.as_millis().to_string(),
            &hex(nonce),
            &ttl,
        ];
        // Whatever ends this early, a timeout or the end of the request, leaves a claim that nobody holds.
        let unsure = Unless::new(|| self.take_back_later(*key, nonce));
        let asked = inner.ask(inner.key_of(key), &args).await;
        if asked.as_ref().map_or_else(|failure| !failure.sent, |_| true) {
            unsure.settled();
        }
        let answer = asked.map_err(|failure| failure.error)?;
        match (answer.word.as_str(), answer.number) {
            ("new", Some(epoch)) => Ok(Claimed::New(ClaimToken {
                key: *key,
                fingerprint,
                epoch: u64::try_from(epoch).map_err(StoreError::unavailable)?,
                claimed_at: now,
            })),
            ("held", Some(until)) => Ok(Claimed::InFlight { until: Timestamp::from_millis(until) }),
            ("done", _) => Ok(Claimed::Done),
            ("conflict", _) => Ok(Claimed::Conflict),
            _ => Err(answer.unknown()),
        }
    }

    async fn complete(&self, claim: &ClaimToken, now: Timestamp) -> Result<Settled, StoreError> {
        // The work is done. Where that cannot be recorded now, it is tried again for as long as it may help.
        let unsure = Unless::new(|| self.complete_later(claim, now));
        let settled = self.inner.complete(claim, now).await?;
        unsure.settled();
        Ok(settled)
    }

    async fn release(&self, claim: &ClaimToken, _now: Timestamp) -> Result<Settled, StoreError> {
        self.inner.release(claim).await
    }

    async fn extend(&self, claim: &ClaimToken, lease: Duration, now: Timestamp) -> Result<Settled, StoreError> {
        let (inner, until) = (&self.inner, now.saturating_add(lease).as_millis().to_string());
        let args = ["extend", &claim.epoch.to_string(), &until, &inner.lifetime(lease)];
        Ok(inner.settle(&claim.key, &args).await?.0)
    }

    fn abandon(&self, claim: &ClaimToken) {
        let (inner, token) = (Arc::clone(&self.inner), claim.clone());
        self.inner.later.settle(RELEASE_LIMIT, move || {
            let (inner, token) = (Arc::clone(&inner), token.clone());
            async move { inner.release(&token).await }
        });
    }

    fn retention(&self) -> Duration {
        self.inner.retention
    }

    /// Runs the script on a key of its own, which it writes.
    async fn ping(&self) -> Result<(), StoreError> {
        let (inner, lifetime) = (&self.inner, PING_LIFETIME.as_millis().to_string());
        let answer = inner.ask(format!("{{{}}}:ping", inner.prefix), &["ping", &lifetime]).await;
        let answer = answer.map_err(|failure| failure.error)?;
        if answer.word == "current" { Ok(()) } else { Err(answer.unknown()) }
    }
}

impl Inner {
    async fn complete(&self, claim: &ClaimToken, now: Timestamp) -> Result<Settled, StoreError> {
        let ends = now.saturating_add(self.retention).as_millis().to_string();
        let args = ["complete", &claim.epoch.to_string(), &ends, &self.lifetime(Duration::ZERO)];
        Ok(match self.settle(&claim.key, &args).await? {
            // The first try had done it, and its answer was lost.
            (Settled::Superseded, Before::Completed { again: true }) => Settled::Current,
            (settled, _) => settled,
        })
    }

    async fn release(&self, claim: &ClaimToken) -> Result<Settled, StoreError> {
        Ok(self.settle(&claim.key, &["release", &claim.epoch.to_string()]).await?.0)
    }

    async fn settle(&self, key: &ClaimKey, args: &[&str]) -> Result<(Settled, Before), StoreError> {
        let answer = self.ask(self.key_of(key), args).await.map_err(|failure| failure.error)?;
        match answer.word.as_str() {
            "current" => Ok((Settled::Current, Before::Unknown)),
            "superseded" => Ok((Settled::Superseded, Before::Unknown)),
            "already" => Ok((Settled::Superseded, Before::Completed { again: answer.again })),
            _ => Err(answer.unknown()),
        }
    }

    /// Runs the script, for at most the response timeout, and once more if the connection breaks meanwhile: every step
    /// that is repeated finds what it did before.
    async fn ask(&self, key: String, args: &[&str]) -> Result<Answer, Failure> {
        let mut call = self.script.prepare_invoke();
        call.key(key).key(format!("{{{}}}:epoch", self.prefix));
        for arg in args {
            call.arg(*arg);
        }
        let wire = self.wire.load_full();
        let mut again = false;
        let call = async {
            loop {
                let mut connection = wire.connection.clone();
                match call.invoke_async::<Vec<String>>(&mut connection).await {
                    Err(error) if is_broken(&error) && !again => again = true,
                    Err(error) => return Err((error, again)),
                    Ok(words) => return Ok((words, again)),
                }
            }
        };
        let started = Instant::now();
        match timeout(self.response_timeout, self.home.run(call)).await {
            Ok(Ok((words, again))) => {
                wire.unanswered.store(0, Ordering::Relaxed);
                self.health.answers();
                let mut words = words.into_iter();
                let word = words.next().unwrap_or_default();
                Ok(Answer { word, number: words.next().and_then(|number| number.parse().ok()), again })
            }
            Ok(Err((error, again))) => Err(self.failed(&wire, error, again)),
            Err(_) => {
                self.unanswered(&wire);
                let error = StoreError::unavailable(TooLate(started.elapsed()));
                self.health.fails(&error);
                Err(Failure { error, sent: true })
            }
        }
    }

    /// Gives up a connection on which nobody answers: it may be dead.
    ///
    /// Not sooner than after a while, however many calls have waited in vain. If the server is frozen, its kernel keeps
    /// every connection that we open, with all that was asked on it, and it will work through all of them first.
    fn unanswered(&self, wire: &Arc<Wire>) {
        let unanswered = wire.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if unanswered >= MOST_UNANSWERED && wire.since.elapsed() >= LEAST_TRIED {
            self.renew(wire);
        }
    }

    fn failed(&self, wire: &Arc<Wire>, error: RedisError, again: bool) -> Failure {
        let kind = error.kind();
        if error.is_timeout() {
            self.unanswered(wire);
        }
        // After a failover the connection may be to a server that is a replica now, and stays so.
        if kind == ErrorKind::Server(ServerErrorKind::ReadOnly) {
            self.renew(wire);
        }
        let sent = again || !(error.is_connection_refusal() || matches!(kind, ErrorKind::Server(_)));
        let full = error.code() == Some("OOM");
        let error = if full { StoreError::Full } else { StoreError::unavailable(error) };
        self.health.fails(&error);
        Failure { error, sent }
    }

    /// Takes a new connection in place of this one for the calls to come, unless somebody has; it is made by the first of
    /// them.
    fn renew(&self, wire: &Arc<Wire>) {
        match ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone()) {
            Ok(connection) => drop(self.wire.compare_and_swap(wire, Arc::new(Wire::new(connection)))),
            Err(error) => tracing::debug!(%error, "the connection to Redis was not renewed"),
        }
    }

    fn key_of(&self, key: &ClaimKey) -> String {
        let mut name = format!("{{{}}}:", self.prefix);
        for byte in key.as_bytes() {
            // Writing into a text does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    /// For how long Redis keeps a record, in its milliseconds, when its lease ends `lease` from now.
    ///
    /// A lease that has run out is kept as long as something done, since a late completion counts.
    fn lifetime(&self, lease: Duration) -> String {
        (self.retention + lease.min(MAX_RETENTION) + SLACK).as_millis().to_string()
    }
}

struct Answer {
    word: String,
    number: Option<i64>,
    /// Whether the question was asked twice.
    again: bool,
}

impl Answer {
    fn unknown(&self) -> StoreError {
        StoreError::unavailable(format!("the script answered with an unknown word of {} bytes", self.word.len()))
    }
}

/// What was known of a claim before it was settled.
enum Before {
    Completed { again: bool },
    Unknown,
}

struct Failure {
    error: StoreError,
    /// Whether Redis may have done as it was asked, or may yet.
    sent: bool,
}

fn is_broken(error: &RedisError) -> bool {
    error.is_connection_dropped() && !error.is_connection_refusal()
}

fn hex(number: u128) -> String {
    format!("{number:032x}")
}

/// Shows where it is and never how to get in.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("server", &self.inner.client.get_connection_info().addr().to_string())
            .field("prefix", &self.inner.prefix)
            .field("retention", &self.inner.retention)
            .field("response_timeout", &self.inner.response_timeout)
            .finish_non_exhaustive()
    }
}

const CLAIMS: &str = include_str!("redis/claims.lua");
const MOST_UNANSWERED: u32 = 2;
/// For how long a connection is held on to at least.
const LEAST_TRIED: Duration = Duration::from_secs(1);
const PING_LIFETIME: Duration = Duration::from_secs(1);
