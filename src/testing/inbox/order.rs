//! The cases about deliveries of one entity.

use std::sync::Arc;

use super::case::{ANSWERS, Case, LEASE, ids, incoming};
use crate::dedupe::Settled;
use crate::inbox::{Accepted, InboxStore, Replay, State};

/// The next is due when the one before is done, and others are not held up.
pub async fn deliveries_of_one_entity_run_in_order_one_at_a_time<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for (id, entity) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"), ("b2", "b")] {
        case.keep_of(id, Some(entity)).await;
    }
    case.keep("free").await;
    assert_eq!(case.stats().await.waiting, 3);
    let leased = case.claim_all(case.start).await;
    assert_eq!(ids(&leased), ["a1", "b1", "free"]);
    case.expect_nothing_due(case.start).await;
    assert_eq!(case.complete(&leased[0].lease, case.start).await, Settled::Current);
    let second = case.claim_one(case.start).await;
    assert_eq!(ids(std::slice::from_ref(&second)), ["a2"]);
    assert_eq!(case.complete(&second.lease, case.start).await, Settled::Current);
    assert_eq!(ids(&case.claim_all(case.start).await), ["a3"]);
}

/// What fails is tried again before anything behind it.
pub async fn a_retry_holds_up_its_entity_and_no_other<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for (id, entity) in [("a1", "a"), ("a2", "a"), ("b1", "b")] {
        case.keep_of(id, Some(entity)).await;
    }
    let leased = case.claim_all(case.start).await;
    assert_eq!(ids(&leased), ["a1", "b1"]);
    let due = case.after(LEASE / 2);
    let retried = case.store.retry(&leased[0].lease, due, "busy", case.start).await;
    assert_eq!(retried.expect(ANSWERS), Settled::Current);
    case.expect_nothing_due(case.start).await;
    assert_eq!(ids(&case.claim_all(due).await), ["a1"]);
}

/// A dead delivery is nobody's obstacle, whether a worker gave it up or its attempts ran out.
pub async fn a_dead_delivery_lets_the_next_of_its_entity_go<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["a1", "a2", "a3"] {
        case.keep_of(id, Some("a")).await;
    }
    let lease = case.claim_one(case.start).await.lease;
    assert_eq!(case.dead(&lease, case.start).await, Settled::Current);
    let mut now = case.start;
    for _ in 0..super::case::MAX_ATTEMPTS {
        assert_eq!(ids(&case.claim_all(now).await), ["a2"]);
        now = now.saturating_add(LEASE);
    }
    assert_eq!(ids(&case.claim_all(now).await), ["a3"]);
    assert_eq!(case.stats().await.dead, 2);
}

/// One at a time holds for what comes back from the dead, too.
pub async fn a_replayed_delivery_waits_for_its_entity<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["a1", "a2", "a3"] {
        case.keep_of(id, Some("a")).await;
    }
    let first = case.claim_one(case.start).await.lease;
    assert_eq!(case.dead(&first, case.start).await, Settled::Current);
    let second = case.claim_one(case.start).await;
    assert_eq!(ids(std::slice::from_ref(&second)), ["a2"]);
    assert_eq!(case.store.replay(Replay::AllDead, case.start).await.expect(ANSWERS), 1);
    case.expect_state(first.number, State::Waiting).await;
    case.expect_nothing_due(case.start).await;
    assert_eq!(case.complete(&second.lease, case.start).await, Settled::Current);
    assert_eq!(ids(&case.claim_all(case.start).await), ["a1"], "before a3, which came later");
}

/// One that came back from the dead waits behind another that was accepted after it, and is the older one all the same.
pub async fn the_oldest_is_told_though_it_waits<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for (id, received_at) in [("a1", case.start), ("a2", case.after(LEASE))] {
        let mut incoming = incoming(id, received_at);
        incoming.entity = Some("a".to_owned());
        assert_eq!(case.accept(&incoming, case.start).await, Accepted::New);
    }
    let first = case.claim_one(case.start).await.lease;
    assert_eq!(case.dead(&first, case.start).await, Settled::Current);
    assert_eq!(case.stats().await.oldest, Some(case.after(LEASE)));
    assert_eq!(case.store.replay(Replay::AllDead, case.start).await.expect(ANSWERS), 1);
    case.expect_state(first.number, State::Waiting).await;
    assert_eq!(case.stats().await.oldest, Some(case.start));
}
