//! The conformance suite for inboxes: what [`InboxStore`] promises, as cases that any store can run.
//!
//! One line in a test module makes a test of every case. The expression is evaluated anew for each of them, inside an
//! async function, and gives an *empty* store that nobody else uses. Tests are `#[tokio::test]`s on several threads: the
//! crate that runs them needs `tokio` with `macros` and `rt-multi-thread` among its dev-dependencies.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! countersign::inbox_conformance!({
//!     let nonce = std::time::Instant::now();
//!     let name = format!("countersign-doc-{}-{nonce:?}.sqlite", std::process::id());
//!     countersign::SqliteInbox::open(std::env::temp_dir().join(name)).expect("an inbox")
//! });
//! # fn main() {}
//! ```
//!
//! All moments are passed in, so no case waits for a lease or a retention to run out.
//!
//! Every case panics where the store breaks the promise that its name makes.

mod case;
mod lease;
mod list;
mod order;

pub use lease::{
    a_claim_for_none_leases_none, a_late_completion_counts_while_nobody_took_over,
    a_lease_lasts_a_millisecond_at_least, a_lease_that_ran_out_is_given_again_under_another_token,
    a_release_gives_the_attempt_back, a_retry_is_due_when_it_was_said, a_settled_lease_cannot_be_settled_again,
    a_superseded_lease_can_change_nothing, an_extended_lease_holds_until_its_new_end, any_text_of_an_error_is_taken,
    attempts_that_end_without_a_word_are_counted_and_the_last_is_the_last,
    extending_tells_a_lost_lease_from_the_present_one, what_ended_twice_without_a_word_runs_beside_no_other_such,
    what_has_no_attempt_left_is_buried_in_bounded_steps,
};
pub use list::{
    entries_are_listed_by_entity_and_tenant, entries_are_listed_by_sender_type_id_and_end,
    entries_are_listed_from_the_newest_on,
};
pub use order::{
    a_dead_delivery_lets_the_next_of_its_entity_go, a_replayed_delivery_waits_for_its_entity,
    a_retry_holds_up_its_entity_and_no_other, deliveries_of_one_entity_run_in_order_one_at_a_time,
    the_oldest_is_told_though_it_waits,
};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use self::case::{ANSWERS, Case, LEASE, MAX_ATTEMPTS, TICK, altered, ids, incoming};
use crate::dedupe::Settled;
use crate::inbox::{Accepted, InboxStore, Listener, Query, Replay, State, Wanted, step};

/// Sets what is called when this process comes to a boundary between two steps: the name of the step, and where in it.
/// For tests that end a process there. `false` when there is a hook already.
///
/// The steps: `accept` (`verified`, `committing`, `committed`), `claim`, `complete`, `retry`, `dead`, `release`,
/// `extend`, `replay`, `prune`, `ping` (`committing`, `committed`), `handler` (`starting`, `ended`).
pub fn on_step(hook: impl Fn(&'static str, &'static str) + Send + Sync + 'static) -> bool {
    step::set_hook(Box::new(hook))
}

