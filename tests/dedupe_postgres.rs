//! The PostgreSQL store: the conformance suite, and what a network and its server do to it.

#![cfg(all(feature = "actix", feature = "postgres", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/claims.rs"]
mod claims;
mod common;
#[path = "common/servers.rs"]
mod servers;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use claims::{BODY, LEASE, PATIENCE, claim, done, in_time, key, new_claim, now, outages};
use countersign::{Claimed, DedupeStore, Fingerprint, PostgresStore, PostgresStoreError, Settled, StoreError};
use futures_util::future::join_all;
use servers::{Outage, Postgres, Proxy};
use tokio_postgres::{Client, NoTls};

/// A server that all tests share which do nothing to it.
fn shared() -> String {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).url()
}

async fn store(url: &str) -> PostgresStore {
    PostgresStore::builder(url).build().await.unwrap()
}

/// A connection past the store.
async fn admin(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// For what is not about time, on a machine that has little of it.
async fn patient(url: &str) -> PostgresStore {
    let builder = PostgresStore::builder(url).connections(4).response_timeout(Duration::from_millis(900));
    builder.build().await.unwrap()
}

mod conformance {
    countersign::dedupe_conformance!(super::patient(&super::shared()).await);
}

/// The same where the database was set to the strictest isolation, so that claims that meet are refused by the server.
mod conformance_serializable {
    async fn store() -> countersign::PostgresStore {
        let url = format!("{}?options=-c%20default_transaction_isolation%3Dserializable", super::shared());
        let limit = std::time::Duration::from_millis(900);
        countersign::PostgresStore::builder(&url)
            .schema("strict")
            .connections(4)
            .response_timeout(limit)
            .build()
            .await
            .unwrap()
    }

    countersign::dedupe_conformance!(store().await);
}

#[test]
fn of_64_claims_through_three_handles_one_is_new() {
    let url = shared();
    claims::race_in_one_process("race-1", async || {
        [Arc::new(patient(&url).await), Arc::new(patient(&url).await), Arc::new(patient(&url).await)]
    });
}

#[test]
fn of_64_claims_from_one_process_one_is_new() {
    claims::race_in_processes("racer", &shared(), 1);
}

#[test]
fn of_64_claims_from_three_processes_one_is_new() {
    claims::race_in_processes("racer", &shared(), 3);
}

#[test]
fn of_64_claims_from_eight_processes_one_is_new() {
    claims::race_in_processes("racer", &shared(), 8);
}

/// The processes of the three tests above; nothing unless they started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racer() {
    if let Some((url, name)) = claims::racer() {
        claims::run_racer(patient(&url).await, &name).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_an_error_and_is_found_again() {
    let mut server = Postgres::start();
    let store = Arc::new(store(&server.url()).await);
    outages(&store, &mut server, true).await;
}

/// When it goes on, it works through all that its kernel has kept, one process for each, before it comes to those that
/// somebody still waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_not_flooded_with_connections() {
    let mut server = Postgres::start();
    let proxy = Proxy::to(server.port());
    let store = store(&server.url().replace(&server.port().to_string(), &proxy.port.to_string())).await;
    // Each of the pool's eight once, and then one at a time; without that, some 64.
    claims::flood(&store, &mut server, &proxy, 32).await;
}

#[test]
fn a_receiver_answers_503_with_retry_after_while_postgres_is_away() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut server = Postgres::start();
    let url = server.url();
    claims::receiver_while_away(|| runtime.block_on(store(&url)), &mut server);
}

