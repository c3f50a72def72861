//! The inbox on PostgreSQL: the conformance suite, and what a network, its server and other processes do to it.

#![cfg(all(feature = "postgres", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/servers.rs"]
mod servers;

mod inbox_common;
#[path = "inbox_common/postgres.rs"]
mod postgres;

use std::time::Duration;

use countersign::inbox::tokio_postgres::{Client, NoTls};
use countersign::inbox::{Accepted, CommitError, InboxStore, Lease, State, TransactionalStore, Wanted};
use countersign::{HandlerError, PostgresInbox, Settled, Timestamp};
use futures_util::future::join_all;
use inbox_common::{incoming, until};
use postgres::{admin, now, schema, shared};
use servers::Postgres;

const WANTED: Wanted = Wanted { limit: 10, lease: Duration::from_secs(30), max_attempts: 5 };

/// For what is not about time, on a machine that has little of it.
const PATIENCE: Duration = Duration::from_secs(10);

async fn keep(inbox: &PostgresInbox, id: &str) {
    assert_eq!(inbox.accept(incoming(id), now()).await.unwrap(), Accepted::New, "{id}");
}

/// Leases the one delivery that is due.
async fn lease(inbox: &PostgresInbox, now: Timestamp) -> Lease {
    let leased = inbox.claim(WANTED, now).await.unwrap().leased;
    assert_eq!(leased.len(), 1);
    leased[0].lease
}

