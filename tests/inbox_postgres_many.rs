//! The inbox on PostgreSQL with many processes at it, and with a server that is other than it should be.

#![cfg(all(feature = "postgres", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/servers.rs"]
mod servers;

mod inbox_common;
#[path = "inbox_common/postgres.rs"]
mod postgres;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::inbox::tokio_postgres::NoTls;
use countersign::inbox::{
    Accepted, InboxError, InboxStore, PostgresInboxError, Query, Replay, State, TransactionalStore, Wanted,
};
use countersign::{PostgresInbox, Settled};
use futures_util::future::join_all;
use inbox_common::{incoming, until, what_the_longest_remembers_nobody_forgets};
use postgres::{admin, now, of_entity, schema, shared};
use servers::{Outage, Postgres, Proxy};

const WANTED: Wanted = Wanted { limit: 10, lease: Duration::from_secs(30), max_attempts: 5 };
const SECOND: Duration = Duration::from_secs(1);

/// What a call may take, and a lock a third of it: what it is unless told in the long forms, with time to spare in the
/// short one.
fn limit() -> Duration {
    Duration::from_millis(if servers::is_long_form() { 500 } else { 8_000 })
}

/// How often, beside what a test does in seconds.
fn rounds(short: usize) -> usize {
    std::env::var("COUNTERSIGN_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(short)
}

/// As many processes would have it: each its own connections, its own queue, its own bell.
async fn stores(url: &str, schema: &str, count: usize) -> Vec<PostgresInbox> {
    let patient = || {
        let builder = PostgresInbox::builder(url).schema(schema).connections(4).handler_connections(4);
        builder.response_timeout(Duration::from_secs(10)).build()
    };
    join_all((0..count).map(|_| patient())).await.into_iter().map(Result::unwrap).collect()
}

// Many at once.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_processes_may_start_at_once_on_an_empty_schema_and_again_on_a_full_one() {
    let schema = schema();
    for _ in 0..2 {
        let stores = stores(&shared(), &schema, 8).await;
        stores[7].ping().await.unwrap();
    }
    let admin = admin(&shared()).await;
    let versions = admin.query(&format!("SELECT version FROM {schema}.inbox_schema"), &[]).await.unwrap();
    assert_eq!(versions.len(), 1, "one of them has made the tables");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_accepts_through_three_stores_one_is_new() {
    let stores = Arc::new(stores(&shared(), &schema(), 3).await);
    let longest = Arc::new(Mutex::new(Duration::ZERO));
    for round in 0..rounds(20) {
        let tasks = (0..64).map(|number| {
            let (stores, longest) = (Arc::clone(&stores), Arc::clone(&longest));
            tokio::spawn(async move {
                let start = Instant::now();
                let accepted = stores[number % 3].accept(incoming(&format!("msg_{round}")), now()).await.unwrap();
                let mut longest = longest.lock().unwrap();
                *longest = longest.max(start.elapsed());
                accepted
            })
        });
        let accepted: Vec<_> = join_all(tasks.collect::<Vec<_>>()).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(accepted.iter().filter(|accepted| **accepted == Accepted::New).count(), 1, "round {round}");
        assert!(accepted.iter().all(|accepted| !matches!(accepted, Accepted::Conflict)), "round {round}");
    }
    println!("longest wait: {} ms", longest.lock().unwrap().as_millis());
}

/// What the checker writes down: who ran when.
#[derive(Default)]
struct Seen {
    running: Mutex<BTreeMap<String, String>>,
    order: Mutex<BTreeMap<String, Vec<i64>>>,
    mistakes: Mutex<Vec<String>>,
}

/// Accepts race with the ends of their predecessors, retries, releases, deaths and replays; workers of all stores race
/// for what is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deliveries_of_one_entity_run_in_order_one_at_a_time_with_eight_processes_racing() {
    const ENTITIES: usize = 3;
    let each = rounds(12);
    let schema = schema();
    let stores = Arc::new(stores(&shared(), &schema, 8).await);
    let (seen, accepting) = (Arc::new(Seen::default()), Arc::new(AtomicUsize::new(8)));
    let tasks = (0..8).flat_map(|at| {
        let (store, accepts) = (stores[at].clone(), Arc::clone(&accepting));
        let accept = tokio::spawn(async move {
            for number in 0..each {
                for entity in 0..ENTITIES {
                    let kept = of_entity(&format!("{at}_{number}_{entity}"), &format!("e{entity}"));
                    assert_eq!(store.accept(kept, now()).await.unwrap(), Accepted::New);
                }
            }
            accepts.fetch_sub(1, Ordering::SeqCst);
        });
        let (store, accepts, seen) = (stores[at].clone(), Arc::clone(&accepting), Arc::clone(&seen));
        let work = tokio::spawn(async move {
            loop {
                let over = accepts.load(Ordering::SeqCst) == 0;
                let leased = store.claim(WANTED, now()).await.unwrap().leased;
                if leased.is_empty() && over {
                    let stats = store.stats().await.unwrap();
                    if (stats.pending, stats.running, stats.waiting) == (0, 0, 0) {
                        return;
                    }
                }
                for leased in leased {
                    let (lease, id) = (leased.lease, leased.delivery.id.unwrap().to_string());
                    let entity = id.rsplit('_').next().unwrap().to_owned();
                    if let Some(other) = seen.running.lock().unwrap().insert(entity.clone(), id.clone()) {
                        seen.mistakes.lock().unwrap().push(format!("{id} runs beside {other}"));
                    }
                    tokio::task::yield_now().await;
                    seen.running.lock().unwrap().remove(&entity);
                    let how = lease.number % 5;
                    if how != 1 || lease.attempt > 1 {
                        seen.order.lock().unwrap().entry(entity).or_default().push(lease.number);
                    }
                    let settled = match how {
                        1 if lease.attempt == 1 => store.retry(&lease, now(), "once more", now()).await,
                        2 => store.dead(&lease, "hopeless", now()).await,
                        3 => match store.begin(&lease).await {
                            Ok(effects) => Ok(store.commit(&lease, effects, now()).await.unwrap()),
                            Err(error) => Err(error),
                        },
                        _ => store.complete(&lease, now()).await,
                    };
                    assert_eq!(settled.unwrap(), Settled::Current);
                }
            }
        });
        [accept, work]
    });
    let all = join_all(tasks.collect::<Vec<_>>());
    let ended = tokio::time::timeout(Duration::from_secs(120), all).await;
    let stats = stores[0].stats().await.unwrap();
    let ended = ended.unwrap_or_else(|_| panic!("something waits that nobody lets go: {stats:?}"));
    ended.into_iter().for_each(Result::unwrap);
    assert_eq!(*seen.mistakes.lock().unwrap(), [""; 0]);
    assert_eq!(stats.done + stats.dead, (8 * each * ENTITIES) as u64);
    for (entity, numbers) in &*seen.order.lock().unwrap() {
        assert!(numbers.is_sorted(), "{entity} in the order of acceptance: {numbers:?}");
    }
    // The dead of an entity come back one behind the other, however many replay them at once.
    let dead = stats.dead;
    let replayed = join_all(stores.iter().map(|store| store.replay(Replay::AllDead, now()))).await;
    assert_eq!(replayed.into_iter().map(Result::unwrap).sum::<u64>(), dead);
    let stats = stores[0].stats().await.unwrap();
    assert_eq!((stats.pending, stats.pending + stats.waiting), (ENTITIES as u64, dead));
}

