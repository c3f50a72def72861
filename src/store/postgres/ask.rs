//! What the claims ask of the server: one row each.

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use super::Inner;
use crate::dedupe::StoreError;
use crate::remote::postgres::{Statement, Trouble};

impl Inner {
    /// The one row of a statement, before the deadline, and whether it was run again: every step that is repeated finds
    /// what it did before.
    pub(super) async fn row(
        &self,
        text: &str,
        params: &[&(dyn ToSql + Sync)],
        deadline: Instant,
    ) -> Result<(Row, bool), Failure> {
        match self.link.ask(&Statement { text, params }, deadline).await {
            Ok((mut rows, again)) => match rows.pop() {
                Some(row) => Ok((row, again)),
                None => Err(Failure { error: StoreError::unavailable("a statement gave no row"), sent: true }),
            },
            Err(failure) => Err(Failure { error: failure.trouble.into(), sent: failure.sent }),
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

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self::unavailable(trouble)
    }
}

pub(super) fn read<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(StoreError::unavailable)
}