async fn count(admin: &Client, table: &str) -> i64 {
    admin.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

async fn patient(url: &str, schema: &str) -> PostgresInbox {
    let builder = PostgresInbox::builder(url).schema(schema).connections(6).response_timeout(PATIENCE);
    builder.build().await.unwrap()
}

mod conformance {
    countersign::inbox_conformance!(super::patient(&super::shared(), &super::schema()).await);
}

/// The same where the database was set to the strictest isolation, so that steps that meet are refused by the server.
mod conformance_serializable {
    async fn store() -> countersign::PostgresInbox {
        let url = format!("{}?options=-c%20default_transaction_isolation%3Dserializable", super::shared());
        super::patient(&url, &super::schema()).await
    }

    countersign::inbox_conformance!(store().await);
}

/// A second program that writes into the tables, or a copy that was mended by hand.
#[tokio::test]
async fn a_row_that_nobody_can_read_is_buried_and_keeps_nothing_else_from_being_worked_on() {
    let (url, schema) = (shared(), schema());
    let inbox = patient(&url, &schema).await;
    for id in ["source", "fingerprint", "delivery", "sound"] {
        keep(&inbox, id).await;
    }
    let spoil = "UPDATE {}.inbox_delivery SET source = '' WHERE delivery_id = 'source'; \
                 UPDATE {}.inbox_delivery SET fingerprint = '\\x00' WHERE delivery_id = 'fingerprint'; \
                 DELETE FROM {}.inbox_delivery WHERE delivery_id = 'delivery'";
    let admin = admin(&url).await;
    admin.batch_execute(&spoil.replace("{}", &schema)).await.unwrap();
    let batch = inbox.claim(WANTED, now()).await.unwrap();
    let ids: Vec<_> = batch.leased.iter().map(|leased| leased.delivery.id.clone().unwrap().to_string()).collect();
    assert_eq!((ids, batch.buried), (vec!["sound".to_owned()], 3));
    assert_eq!(inbox.stats().await.unwrap().dead, 3);
    let words: String = admin
        .query_one(&format!("SELECT min(last_error) FROM {schema}.inbox WHERE state = 4"), &[])
        .await
        .unwrap()
        .get(0);
    assert!(words.starts_with("what is kept of it cannot be read"), "{words}");
}

/// An inbox in a schema of its own with one delivery in it, a table for effects, and a connection past the inbox.
async fn with_effects() -> (PostgresInbox, Client, String) {
    let (url, schema) = (shared(), schema());
    let inbox = patient(&url, &schema).await;
    let admin = admin(&url).await;
    let table = format!("{schema}.effect");
    let deferred = "CREATE TABLE {} (id text, other text UNIQUE DEFERRABLE INITIALLY DEFERRED)";
    admin.batch_execute(&deferred.replace("{}", &table)).await.unwrap();
    keep(&inbox, "a").await;
    (inbox, admin, table)
}

#[tokio::test]
async fn effects_and_completion_are_committed_together_or_not_at_all() {
    let (inbox, admin, table) = with_effects().await;
    let insert = format!("INSERT INTO {table} VALUES ($1, $2)");
    let start = now();
    let first = lease(&inbox, start).await;

    // Dropped, as by a panic or the time limit.
    let effects = inbox.begin(&first).await.unwrap();
    effects.execute(&insert, &[&"dropped", &"1"]).await.unwrap();
    drop(effects);
    // One of its statements failed, and the handler went on.
    let effects = inbox.begin(&first).await.unwrap();
    effects.execute(&insert, &[&"failed", &"1"]).await.unwrap();
    effects.batch_execute("SELECT 1 / 0").await.unwrap_err();
    let failed = inbox.commit(&first, effects, start).await.unwrap_err();
    assert!(matches!(&failed, CommitError::Effect(error) if !error.is_permanent()), "{failed}");
    // A constraint that is looked at with the commit.
    let effects = inbox.begin(&first).await.unwrap();
    effects.execute(&insert, &[&"twice", &"1"]).await.unwrap();
    effects.execute(&insert, &[&"twice", &"1"]).await.unwrap();
    let failed = inbox.commit(&first, effects, start).await.unwrap_err();
    assert!(matches!(&failed, CommitError::Effect(error) if !error.is_permanent()), "{failed}");
    assert_eq!(count(&admin, &table).await, 0);
    assert_eq!(inbox.stats().await.unwrap().running, 1);

    // Taken over in between: neither the effects nor the completion of the first are there.
    let effects = inbox.begin(&first).await.unwrap();
    effects.execute(&insert, &[&"late", &"1"]).await.unwrap();
    let later = start.saturating_add(WANTED.lease);
    let second = lease(&inbox, later).await;
    assert_eq!(inbox.commit(&first, effects, later).await.unwrap(), Settled::Superseded);
    assert_eq!(count(&admin, &table).await, 0);
    assert_eq!(inbox.stats().await.unwrap().running, 1);

    let effects = inbox.begin(&second).await.unwrap();
    effects.execute(&insert, &[&"good", &"1"]).await.unwrap();
    assert_eq!(inbox.commit(&second, effects, later).await.unwrap(), Settled::Current);
    assert_eq!(count(&admin, &table).await, 1);
    assert_eq!(inbox.stats().await.unwrap().done, 1);
}

#[tokio::test]
async fn a_handler_that_ends_its_transaction_is_found_out_and_its_isolation_is_settled() {
    let (inbox, admin, table) = with_effects().await;
    let lease = lease(&inbox, now()).await;
    for ends in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK; BEGIN", "ROLLBACK AND CHAIN", "RESET ALL"] {
        let effects = inbox.begin(&lease).await.unwrap();
        effects.batch_execute(ends).await.unwrap();
        effects.execute(&format!("INSERT INTO {table} VALUES ('lost')"), &[]).await.unwrap();
        let failed = inbox.commit(&lease, effects, now()).await.unwrap_err();
        assert!(matches!(&failed, CommitError::Effect(error) if error.is_permanent()), "{ends}: {failed}");
        assert_eq!(inbox.stats().await.unwrap().running, 1, "{ends}");
        admin.batch_execute(&format!("DELETE FROM {table}")).await.unwrap();
    }
    let effects = inbox.begin(&lease).await.unwrap();
    effects.batch_execute("SAVEPOINT a; SELECT 1; ROLLBACK TO a").await.unwrap();
    assert_eq!(inbox.commit(&lease, effects, now()).await.unwrap(), Settled::Current, "that is no end");
    // Of an entity: what is behind it is found only by a transaction that sees what others commit.
    let of_entity = |id| countersign::inbox::Incoming { entity: Some("e".to_owned()), ..incoming(id) };
    for id in ["e1", "e2"] {
        assert_eq!(inbox.accept(of_entity(id), now()).await.unwrap(), Accepted::New);
    }
    let lease = self::lease(&inbox, now()).await;
    let effects = inbox.begin(&lease).await.unwrap();
    effects.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.expect_err("it is settled");
    drop(effects);
    let effects = inbox.begin(&lease).await.unwrap();
    assert_eq!(inbox.commit(&lease, effects, now()).await.unwrap(), Settled::Current);
    assert_eq!(inbox.stats().await.unwrap().waiting, 0, "the next of its entity has been let go");
}

