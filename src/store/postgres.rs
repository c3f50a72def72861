//! Claims in PostgreSQL, shared by any number of machines.
//!
//! Each step is one statement, so PostgreSQL arbitrates it. Around it stand the clients' side of a network: a bound on
//! every answer, and calls whose answer was lost.

mod ask;
mod builder;
mod layout;
mod statements;

pub use builder::{PostgresStoreBuilder, PostgresStoreError, PostgresStoreMistake};

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use self::ask::{Failure, read};
use self::statements::Statements;
use crate::causes::Causes;
use crate::dedupe::{ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Settled, StoreError};
use crate::remote::postgres::Link;
use crate::remote::{COMPLETE_LIMIT, Later, MAX_RETENTION, Next, Nonces, RELEASE_LIMIT, SLACK, Unless};
use crate::time::Timestamp;

#[doc = include_str!("../docs/postgres_store.md")]
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    link: Link,
    schema: String,
    statements: Statements,
    retention: Duration,
    nonces: Nonces,
    later: Later,
    /// When to remove what has expired, the next time.
    next_prune: Mutex<Instant>,
}

impl PostgresStore {
    /// Starts with the server's address: `postgres://user:password@host:port/database`, or `key=value` pairs.
    ///
    /// The store makes a pool of its own, without TLS; for TLS, see [`PostgresStore::with_pool`].
    pub fn builder(url: &str) -> PostgresStoreBuilder {
        PostgresStoreBuilder::for_url(url)
    }

    /// Starts with a pool of the program's own, such as one with TLS.
    ///
    /// Its connections are taken as they are: set `statement_timeout` and TCP timeouts there, so that what the store has
    /// given up ends at the server as well.
    pub fn with_pool(pool: Pool) -> PostgresStoreBuilder {
        PostgresStoreBuilder::for_pool(pool)
    }

    /// Removes what has expired, in batches of a thousand rows that wait for nobody, and tells how many rows that was.
    ///
    /// The store does so by itself, a minute after the last time, when there are claims.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; what was removed until then stays removed.
    pub async fn prune(&self) -> Result<u64, StoreError> {
        self.inner.prune().await
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
            async move {
                let nonce = nonce.to_be_bytes();
                inner.settle(&inner.statements.take_back, &[&key.as_bytes().as_slice(), &nonce.as_slice()]).await
            }
        });
    }

    fn prune_now_and_then(&self) {
        let mut next = self.inner.next_prune.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now < *next {
            return;
        }
        *next = now + PRUNE_PAUSE;
        drop(next);
        let inner = Arc::clone(&self.inner);
        self.inner.later.run(Duration::ZERO, move || {
            let inner = Arc::clone(&inner);
            async move {
                if let Err(error) = inner.prune().await {
                    tracing::debug!(error = %Causes(&error), "what has expired was not removed; the next time it is tried again");
                }
                Next::Ended
            }
        });
    }
}

impl DedupeStore for PostgresStore {
    const ENGINE: &'static str = "postgres";

    async fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        self.prune_now_and_then();
        let inner = &self.inner;
        let nonce = inner.nonces.next();
        // Whatever ends this early, a timeout or the end of the request, leaves a claim that nobody holds.
        let unsure = Unless::new(|| self.take_back_later(*key, nonce));
        let claimed = inner.claim(key, fingerprint, nonce, lease, now).await;
        if claimed.as_ref().map_or_else(|failure| !failure.sent, |_| true) {
            unsure.settled();
        }
        claimed.map_err(|failure| failure.error)
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
        let (inner, until) = (&self.inner, now.saturating_add(lease).as_millis());
        let (key, epoch, lifetime) = (claim.key.as_bytes().as_slice(), epoch_of(claim)?, inner.lifetime(lease));
        inner.settle(&inner.statements.extend, &[&key, &epoch, &until, &lifetime]).await
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

    /// Takes the next epoch and uses it for nothing: a server in recovery, or told to be read-only, refuses that.
    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.row(&self.inner.statements.ping, &[], self.inner.link.deadline()).await?;
        Ok(())
    }
}