/// Each store leases what is suspected of killing its process; however many ask at the same moment, one has one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_suspect_is_leased_at_a_time_however_many_processes_ask() {
    let stores = stores(&shared(), &schema(), 8).await;
    for number in 0..16 {
        stores[0].accept(incoming(&format!("msg_{number}")), now()).await.map(drop).unwrap();
    }
    let wanted = Wanted { limit: 16, max_attempts: 50, ..WANTED };
    let mut moment = now();
    for _ in 0..2 {
        assert_eq!(stores[0].claim(wanted, moment).await.unwrap().leased.len(), 16);
        moment = moment.saturating_add(wanted.lease);
    }
    let stores = Arc::new(stores);
    for round in 0..rounds(10) {
        let claims = (0..24).map(|at| {
            let stores = Arc::clone(&stores);
            tokio::spawn(async move { stores[at % 8].claim(wanted, moment).await.unwrap().leased })
        });
        let leased: Vec<_> = join_all(claims.collect::<Vec<_>>()).await.into_iter().flat_map(Result::unwrap).collect();
        assert!(leased.len() <= 1, "round {round}: {} suspects at once", leased.len());
        moment = moment.saturating_add(wanted.lease);
    }
}

/// Somebody has locked the row in a transaction that is still open. Its duplicates need no lock; what needs one says so
/// in time.
#[tokio::test]
async fn a_duplicate_does_not_wait_for_somebody_elses_transaction() {
    let (url, schema) = (shared(), schema());
    let inbox = PostgresInbox::builder(&url).schema(&schema).response_timeout(limit()).build().await.unwrap();
    for id in ["locked", "free"] {
        assert_eq!(inbox.accept(incoming(id), now()).await.unwrap(), Accepted::New);
    }
    let leased = inbox.claim(WANTED, now()).await.unwrap().leased;
    let admin = admin(&url).await;
    let lock = format!(
        "BEGIN; SELECT FROM {schema}.inbox WHERE number = {n} FOR UPDATE;
         SELECT FROM {schema}.inbox_delivery WHERE number = {n} FOR UPDATE;
         INSERT INTO {schema}.inbox_delivery SELECT -1, '\\x{key}', fingerprint, received_at, signed_at, source, tenant,
         delivery_id, event_type, key_id, entity, authenticated, content_digest, headers, body
         FROM {schema}.inbox_delivery WHERE number = {n}",
        n = leased[0].lease.number,
        key = incoming("unsure").key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    );
    admin.batch_execute(&lock).await.unwrap();
    let bounded = async |what: &str, answer: &mut (dyn Future<Output = Result<String, InboxError>> + Unpin)| {
        let start = Instant::now();
        let answer = answer.await.map_err(|error| error.to_string());
        assert!(start.elapsed() < servers::bound(SECOND), "{what}: {:?}", start.elapsed());
        answer
    };
    let told = |answer: Result<Accepted, InboxError>| answer.map(|accepted| format!("{accepted:?}"));
    let mut duplicate = Box::pin(async { told(inbox.accept(incoming("locked"), now()).await) });
    assert_eq!(bounded("a duplicate", &mut duplicate).await.unwrap(), "Duplicate(Running)");
    // A key that somebody has inserted and not committed: whether it will be theirs nobody can know.
    let start = Instant::now();
    let both = join_all(["unsure", "beside"].map(|id| inbox.accept(incoming(id), now()))).await;
    assert!(start.elapsed() < servers::bound(SECOND), "{:?}", start.elapsed());
    assert!(both[0].is_err(), "{both:?}");
    assert_eq!(*both[1].as_ref().unwrap(), Accepted::New, "nobody else is held up");
    let mut completion =
        Box::pin(async { inbox.complete(&leased[0].lease, now()).await.map(|settled| format!("{settled:?}")) });
    bounded("a completion", &mut completion).await.unwrap_err();
    let both: Vec<_> = leased.iter().map(|leased| leased.lease).collect();
    assert_eq!(inbox.extend(&both, WANTED.lease, now()).await.unwrap(), [Settled::Current; 2]);
    admin.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(inbox.complete(&leased[0].lease, now()).await.unwrap(), Settled::Current);
}

