//! One question to the server, on a connection of the pool, within its time.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use futures_util::future::join_all;
use futures_util::{FutureExt, TryFutureExt};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use crate::remote::{Health, TooLate};

/// The parameters of a statement.
pub(crate) type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// A pool of connections to a server, and perhaps how the server has been of late.
pub(crate) struct Link {
    pub(crate) pool: Pool,
    /// Whether the pool is ours alone.
    pub(crate) own: bool,
    pub(crate) response_timeout: Duration,
    /// For what senders wait for: what it tells is that they are refused.
    pub(crate) health: Option<Health>,
}

/// What can be asked on a connection, once or again.
pub(crate) trait Question: Sync {
    type Answer: Send;

    fn ask(&self, object: &Object) -> impl Future<Output = Result<Self::Answer, Error>> + Send;

    /// Whether a lock that was not had in time is asked for once more: whoever holds it may only be slow to commit, and
    /// is seen then.
    fn asks_twice_for_locks(&self) -> bool {
        true
    }
}

/// A question that gives up at the first lock.
pub(crate) struct Impatient<Q>(pub(crate) Q);

/// One statement, in a transaction of its own. Answered with its rows.
pub(crate) struct Statement<'p> {
    pub(crate) text: &'p str,
    pub(crate) params: Params<'p>,
}

/// Statements in one transaction, behind advisory locks. Answered with the rows of the last one.
///
/// They are sent in one go, so that no lock is held while one of them travels. The locks are taken by a statement of their
/// own: what a statement sees it sees as of its beginning, and that must be after the locks were had.
pub(crate) struct Locked<'p> {
    /// In ascending order, so that no two transactions wait for one another.
    pub(crate) locks: &'p [i64],
    /// What the transaction begins with.
    pub(crate) begin: &'p str,
    pub(crate) statements: &'p [Statement<'p>],
}

/// Why there is no answer.
pub(crate) struct Failure {
    pub(crate) trouble: Trouble,
    /// Whether the server may have done as it was asked, or may yet.
    pub(crate) sent: bool,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("no connection: {0}")]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Server(#[from] Error),
    #[error(transparent)]
    TooLate(#[from] TooLate),
}

impl Question for Statement<'_> {
    type Answer = Vec<Row>;

    async fn ask(&self, object: &Object) -> Result<Vec<Row>, Error> {
        let statement = object.prepare_cached(self.text).await?;
        object.query(&statement, self.params).await
    }
}

impl<Q: Question> Question for Impatient<Q> {
    type Answer = Q::Answer;

    async fn ask(&self, object: &Object) -> Result<Q::Answer, Error> {
        self.0.ask(object).await
    }

    fn asks_twice_for_locks(&self) -> bool {
        false
    }
}

impl Question for Locked<'_> {
    type Answer = Vec<Row>;

    async fn ask(&self, object: &Object) -> Result<Vec<Row>, Error> {
        let mut prepared = Vec::with_capacity(self.statements.len());
        for statement in self.statements {
            prepared.push(object.prepare_cached(statement.text).await?);
        }
        let lock = object.prepare_cached(LOCK).await?;
        let locks: [&(dyn ToSql + Sync); 1] = [&self.locks];
        // Each is sent when it is polled first, and they are polled in this order.
        let mut steps = vec![object.batch_execute(self.begin).map_ok(|()| Vec::new()).boxed()];
        steps.push(object.query(&lock, &locks).boxed());
        for (statement, prepared) in self.statements.iter().zip(&prepared) {
            steps.push(object.query(prepared, statement.params).boxed());
        }
        steps.push(object.batch_execute("COMMIT").map_ok(|()| Vec::new()).boxed());
        let mut answers = join_all(steps).await;
        // When one of them has failed, so have all behind it, and the transaction is rolled back.
        let committed = answers.pop().transpose()?;
        let mut rows = Vec::new();
        for answer in answers {
            rows = answer?;
        }
        let _ = committed;
        Ok(rows)
    }
}