/// Makes a test of every case of the suite; see [`testing::inbox`](crate::testing::inbox).
#[macro_export]
macro_rules! inbox_conformance {
    ($store:expr) => {
        $crate::__inbox_cases! { $store;
            a_claim_for_none_leases_none
            a_dead_delivery_is_kept_with_its_error_and_body
            a_dead_delivery_lets_the_next_of_its_entity_go
            a_future_that_was_never_polled_has_done_nothing
            a_late_completion_counts_while_nobody_took_over
            a_lease_lasts_a_millisecond_at_least
            a_lease_that_ran_out_is_given_again_under_another_token
            a_ping_is_answered_and_changes_nothing
            a_release_gives_the_attempt_back
            a_replayed_delivery_has_all_its_attempts_before_it
            a_replayed_delivery_waits_for_its_entity
            a_retry_holds_up_its_entity_and_no_other
            a_retry_is_due_when_it_was_said
            a_second_accept_is_a_duplicate_in_every_state
            a_settled_lease_cannot_be_settled_again
            a_superseded_lease_can_change_nothing
            an_extended_lease_holds_until_its_new_end
            another_body_under_one_key_is_a_conflict_in_every_state
            any_text_of_an_error_is_taken
            attempts_that_end_without_a_word_are_counted_and_the_last_is_the_last
            deliveries_of_one_entity_run_in_order_one_at_a_time
            entries_are_listed_by_entity_and_tenant
            entries_are_listed_by_sender_type_id_and_end
            entries_are_listed_by_state_and_page_by_page
            entries_are_listed_from_the_newest_on
            extending_tells_a_lost_lease_from_the_present_one
            of_64_accepts_at_once_one_is_new
            of_64_claims_at_once_each_delivery_goes_to_one
            pruning_takes_what_is_done_and_old_in_bounded_steps
            something_done_is_remembered_for_the_retention_and_free_afterwards
            the_bell_rings_when_something_is_due
            the_next_due_time_is_told
            the_oldest_is_told_though_it_waits
            what_ended_twice_without_a_word_runs_beside_no_other_such
            what_has_no_attempt_left_is_buried_in_bounded_steps
            what_is_accepted_comes_out_with_everything_that_was_kept
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __inbox_cases {
    ($store:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $case() {
                $crate::testing::inbox::$case(::std::sync::Arc::new($store)).await;
            }
        )*
    };
}

/// Ids, times, headers and body, byte for byte.
pub async fn what_is_accepted_comes_out_with_everything_that_was_kept<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let kept = case.keep("msg_1").await;
    let leased = case.claim_one(case.start).await;
    assert_eq!(leased.delivery, kept.delivery);
    assert_eq!(leased.fingerprint, kept.fingerprint);
    assert_eq!(leased.lease.attempt, 1);
    let mut bare = incoming("msg_2", case.start);
    bare.delivery.tenant = None;
    bare.delivery.id = None;
    bare.delivery.event_type = None;
    bare.delivery.timestamp = None;
    bare.delivery.content_digest = Some([7; 32]);
    bare.delivery.headers.clear();
    bare.delivery.raw = bytes::Bytes::from_static(b"\xff\x00");
    assert_eq!(case.accept(&bare, case.start).await, Accepted::New);
    assert_eq!(case.claim_one(case.start).await.delivery, bare.delivery);
}

/// Pending, running, dead, done: it is not kept twice.
pub async fn a_second_accept_is_a_duplicate_in_every_state<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let kept = case.keep("msg_1").await;
    let expect = async |state| assert_eq!(case.accept(&kept, case.start).await, Accepted::Duplicate(state));
    expect(State::Pending).await;
    let leased = case.claim_one(case.start).await;
    expect(State::Running).await;
    assert_eq!(case.dead(&leased.lease, case.start).await, Settled::Current);
    expect(State::Dead).await;
    case.store.replay(Replay::AllDead, case.start).await.expect(ANSWERS);
    let leased = case.claim_one(case.start).await;
    assert_eq!(case.complete(&leased.lease, case.start).await, Settled::Current);
    expect(State::Done).await;
    case.expect_nothing_due(case.after(LEASE * 2)).await;
    assert_eq!(case.list(Query::all()).await.len(), 1);
}

/// Somebody should know, and the first one is not disturbed by it.
pub async fn another_body_under_one_key_is_a_conflict_in_every_state<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let kept = case.keep("msg_1").await;
    let other = altered(&kept);
    assert_eq!(case.accept(&other, case.start).await, Accepted::Conflict, "pending");
    let leased = case.claim_one(case.start).await;
    assert_eq!(leased.delivery, kept.delivery);
    assert_eq!(case.accept(&other, case.start).await, Accepted::Conflict, "running");
    assert_eq!(case.complete(&leased.lease, case.start).await, Settled::Current);
    assert_eq!(case.accept(&other, case.start).await, Accepted::Conflict, "done");
    assert_eq!(case.accept(&kept, case.start).await, Accepted::Duplicate(State::Done));
}

/// To be looked at, and replayed.
pub async fn a_dead_delivery_is_kept_with_its_error_and_body<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let kept = case.keep("msg_1").await;
    let lease = case.claim_one(case.start).await.lease;
    assert_eq!(case.dead(&lease, case.start).await, Settled::Current);
    case.expect_nothing_due(case.after(LEASE * 9)).await;
    let much_later = case.after(case.store.retention() * 3);
    case.store.prune(100, much_later).await.expect(ANSWERS);
    let (entry, delivery) = case.store.show(lease.number).await.expect(ANSWERS).expect("it is kept");
    assert_eq!(delivery, kept.delivery);
    assert_eq!((entry.state, entry.last_error.as_deref()), (State::Dead, Some("hopeless")));
    assert_eq!(entry.finished_at, Some(case.start));
}

