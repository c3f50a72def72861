//! For how long the inbox remembers: the longest retention that any process has opened it with. Whoever forgets asks the
//! file, in the same transaction, so that a process with a shorter one does not forget what another has promised to know.

use std::time::Duration;

use rusqlite::{Connection, params};

/// Records `own` where it is longer, if it `may_raise`, or shorter, if it `may_lower`; and tells what is recorded then.
pub(super) fn record(
    connection: &Connection,
    own: Duration,
    may_raise: bool,
    may_lower: bool,
) -> rusqlite::Result<Duration> {
    // Without a reason to write, nobody's lock is waited for.
    if may_raise || may_lower {
        let update = "UPDATE countersign_inbox_retention SET milliseconds = ?1 \
                      WHERE (?2 AND milliseconds < ?1) OR (?3 AND milliseconds > ?1)";
        let own = i64::try_from(own.as_millis()).unwrap_or(i64::MAX).max(1);
        connection.execute(update, params![own, may_raise, may_lower])?;
    }
    recorded(connection)
}

/// What is recorded.
pub(super) fn recorded(connection: &Connection) -> rusqlite::Result<Duration> {
    let mut row =
        connection.prepare_cached("SELECT coalesce(max(milliseconds), 0) FROM countersign_inbox_retention")?;
    row.query_row([], |row| row.get(0)).map(|longest: i64| Duration::from_millis(longest.max(0).unsigned_abs()))
}