impl Link {
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.response_timeout
    }

    /// The answer, before the deadline. Asks again where the connection turns out to be dead, and tells so: whatever is
    /// asked again must find what it did before.
    pub(crate) async fn ask<Q: Question>(&self, question: &Q, deadline: Instant) -> Result<(Q::Answer, bool), Failure> {
        let within = deadline.saturating_duration_since(Instant::now());
        let (sent, again, locked) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        let twice = question.asks_twice_for_locks();
        let asked = async {
            loop {
                let lent = Lent(Some(self.pool.get().await?));
                sent.store(true, Ordering::Relaxed);
                let Some(object) = &lent.0 else { continue };
                match question.ask(object).await {
                    Ok(answer) => {
                        lent.give_back();
                        return Ok(answer);
                    }
                    Err(error) if object.is_closed() || is_lost(&error) => again.store(true, Ordering::Relaxed),
                    Err(error) if is_locked(&error) && twice && !locked.swap(true, Ordering::Relaxed) => {
                        lent.give_back();
                    }
                    // A collision with others under the isolation that the database was set to.
                    Err(error) if is_collision(&error) => lent.give_back(),
                    Err(error) => {
                        // What the server has refused it has not done.
                        let refused = error.as_db_error().is_some() && !again.load(Ordering::Relaxed);
                        sent.store(!refused, Ordering::Relaxed);
                        locked.store(is_locked(&error), Ordering::Relaxed);
                        return Err(Trouble::Server(error));
                    }
                }
            }
        };
        let asked = Box::pin(timeout_at(deadline, asked)).await;
        let trouble = match asked {
            Ok(Ok(answer)) => {
                self.health.iter().for_each(Health::answers);
                return Ok((answer, again.into_inner()));
            }
            Ok(Err(trouble)) => trouble,
            Err(_) => {
                self.give_up_idle();
                Trouble::TooLate(TooLate(within))
            }
        };
        if locked.into_inner() {
            tracing::debug!("somebody else holds the lock, and was not waited for");
        } else {
            self.health.iter().for_each(|health| health.fails(&trouble));
        }
        Err(Failure { trouble, sent: sent.into_inner() })
    }

    /// Closes the connections of our own pool that lay idle while a question had no answer: they may be as dead as the
    /// one that it was asked on. Those that were used meanwhile are not.
    fn give_up_idle(&self) {
        if self.own {
            self.pool.retain(|_, usage| usage.last_used() < self.response_timeout);
        }
    }
}

/// A connection of the pool that goes back when it has answered, and is closed otherwise: the next one would wait for
/// the answer to this question first. And the server may have become one that takes no writes.
struct Lent(Option<Object>);

impl Lent {
    fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl Failure {
    /// The server's own word for what is wrong.
    pub(crate) fn code(&self) -> Option<&SqlState> {
        match &self.trouble {
            Trouble::Server(error) => error.code(),
            Trouble::Pool(_) | Trouble::TooLate(_) => None,
        }
    }
}

/// Whether the connection is gone, or about to be: the server shuts down, or starts.
pub(crate) fn is_lost(error: &Error) -> bool {
    let stops = [
        &SqlState::ADMIN_SHUTDOWN,
        &SqlState::CRASH_SHUTDOWN,
        &SqlState::CANNOT_CONNECT_NOW,
        &SqlState::IDLE_SESSION_TIMEOUT,
    ];
    let broken = StdError::source(error).is_some_and(<dyn StdError>::is::<std::io::Error>);
    broken || error.is_closed() || error.code().is_some_and(|code| stops.contains(&code))
}

/// Whether the server has said no, and goes on: what it was asked to do it has not done.
pub(crate) fn is_refused(error: &Error) -> bool {
    error.as_db_error().is_some() && !is_lost(error)
}

fn is_locked(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

fn is_collision(error: &Error) -> bool {
    let collisions = [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| collisions.contains(&code))
}

const LOCK: &str = "SELECT pg_advisory_xact_lock(number) FROM unnest($1::bigint[]) AS number";
