//! The steps, each one statement.
//!
//! Every change is behind a guard, which sees to it that no lock is waited for long and that the commit waits for the
//! disk. It holds for this one transaction, in whatever pool and behind whatever proxy the connection comes from, and
//! whatever the role or the database was set to meanwhile.

use std::time::Duration;

use super::effects::{ENDED, SUPERSEDED};
use super::retention::recorded;
use super::rows::{DELIVERY, ENTRY, NAMES};

/// The statements for one schema. Names are quoted when they get here.
#[derive(Clone, Debug)]
pub(super) struct Statements {
    pub(super) accept: String,
    /// The same, where locks are waited for a moment only.
    pub(super) accept_briefly: String,
    pub(super) accept_in_order: String,
    pub(super) begin: String,
    pub(super) begin_briefly: String,
    pub(super) bury: String,
    pub(super) claim: String,
    pub(super) claim_suspect: String,
    pub(super) effects_fence: String,
    pub(super) effects_lock: String,
    pub(super) effects_seen: String,
    pub(super) extend: String,
    /// The same, where rows that somebody holds are waited for.
    pub(super) extend_held_up: String,
    pub(super) finish: String,
    pub(super) forget: String,
    pub(super) ping: String,
    pub(super) prune: String,
    pub(super) prune_dead: String,
    pub(super) replay: String,
    pub(super) replay_all: String,
    pub(super) replay_one: String,
    pub(super) retention: String,
    pub(super) settle: String,
    pub(super) show: String,
    pub(super) stats: String,
    pub(super) take_back: String,
    pub(super) list: String,
}

/// The parameters of the two accepts, and the columns that they are of one delivery.
const INCOMING: &str = "unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], \
    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::smallint[], \
    $15::bytea[], $16::text[], $17::bytea[])
    AS one (claim_key, fingerprint, nonce, due_at, received_at, signed_at, source, tenant, delivery_id, event_type, \
    key_id, entity, entity_hash, authenticated, content_digest, headers, body)";

/// What is written of it once and for all.
const KEPT: &str = "claim_key, fingerprint, received_at, signed_at, source, tenant, delivery_id, event_type, key_id, \
    entity, authenticated, content_digest, headers, body";