/// What one handler set on its connection, the next one does not have.
#[tokio::test]
async fn nothing_is_open_or_set_on_a_connection_that_comes_back() {
    let (url, schema) = (shared(), schema());
    let builder = PostgresInbox::builder(&url).schema(&schema).handler_connections(1).response_timeout(PATIENCE);
    let inbox = builder.build().await.unwrap();
    keep(&inbox, "a").await;
    let lease = lease(&inbox, now()).await;
    for commits in [false, true] {
        let effects = inbox.begin(&lease).await.unwrap();
        effects.batch_execute("SET search_path = nowhere; SET synchronous_commit = off").await.unwrap();
        if commits {
            effects.batch_execute("COMMIT; BEGIN; CREATE TEMP TABLE t (a int); SELECT 1").await.unwrap();
            inbox.commit(&lease, effects, now()).await.unwrap_err();
        } else {
            drop(effects);
        }
        // There is one connection, so the next has the same, unless it was closed.
        let effects = inbox.begin(&lease).await.unwrap();
        let show = "SELECT current_setting('search_path'), current_setting('synchronous_commit')";
        let row = effects.query_one(show, &[]).await.unwrap();
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("\"$user\", public", "on"));
    }
    // And as many handlers as there are get their turn.
    let all = join_all((0..8).map(|_| async { inbox.begin(&lease).await.map(drop) }));
    assert!(all.await.into_iter().all(|began| began.is_ok()));
    assert_eq!(inbox.complete(&lease, now()).await.unwrap(), Settled::Current);
}

/// On a new connection what ends the run is not prepared yet, so that the server refuses before it is asked to commit.
#[tokio::test]
async fn a_transaction_that_is_refused_before_its_commit_does_not_stay_open() {
    let url = shared();
    let manager = deadpool_postgres::Manager::new(url.parse().unwrap(), NoTls);
    let theirs = deadpool_postgres::Pool::builder(manager).max_size(1).build().unwrap();
    let admin = admin(&url).await;
    for pool in [None, Some(theirs)] {
        let builder = PostgresInbox::builder(&url).schema(schema()).handler_connections(1).response_timeout(PATIENCE);
        let inbox = match pool {
            Some(pool) => builder.handler_pool(pool),
            None => builder,
        };
        let inbox = inbox.build().await.unwrap();
        keep(&inbox, "a").await;
        let lease = lease(&inbox, now()).await;
        let effects = inbox.begin(&lease).await.unwrap();
        let pid: i32 = effects.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        effects.batch_execute("SELECT 1 / 0").await.unwrap_err();
        let failed = inbox.commit(&lease, effects, now()).await.unwrap_err();
        assert!(matches!(&failed, CommitError::Effect(error) if !error.is_permanent()), "{failed}");
        // Rolled back or closed.
        let open = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state LIKE 'idle in transaction%'";
        until("its end", async || admin.query_one(open, &[&pid]).await.unwrap().get::<_, i64>(0) == 0).await;
        let effects = inbox.begin(&lease).await.unwrap();
        assert_eq!(inbox.commit(&lease, effects, now()).await.unwrap(), Settled::Current);
    }
}

/// What a server says of a value that it refused quotes the value, which is of somebody's body.
#[tokio::test]
async fn what_a_constraint_quotes_goes_neither_to_the_log_nor_into_the_inbox() {
    let admin = admin(&shared()).await;
    admin.batch_execute("CREATE TEMP TABLE account (mail text PRIMARY KEY)").await.unwrap();
    let insert = "INSERT INTO account VALUES ('a@example.org')";
    admin.batch_execute(insert).await.unwrap();
    let error = admin.batch_execute(insert).await.unwrap_err();
    assert!(format!("{error:?}").contains("a@example.org"), "the server quotes it");
    let of_handler = HandlerError::retryable(error);
    let told = of_handler.to_string();
    assert!(told.contains("duplicate key value violates unique constraint \"account_pkey\""), "{told}");
    assert!(!told.contains("a@example.org") && !told.contains('\n'), "{told}");
}

/// The delivery is not locked while its handler runs, and the inbox has connections of its own.
#[tokio::test]
async fn while_handlers_hold_all_their_connections_everything_else_goes_on() {
    let (url, schema) = (shared(), schema());
    let builder =
        PostgresInbox::builder(&url).schema(&schema).connections(2).handler_connections(2).response_timeout(PATIENCE);
    let inbox = builder.build().await.unwrap();
    keep(&inbox, "a").await;
    let held = lease(&inbox, now()).await;
    let open = [inbox.begin(&held).await.unwrap(), inbox.begin(&held).await.unwrap()];
    open[0].batch_execute(&format!("CREATE TABLE {schema}.t (a int)")).await.unwrap();
    let third = inbox.begin(&held);
    let mut third = std::pin::pin!(third);
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut third).await;
    assert!(waits.is_err(), "it waits for its turn");
    assert_eq!(inbox.accept(incoming("a"), now()).await.unwrap(), Accepted::Duplicate(State::Running));
    keep(&inbox, "b").await;
    let other = lease(&inbox, now()).await;
    assert_eq!(inbox.extend(&[held, other], WANTED.lease, now()).await.unwrap(), [Settled::Current; 2]);
    assert_eq!(inbox.complete(&other, now()).await.unwrap(), Settled::Current);
    drop(open);
    let effects = third.await.unwrap();
    assert_eq!(inbox.commit(&held, effects, now()).await.unwrap(), Settled::Current);
}

