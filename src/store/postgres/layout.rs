//! The table, and how it comes into being.

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Error;

use super::builder::PostgresStoreError;
use crate::remote::postgres::{SETUP_LOCK, is_race, quoted};

/// Makes the table unless it is there. Any number of processes may do so at once: one of them does, the others wait for
/// it and find it done. A role that may not create anything can start where somebody else has created it.
pub(super) async fn ensure(client: &mut Client, schema: &str) -> Result<(), PostgresStoreError> {
    // Somebody else may create the schema by other means than this at the same moment.
    for _ in 0..MOST_TRIES {
        match try_ensure(client, schema).await {
            Err(PostgresStoreError::Migration(error)) if is_race(&error) => {}
            done => return done,
        }
    }
    try_ensure(client, schema).await
}

async fn try_ensure(client: &mut Client, schema: &str) -> Result<(), PostgresStoreError> {
    if is_current(client.query_one(FIND, &[&schema]).await?.try_get(0)?)? {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(LIMITS).await?;
    transaction.query_one("SELECT pg_advisory_xact_lock($1)", &[&SETUP_LOCK]).await?;
    if !is_current(transaction.query_one(FIND, &[&schema]).await?.try_get(0)?)? {
        create(&transaction, schema).await?;
    }
    Ok(transaction.commit().await?)
}

async fn create(transaction: &Transaction<'_>, schema: &str) -> Result<(), Error> {
    let name = quoted(schema);
    // `IF NOT EXISTS` alone asks for the right to create it even where it exists.
    let exists = transaction.query_one("SELECT to_regnamespace($1) IS NOT NULL", &[&name]).await?;
    if !exists.try_get::<_, bool>(0)? {
        transaction.batch_execute(&format!("CREATE SCHEMA {name}")).await?;
    }
    transaction
        .batch_execute(&format!(
            "CREATE TABLE {name}.claims (
                key bytea PRIMARY KEY CHECK (length(key) = 32),
                epoch bigint NOT NULL,
                fingerprint bytea NOT NULL CHECK (length(fingerprint) = 16),
                done boolean NOT NULL,
                ends bigint NOT NULL,
                nonce bytea NOT NULL,
                prune_hour bigint NOT NULL
            ) WITH (fillfactor = 80);
            CREATE INDEX claims_prune_hour ON {name}.claims (prune_hour);
            CREATE SEQUENCE {name}.claim_epochs OWNED BY {name}.claims.epoch;
            COMMENT ON TABLE {name}.claims IS '{LAYOUT}';
            COMMENT ON COLUMN {name}.claims.ends IS
                'Milliseconds since 1970: the end of the lease, or of the retention of what is done';
            COMMENT ON COLUMN {name}.claims.prune_hour IS 'Hours since 1970: past it the row may be removed'"
        ))
        .await
}

/// Whether the table is there, and of this layout.
fn is_current(comment: Option<String>) -> Result<bool, PostgresStoreError> {
    match comment {
        None => Ok(false),
        Some(comment) if comment == LAYOUT => Ok(true),
        Some(found) => Err(PostgresStoreError::Layout { found }),
    }
}

/// The comment on the table, empty where it has none.
const FIND: &str = "SELECT coalesce(obj_description(class.oid, 'pg_class'), '')
    FROM (VALUES (1)) AS one LEFT JOIN (
        pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace AND namespace.nspname = $1::text
    ) ON class.relname = 'claims'
    WHERE class.oid IS NOT NULL
    UNION ALL SELECT NULL LIMIT 1";
const LAYOUT: &str = "countersign claims, layout 1";
const LIMITS: &str = "SET LOCAL lock_timeout = '4s'; SET LOCAL statement_timeout = '4s'";
const MOST_TRIES: usize = 4;
