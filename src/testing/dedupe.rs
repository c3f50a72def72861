//! The conformance suite for dedupe stores: what [`DedupeStore`] promises, as cases that any store can run.
//!
//! One line in a test module makes a test of every case. The expression is evaluated anew for each of them, inside an
//! async function, and gives a store; it may be a store that others use at the same time, since every case works with
//! keys of its own. Tests are `#[tokio::test]`s on several threads: the crate that runs them needs `tokio` with
//! `macros` and `rt-multi-thread` among its dev-dependencies.
//!
//! ```
//! # use countersign::MemoryStore;
//! countersign::dedupe_conformance!(MemoryStore::builder().build().expect("sound settings"));
//! # fn main() {}
//! ```
//!
//! [`run_all`] does the same in one test. All moments are passed in, so no case waits for a lease or a retention to
//! run out; they start at the present, so that a store may clean up by its own clock.
//!
//! Every case panics where the store breaks the promise that its name makes.

mod case;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use self::case::{A, ANSWERS, B, Case, LEASE, ROUNDS, TICK, not, unique};
use crate::dedupe::{Claim, ClaimKey, Claimed, DedupeStore, Fingerprint, Settled};
use crate::ids::{DeliveryId, Source};

/// Makes a test of every case of the suite; see [`testing::dedupe`](crate::testing::dedupe).
#[macro_export]
macro_rules! dedupe_conformance {
    ($store:expr) => {
        $crate::__dedupe_cases! { tests ($store) }
    };
}

/// The one list of cases, for the two ways to run them.
#[doc(hidden)]
#[macro_export]
macro_rules! __dedupe_cases {
    (tests ($store:expr)) => {
        $crate::__dedupe_cases! { @each tests ($store) }
    };
    (run ($store:expr)) => {
        $crate::__dedupe_cases! { @each run ($store) }
    };
    (@each $what:ident ($store:expr)) => {
        $crate::__dedupe_cases! {
            @$what ($store)
            a_completed_key_is_done
            a_dropped_claim_frees_its_key
            a_fresh_key_is_new
            a_future_that_was_never_polled_has_done_nothing
            a_late_completion_counts_while_nobody_took_over
            a_lease_that_ran_out_may_be_taken_over
            a_ping_is_answered_and_changes_nothing
            a_released_key_is_free_for_any_body
            a_second_claim_finds_the_first_in_flight
            a_settled_claim_cannot_be_settled_again
            a_superseded_claim_can_change_nothing
            an_extended_lease_holds_until_its_new_end
            another_body_in_flight_is_a_conflict
            another_body_when_done_is_a_conflict
            epochs_never_repeat_for_a_key
            keys_do_not_affect_one_another
            of_64_claims_at_once_one_is_new
            of_64_takeovers_at_once_one_is_new
            something_done_is_forgotten_after_the_retention
            something_done_is_remembered_for_the_whole_retention
            sources_do_not_share_ids
        }
    };
    (@tests ($store:expr) $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                $crate::testing::dedupe::$case(::std::sync::Arc::new($store)).await;
            }
        )*
    };
    (@run ($store:expr) $($case:ident)*) => {
        $( $case(::std::sync::Arc::new($store)).await; )*
    };
}

/// Runs every case, each with a store of its own from `make_store`, on a tokio runtime (several threads are better).
///
/// # Panics
///
/// At the first case that the store does not pass.
pub async fn run_all<S: DedupeStore, F: Future<Output = S>>(mut make_store: impl FnMut() -> F) {
    crate::__dedupe_cases! { run (make_store().await) }
}

/// The first claim of a key is new, and says what was claimed and when.
pub async fn a_fresh_key_is_new<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    assert_eq!(token.key, case.key);
    assert_eq!(token.fingerprint, Fingerprint::of(A));
    assert_eq!(token.claimed_at, case.start);
}

/// By a store that is well: what is held stays held, and what is done done.
pub async fn a_ping_is_answered_and_changes_nothing<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.store.ping().await.expect(ANSWERS);
    let token = case.new_claim(A, case.start).await;
    case.store.ping().await.expect(ANSWERS);
    case.expect_in_flight(case.start, case.start.saturating_add(LEASE)).await;
    assert_eq!(case.complete(&token, case.start).await, Settled::Current);
    case.store.ping().await.expect(ANSWERS);
    case.expect_done(A, case.start).await;
}

/// A second claim is told until when the first one holds the key.
pub async fn a_second_claim_finds_the_first_in_flight<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.new_claim(A, case.start).await;
    let end = case.start.saturating_add(LEASE);
    case.expect_in_flight(case.start, end).await;
    case.expect_in_flight(end.saturating_sub(TICK), end).await;
}