/// A busy machine is slow to start a process for each connection. What is given up there begins anew.
#[tokio::test]
async fn a_handler_waits_for_a_server_that_is_slow_to_connect_for_longer_than_a_sender_does() {
    let server = Postgres::start();
    let (url, schema) = (server.url(), schema());
    let builder = PostgresInbox::builder(&url).schema(&schema).response_timeout(Duration::from_millis(300));
    let (inbox, admin) = (builder.build().await.unwrap(), admin(&url).await);
    until("an accept", async || inbox.accept(incoming("a"), now()).await.is_ok()).await;
    let held = lease(&inbox, now()).await;
    admin.batch_execute("ALTER SYSTEM SET pre_auth_delay = 1").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    let effects = inbox.begin(&held).await.unwrap();
    let delayed: String = effects.query_one("SHOW pre_auth_delay", &[]).await.unwrap().get(0);
    assert_eq!(delayed, "1s");
    assert_eq!(inbox.commit(&held, effects, now()).await.unwrap(), Settled::Current);
}

/// Before the commit nothing is there; in the middle of it both are or neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_killed_before_or_during_the_commit_doubles_and_loses_nothing() {
    let (inbox, admin, table) = with_effects().await;
    let insert = format!("INSERT INTO {table} VALUES ($1)");
    let held = lease(&inbox, now()).await;
    let effects = inbox.begin(&held).await.unwrap();
    effects.execute(&insert, &[&"a"]).await.unwrap();
    let pid: i32 = effects.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    let failed = inbox.commit(&held, effects, now()).await.unwrap_err();
    assert!(matches!(failed, CommitError::Inbox(_)), "{failed}");
    assert_eq!((count(&admin, &table).await, inbox.stats().await.unwrap().running), (0, 1));

    // A trigger that is run by the commit kills its own connection, or another does while it runs.
    let slow = format!(
        "CREATE FUNCTION {table}_slow() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION {table}_slow()"
    );
    admin.batch_execute(&slow).await.unwrap();
    let mut committed = 0;
    for round in 0..6_u64 {
        let effects = inbox.begin(&held).await.unwrap();
        effects.execute(&insert, &[&"a"]).await.unwrap();
        let pid: i32 = effects.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let kill = async {
            // The last one is left alone, however slow this machine is.
            if round < 5 {
                tokio::time::sleep(Duration::from_millis(50 * round)).await;
                admin.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
            }
        };
        let (settled, ()) = futures_util::future::join(inbox.commit(&held, effects, now()), kill).await;
        let (effects, stats) = (count(&admin, &table).await, inbox.stats().await.unwrap());
        assert_eq!(effects, i64::from(stats.done > 0), "round {round}: both or neither");
        match settled {
            Ok(settled) => {
                assert_eq!((settled, stats.done), (Settled::Current, 1));
                committed += 1;
                break;
            }
            Err(error) => assert!(matches!(error, CommitError::Inbox(_)) && stats.running == 1, "{error}"),
        }
    }
    assert_eq!(committed, 1, "the last one is not killed");
}

/// A lock that is held, or anything else that keeps one of them from being buried.
#[tokio::test]
async fn what_cannot_be_buried_keeps_nothing_else_from_its_worker() {
    let (url, schema) = (shared(), schema());
    let (inbox, admin) = (patient(&url, &schema).await, admin(&url).await);
    let refuse = format!(
        "CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON {schema}.inbox FOR EACH ROW WHEN (NEW.state = 4)
            EXECUTE FUNCTION {schema}.refuse()"
    );
    admin.batch_execute(&refuse).await.unwrap();
    let start = now();
    keep(&inbox, "spent").await;
    let spent = lease(&inbox, now()).await;
    assert_eq!(inbox.retry(&spent, start, "busy", now()).await.unwrap(), Settled::Current);
    keep(&inbox, "good").await;
    let wanted = Wanted { max_attempts: 1, ..WANTED };
    let batch = inbox.claim(wanted, now()).await.unwrap();
    assert_eq!((batch.leased.len(), batch.buried), (1, 0));
    assert_eq!(inbox.complete(&batch.leased[0].lease, now()).await.unwrap(), Settled::Current);
    // With nothing leased it is told as it is.
    inbox.claim(wanted, now()).await.unwrap_err();
    admin.batch_execute(&format!("DROP TRIGGER refuse ON {schema}.inbox")).await.unwrap();
    assert_eq!(inbox.claim(wanted, now()).await.unwrap().buried, 1);
}