/// One by its number, or all the dead; what is running is left alone.
pub async fn a_replayed_delivery_has_all_its_attempts_before_it<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["msg_1", "msg_2", "msg_3"] {
        case.keep(id).await;
    }
    let leased = case.claim_all(case.start).await;
    assert_eq!(case.dead(&leased[0].lease, case.start).await, Settled::Current);
    assert_eq!(case.dead(&leased[1].lease, case.start).await, Settled::Current);
    let replay = async |what| case.store.replay(what, case.start).await.expect(ANSWERS);
    assert_eq!(replay(Replay::One(leased[2].lease.number)).await, 0, "it is running");
    assert_eq!(replay(Replay::One(leased[2].lease.number + 1000)).await, 0, "there is none");
    assert_eq!(replay(Replay::AllDead).await, 2);
    let again = case.claim_all(case.start).await;
    assert_eq!(ids(&again), ["msg_1", "msg_2"]);
    assert!(again.iter().all(|leased| leased.lease.attempt == 1));
    assert_eq!(case.complete(&again[0].lease, case.start).await, Settled::Current);
    assert_eq!(replay(Replay::One(again[0].lease.number)).await, 1, "what is done runs again if asked for");
    assert_eq!(ids(&case.claim_all(case.start).await), ["msg_1"]);
}

/// By an inbox that is well, whatever is in it.
pub async fn a_ping_is_answered_and_changes_nothing<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.store.ping().await.expect(ANSWERS);
    case.keep("msg_1").await;
    let leased = case.claim_one(case.start).await;
    case.keep("msg_2").await;
    let before = (case.list(Query::all()).await, case.stats().await);
    case.store.ping().await.expect(ANSWERS);
    assert_eq!((case.list(Query::all()).await, case.stats().await), before);
    assert_eq!(case.complete(&leased.lease, case.start).await, Settled::Current);
}

/// However many copies arrive at the same moment, one of them is kept.
pub async fn of_64_accepts_at_once_one_is_new<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for round in 0..8 {
        let incoming = incoming(&format!("msg_{round}"), case.start);
        let tasks = (0..64).map(|_| {
            let (store, incoming, now) = (Arc::clone(&case.store), incoming.clone(), case.start);
            tokio::spawn(async move { store.accept(incoming, now).await.expect(ANSWERS) })
        });
        let accepted = join_all(tasks.collect::<Vec<_>>()).await;
        let new = accepted.into_iter().filter(|accepted| matches!(accepted, Ok(Accepted::New))).count();
        assert_eq!(new, 1, "accepts that were new");
    }
    assert_eq!(case.stats().await.pending, 8);
}

/// However many workers ask at the same moment, nothing is leased twice, and nothing is left over.
pub async fn of_64_claims_at_once_each_delivery_goes_to_one<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for number in 0..100 {
        case.keep(&format!("msg_{number}")).await;
    }
    let tasks = (0..64).map(|_| {
        let (store, now) = (Arc::clone(&case.store), case.start);
        let wanted = Wanted { limit: 3, lease: LEASE, max_attempts: MAX_ATTEMPTS };
        tokio::spawn(async move { store.claim(wanted, now).await.expect(ANSWERS).leased })
    });
    let batches = join_all(tasks.collect::<Vec<_>>()).await;
    let leased: Vec<_> = batches.into_iter().flat_map(|batch| batch.expect("no claim panics")).collect();
    assert_eq!(leased.len(), 100);
    assert_eq!(ids(&leased).into_iter().collect::<BTreeSet<_>>().len(), 100, "each of them once");
}

/// From its completion on, to its last millisecond; a replay of it afterwards is new.
pub async fn something_done_is_remembered_for_the_retention_and_free_afterwards<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let kept = case.keep("msg_1").await;
    let lease = case.claim_one(case.start).await.lease;
    let done_at = case.after(LEASE - TICK);
    assert_eq!(case.complete(&lease, done_at).await, Settled::Current);
    let end = done_at.saturating_add(case.store.retention());
    let last = end.saturating_sub(TICK);
    assert_eq!(case.store.prune(100, last).await.expect(ANSWERS), 0);
    assert_eq!(case.accept(&kept, last).await, Accepted::Duplicate(State::Done));
    let later = end.saturating_add(TICK);
    assert_eq!(case.accept(&altered(&kept), later).await, Accepted::New, "free for any body, pruned or not");
    assert_eq!(case.claim_one(later).await.delivery.raw, altered(&kept).delivery.raw);
}