/// There is nobody left to write, and nothing is kept back for a writer that will never come.
#[test]
fn when_the_runtime_that_an_inbox_was_built_on_has_ended_every_accept_says_so() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let builder = PostgresInbox::builder(&shared()).schema(schema()).queue(8);
    let inbox = first.block_on(builder.build()).unwrap();
    drop(first);
    runtime().block_on(async {
        for number in 0..20 {
            let refused = inbox.accept(incoming(&format!("msg_{number}")), now()).await.unwrap_err().to_string();
            assert!(refused.contains("runtime that it was built on has ended"), "{number}: {refused}");
        }
    });
}

/// As by a claim that came too late: it locks the row that another has leased, and gives it back when it has committed.
#[tokio::test]
async fn a_lease_is_renewed_whose_row_somebody_holds_for_a_moment() {
    let (url, schema) = (shared(), schema());
    // Locks are waited for a third as long, and somebody has to see that they are.
    let builder = PostgresInbox::builder(&url).schema(&schema).response_timeout(Duration::from_secs(10));
    let inbox = builder.build().await.unwrap();
    for id in ["held", "free"] {
        assert_eq!(inbox.accept(incoming(id), now()).await.unwrap(), Accepted::New);
    }
    let start = now();
    let leased = inbox.claim(WANTED, start).await.unwrap().leased;
    let both: Vec<_> = leased.iter().map(|leased| leased.lease).collect();
    let (holder, admin) = (admin(&url).await, admin(&url).await);
    holder
        .batch_execute(&format!(
            "BEGIN; SELECT FROM {schema}.inbox WHERE number = {} FOR NO KEY UPDATE",
            both[0].number
        ))
        .await
        .unwrap();
    let later = start.saturating_add(WANTED.lease / 2);
    let extending = tokio::spawn({
        let (inbox, both) = (inbox.clone(), both.clone());
        async move { inbox.extend(&both, WANTED.lease, later).await.unwrap() }
    });
    let waits = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{schema}%FOR NO KEY UPDATE%'"
    );
    until("the row to be waited for", async || admin.query_one(&waits, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(extending.await.unwrap(), [Settled::Current; 2]);
    let former_end = start.saturating_add(WANTED.lease);
    assert_eq!(inbox.claim(WANTED, former_end).await.unwrap().leased.len(), 0, "somebody has them");
}

// A server that is not as it should be.

fn with_options(url: &str, options: &str) -> String {
    format!("{url}?options={}", options.replace(' ', "%20").replace('=', "%3D"))
}

#[tokio::test]
async fn a_server_that_does_not_flush_is_refused_and_one_that_is_told_so_later_flushes_all_the_same() {
    let server = Postgres::start();
    let (url, schema) = (server.url(), schema());
    let off = with_options(&url, "-c synchronous_commit=off");
    let error = PostgresInbox::builder(&off).build().await.expect_err("it may forget");
    assert!(matches!(error, PostgresInboxError::UnflushedCommits { setting: "synchronous_commit" }), "{error:?}");
    assert!(error.to_string().contains("SET synchronous_commit = on"), "{error}");
    for waits in ["local", "remote_write", "remote_apply", "on"] {
        let url = with_options(&url, &format!("-c synchronous_commit={waits}"));
        PostgresInbox::builder(&url).schema(&schema).build().await.unwrap();
    }
    // Somebody changes their mind, for the role and for the database: connections from then on are without it.
    let inbox = PostgresInbox::builder(&url).schema(&schema).connections(2).build().await.unwrap();
    let admin = admin(&url).await;
    let change =
        "ALTER ROLE postgres SET synchronous_commit = off; ALTER DATABASE postgres SET synchronous_commit = off;
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'countersign'";
    admin.batch_execute(change).await.unwrap();
    until("new connections", async || inbox.ping().await.is_ok()).await;
    // What is committed without a flush is written a moment later; what is flushed is there at once.
    for number in 0..20 {
        let accepted = inbox.accept(incoming(&format!("msg_{number}")), now()).await.unwrap();
        assert_eq!(accepted, Accepted::New);
        let row = admin.query_one("SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn() < 256", &[]).await;
        assert!(row.unwrap().get::<_, bool>(0), "accept {number} is not on the disk");
    }
}

#[tokio::test]
async fn a_server_with_fsync_off_or_another_encoding_is_refused() {
    let server = Postgres::with(&["fsync=off"]);
    let error = PostgresInbox::builder(&server.url()).build().await.expect_err("it may forget");
    assert!(matches!(error, PostgresInboxError::UnflushedCommits { setting: "fsync" }), "{error:?}");
    PostgresInbox::builder(&server.url()).danger_unflushed_commits().build().await.unwrap();
    let latin = "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    admin(&server.url()).await.batch_execute(latin).await.unwrap();
    let url = format!("{}/latin", server.url().rsplit_once('/').unwrap().0);
    let error = PostgresInbox::builder(&url).build().await.expect_err("it cannot hold every text");
    assert!(matches!(error, PostgresInboxError::Encoding { .. }), "{error:?}");
}

#[tokio::test]
async fn tables_of_a_newer_program_or_of_another_are_refused_and_older_ones_are_brought_up() {
    let (url, schema) = (shared(), schema());
    let admin = admin(&url).await;
    let missing = PostgresInbox::builder(&url).schema(&schema).existing().build().await.expect_err("there is none");
    assert!(matches!(missing, PostgresInboxError::Missing { .. }), "{missing:?}");
    // As a program left it that was ended before it made its first tables.
    admin
        .batch_execute(&format!("CREATE SCHEMA {schema} CREATE TABLE inbox_schema (version integer NOT NULL)"))
        .await
        .unwrap();
    let missing = PostgresInbox::builder(&url).schema(&schema).existing().build().await.expect_err("there is none");
    assert!(matches!(missing, PostgresInboxError::Missing { .. }), "a tool makes no tables: {missing:?}");
    let inbox = PostgresInbox::builder(&url).schema(&schema).build().await.unwrap();
    assert_eq!(inbox.accept(incoming("a"), now()).await.unwrap(), Accepted::New);
    PostgresInbox::builder(&url).schema(&schema).existing().build().await.unwrap();
    admin.batch_execute(&format!("INSERT INTO {schema}.inbox_schema VALUES (99)")).await.unwrap();
    let newer = PostgresInbox::builder(&url).schema(&schema).build().await.expect_err("it is newer");
    assert!(matches!(newer, PostgresInboxError::Version { found: 99, .. }), "{newer:?}");
    admin.batch_execute(&format!("CREATE SCHEMA {schema}_2 CREATE TABLE inbox (mail text)")).await.unwrap();
    let other = PostgresInbox::builder(&url).schema(format!("{schema}_2")).build().await.expect_err("it is another's");
    assert!(matches!(other, PostgresInboxError::Layout), "{other:?}");
    let (find, second) = ("SELECT count(*) FROM pg_tables WHERE schemaname = $1", format!("{schema}_2"));
    let tables = admin.query_one(find, &[&second]).await.unwrap();
    assert_eq!(tables.get::<_, i64>(0), 1, "nothing was made beside it");
}

#[tokio::test]
async fn tables_of_version_1_are_brought_up_and_remember_for_as_long_as_who_opens_them() {
    let (url, schema) = (shared(), schema());
    let builder = || PostgresInbox::builder(&url).schema(&schema).retention(Duration::from_hours(7));
    assert_eq!(builder().build().await.unwrap().accept(incoming("a"), now()).await.unwrap(), Accepted::New);
    let undo = format!("DROP TABLE {schema}.inbox_retention; UPDATE {schema}.inbox_schema SET version = 1");
    admin(&url).await.batch_execute(&undo).await.unwrap();
    let older = builder().existing().build().await.expect_err("a tool changes nothing");
    assert!(matches!(older, PostgresInboxError::Older { found: 1, known: 2 }), "{older:?}");
    for _ in 0..2 {
        let inbox = builder().build().await.unwrap();
        assert_eq!(inbox.longest_retention().await.unwrap(), Duration::from_hours(7));
        assert_eq!(inbox.stats().await.unwrap().pending, 1);
    }
}

#[tokio::test]
async fn what_the_longest_retention_remembers_no_other_process_forgets() {
    let (url, schema, hours) = (shared(), schema(), Duration::from_hours);
    let builder = || PostgresInbox::builder(&url).schema(&schema).connections(2).response_timeout(10 * SECOND);
    let short = builder().keep_dead(hours(80)).build().await.unwrap();
    let long = builder().retention(hours(11 * 24)).build().await.unwrap();
    let tool = builder().retention(hours(1)).keep_dead(hours(1)).existing().build().await.unwrap();
    what_the_longest_remembers_nobody_forgets(short, long, tool).await;
}

#[tokio::test]
async fn a_tool_never_raises_the_retention_and_only_danger_lowers_it() {
    // Where a process that waited for another would not see what it has written.
    let url = with_options(&shared(), "-c default_transaction_isolation=serializable");
    let (schema, hours) = (schema(), Duration::from_hours);
    let builder = |longest| PostgresInbox::builder(&url).schema(&schema).retention(hours(longest));
    let first = builder(80).build().await.unwrap();
    for (opened, longest) in [
        (builder(1_000).existing(), 80),
        (builder(1_000).existing().danger_forget_early(), 80),
        (builder(1), 80),
        (builder(2).existing().danger_forget_early(), 2),
        (builder(3).danger_forget_early(), 3),
        (builder(1).danger_forget_early(), 1),
        (builder(80), 80),
    ] {
        let opened = opened.build().await.unwrap();
        assert_eq!(opened.longest_retention().await.unwrap(), hours(longest));
        assert_eq!(first.longest_retention().await.unwrap(), hours(longest), "for all");
    }
    let all = join_all((81..89).map(|longest| builder(longest).build())).await;
    assert!(all.iter().all(Result::is_ok), "at once: {all:?}");
    assert_eq!(first.longest_retention().await.unwrap(), hours(88));
}

#[tokio::test]
async fn a_role_that_may_create_nothing_starts_where_the_tables_are() {
    let (url, schema) = (shared(), schema());
    PostgresInbox::builder(&url).schema(&schema).build().await.unwrap();
    let grants = format!(
        "CREATE ROLE {schema} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema};
         GRANT SELECT ON {schema}.inbox_schema, {schema}.inbox_retention TO {schema};
         GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.inbox, {schema}.inbox_delivery TO {schema};
         GRANT USAGE ON SEQUENCE {schema}.inbox_numbers TO {schema}"
    );
    admin(&url).await.batch_execute(&grants).await.unwrap();
    let poor = url.replace("postgres@", &format!("{schema}@"));
    let inbox = PostgresInbox::builder(&poor).schema(&schema).build().await.unwrap();
    inbox.ping().await.unwrap();
    assert_eq!(inbox.accept(of_entity("a", "e"), now()).await.unwrap(), Accepted::New);
    let lease = inbox.claim(WANTED, now()).await.unwrap().leased[0].lease;
    let effects = inbox.begin(&lease).await.unwrap();
    assert_eq!(inbox.commit(&lease, effects, now()).await.unwrap(), Settled::Current);
    assert_eq!(inbox.replay(Replay::One(lease.number), now()).await.unwrap(), 1);
    assert_eq!(inbox.list(Query::of(State::Pending)).await.unwrap().len(), 1);
    assert_eq!(inbox.prune(10, now()).await.unwrap(), 0);
    // What it cannot have all others remember for it must not promise.
    let longer = || PostgresInbox::builder(&poor).schema(&schema).retention(Duration::from_hours(100)).build();
    let error = longer().await.expect_err("it may not raise it");
    assert!(error.to_string().contains("permission denied for table inbox_retention"), "{error}");
    let grant = format!("GRANT UPDATE ON {schema}.inbox_retention TO {schema}");
    admin(&url).await.batch_execute(&grant).await.unwrap();
    assert_eq!(longer().await.unwrap().longest_retention().await.unwrap(), Duration::from_hours(100));
    let error = PostgresInbox::builder(&poor).schema("elsewhere").build().await.expect_err("it may not create it");
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
async fn every_mistake_is_reported_at_once_and_no_password_with_it() {
    let builder = PostgresInbox::builder("postgres://user:hunter2@host:port/").schema("").retention(Duration::ZERO);
    let builder = builder.connections(1).handler_connections(0).queue(0).response_timeout(Duration::ZERO);
    assert!(!format!("{builder:?}").contains("hunter2"));
    let error = builder.build().await.expect_err("seven mistakes");
    let PostgresInboxError::Settings(mistakes) = &error else { panic!("{error}") };
    assert_eq!(mistakes.len(), 7, "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let mut server = Postgres::start();
    let url = server.url().replace("postgres@", "postgres:hunter2@");
    let inbox = PostgresInbox::builder(&url).build().await.unwrap();
    server.stop();
    let refused = inbox.accept(incoming("a"), now()).await.expect_err("nobody listens");
    let error = PostgresInbox::builder(&url).build().await.expect_err("nobody listens");
    assert!(matches!(error, PostgresInboxError::Unreachable(_)), "{error:?}");
    for text in [format!("{error} {error:?}"), format!("{inbox:?}"), format!("{refused} {refused:?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

// The network, and a server that goes away.

#[tokio::test]
async fn an_empty_pool_and_a_full_queue_are_errors_within_the_bound() {
    let url = shared();
    let manager = deadpool_postgres::Manager::new(url.parse().unwrap(), NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).max_size(2).build().unwrap();
    let inbox = PostgresInbox::with_pool(pool.clone()).schema(schema()).queue(8).build().await.unwrap();
    let taken = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let start = Instant::now();
    let errors = join_all((0..64).map(|number| inbox.accept(incoming(&format!("msg_{number}")), now()))).await;
    assert!(start.elapsed() < servers::bound(SECOND), "{:?}", start.elapsed());
    assert!(errors.iter().all(Result::is_err), "{errors:?}");
    assert!(errors.iter().any(|error| matches!(error, Err(InboxError::Full))), "the queue is bounded");
    inbox.claim(WANTED, now()).await.expect_err("there is no connection");
    drop(taken);
    until("an accept", async || inbox.accept(incoming("msg_1"), now()).await.is_ok()).await;
}

/// Stopped, killed, frozen: an error, nothing acknowledged is lost, and well again. The long form wants the errors within a
/// second, and the rest within five.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_an_error_within_a_second_and_is_found_again() {
    let mut server = Postgres::start();
    let inbox = PostgresInbox::builder(&server.url()).build().await.unwrap();
    let mut kept = Vec::new();
    for (round, way) in ["stopped", "killed", "frozen"].repeat(rounds(1)).into_iter().enumerate() {
        let (stop, running) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new((Vec::new(), Duration::ZERO))));
        let senders = (0..8).map(|sender| {
            let (inbox, stop, running) = (inbox.clone(), Arc::clone(&stop), Arc::clone(&running));
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let (id, start) = (format!("{round}_{sender}_{number}"), Instant::now());
                    let accepted = inbox.accept(incoming(&id), now()).await;
                    let told = accepted.is_ok();
                    {
                        let mut running = running.lock().unwrap();
                        running.1 = running.1.max(start.elapsed());
                        running.0.extend(told.then_some(id));
                    }
                    if !told {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            })
        });
        let senders: Vec<_> = senders.collect();
        let acknowledged = async || running.lock().unwrap().0.len();
        until("deliveries before", async || acknowledged().await > 50).await;
        match way {
            "stopped" => server.stop(),
            "killed" => server.kill(),
            _ => server.freeze(),
        }
        let during = acknowledged().await;
        until("an error", async || inbox.ping().await.is_err()).await;
        if way == "frozen" {
            tokio::time::sleep(SECOND).await;
            server.thaw();
        } else {
            server.start_again();
        }
        let back = Instant::now();
        until("deliveries after", async || acknowledged().await > during + 50).await;
        println!("{way}: well again after {} ms", back.elapsed().as_millis());
        assert!(back.elapsed() < servers::bound(SECOND * 5), "{way}: {:?}", back.elapsed());
        stop.store(true, Ordering::SeqCst);
        join_all(senders).await.into_iter().for_each(Result::unwrap);
        let (ids, longest) = std::mem::take(&mut *running.lock().unwrap());
        println!("{way}: the longest answer took {} ms", longest.as_millis());
        assert!(longest < servers::bound(SECOND), "{way}: {longest:?}");
        kept.extend(ids);
    }
    // Whoever looks afterwards has time.
    let checker = &stores(&server.url(), "countersign", 1).await[0];
    let stats = checker.stats().await.unwrap();
    for id in &kept {
        let accepted = checker.accept(incoming(id), now()).await.unwrap();
        assert_eq!(accepted, Accepted::Duplicate(State::Pending), "{id} was acknowledged and is lost");
    }
    assert!(stats.pending >= kept.len() as u64);
}

/// The cable is cut without a word, in the middle of claims: what was leased to nobody is due again at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_answer_was_lost_is_taken_back() {
    let server = Postgres::start();
    let proxy = Proxy::to(server.port());
    let url = server.url().replace(&server.port().to_string(), &proxy.port.to_string());
    let inbox = PostgresInbox::builder(&url).build().await.unwrap();
    assert_eq!(inbox.accept(incoming("a"), now()).await.unwrap(), Accepted::New);
    let admin = admin(&server.url()).await;
    admin.batch_execute("BEGIN; LOCK TABLE countersign.inbox IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let claim = inbox.claim(Wanted { lease: Duration::from_hours(9), ..WANTED }, now());
    let (claimed, ()) = futures_util::future::join(claim, async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        until("the claim", async || admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
        proxy.swallow();
        admin.batch_execute("ROLLBACK").await.unwrap();
    })
    .await;
    claimed.expect_err("its answer was lost");
    let state = "SELECT state, attempts FROM countersign.inbox";
    until("it to be due again", async || {
        let row = admin.query_one(state, &[]).await.unwrap();
        (row.get::<_, i16>(0), row.get::<_, i32>(1)) == (0, 0)
    })
    .await;
    assert_eq!(inbox.claim(WANTED, now()).await.unwrap().leased[0].lease.attempt, 1);
}

/// What one process does wakes the workers of another, also after the server was away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_accepts_gives_back_or_replays_rings_in_the_others() {
    let mut server = Postgres::start();
    let stores = stores(&server.url(), "countersign", 2).await;
    for round in 0..2 {
        let mut bell = stores[1].bell().listen();
        let heard = async |what: &str, bell: &mut countersign::inbox::Listener| {
            let heard = tokio::time::timeout(Duration::from_secs(20), bell.heard()).await;
            assert!(heard.is_ok(), "round {round}: {what} was not heard");
            // Rings that are still on their way belong to what was done before.
            tokio::time::sleep(Duration::from_millis(50)).await;
            bell.hush();
        };
        // Both have to listen first, which they do in the background; the first ring is of that.
        let listening = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'LISTEN|NOTIFY' AND state = 'idle'";
        let admin = admin(&server.url()).await;
        until("both to listen", async || admin.query_one(listening, &[]).await.unwrap().get::<_, i64>(0) == 2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        bell.hush();
        for id in ["a", "b"] {
            let kept = of_entity(&format!("{id}_{round}"), "e");
            assert_eq!(stores[0].accept(kept, now()).await.unwrap(), Accepted::New);
        }
        heard("an accept", &mut bell).await;
        let lease = stores[0].claim(WANTED, now()).await.unwrap().leased[0].lease;
        assert_eq!(stores[0].release(&lease, now()).await.unwrap(), Settled::Current);
        heard("a release", &mut bell).await;
        let lease = stores[0].claim(WANTED, now()).await.unwrap().leased[0].lease;
        assert_eq!(stores[0].dead(&lease, "hopeless", now()).await.unwrap(), Settled::Current);
        heard("the next of its entity", &mut bell).await;
        assert_eq!(stores[0].replay(Replay::AllDead, now()).await.unwrap(), 1);
        heard("a replay", &mut bell).await;
        while let Some(leased) = stores[0].claim(WANTED, now()).await.unwrap().leased.first() {
            assert_eq!(stores[0].complete(&leased.lease, now()).await.unwrap(), Settled::Current);
        }
        if round == 0 {
            server.stop();
            server.start_again();
        }
    }
}