impl Inner {
    /// Runs the statement until it has seen who holds the key: again only when another claim came between what it saw
    /// and what it did.
    async fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        nonce: u128,
        lease: Duration,
        now: Timestamp,
    ) -> Result<Claimed, Failure> {
        let (print, nonce) = (fingerprint.as_u128().to_be_bytes(), nonce.to_be_bytes());
        let (print, nonce) = (print.as_slice(), nonce.as_slice());
        let (until, millis) = (now.saturating_add(lease).as_millis(), now.as_millis());
        let (bytes, lifetime) = (key.as_bytes().as_slice(), self.lifetime(lease));
        let params: [&(dyn ToSql + Sync); 6] = [&bytes, &print, &millis, &until, &nonce, &lifetime];
        let deadline = self.link.deadline();
        loop {
            let (row, _) = self.row(&self.statements.claim, &params, deadline).await?;
            let seen =
                Seen::read(&row).map_err(|error| Failure { error: StoreError::unavailable(error), sent: true })?;
            if let Some(claimed) = seen.claimed(key, fingerprint, nonce, now) {
                return Ok(claimed);
            }
        }
    }

    async fn complete(&self, claim: &ClaimToken, now: Timestamp) -> Result<Settled, StoreError> {
        let ends = now.saturating_add(self.retention).as_millis();
        let (key, epoch, lifetime) = (claim.key.as_bytes().as_slice(), epoch_of(claim)?, self.lifetime(Duration::ZERO));
        let params: [&(dyn ToSql + Sync); 4] = [&key, &epoch, &ends, &lifetime];
        let (row, again) = self.row(&self.statements.complete, &params, self.link.deadline()).await?;
        let (did, already): (bool, bool) = (read(&row, "did")?, read(&row, "already")?);
        // Asked again, and the first try had done it: its answer was lost.
        Ok(settled(did || (already && again)))
    }

    async fn release(&self, claim: &ClaimToken) -> Result<Settled, StoreError> {
        let (key, epoch) = (claim.key.as_bytes().as_slice(), epoch_of(claim)?);
        self.settle(&self.statements.release, &[&key, &epoch]).await
    }

    async fn settle(&self, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Settled, StoreError> {
        let (row, _) = self.row(statement, params, self.link.deadline()).await?;
        Ok(settled(read(&row, "did")?))
    }

    async fn prune(&self) -> Result<u64, StoreError> {
        let mut pruned = 0;
        loop {
            let (row, _) = self.row(&self.statements.prune, &[&PRUNE_BATCH], self.link.deadline()).await?;
            let batch: i64 = read(&row, "pruned")?;
            pruned += batch.unsigned_abs();
            if batch < PRUNE_BATCH {
                return Ok(pruned);
            }
        }
    }

    /// For how long the server keeps a record, in seconds of its own clock, when its lease ends `lease` from now.
    ///
    /// A lease that has run out is kept as long as something done, since a late completion counts.
    fn lifetime(&self, lease: Duration) -> i64 {
        let lifetime = self.retention + lease.min(MAX_RETENTION) + SLACK;
        i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX).saturating_add(1)
    }
}

/// What a claim saw, and whether it was made.
struct Seen {
    new: Option<i64>,
    held: Option<Held>,
}

struct Held {
    epoch: i64,
    print: Vec<u8>,
    done: bool,
    ends: i64,
    nonce: Vec<u8>,
}

impl Seen {
    fn read(row: &Row) -> Result<Self, Error> {
        let held = match row.try_get("epoch")? {
            Some(epoch) => Some(Held {
                epoch,
                print: row.try_get("fingerprint")?,
                done: row.try_get("done")?,
                ends: row.try_get("ends")?,
                nonce: row.try_get("nonce")?,
            }),
            None => None,
        };
        Ok(Self { new: row.try_get("new")?, held })
    }

    /// The answer, unless another claim came in between.
    fn claimed(&self, key: &ClaimKey, fingerprint: Fingerprint, nonce: &[u8], now: Timestamp) -> Option<Claimed> {
        let token = |epoch: i64| {
            Claimed::New(ClaimToken { key: *key, fingerprint, epoch: epoch.unsigned_abs(), claimed_at: now })
        };
        match (&self.held, self.new) {
            (_, Some(epoch)) => Some(token(epoch)),
            // Asked again, as the first answer was lost.
            (Some(held), None) if !held.done && held.nonce == nonce => Some(token(held.epoch)),
            (Some(held), None) if held.ends > now.as_millis() => {
                let same = held.print == fingerprint.as_u128().to_be_bytes();
                Some(match held.done {
                    _ if !same => Claimed::Conflict,
                    true => Claimed::Done,
                    false => Claimed::InFlight { until: Timestamp::from_millis(held.ends) },
                })
            }
            _ => None,
        }
    }
}

fn epoch_of(claim: &ClaimToken) -> Result<i64, StoreError> {
    i64::try_from(claim.epoch).map_err(StoreError::unavailable)
}

fn settled(did: bool) -> Settled {
    if did { Settled::Current } else { Settled::Superseded }
}

/// Shows what it is called and never how to get in.
impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("schema", &self.inner.schema)
            .field("retention", &self.inner.retention)
            .field("response_timeout", &self.inner.link.response_timeout)
            .field("connections", &self.inner.link.pool.status().size)
            .finish_non_exhaustive()
    }
}

const PRUNE_BATCH: i64 = 1_000;
const PRUNE_PAUSE: Duration = Duration::from_mins(1);