/// What is pending, running or dead stays, however old.
pub async fn pruning_takes_what_is_done_and_old_in_bounded_steps<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["msg_1", "msg_2", "msg_3", "msg_4", "msg_5"] {
        case.keep(id).await;
    }
    let leased = case.claim_all(case.start).await;
    for leased in &leased[..3] {
        assert_eq!(case.complete(&leased.lease, case.start).await, Settled::Current);
    }
    assert_eq!(case.dead(&leased[3].lease, case.start).await, Settled::Current);
    case.keep("msg_6").await;
    let later = case.after(case.store.retention() + TICK);
    let prune = async |limit, now| case.store.prune(limit, now).await.expect(ANSWERS);
    assert_eq!(prune(100, case.start).await, 0);
    assert_eq!(prune(2, later).await, 2);
    assert_eq!(prune(2, later).await, 1);
    assert_eq!(prune(2, later).await, 0);
    let stats = case.stats().await;
    assert_eq!((stats.pending, stats.running, stats.done, stats.dead), (1, 1, 0, 1));
}

/// So that workers need not ask all the time.
pub async fn the_next_due_time_is_told<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    assert_eq!(case.batch(1, case.start).await.next_due, None);
    case.keep("msg_1").await;
    let batch = case.batch(1, case.start).await;
    assert_eq!(batch.next_due, Some(case.after(LEASE)), "the end of the lease");
    let due = case.after(LEASE / 2);
    let retried = case.store.retry(&batch.leased[0].lease, due, "busy", case.start).await;
    assert_eq!(retried.expect(ANSWERS), Settled::Current);
    assert_eq!(case.batch(1, case.start).await.next_due, Some(due), "the end of the pause");
}

/// After an accept, a release and a replay.
pub async fn the_bell_rings_when_something_is_due<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let mut listener = case.store.bell().listen();
    let rung = async |listener: &mut Listener| {
        let rung = tokio::time::timeout(Duration::from_secs(10), listener.heard()).await;
        assert!(rung.is_ok(), "the bell did not ring");
    };
    case.keep("msg_1").await;
    rung(&mut listener).await;
    let lease = case.claim_one(case.start).await.lease;
    listener.hush();
    assert_eq!(case.store.release(&lease, case.start).await.expect(ANSWERS), Settled::Current);
    rung(&mut listener).await;
    let lease = case.claim_one(case.start).await.lease;
    assert_eq!(case.dead(&lease, case.start).await, Settled::Current);
    listener.hush();
    case.store.replay(Replay::AllDead, case.start).await.expect(ANSWERS);
    rung(&mut listener).await;
}

/// In the order in which they were accepted.
pub async fn entries_are_listed_by_state_and_page_by_page<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["msg_1", "msg_2", "msg_3", "msg_4"] {
        case.keep(id).await;
    }
    let first = case.batch(1, case.start).await.leased.remove(0).lease;
    assert_eq!(case.dead(&first, case.start).await, Settled::Current);
    let named = async |query| {
        let entries = case.list(query).await;
        entries.iter().map(|entry| entry.delivery_id.as_ref().map(ToString::to_string)).collect::<Vec<_>>()
    };
    let some = |id: &str| Some(id.to_owned());
    assert_eq!(named(Query::of(State::Dead)).await, [some("msg_1")]);
    assert_eq!(named(Query::of(State::Pending)).await, [some("msg_2"), some("msg_3"), some("msg_4")]);
    assert_eq!(named(Query::of(State::Done)).await, [None; 0]);
    let page = case.list(Query::all().limit(3)).await;
    assert_eq!(page.len(), 3);
    assert_eq!(named(Query::all().after(page[2].number).limit(3)).await, [some("msg_4")]);
    let stats = case.stats().await;
    assert_eq!((stats.pending, stats.dead, stats.oldest), (3, 1, Some(case.start)));
}

/// A request may be cancelled between the call and the first poll.
pub async fn a_future_that_was_never_polled_has_done_nothing<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    drop(case.store.accept(incoming("msg_1", case.start), case.start));
    assert_eq!(case.list(Query::all()).await, []);
    case.keep("msg_1").await;
    drop(case.store.claim(Wanted { limit: 1, lease: LEASE, max_attempts: MAX_ATTEMPTS }, case.start));
    let lease = case.claim_one(case.start).await.lease;
    drop(case.store.complete(&lease, case.start));
    drop(case.store.dead(&lease, "x", case.start));
    case.expect_state(lease.number, State::Running).await;
}
