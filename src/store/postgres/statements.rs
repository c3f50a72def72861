//! The steps of the protocol, each one statement.
//!
//! Moments come as parameters; the server's clock only says when a row may be removed, in whole hours, so that the
//! index on it seldom changes and most updates need not touch any index.

use std::time::Duration;

/// The statements for one schema. Names are quoted when they get here.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    pub(super) claim: String,
    pub(super) complete: String,
    pub(super) extend: String,
    pub(super) ping: String,
    pub(super) prune: String,
    pub(super) release: String,
    pub(super) take_back: String,
}

impl Statements {
    /// For the tables in `schema`, where no lock is waited for longer than `lock_timeout`.
    pub(super) fn new(schema: &str, lock_timeout: Duration) -> Self {
        let claims = format!("{schema}.claims");
        let epochs = format!("{schema}.claim_epochs").replace('\'', "''");
        let lock_timeout = lock_timeout.as_millis();
        // Good for this one statement: it holds in whatever pool or behind whatever proxy the connection comes from. Each
        // change joins it, so that it is set before a lock is asked for.
        let limit =
            format!("WITH lock AS MATERIALIZED (SELECT set_config('lock_timeout', '{lock_timeout}ms', true) AS set)");
        let hour = "extract(epoch FROM clock_timestamp())::bigint";
        let changed = "SELECT EXISTS (SELECT FROM changed) AS did";
        Self {
            // What holds is answered from a snapshot, without a lock or a write. Where nothing holds, one of the two
            // changes is made, which the primary key arbitrates; if somebody else was first, neither is, and the claim
            // looks again.
            claim: format!(
                "{limit},
                seen AS MATERIALIZED (
                    SELECT epoch, fingerprint, done, ends, nonce FROM {claims} WHERE key = $1
                ),
                taken AS (
                    UPDATE {claims} AS held SET
                        epoch = nextval('{epochs}'), fingerprint = $2, done = false, ends = $4, nonce = $5,
                        prune_hour = ({hour} + $6) / 3600 + 1
                    FROM seen, lock
                    WHERE held.key = $1 AND held.ends <= $3 AND held.epoch = seen.epoch AND lock.set IS NOT NULL
                    RETURNING held.epoch
                ),
                fresh AS (
                    INSERT INTO {claims} (key, epoch, fingerprint, done, ends, nonce, prune_hour)
                    SELECT $1, nextval('{epochs}'), $2, false, $4, $5, ({hour} + $6) / 3600 + 1
                    FROM lock WHERE lock.set IS NOT NULL AND NOT EXISTS (SELECT FROM seen)
                    ON CONFLICT (key) DO NOTHING
                    RETURNING epoch
                )
                SELECT coalesce((SELECT epoch FROM taken), (SELECT epoch FROM fresh)) AS new, seen.*
                FROM (VALUES (1)) AS one LEFT JOIN seen ON true"
            ),
            complete: format!(
                "{limit},
                changed AS (
                    UPDATE {claims} SET done = true, ends = $3, prune_hour = greatest(prune_hour, ({hour} + $4) / 3600 + 1)
                    FROM lock WHERE key = $1 AND epoch = $2 AND NOT done AND lock.set IS NOT NULL
                    RETURNING 1
                )
                {changed}, EXISTS (SELECT FROM {claims} WHERE key = $1 AND epoch = $2 AND done) AS already"
            ),
            extend: format!(
                "{limit},
                changed AS (
                    UPDATE {claims} SET ends = $3, prune_hour = greatest(prune_hour, ({hour} + $4) / 3600 + 1)
                    FROM lock WHERE key = $1 AND epoch = $2 AND NOT done AND lock.set IS NOT NULL
                    RETURNING 1
                )
                {changed}"
            ),
            release: format!(
                "{limit},
                changed AS (
                    DELETE FROM {claims} USING lock
                    WHERE key = $1 AND epoch = $2 AND NOT done AND lock.set IS NOT NULL
                    RETURNING 1
                )
                {changed}"
            ),
            take_back: format!(
                "{limit},
                changed AS (
                    DELETE FROM {claims} USING lock
                    WHERE key = $1 AND nonce = $2 AND NOT done AND lock.set IS NOT NULL
                    RETURNING 1
                )
                {changed}"
            ),
            // A write that locks nothing, leaves no row, and is refused by a server that takes no writes.
            ping: format!("SELECT nextval('{epochs}') AS epoch"),
            prune: format!(
                "WITH expired AS MATERIALIZED (
                    SELECT key FROM {claims} WHERE prune_hour < {hour} / 3600
                    ORDER BY prune_hour LIMIT $1 FOR UPDATE SKIP LOCKED
                ),
                pruned AS (DELETE FROM {claims} WHERE key IN (SELECT key FROM expired) RETURNING 1)
                SELECT count(*) AS pruned FROM pruned"
            ),
        }
    }
}