impl Statements {
    /// For the tables in `schema`, whose locks are salted with `salt`, where no lock is waited for longer than
    /// `lock_timeout`.
    pub(super) fn new(schema: &str, salt: i64, lock_timeout: Duration) -> Self {
        let (inbox, delivery) = (format!("{schema}.inbox"), format!("{schema}.inbox_delivery"));
        let numbers = format!("{schema}.inbox_numbers").replace('\'', "''");
        let recorded = recorded(schema);
        let settings = |lock_timeout: Duration| {
            format!(
                "set_config('lock_timeout', '{}ms', true), \
                 set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
                 ELSE current_setting('synchronous_commit') END, true)",
                lock_timeout.as_millis().max(1)
            )
        };
        let (settings, briefly) = (settings(lock_timeout), settings(lock_timeout / 8));
        // A process that freezes in the middle of a transaction gives up the lock of an entity after as many milliseconds.
        let idle = 5_000;
        let guard = |settings: &str| format!("guard AS MATERIALIZED (SELECT ({settings}) IS NOT NULL AS holds)");
        let (guard, brief_guard) = (guard(&settings), guard(&briefly));
        let begin = |settings: &str| {
            format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; \
                 SELECT {settings}, set_config('countersign.locked', 'on', true), \
                 set_config('idle_in_transaction_session_timeout', '{idle}ms', true)"
            )
        };
        // Fails where the transaction has not begun, and its locks were given back as soon as they were had.
        let locked = "guard AS MATERIALIZED \
            (SELECT coalesce(current_setting('countersign.locked', true), '')::boolean AS holds)";
        let settled = "EXISTS (SELECT FROM changed) AS did, before.state AS state, before.token = $2 AS mine, \
            coalesce(before.silent, 0) > 0 AS silent, before.entity AS entity";
        // What is behind the one that ends. It is under the lock of the entity, so one of them at most is not waiting.
        let promote = |entity: &str, now: &str| {
            format!(
                "promoted AS (
                    UPDATE {inbox} SET state = 0, due_at = {now}
                    WHERE number = (SELECT min(number) FROM {inbox}
                        WHERE entity = {entity} AND entity IS NOT NULL AND state < 3 AND state = 2)
                    AND EXISTS (SELECT FROM changed)
                    RETURNING 1
                )"
            )
        };
        let suspects = format!(
            "suspects AS MATERIALIZED (
                SELECT EXISTS (SELECT FROM {inbox} WHERE state = 1 AND due_at <= $1 AND silent + 1 >= $3)
                AND NOT EXISTS (SELECT FROM {inbox} WHERE state = 1 AND due_at > $1 AND silent >= $3) AS due
            )"
        );
        let lease = format!(
            "leased AS (
                UPDATE {inbox} AS held SET state = 1, token = ($5::bytea[])[due.place], due_at = $4,
                    attempts = held.attempts + 1, silent = held.silent + due.state
                FROM due, guard WHERE held.number = due.number AND due.attempts < $6 AND guard.holds
                RETURNING held.number, held.token
            )"
        );
        let claimed = format!(
            "next AS (
                SELECT least(
                    (SELECT min(due_at) FROM {inbox} WHERE state = 0 AND due_at > $1),
                    (SELECT min(due_at) FROM {inbox} WHERE state = 1 AND due_at > $1),
                    (SELECT $4 FROM leased LIMIT 1)
                ) AS due_at
            )
            SELECT suspects.due AS suspect, next.due_at AS next_due, due.place, due.number AS due_number,
                due.attempts AS attempts_before, due.state AS state_before, due.token AS token_before, due.entity AS entity_hash,
                due.error_before, leased.token AS leased_token, kept.*
            FROM suspects CROSS JOIN next LEFT JOIN due ON true LEFT JOIN leased USING (number)
            LEFT JOIN LATERAL (
                SELECT {DELIVERY} FROM {delivery} AS delivery WHERE delivery.number = leased.number LIMIT 1
            ) AS kept ON true
            ORDER BY due.place"
        );
        let candidate = "number, attempts, state, due_at, token, entity, last_error AS error_before";
        let accept = |guard: &str, state: &str| {
            // A key that is known is told from a snapshot, without a lock or a write. Of those that are not, the index
            // on keys decides; whoever was second looks again. Keys are written in their order, so that no two wait for
            // one another; numbers are given in the order of arrival.
            format!(
                "WITH {guard},
                incoming AS MATERIALIZED (SELECT * FROM {INCOMING}),
                seen AS MATERIALIZED (
                    SELECT incoming.claim_key, known.* FROM incoming CROSS JOIN LATERAL (
                        SELECT number, fingerprint FROM {delivery} AS d WHERE d.claim_key = incoming.claim_key LIMIT 1
                    ) AS known
                ),
                numbered AS MATERIALIZED (
                    SELECT nextval('{numbers}') AS number, incoming.* FROM incoming, guard
                    WHERE guard.holds AND NOT EXISTS (SELECT FROM seen WHERE seen.claim_key = incoming.claim_key)
                ),
                fresh AS (
                    INSERT INTO {delivery} (number, {KEPT}) SELECT number, {KEPT} FROM numbered ORDER BY claim_key
                    ON CONFLICT (claim_key) DO NOTHING
                    RETURNING number
                ),
                queued AS (
                    INSERT INTO {inbox} (number, state, due_at, token, entity)
                    SELECT number, {state}, due_at, nonce, entity_hash FROM fresh JOIN numbered USING (number)
                    RETURNING number, state
                )
                SELECT incoming.claim_key, queued.state AS new, seen.number, seen.fingerprint,
                    held.state, held.finished_at, held.token,
                    CASE held.state WHEN 3 THEN {recorded} END AS remembered
                FROM incoming LEFT JOIN numbered USING (claim_key) LEFT JOIN queued ON queued.number = numbered.number
                LEFT JOIN seen ON seen.claim_key = incoming.claim_key
                LEFT JOIN LATERAL (
                    SELECT state, finished_at, token FROM {inbox} AS h WHERE h.number = seen.number LIMIT 1
                ) AS held ON true"
            )
        };
        let in_order = format!(
            "CASE WHEN entity_hash IS NOT NULL AND (
                row_number() OVER (PARTITION BY entity_hash ORDER BY number) > 1
                OR EXISTS (SELECT FROM {inbox} AS busy
                    WHERE busy.entity = entity_hash AND busy.entity IS NOT NULL AND busy.state < 3)
            ) THEN 2 ELSE 0 END"
        );
        // Those that somebody holds are told apart: a claim that came too late holds a row for a moment.
        let extend = |skip: &str| {
            format!(
                "WITH {guard},
                wanted AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bytea[]) AS one (number, token)),
                free AS MATERIALIZED (
                    SELECT number, held.token FROM {inbox} AS held JOIN wanted USING (number, token), guard
                    WHERE held.state = 1 AND guard.holds ORDER BY number FOR NO KEY UPDATE OF held{skip}
                ),
                changed AS (
                    UPDATE {inbox} AS held SET due_at = $3 FROM free WHERE held.number = free.number
                )
                SELECT number, token, true AS extended FROM free
                UNION ALL
                SELECT number, token, false FROM {inbox} AS held JOIN wanted USING (number, token)
                WHERE held.state = 1 AND held.due_at > $4 AND number NOT IN (SELECT number FROM free)"
            )
        };
        let prune = |state: u8| {
            format!(
                "WITH {guard},
                old AS MATERIALIZED (
                    SELECT number FROM {inbox}, guard WHERE state = {state} AND guard.holds
                    AND finished_at <= least($1::bigint, $3::bigint - {recorded})
                    ORDER BY finished_at LIMIT $2 FOR UPDATE OF inbox SKIP LOCKED
                ),
                gone AS (DELETE FROM {inbox} AS held USING old WHERE held.number = old.number RETURNING held.number),
                kept AS (DELETE FROM {delivery} AS kept USING gone WHERE kept.number = gone.number)
                SELECT count(*) AS pruned FROM gone"
            )
        };
        // In the transaction of a handler, and in no other: one that it has begun itself is not ours to commit.
        let ours = format!(
            "guard AS MATERIALIZED (
                SELECT (CASE WHEN coalesce(current_setting('countersign.run', true), '') = $3::text
                    THEN (({settings}) IS NOT NULL)::text ELSE '{ENDED}' END)::boolean AS holds
            )"
        );
        Self {
            accept: accept(&guard, "0"),
            accept_briefly: accept(&brief_guard, "0"),
            accept_in_order: accept(locked, &in_order),
            begin: begin(&settings),
            begin_briefly: begin(&briefly),
            effects_lock: format!(
                "WITH {ours}
                SELECT pg_advisory_xact_lock(entity # {salt})
                FROM {inbox}, guard
                WHERE number = $1 AND token = $2 AND state = 1 AND entity IS NOT NULL AND guard.holds"
            ),
            effects_fence: format!(
                "WITH {ours},
                before AS MATERIALIZED (SELECT entity, silent FROM {inbox} WHERE number = $1),
                changed AS (
                    UPDATE {inbox} SET state = 3, due_at = $4::bigint, finished_at = $4::bigint, silent = 0,
                        last_error = NULL
                    FROM guard WHERE number = $1 AND token = $2 AND state = 1 AND guard.holds
                    RETURNING 1
                ),
                {}
                SELECT (CASE WHEN EXISTS (SELECT FROM changed) THEN 'true' ELSE '{SUPERSEDED}' END)::boolean AS did,
                    EXISTS (SELECT FROM promoted) OR EXISTS (SELECT FROM before WHERE silent > 0) AS next",
                promote("(SELECT entity FROM before)", "$4::bigint")
            ),
            effects_seen: format!(
                "SELECT held.state, held.token = $2::bytea AS mine
                FROM (VALUES (1)) AS one LEFT JOIN {inbox} AS held ON held.number = $1"
            ),
            forget: format!(
                "WITH {guard},
                old AS MATERIALIZED (
                    SELECT number FROM {inbox} AS held
                    JOIN unnest($1::bigint[], $2::bigint[]) AS one (number, finished_at) USING (number, finished_at), guard
                    WHERE held.state = 3 AND guard.holds ORDER BY number FOR UPDATE OF held
                ),
                gone AS (DELETE FROM {inbox} AS held USING old WHERE held.number = old.number RETURNING held.number)
                DELETE FROM {delivery} AS kept USING gone WHERE kept.number = gone.number"
            ),
            claim: format!(
                "WITH {guard}, {suspects},
                ended AS MATERIALIZED (
                    SELECT {candidate} FROM {inbox} WHERE state = 1 AND due_at <= $1 AND silent + 1 < $3
                    ORDER BY due_at, number LIMIT greatest($2::bigint - (SELECT due::integer FROM suspects), 0)
                    FOR NO KEY UPDATE SKIP LOCKED
                ),
                pending AS MATERIALIZED (
                    SELECT {candidate} FROM {inbox} WHERE state = 0 AND due_at <= $1
                    ORDER BY due_at, number
                    LIMIT greatest($2::bigint - (SELECT due::integer FROM suspects) - (SELECT count(*) FROM ended), 0)
                    FOR NO KEY UPDATE SKIP LOCKED
                ),
                due AS MATERIALIZED (
                    SELECT row_number() OVER (ORDER BY state DESC, due_at, number) AS place, *
                    FROM (SELECT * FROM ended UNION ALL SELECT * FROM pending) AS both_kinds
                ),
                {lease}, {claimed}"
            ),
            claim_suspect: format!(
                "WITH guard AS MATERIALIZED (
                    SELECT coalesce(current_setting('countersign.alone', true), '')::boolean AS holds
                ), {suspects},
                ended AS MATERIALIZED (
                    SELECT {candidate} FROM {inbox} WHERE state = 1 AND due_at <= $1 AND silent + 1 >= $3
                    AND (SELECT guard.holds AND suspects.due FROM guard, suspects)
                    ORDER BY due_at, number LIMIT $2::bigint FOR NO KEY UPDATE SKIP LOCKED
                ),
                due AS MATERIALIZED (SELECT row_number() OVER (ORDER BY due_at, number) AS place, * FROM ended),
                {lease}, {claimed}"
            ),
            bury: format!(
                "WITH {locked},
                changed AS (
                    UPDATE {inbox} SET state = 4, finished_at = $3, last_error = $4 FROM guard
                    WHERE number = $1 AND token = $2 AND state < 2 AND due_at <= $3 AND attempts >= $5 AND guard.holds
                    RETURNING 1
                ),
                {}
                SELECT EXISTS (SELECT FROM changed) AS did",
                promote("$6::bigint", "$3::bigint")
            ),
            // For what stays in the way of its entity, or has none.
            settle: format!(
                "WITH {guard},
                changed AS (
                    UPDATE {inbox} SET state = $3::smallint, due_at = $4::bigint, finished_at = $5::bigint, attempts = attempts - $6::integer, silent = 0,
                        last_error = CASE $3::smallint WHEN 3 THEN NULL ELSE coalesce($7::text, last_error) END
                    FROM guard
                    WHERE number = $1 AND token = $2 AND state = 1 AND (entity IS NULL OR $3::smallint = 0) AND guard.holds
                    RETURNING 1
                )
                SELECT {settled} FROM (VALUES (1)) AS one LEFT JOIN {inbox} AS before ON before.number = $1"
            ),
            finish: format!(
                "WITH {locked},
                changed AS (
                    UPDATE {inbox} SET state = $3::smallint, due_at = $4::bigint, finished_at = $5::bigint, attempts = attempts - $6::integer, silent = 0,
                        last_error = CASE $3::smallint WHEN 3 THEN NULL ELSE coalesce($7::text, last_error) END
                    FROM guard WHERE number = $1 AND token = $2 AND state = 1 AND guard.holds
                    RETURNING 1
                ),
                {}
                SELECT {settled}, EXISTS (SELECT FROM promoted) AS next
                FROM (VALUES (1)) AS one LEFT JOIN {inbox} AS before ON before.number = $1",
                promote("$8::bigint", "$4::bigint")
            ),
            extend: extend(" SKIP LOCKED"),
            extend_held_up: extend(""),
            // As if they had never been leased: what had run out before has run out again.
            take_back: format!(
                "WITH {guard},
                changed AS (
                    UPDATE {inbox} SET state = CASE WHEN silent > 0 THEN 1 ELSE 0 END, attempts = attempts - 1,
                        silent = greatest(silent - 1, 0), due_at = $2
                    FROM guard WHERE state = 1 AND token = ANY ($1::bytea[]) AND guard.holds
                    RETURNING 1
                )
                SELECT count(*) AS taken FROM changed"
            ),
            prune: prune(3),
            prune_dead: prune(4),
            replay_all: format!(
                "SELECT number, entity FROM {inbox} WHERE state = 4 AND number > $1 ORDER BY number LIMIT $2"
            ),
            replay_one: format!("SELECT number, entity FROM {inbox} WHERE number = $1"),
            retention: format!("SELECT {recorded} AS recorded"),
            replay: format!(
                "WITH {locked},
                chosen AS MATERIALIZED (
                    SELECT number, entity, state FROM {inbox}, guard
                    WHERE number = ANY ($1::bigint[]) AND state = ANY ($3::smallint[]) AND guard.holds
                    ORDER BY number FOR NO KEY UPDATE OF inbox
                ),
                placed AS (
                    SELECT number, CASE
                        WHEN state = 0 OR entity IS NULL THEN 0
                        WHEN row_number() OVER (PARTITION BY entity ORDER BY number) > 1 THEN 2
                        WHEN EXISTS (SELECT FROM {inbox} AS busy
                            WHERE busy.entity = chosen.entity AND busy.entity IS NOT NULL AND busy.state < 3) THEN 2
                        ELSE 0 END AS state
                    FROM chosen
                ),
                changed AS (
                    UPDATE {inbox} AS held SET state = placed.state, due_at = $2, attempts = 0, silent = 0,
                        finished_at = NULL
                    FROM placed WHERE held.number = placed.number
                    RETURNING 1
                )
                SELECT count(*) AS replayed FROM changed"
            ),
            list: format!(
                "SELECT {ENTRY}, {NAMES} FROM {inbox} AS held JOIN {delivery} AS delivery USING (number)
                WHERE held.number > $1 AND held.number < $2 AND {{state}}
                AND ($3::text IS NULL OR source = $3) AND ($4::text IS NULL OR event_type = $4)
                AND ($5::text IS NULL OR delivery_id = $5) AND ($6::bigint IS NULL OR finished_at <= $6)
                AND ($8::text IS NULL OR tenant = $8) AND ($9::text IS NULL OR delivery.entity = $9)
                ORDER BY held.number {{order}} LIMIT $7"
            ),
            show: format!(
                "SELECT {ENTRY}, {DELIVERY} FROM {inbox} AS held JOIN {delivery} AS delivery USING (number)
                WHERE held.number = $1"
            ),
            // Each number is counted in an index that holds little else.
            stats: format!(
                "WITH pending AS (SELECT count(*) AS count, min(number) AS first FROM {inbox} WHERE state = 0),
                running AS (SELECT count(*) AS count, min(number) AS first FROM {inbox} WHERE state = 1),
                waiting AS (SELECT count(*) AS count, min(number) AS first FROM {inbox}
                    WHERE entity IS NOT NULL AND state < 3 AND state = 2)
                SELECT pending.count AS pending, running.count AS running, waiting.count AS waiting,
                    (SELECT count(*) FROM {inbox} WHERE state = 3) AS done,
                    (SELECT count(*) FROM {inbox} WHERE state = 4) AS dead,
                    (SELECT received_at FROM {delivery}
                        WHERE number = least(pending.first, running.first, waiting.first)) AS oldest
                FROM pending, running, waiting"
            ),
            ping: format!(
                "WITH {guard}
                SELECT nextval('{numbers}'), pg_logical_emit_message(true, 'countersign', '')::text
                FROM guard WHERE guard.holds"
            ),
        }
    }
}
