//! A PostgreSQL server as both of its stores see it: how to connect, how to ask, and what can be wrong with it.

mod ask;
mod connect;
mod pool;

pub(crate) use ask::{Failure, Impatient, Link, Locked, Params, Question, Statement, Trouble, is_lost, is_refused};
pub(crate) use pool::{Pooled, Server, Timeouts};

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// A name as it may stand in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a schema may be called that: as PostgreSQL has it, which cuts longer names off.
pub(crate) fn is_schema(name: &str) -> bool {
    (1..=63).contains(&name.len()) && !name.contains('\0')
}

/// Whether somebody else has made the same table, or the same schema, at the same moment.
pub(crate) fn is_race(error: &Error) -> bool {
    let races = [&SqlState::UNIQUE_VIOLATION, &SqlState::DUPLICATE_SCHEMA, &SqlState::DUPLICATE_TABLE];
    error.code().is_some_and(|code| races.contains(&code))
}

/// A name as a number, under which schemas are made one at a time: whoever else uses advisory locks in the database has
/// other numbers.
pub(crate) const SETUP_LOCK: i64 = i64::from_be_bytes(*b"countsgn");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_its_quotes() {
        assert_eq!(quoted("a"), "\"a\"");
        assert_eq!(quoted("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
    }
}
