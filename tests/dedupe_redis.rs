//! The Redis store: the conformance suite, and what a network and its server do to it.

#![cfg(all(feature = "actix", feature = "redis", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "common/claims.rs"]
mod claims;
mod common;
#[path = "common/servers.rs"]
mod servers;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use claims::{LEASE, claim, done, key, new_claim, now, outages, until_it_answers};
use countersign::{Claimed, DedupeStore, RedisStore, RedisStoreError, Settled, StoreError};
use servers::{Outage, Proxy, Redis};

/// A server that all tests share which do nothing to it.
fn shared() -> String {
    static SHARED: OnceLock<Redis> = OnceLock::new();
    SHARED.get_or_init(Redis::start).url()
}

async fn store(url: &str) -> RedisStore {
    RedisStore::builder(url).build().await.unwrap()
}

/// For what is not about time, on a machine that has little of it.
async fn patient(url: &str) -> RedisStore {
    RedisStore::builder(url).response_timeout(Duration::from_millis(900)).build().await.unwrap()
}

mod conformance {
    countersign::dedupe_conformance!(super::patient(&super::shared()).await);
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
    let mut server = Redis::durable();
    let store = Arc::new(store(&server.url()).await);
    outages(&store, &mut server, true).await;
}

/// Documented, and not to be wished for: what was done may run again. What must hold all the same is that an old holder
/// can settle nothing, so epochs go on rising.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_persistence_forgets_what_was_done_and_its_epochs_go_on_rising() {
    let mut server = Redis::start();
    let store = Arc::new(store(&server.url()).await);
    let before = new_claim(&*store, &key("lost", 1)).await;
    done(&*store, &key("lost", 2)).await;
    server.kill();
    server.start_again();
    let answer = until_it_answers(&*store, &key("lost", 2)).await;
    assert!(matches!(answer, Claimed::New(_)), "{answer:?}");
    let after = new_claim(&*store, &key("lost", 1)).await;
    assert!(after.epoch > before.epoch, "{} after {}", after.epoch, before.epoch);
    assert_eq!(store.complete(&before, now()).await.unwrap(), Settled::Superseded);
    assert_eq!(store.complete(&after, now()).await.unwrap(), Settled::Current);
    outages(&store, &mut server, false).await;
}

#[test]
fn a_receiver_answers_503_with_retry_after_while_redis_is_away() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut server = Redis::durable();
    let url = server.url();
    claims::receiver_while_away(|| runtime.block_on(store(&url)), &mut server);
}

/// Senders that hang up, in the middle of a claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_are_dropped_half_way_take_no_key_with_them() {
    claims::hang_ups(&store(&shared()).await).await;
}

#[tokio::test]
async fn a_server_that_evicts_keys_is_refused_and_the_setting_is_named() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server = Redis::with(&["--maxmemory-policy", policy]);
        let error = RedisStore::builder(&server.url()).build().await.expect_err("it may forget");
        assert!(matches!(&error, RedisStoreError::Evicts { policy: found } if found == policy), "{error:?}");
        assert!(error.to_string().contains("set `maxmemory-policy noeviction`"), "{error}");
        assert!(RedisStore::builder(&server.url()).danger_unchecked_eviction().build().await.is_ok());
    }
}