/// After completion every claim finds the work done.
pub async fn a_completed_key_is_done<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    assert_eq!(case.complete(&token, case.start).await, Settled::Current);
    case.expect_done(A, case.start).await;
    case.expect_done(A, case.start.saturating_add(LEASE * 2)).await;
}

/// After a release the key is as if it had never been claimed.
pub async fn a_released_key_is_free_for_any_body<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let first = case.new_claim(A, case.start).await;
    assert_eq!(case.release(&first, case.start).await, Settled::Current);
    let second = case.new_claim(B, case.start).await;
    assert_eq!(case.release(&second, case.start).await, Settled::Current);
    case.new_claim(A, case.start).await;
}

/// A holder that died gives the key up with the end of its lease, and not before.
pub async fn a_lease_that_ran_out_may_be_taken_over<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let first = case.new_claim(A, case.start).await;
    let end = case.start.saturating_add(LEASE);
    case.expect_in_flight(end.saturating_sub(TICK), end).await;
    let after = end.saturating_add(TICK);
    let second = case.new_claim(A, after).await;
    assert!(second.epoch > first.epoch, "the epoch of a takeover is higher: {} after {}", second.epoch, first.epoch);
    case.expect_in_flight(after, after.saturating_add(LEASE)).await;
}

/// Fencing: whoever was taken over can neither complete, nor release, nor extend, nor abandon.
pub async fn a_superseded_claim_can_change_nothing<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let old = case.new_claim(A, case.start).await;
    let after = case.start.saturating_add(LEASE + TICK);
    let new = case.new_claim(A, after).await;
    let until = after.saturating_add(LEASE);

    assert_eq!(case.complete(&old, after).await, Settled::Superseded, "complete");
    case.expect_in_flight(after, until).await;
    assert_eq!(case.release(&old, after).await, Settled::Superseded, "release");
    case.expect_in_flight(after, until).await;
    let extended = case.store.extend(&old, LEASE * 9, after).await;
    assert_eq!(extended.expect(ANSWERS), Settled::Superseded, "extend");
    case.expect_in_flight(after, until).await;
    case.store.abandon(&old);
    // A remote store abandons in the background.
    tokio::time::sleep(Duration::from_millis(50)).await;
    case.expect_in_flight(after, until).await;

    assert_eq!(case.complete(&new, after).await, Settled::Current, "the new claim");
    assert_eq!(case.release(&old, after).await, Settled::Superseded, "release of what is done");
    case.expect_done(A, after).await;
}

/// A handler that was slower than its lease is believed, as long as nobody else has begun.
pub async fn a_late_completion_counts_while_nobody_took_over<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    let late = case.start.saturating_add(LEASE * 3);
    assert_eq!(case.complete(&token, late).await, Settled::Current);
    case.expect_done(A, late).await;
}

/// A claim is settled once: what comes after changes nothing.
pub async fn a_settled_claim_cannot_be_settled_again<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let released = case.new_claim(A, case.start).await;
    assert_eq!(case.release(&released, case.start).await, Settled::Current);
    assert_eq!(case.release(&released, case.start).await, Settled::Superseded);
    assert_eq!(case.complete(&released, case.start).await, Settled::Superseded);

    let completed = case.new_claim(A, case.start).await;
    assert_eq!(case.complete(&completed, case.start).await, Settled::Current);
    assert_eq!(case.complete(&completed, case.start).await, Settled::Superseded);
    assert_eq!(case.release(&completed, case.start).await, Settled::Superseded);
    case.expect_done(A, case.start).await;
}

/// `extend` counts from its own `now`, and works after the lease ran out if nobody took over.
pub async fn an_extended_lease_holds_until_its_new_end<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    let mut now = case.start;
    for step in [LEASE / 2, LEASE - TICK, LEASE * 2] {
        now = now.saturating_add(step);
        let extended = case.store.extend(&token, LEASE, now).await;
        assert_eq!(extended.expect(ANSWERS), Settled::Current);
        let end = now.saturating_add(LEASE);
        case.expect_in_flight(end.saturating_sub(TICK), end).await;
    }
    case.new_claim(A, now.saturating_add(LEASE + TICK)).await;
}

/// One signed id, two bodies, while the first is being worked on. The first is not disturbed by it.
pub async fn another_body_in_flight_is_a_conflict<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    case.expect_conflict(B, case.start).await;
    case.expect_in_flight(case.start, case.start.saturating_add(LEASE)).await;
    assert_eq!(case.complete(&token, case.start).await, Settled::Current);
}

/// One signed id, two bodies, the first of them done. It stays done.
pub async fn another_body_when_done_is_a_conflict<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    assert_eq!(case.complete(&token, case.start).await, Settled::Current);
    case.expect_conflict(B, case.start).await;
    case.expect_done(A, case.start).await;
}

