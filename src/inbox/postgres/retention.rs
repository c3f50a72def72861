//! For how long the inbox remembers: the longest retention that any process has come with. Whoever forgets asks for it in
//! the same statement, so that a process with a shorter one does not forget what another has promised to know.

use std::time::Duration;

use deadpool_postgres::Client;
use tokio_postgres::{Error, IsolationLevel};

use super::Inner;
use super::layout::LIMITS;
use super::rows::read;
use crate::inbox::InboxError;
use crate::remote::postgres::quoted;

/// What is recorded, within a statement on the tables in `schema`, whose name is quoted; nothing where the row is gone.
pub(super) fn recorded(schema: &str) -> String {
    format!("(SELECT milliseconds FROM {schema}.inbox_retention WHERE only_row)")
}

/// Records `own` where it is longer, if it `may_raise`, or shorter, if it `may_lower`; and tells what is recorded then. The
/// right to write is needed by those only who have something to write.
pub(super) async fn record(
    client: &mut Client,
    schema: &str,
    own: Duration,
    may_raise: bool,
    may_lower: bool,
) -> Result<Duration, Error> {
    let (schema, own) = (quoted(schema), own.as_millis() as i64);
    let ask = format!("SELECT coalesce({}, 0)", recorded(&schema));
    // Whoever has waited for another process goes by what that has written, whatever the isolation is set to.
    let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let mut longest: i64 = transaction.query_one(&ask, &[]).await?.try_get(0)?;
    if (may_raise && longest < own) || (may_lower && longest > own) {
        transaction.batch_execute(LIMITS).await?;
        let update = format!(
            "UPDATE {schema}.inbox_retention SET milliseconds = $1
             WHERE ($2 AND milliseconds < $1) OR ($3 AND milliseconds > $1)"
        );
        transaction.execute(&update, &[&own, &may_raise, &may_lower]).await?;
        longest = transaction.query_one(&ask, &[]).await?.try_get(0)?;
    }
    transaction.commit().await?;
    Ok(length(longest))
}

impl Inner {
    pub(super) async fn longest_retention(&self) -> Result<Duration, InboxError> {
        let row = self.patiently_one(&self.statements.retention, &[]).await?;
        read::<Option<i64>>(&row, "recorded").map(|longest| length(longest.unwrap_or(0)))
    }
}

pub(super) fn length(milliseconds: i64) -> Duration {
    Duration::from_millis(milliseconds.max(0).unsigned_abs())
}