/// Somebody has claimed the key in a transaction that is still open, as an inbox would: whether it will be theirs nobody
/// can know, and it is not waited for.
#[tokio::test]
async fn a_claim_does_not_wait_for_somebody_elses_transaction() {
    let url = shared();
    let store = store(&url).await;
    let mut admin = admin(&url).await;
    let (inserted, updated) = (key("lock", 1), key("lock", 2));
    let token = new_claim(&store, &updated).await;
    let transaction = admin.transaction().await.unwrap();
    let insert = "INSERT INTO countersign.claims SELECT $1, 1, fingerprint, false, 0, nonce, prune_hour \
                  FROM countersign.claims WHERE key = $2";
    let (new, old) = (inserted.as_bytes().as_slice(), updated.as_bytes().as_slice());
    assert_eq!(transaction.execute(insert, &[&new, &old]).await.unwrap(), 1);
    let lock = "SELECT FROM countersign.claims WHERE key = $1 FOR UPDATE";
    transaction.query_one(lock, &[&old]).await.unwrap();

    // All of these are answered while the transaction is open.
    let error = in_time("a claim of a locked key", claim(&store, &inserted)).await.expect_err("nobody can know");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let held = in_time("a duplicate of what is held", claim(&store, &updated)).await;
    assert!(matches!(held, Ok(Claimed::InFlight { .. })), "what holds is told without the lock: {held:?}");
    let late = now().saturating_add(LEASE * 2);
    for _ in 0..2 {
        let takeover = store.claim(&updated, Fingerprint::of(BODY), LEASE, late);
        in_time("a takeover", takeover).await.expect_err("it is locked");
    }
    in_time("a completion", store.complete(&token, now())).await.expect_err("it is locked");
    // And none of them has kept a connection from others.
    done(&store, &key("lock", 3)).await;

    transaction.rollback().await.unwrap();
    assert!(matches!(claim(&store, &inserted).await, Ok(Claimed::New(_))));
    let recorded = async || matches!(claim(&store, &updated).await, Ok(Claimed::Done));
    let start = Instant::now();
    while !recorded().await {
        assert!(start.elapsed() < PATIENCE, "the completion is made up for");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// As after a failover to a server that is read-only still.
#[tokio::test]
async fn a_ping_finds_a_server_that_takes_no_writes_or_is_gone() {
    let mut server = Postgres::start();
    let store = store(&server.url()).await;
    store.ping().await.unwrap();
    let admin = admin(&server.url()).await;
    let read_only = async |on: &str| {
        admin.batch_execute(&format!("ALTER SYSTEM SET default_transaction_read_only = {on}")).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        let start = Instant::now();
        while store.ping().await.is_ok() == (on == "on") {
            assert!(start.elapsed() < Duration::from_secs(20), "read-only is {on}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    admin.batch_execute("SET default_transaction_read_only = off").await.unwrap();
    read_only("on").await;
    claim(&store, &key("ping", 1)).await.expect_err("it takes no writes");
    read_only("off").await;
    done(&store, &key("ping", 1)).await;
    server.stop();
    store.ping().await.expect_err("nobody is there");
    server.start_again();
}

#[tokio::test]
async fn an_empty_pool_is_an_error_and_not_waited_for() {
    let url = shared();
    let manager = deadpool_postgres::Manager::new(url.parse().unwrap(), NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).max_size(2).build().unwrap();
    let store = PostgresStore::with_pool(pool.clone()).build().await.unwrap();
    let taken = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let errors = join_all((0..64).map(|number| {
        let key = key("pool", number);
        let store = &store;
        async move { claim(store, &key).await }
    }));
    let errors = in_time("64 claims without a connection", errors).await;
    assert!(errors.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))));
    drop(taken);
    done(&store, &key("pool", 1)).await;
    assert_eq!(pool.status().waiting, 0);
}

#[tokio::test]
async fn connections_that_are_dead_without_a_word_are_given_up() {
    let server = Postgres::start();
    let proxy = Proxy::to(server.port());
    let url = server.url().replace(&server.port().to_string(), &proxy.port.to_string());
    let store = PostgresStore::builder(&url).connections(16).build().await.unwrap();
    claims::swallowed(&store, &proxy).await;
}

/// Whoever had the connection next would wait for an answer that is not theirs.
#[tokio::test]
async fn a_connection_whose_question_was_given_up_does_not_go_back_to_the_pool() {
    let url = shared();
    let manager = deadpool_postgres::Manager::new(url.parse().unwrap(), NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).max_size(1).build().unwrap();
    let store = PostgresStore::with_pool(pool.clone()).schema("given_up").build().await.unwrap();
    let token = new_claim(&store, &key("given-up", 1)).await;
    // What removes expired rows has used it as well.
    let start = Instant::now();
    while pool.status().available == 0 {
        assert!(start.elapsed() < PATIENCE, "{:?}", pool.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let admin = admin(&url).await;
    admin.batch_execute("BEGIN; LOCK TABLE given_up.claims IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let extended = store.extend(&token, LEASE, now());
    tokio::time::timeout(Duration::from_millis(30), extended).await.expect_err("it is locked");
    assert_eq!(pool.status().size, 0);
    admin.batch_execute("ROLLBACK").await.unwrap();
    done(&store, &key("given-up", 2)).await;
}

/// Senders that hang up, in the middle of a claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_are_dropped_half_way_take_no_connection_and_no_key_with_them() {
    let url = shared();
    let store = PostgresStore::builder(&url).connections(4).build().await.unwrap();
    claims::hang_ups(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twelve_processes_may_start_at_once_on_an_empty_database_and_again_on_a_full_one() {
    let server = Postgres::start();
    for _ in 0..2 {
        let url = server.url();
        let builds = (0..12).map(|_| {
            let builder = PostgresStore::builder(&url).connections(2);
            tokio::spawn(async move { builder.build().await })
        });
        for built in join_all(builds.collect::<Vec<_>>()).await {
            built.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_schema_may_have_any_name_and_shares_nothing_with_another() {
    let url = shared();
    for name in ["one", "Two words", "it's \"quoted\"; DROP TABLE claims; --", "ünïcode"] {
        let store = PostgresStore::builder(&url).schema(name).build().await.unwrap();
        done(&store, &key("schema", 1)).await;
        let again = PostgresStore::builder(&url).schema(name).build().await.unwrap();
        assert!(matches!(claim(&again, &key("schema", 1)).await, Ok(Claimed::Done)), "{name}");
        assert_eq!(again.prune().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_role_that_may_create_nothing_starts_where_the_table_is_and_a_foreign_table_is_refused() {
    let url = shared();
    let _store = PostgresStore::builder(&url).schema("granted").build().await.unwrap();
    let admin = admin(&url).await;
    let grants = "CREATE ROLE poor LOGIN;
        GRANT USAGE ON SCHEMA granted TO poor;
        GRANT SELECT, INSERT, UPDATE, DELETE ON granted.claims TO poor;
        GRANT USAGE ON SEQUENCE granted.claim_epochs TO poor;
        CREATE SCHEMA foreign_one CREATE TABLE claims (id int)";
    admin.batch_execute(grants).await.unwrap();
    let poor = url.replace("postgres@", "poor@");
    let store = PostgresStore::builder(&poor).schema("granted").build().await.unwrap();
    done(&store, &key("granted", 1)).await;
    let error = PostgresStore::builder(&poor).schema("elsewhere").build().await.expect_err("it may not create it");
    assert!(matches!(error, PostgresStoreError::Migration(_)), "{error:?}");
    assert!(error.to_string().contains("permission denied"), "{error}");
    let error = PostgresStore::builder(&url).schema("foreign_one").build().await.expect_err("it is another's");
    assert!(error.to_string().contains("set `schema` to a name of its own"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_flush_is_refused_and_the_setting_is_named() {
    let url = format!("{}?options=-c%20synchronous_commit%3Doff", shared());
    let error = PostgresStore::builder(&url).build().await.expect_err("it may forget");
    assert!(matches!(error, PostgresStoreError::UnflushedCommits), "{error:?}");
    assert!(error.to_string().contains("SET synchronous_commit = on"), "{error}");
    assert!(PostgresStore::builder(&url).danger_unflushed_commits().build().await.is_ok());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_and_without_the_password() {
    let mut server = Postgres::start();
    let url = server.url().replace("postgres@", "postgres:hunter2@");
    let store = PostgresStore::builder(&url).build().await.unwrap();
    server.stop();
    let claimed = claim(&store, &key("password", 1)).await.expect_err("nobody listens");
    let error = PostgresStore::builder(&url).build().await.expect_err("nobody listens");
    assert!(matches!(error, PostgresStoreError::Unreachable(_)), "{error:?}");
    for text in [format!("{error} {error:?}"), format!("{store:?}"), format!("{claimed:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn what_has_expired_is_removed_in_batches_and_nothing_else() {
    let url = shared();
    let store = PostgresStore::builder(&url).schema("pruned").build().await.unwrap();
    done(&store, &key("prune", 1)).await;
    let held = new_claim(&store, &key("prune", 2)).await;
    let admin = admin(&url).await;
    let old = "INSERT INTO pruned.claims
        SELECT sha256(n::text::bytea), n, decode(repeat('00', 16), 'hex'), n % 2 = 0, n, decode(repeat('00', 16), 'hex'), n
        FROM generate_series(1, 2500) AS n";
    admin.execute(old, &[]).await.unwrap();
    // One of them is locked, and not waited for.
    admin.batch_execute("BEGIN; SELECT FROM pruned.claims WHERE epoch = 77 AND ends = 77 FOR UPDATE").await.unwrap();
    assert_eq!(store.prune().await.unwrap(), 2_499);
    admin.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.prune().await.unwrap(), 1);
    assert!(matches!(claim(&store, &key("prune", 1)).await, Ok(Claimed::Done)));
    assert_eq!(store.complete(&held, now()).await.unwrap(), Settled::Current);
}

#[tokio::test]
async fn claims_remove_what_has_expired_by_themselves() {
    let url = shared();
    let builder = || PostgresStore::builder(&url).schema("pruned_alone");
    builder().build().await.unwrap();
    let admin = admin(&url).await;
    let old = "INSERT INTO pruned_alone.claims
        SELECT sha256('old'), 1, decode(repeat('00', 16), 'hex'), true, 1, decode(repeat('00', 16), 'hex'), 1";
    admin.execute(old, &[]).await.unwrap();
    let store = builder().build().await.unwrap();
    done(&store, &key("prune", 1)).await;
    let start = Instant::now();
    let left =
        async || -> i64 { admin.query_one("SELECT count(*) FROM pruned_alone.claims", &[]).await.unwrap().get(0) };
    while left().await > 1 {
        assert!(start.elapsed() < PATIENCE, "it is removed in the background");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The row stays for the retention and an hour, rounded up to an hour, by the server's clock.
#[tokio::test]
async fn a_row_may_be_removed_an_hour_after_it_has_expired_at_the_earliest() {
    let url = shared();
    let store = PostgresStore::builder(&url).schema("kept").retention(Duration::from_hours(2)).build().await.unwrap();
    done(&store, &key("kept", 1)).await;
    let admin = admin(&url).await;
    let row = admin.query_one("SELECT prune_hour, ends FROM kept.claims", &[]).await.unwrap();
    let (hour, ends): (i64, i64) = (row.get(0), row.get(1));
    let removed = hour * 3_600_000;
    assert!(removed >= ends + 3_600_000 && removed <= ends + 3 * 3_600_000, "{removed} {ends}");
}

#[tokio::test]
async fn moments_at_the_ends_of_time_are_moments() {
    claims::ends_of_time(&store(&shared()).await).await;
}

#[test]
fn a_claim_that_is_dropped_without_a_runtime_blocks_nobody_and_panics_nowhere() {
    claims::abandoned_without_a_runtime(async || store(&shared()).await);
}