/// Whatever became of the claims before: were an epoch to come again, an old holder could settle a new claim.
pub async fn epochs_never_repeat_for_a_key<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let mut now = case.start;
    let mut last = None;
    for round in 0..9 {
        let token = case.new_claim(A, now).await;
        assert!(last.is_none_or(|last| token.epoch > last), "epoch {} after {last:?}", token.epoch);
        last = Some(token.epoch);
        match round % 3 {
            0 => assert_eq!(case.release(&token, now).await, Settled::Current),
            1 => {
                assert_eq!(case.complete(&token, now).await, Settled::Current);
                now = now.saturating_add(case.store.retention() + TICK);
            }
            _ => now = now.saturating_add(LEASE + TICK),
        }
    }
}

/// What happens to one key is nothing to another.
pub async fn keys_do_not_affect_one_another<S: DedupeStore>(store: Arc<S>) {
    let one = Case::new(Arc::clone(&store));
    let other = Case::new(store);
    let token = one.new_claim(A, one.start).await;
    let second = other.new_claim(A, one.start).await;
    assert_eq!(one.complete(&token, one.start).await, Settled::Current);
    other.expect_in_flight(one.start, one.start.saturating_add(LEASE)).await;
    assert_eq!(other.release(&second, one.start).await, Settled::Current);
    one.expect_done(A, one.start).await;
}

/// Two sources that use the same id have two keys.
pub async fn sources_do_not_share_ids<S: DedupeStore>(store: Arc<S>) {
    let name = unique();
    let id = DeliveryId::new("msg_1").expect("an id");
    for source in [format!("{name}-a"), format!("{name}-b")] {
        let key = ClaimKey::for_id(&Source::new(&source).expect("a source"), None, &id);
        let case = Case::of(Arc::clone(&store), key);
        let token = case.new_claim(A, case.start).await;
        assert_eq!(case.complete(&token, case.start).await, Settled::Current);
    }
}

/// However many copies arrive at the same moment, one of them is worked on.
pub async fn of_64_claims_at_once_one_is_new<S: DedupeStore>(store: Arc<S>) {
    for _ in 0..ROUNDS {
        let case = Case::new(Arc::clone(&store));
        assert_eq!(case.claims_at_once(case.start).await, 1, "claims that were new");
    }
}

/// The same after a lease has run out: one of those who wait takes over.
pub async fn of_64_takeovers_at_once_one_is_new<S: DedupeStore>(store: Arc<S>) {
    for _ in 0..ROUNDS {
        let case = Case::new(Arc::clone(&store));
        case.new_claim(A, case.start).await;
        let after = case.start.saturating_add(LEASE + TICK);
        assert_eq!(case.claims_at_once(after).await, 1, "claims that took over");
    }
}

/// The retention is counted from the completion, and something done stays done to its last millisecond.
pub async fn something_done_is_remembered_for_the_whole_retention<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    let done_at = case.start.saturating_add(LEASE - TICK);
    assert_eq!(case.complete(&token, done_at).await, Settled::Current);
    let last = done_at.saturating_add(case.store.retention()).saturating_sub(TICK);
    case.expect_done(A, last).await;
    case.expect_conflict(B, last).await;
}

/// After the retention the key is free, for any body, and is remembered anew.
pub async fn something_done_is_forgotten_after_the_retention<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    assert_eq!(case.complete(&token, case.start).await, Settled::Current);
    let after = case.start.saturating_add(case.store.retention() + TICK);
    let again = case.new_claim(B, after).await;
    assert_eq!(case.complete(&again, after).await, Settled::Current);
    case.expect_done(B, after).await;
    case.expect_conflict(A, after).await;
}

/// A panic, a cancelled future, a closed connection: the sender's retry need not wait for the end of the lease.
pub async fn a_dropped_claim_frees_its_key<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    let token = case.new_claim(A, case.start).await;
    drop(Claim::new(Arc::clone(&case.store), token));
    // A remote store abandons in the background: two seconds for it, in steps of ten milliseconds.
    let mut left = 200;
    let token = loop {
        match case.claim(A, case.start).await {
            Claimed::New(token) => break token,
            Claimed::InFlight { .. } if left > 0 => left -= 1,
            other => not("new after the claim was dropped", &other),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let claim = Claim::new(Arc::clone(&case.store), token);
    assert_eq!(claim.complete(case.start).await.expect(ANSWERS), Settled::Current);
    case.expect_done(A, case.start).await;
}

/// A request may be cancelled between the call and the first poll.
pub async fn a_future_that_was_never_polled_has_done_nothing<S: DedupeStore>(store: Arc<S>) {
    let case = Case::new(store);
    drop(case.store.claim(&case.key, Fingerprint::of(A), LEASE, case.start));
    let token = case.new_claim(A, case.start).await;
    drop(case.store.complete(&token, case.start));
    drop(case.store.release(&token, case.start));
    case.expect_in_flight(case.start, case.start.saturating_add(LEASE)).await;
}
