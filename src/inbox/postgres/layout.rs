//! The tables, their versions, and how they come into being.

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Error;

use super::error::PostgresInboxError;
use crate::remote::postgres::{SETUP_LOCK, is_race, quoted};

/// What leads from each version to the next; the first makes version 1.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("to_2.sql")];

/// The version that this program reads and writes.
const VERSION: i32 = MIGRATIONS.len() as i32;

/// Makes the tables unless they are there, or brings them up to this program's version. Any number of processes may do so
/// at once: one of them does, the others wait for it and find it done. A role that may not create anything can start where
/// somebody else has created it.
///
/// With `existing` there is an inbox of this version already, or none is made and none is changed.
pub(super) async fn ensure(client: &mut Client, schema: &str, existing: bool) -> Result<(), PostgresInboxError> {
    // Somebody else may create the schema by other means than this at the same moment.
    for _ in 0..MOST_TRIES {
        match try_ensure(client, schema, existing).await {
            Err(PostgresInboxError::Migration(error)) if is_race(&error) => {}
            done => return done,
        }
    }
    try_ensure(client, schema, existing).await
}

async fn try_ensure(client: &mut Client, schema: &str, existing: bool) -> Result<(), PostgresInboxError> {
    let there = client.query_one(FIND, &[&schema]).await?;
    let found = match there.try_get("versions")? {
        true => Some(client.query_one(&version_of(schema), &[]).await?.try_get(0)?),
        false if existing => return Err(PostgresInboxError::Missing { schema: schema.to_owned() }),
        false => None,
    };
    match found {
        Some(VERSION) => return Ok(()),
        Some(found) if existing => return Err(left_alone(found, VERSION, schema)),
        _ => {}
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(LIMITS).await?;
    transaction.query_one("SELECT pg_advisory_xact_lock($1)", &[&SETUP_LOCK]).await?;
    migrate(&transaction, schema).await?;
    Ok(transaction.commit().await?)
}

/// Why tables of the version `found` are not brought up to the version `known`, as they were to be left alone.
fn left_alone(found: i32, known: i32, schema: &str) -> PostgresInboxError {
    match found {
        // Whoever was about to make them has not come to it.
        ..=0 => PostgresInboxError::Missing { schema: schema.to_owned() },
        _ if found < known => PostgresInboxError::Older { found, known },
        _ => PostgresInboxError::Version { found, known },
    }
}

/// Under the lock, so that what is found stays as it is.
async fn migrate(transaction: &Transaction<'_>, schema: &str) -> Result<(), PostgresInboxError> {
    let there = transaction.query_one(FIND, &[&schema]).await?;
    let version: i32 = match (there.try_get("versions")?, there.try_get("tables")?) {
        (true, _) => transaction.query_one(&version_of(schema), &[]).await?.try_get(0)?,
        (false, true) => return Err(PostgresInboxError::Layout),
        (false, false) => {
            create(transaction, schema, there.try_get("schema")?).await?;
            0
        }
    };
    let Some(missing) = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..)) else {
        return Err(PostgresInboxError::Version { found: version, known: VERSION });
    };
    let name = quoted(schema);
    for migration in missing {
        transaction.batch_execute(&migration.replace("{schema}", &name)).await?;
    }
    if !missing.is_empty() {
        transaction.execute(&format!("INSERT INTO {name}.inbox_schema VALUES ($1)"), &[&VERSION]).await?;
    }
    Ok(())
}

async fn create(transaction: &Transaction<'_>, schema: &str, is_there: bool) -> Result<(), Error> {
    let name = quoted(schema);
    // `IF NOT EXISTS` alone asks for the right to create it even where it exists.
    if !is_there {
        transaction.batch_execute(&format!("CREATE SCHEMA {name}")).await?;
    }
    transaction.batch_execute(&format!("CREATE TABLE {name}.inbox_schema (version integer NOT NULL)")).await
}

fn version_of(schema: &str) -> String {
    format!("SELECT coalesce(max(version), 0) FROM {}.inbox_schema", quoted(schema))
}

/// What there is of it, whatever this role may do with it.
const FIND: &str = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1::text) AS schema,
    EXISTS (SELECT FROM pg_class JOIN pg_namespace AS space ON space.oid = relnamespace
        WHERE nspname = $1::text AND relname = 'inbox_schema') AS versions,
    EXISTS (SELECT FROM pg_class JOIN pg_namespace AS space ON space.oid = relnamespace
        WHERE nspname = $1::text AND relname IN ('inbox', 'inbox_delivery', 'inbox_numbers')) AS tables";
/// How long a lock may be waited for where something is set up.
pub(super) const LIMITS: &str = "SET LOCAL lock_timeout = '4s'; SET LOCAL statement_timeout = '4s'";
const MOST_TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_does_not_bring_up_an_inbox_of_an_older_program() {
        assert!(matches!(left_alone(0, 2, "a"), PostgresInboxError::Missing { .. }));
        assert!(matches!(left_alone(3, 2, "a"), PostgresInboxError::Version { found: 3, known: 2 }));
        let older = left_alone(1, 2, "a");
        assert!(matches!(older, PostgresInboxError::Older { found: 1, known: 2 }));
        assert!(older.to_string().contains("start the newer receiver first"), "{older}");
    }
}
