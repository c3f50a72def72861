//! One question to the server, on a connection of the pool, within its time.

use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::Object;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql};
use tokio_postgres::{Error, Row};

use super::super::remote::TooLate;
use super::Inner;
use crate::dedupe::StoreError;

impl Inner {
    /// The one row of a statement, before the deadline. Runs it again where the connection turns out to be dead, and
    /// tells so: every step that is repeated finds what it did before.
    pub(super) async fn row(
        &self,
        statement: &str,
        params: &[&(dyn ToSql + Sync)],
        deadline: Instant,
    ) -> Result<(Row, bool), Failure> {
        let (sent, again, locked) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        let asked = async {
            loop {
                let lent = Lent(Some(self.pool.get().await.map_err(StoreError::unavailable)?));
                sent.store(true, Ordering::Relaxed);
                let Some(object) = &lent.0 else { continue };
                match run(object, statement, params).await {
                    Ok(row) => {
                        lent.give_back();
                        return Ok(row);
                    }
                    Err(error) if object.is_closed() || is_lost(&error) => again.store(true, Ordering::Relaxed),
                    // Once more: whoever held the lock may only have been slow to commit, and is seen now.
                    Err(error) if is_locked(&error) && !locked.swap(true, Ordering::Relaxed) => lent.give_back(),
                    // A collision with others under the isolation that the database was set to.
                    Err(error) if is_collision(&error) => lent.give_back(),
                    Err(error) => {
                        // What the server has refused it has not done.
                        let refused = error.as_db_error().is_some() && !again.load(Ordering::Relaxed);
                        sent.store(!refused, Ordering::Relaxed);
                        locked.store(is_locked(&error), Ordering::Relaxed);
                        return Err(StoreError::unavailable(error));
                    }
                }
            }
        };
        let asked = Box::pin(timeout_at(deadline, asked)).await;
        let error = match asked {
            Ok(Ok(row)) => {
                self.health.answers();
                return Ok((row, again.into_inner()));
            }
            Ok(Err(error)) => error,
            Err(_) => {
                self.give_up_idle();
                StoreError::unavailable(TooLate(self.response_timeout))
            }
        };
        if locked.into_inner() {
            tracing::debug!("somebody else has locked the claim, and was not waited for");
        } else {
            self.health.fails(&error);
        }
        Err(Failure { error, sent: sent.into_inner() })
    }
}

impl Inner {
    /// Closes the connections of the store's own pool that lay idle while a question had no answer: they may be as dead
    /// as the one that it was asked on. Those that were used meanwhile are not.
    fn give_up_idle(&self) {
        if self.own_pool {
            self.pool.retain(|_, usage| usage.last_used() < self.response_timeout);
        }
    }
}

/// Why there is no answer.
pub(super) struct Failure {
    pub(super) error: StoreError,
    /// Whether the server may have done as it was asked, or may yet.
    pub(super) sent: bool,
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

async fn run(object: &Object, statement: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
    let statement = object.prepare_cached(statement).await?;
    object.query_one(&statement, params).await
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

pub(super) fn read<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(StoreError::unavailable)
}

/// Whether the connection is gone, or about to be: the server shuts down, or starts.
fn is_lost(error: &Error) -> bool {
    let stops = [
        &SqlState::ADMIN_SHUTDOWN,
        &SqlState::CRASH_SHUTDOWN,
        &SqlState::CANNOT_CONNECT_NOW,
        &SqlState::IDLE_SESSION_TIMEOUT,
    ];
    let broken = std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
    broken || error.is_closed() || error.code().is_some_and(|code| stops.contains(&code))
}

fn is_locked(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

fn is_collision(error: &Error) -> bool {
    let collisions = [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| collisions.contains(&code))
}