#[tokio::test]
async fn where_config_is_forbidden_info_tells_and_where_both_are_the_error_says_what_to_do() {
    let server = Redis::start();
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let mut user = async |name: &str, rights: &[&str]| {
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER").arg(name).arg("on").arg(">hunter2").arg("~*").arg("+@all").arg(rights);
        acl.exec_async(&mut admin).await.unwrap();
        server.url().replace("127.0.0.1", &format!("{name}:hunter2@127.0.0.1"))
    };
    let url = user("some", &["-config"]).await;
    let store = RedisStore::builder(&url).build().await.unwrap();
    assert!(!format!("{store:?}").contains("hunter2"), "{store:?}");

    let url = user("none", &["-config", "-info"]).await;
    let error = RedisStore::builder(&url).build().await.expect_err("nobody tells");
    assert!(matches!(error, RedisStoreError::PolicyUnknown(_)), "{error:?}");
    assert!(error.to_string().contains("+config|get +info"), "{error}");
    assert!(error.to_string().contains("danger_unchecked_eviction()"), "{error}");
    let store = RedisStore::builder(&url).danger_unchecked_eviction().build().await.unwrap();
    done(&store, &key("acl", 1)).await;

    let error = RedisStore::builder(&url.replace("hunter2", "hunter3")).build().await.expect_err("a wrong password");
    assert!(matches!(error, RedisStoreError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter3"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_and_without_the_password() {
    let mut server = Redis::start();
    let url = server.url().replace("127.0.0.1", "user:hunter2@127.0.0.1");
    server.stop();
    let error = RedisStore::builder(&url).build().await.expect_err("nobody listens");
    assert!(matches!(error, RedisStoreError::Unreachable(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    server.start_again();
}

#[tokio::test]
async fn a_full_server_refuses_and_forgets_nothing() {
    let server = Redis::start();
    let store = store(&server.url()).await;
    done(&store, &key("full", 1)).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec_async(&mut admin).await.unwrap();
    let error = claim(&store, &key("full", 2)).await.expect_err("no room");
    assert!(matches!(error, StoreError::Full), "{error:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Full)), "it could record nothing");
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec_async(&mut admin).await.unwrap();
    assert!(matches!(claim(&store, &key("full", 1)).await, Ok(Claimed::Done)));
    done(&store, &key("full", 2)).await;
}

/// A failover leaves a connection behind to a server that takes no writes any more and stays open.
#[tokio::test]
async fn after_a_failover_the_new_primary_is_found_though_the_old_one_still_answers() {
    let (old, new) = (Redis::start(), Redis::start());
    let proxy = Proxy::to(old.port());
    let store = store(&old.url().replace(&old.port().to_string(), &proxy.port.to_string())).await;
    done(&store, &key("failover", 1)).await;
    let client = redis::Client::open(old.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(new.port()).exec_async(&mut admin).await.unwrap();
    proxy.lay_to(new.port());
    let error = claim(&store, &key("failover", 2)).await.expect_err("it takes no writes");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let answer = until_it_answers(&store, &key("failover", 2)).await;
    assert!(matches!(answer, Claimed::New(_)), "{answer:?}");
}

#[tokio::test]
async fn a_ping_finds_a_server_that_takes_no_writes_or_is_gone() {
    let mut server = Redis::start();
    let store = store(&server.url()).await;
    store.ping().await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).exec_async(&mut admin).await.unwrap();
    let error = store.ping().await.expect_err("a replica takes no writes");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut admin).await.unwrap();
    store.ping().await.unwrap();
    server.stop();
    store.ping().await.expect_err("nobody is there");
    server.start_again();
}

#[tokio::test]
async fn a_connection_that_is_dead_without_a_word_is_given_up() {
    let server = Redis::start();
    let proxy = Proxy::to(server.port());
    let store = store(&server.url().replace(&server.port().to_string(), &proxy.port.to_string())).await;
    claims::swallowed(&store, &proxy).await;
}

/// Whichever worker of a server asks first after an outage, and whatever its handlers do then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_lost_is_made_anew_where_no_handler_can_hold_it_up() {
    let mut server = Redis::durable();
    let store = store(&server.url()).await;
    done(&store, &key("home", 0)).await;
    server.stop();
    server.start_again();
    let (there, (tell, told)) = (store.clone(), std::sync::mpsc::channel());
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(until_it_answers(&there, &key("home", 0)).await, Claimed::Done);
            tell.send(()).unwrap();
            // A handler that computes: nothing on its runtime gets on.
            std::thread::park();
        });
    });
    tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
    let elsewhere = claim(&store, &key("home", 1)).await;
    worker.thread().unpark();
    worker.join().unwrap();
    assert!(matches!(elsewhere, Ok(Claimed::New(_))), "{elsewhere:?}");
    done(&store, &key("home", 2)).await;
}

/// A program may end the runtime that it was built on, and go on with another.
#[test]
fn a_store_outlives_the_runtime_that_it_was_built_on() {
    let server = Redis::start();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let store = first.block_on(store(&server.url()));
    drop(first);
    assert!(matches!(runtime().block_on(until_it_answers(&store, &key("home", 0))), Claimed::New(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_not_flooded_with_connections() {
    let mut server = Redis::start();
    let proxy = Proxy::to(server.port());
    let store = store(&server.url().replace(&server.port().to_string(), &proxy.port.to_string())).await;
    // One after the other: given up after a second, or after half of one where it was not made by then.
    claims::flood(&store, &mut server, &proxy, 16).await;
}

#[tokio::test]
async fn prefixes_share_nothing_and_foreign_values_are_never_taken_for_a_free_key() {
    let url = shared();
    let one = RedisStore::builder(&url).prefix("one").build().await.unwrap();
    let other = RedisStore::builder(&url).prefix("other").build().await.unwrap();
    done(&one, &key("prefix", 1)).await;
    done(&other, &key("prefix", 1)).await;

    let client = redis::Client::open(url).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let name: String = key("prefix", 2).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    redis::cmd("SET").arg(format!("{{one}}:{name}")).arg("mine").exec_async(&mut admin).await.unwrap();
    let error = claim(&one, &key("prefix", 2)).await.expect_err("it is somebody else's");
    assert!(format!("{error:?}").contains("prefix of its own"), "{error:?}");
}

/// Redis lets claims expire by itself, and not before they may.
#[tokio::test]
async fn keys_expire_an_hour_after_they_may() {
    let url = shared();
    let retention = Duration::from_hours(2);
    let store = RedisStore::builder(&url).prefix("expiry").retention(retention).build().await.unwrap();
    let client = redis::Client::open(url).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    let name: String = key("expiry", 1).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut left = async || {
        let left: u64 = redis::cmd("PTTL").arg(format!("{{expiry}}:{name}")).query_async(&mut admin).await.unwrap();
        Duration::from_millis(left)
    };
    let token = new_claim(&store, &key("expiry", 1)).await;
    let minute = Duration::from_mins(1);
    let near = |left: Duration, expected: Duration| left <= expected && left > expected - minute;
    assert!(near(left().await, retention + LEASE + Duration::from_hours(1)));
    assert_eq!(store.complete(&token, now()).await.unwrap(), Settled::Current);
    assert!(near(left().await, retention + Duration::from_hours(1)));
}

#[tokio::test]
async fn moments_at_the_ends_of_time_are_moments() {
    claims::ends_of_time(&store(&shared()).await).await;
}

#[test]
fn a_claim_that_is_dropped_without_a_runtime_blocks_nobody_and_panics_nowhere() {
    claims::abandoned_without_a_runtime(async || store(&shared()).await);
}
