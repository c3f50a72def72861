//! The cases about leases and attempts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::case::{ANSWERS, Case, LEASE, MAX_ATTEMPTS, TICK, ids};
use crate::dedupe::Settled;
use crate::inbox::{Accepted, Batch, InboxStore, Replay, State, Wanted};

/// A worker that died gives its deliveries up with the end of its lease, and not before.
pub async fn a_lease_that_ran_out_is_given_again_under_another_token<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    let first = case.claim_one(case.start).await.lease;
    case.expect_nothing_due(case.after(LEASE).saturating_sub(TICK)).await;
    let second = case.claim_one(case.after(LEASE)).await.lease;
    assert_eq!(second.number, first.number);
    assert_ne!(second.token, first.token, "tokens are random");
    assert_eq!((first.attempt, second.attempt), (1, 2));
}

/// Fencing: whoever was taken over can neither complete, nor retry, nor bury, nor release, nor extend.
pub async fn a_superseded_lease_can_change_nothing<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    let old = case.claim_one(case.start).await.lease;
    let now = case.after(LEASE);
    let new = case.claim_one(now).await.lease;
    let before = case.entry(new.number).await;
    let store = &case.store;
    assert_eq!(case.complete(&old, now).await, Settled::Superseded, "complete");
    assert_eq!(store.retry(&old, now, "x", now).await.expect(ANSWERS), Settled::Superseded, "retry");
    assert_eq!(case.dead(&old, now).await, Settled::Superseded, "dead");
    assert_eq!(store.release(&old, now).await.expect(ANSWERS), Settled::Superseded, "release");
    let extended = store.extend(&[old], LEASE * 9, now).await.expect(ANSWERS);
    assert_eq!(extended, [Settled::Superseded], "extend");
    assert_eq!(case.entry(new.number).await, before, "nothing has changed");
    case.expect_nothing_due(now.saturating_add(LEASE).saturating_sub(TICK)).await;
    assert_eq!(case.complete(&new, now).await, Settled::Current, "the new lease");
    case.expect_state(new.number, State::Done).await;
}

/// A handler that was slower than its lease is believed, as long as nobody else has begun.
pub async fn a_late_completion_counts_while_nobody_took_over<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    let lease = case.claim_one(case.start).await.lease;
    let late = case.after(LEASE * 3);
    assert_eq!(case.complete(&lease, late).await, Settled::Current);
    case.expect_nothing_due(late).await;
}

/// A lease is settled once: what comes after changes nothing.
pub async fn a_settled_lease_cannot_be_settled_again<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    let lease = case.claim_one(case.start).await.lease;
    let retried = case.store.retry(&lease, case.start, "busy", case.start).await;
    assert_eq!(retried.expect(ANSWERS), Settled::Current);
    assert_eq!(case.complete(&lease, case.start).await, Settled::Superseded, "after a retry");
    let lease = case.claim_one(case.start).await.lease;
    assert_eq!(case.complete(&lease, case.start).await, Settled::Current);
    assert_eq!(case.complete(&lease, case.start).await, Settled::Superseded, "after a completion");
    assert_eq!(case.dead(&lease, case.start).await, Settled::Superseded, "after a completion");
    case.expect_state(lease.number, State::Done).await;
}

/// `extend` counts from its own `now`, for each of several leases.
pub async fn an_extended_lease_holds_until_its_new_end<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["msg_1", "msg_2", "msg_3"] {
        case.keep(id).await;
    }
    let leases: Vec<_> = case.claim_all(case.start).await.iter().map(|leased| leased.lease).collect();
    assert_eq!(case.complete(&leases[1], case.start).await, Settled::Current);
    let now = case.after(LEASE / 2);
    let extended = case.store.extend(&leases, LEASE, now).await.expect(ANSWERS);
    assert_eq!(extended, [Settled::Current, Settled::Superseded, Settled::Current]);
    case.expect_nothing_due(now.saturating_add(LEASE).saturating_sub(TICK)).await;
    assert_eq!(ids(&case.claim_all(now.saturating_add(LEASE)).await), ["msg_1", "msg_3"]);
}

/// A process that lost a delivery and has it again learns that of its two leases one is lost.
pub async fn extending_tells_a_lost_lease_from_the_present_one<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    let old = case.claim_one(case.start).await.lease;
    let new = case.claim_one(case.after(LEASE)).await.lease;
    let extended = case.store.extend(&[old, new, old], LEASE, case.after(LEASE)).await.expect(ANSWERS);
    assert_eq!(extended, [Settled::Superseded, Settled::Current, Settled::Superseded]);
}

/// An event that kills its process has exactly as many attempts as any other, then it is dead.
pub async fn attempts_that_end_without_a_word_are_counted_and_the_last_is_the_last<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let kept = case.keep("msg_1").await;
    let mut now = case.start;
    let mut number = 0;
    for attempt in 1..=MAX_ATTEMPTS {
        let lease = case.claim_one(now).await.lease;
        assert_eq!(lease.attempt, attempt);
        number = lease.number;
        now = now.saturating_add(LEASE);
    }
    case.keep("msg_2").await;
    let batch = case.batch(1, now).await;
    assert_eq!(batch.buried, 1);
    assert_eq!(ids(&batch.leased), ["msg_2"], "it takes nobody's place");
    let entry = case.entry(number).await;
    assert_eq!((entry.state, entry.attempts), (State::Dead, MAX_ATTEMPTS));
    assert!(entry.last_error.is_some(), "it says why");
    case.expect_nothing_due(now).await;
    assert_eq!(case.accept(&kept, now).await, Accepted::Duplicate(State::Dead));
}

/// Were they leased together time and again, one that kills its process would take all of them along.
pub async fn what_ended_twice_without_a_word_runs_beside_no_other_such<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["good", "killer", "fine"] {
        case.keep(id).await;
    }
    let wanted = Wanted { limit: 10, lease: LEASE, max_attempts: 20 };
    let claim = async |now| case.store.claim(wanted, now).await.expect(ANSWERS).leased;
    assert_eq!(claim(case.start).await.len(), 3);
    assert_eq!(claim(case.after(LEASE)).await.len(), 3, "it may have been a power cut");
    let now = case.after(LEASE * 2);
    case.keep("new").await;
    let third = claim(now).await;
    assert_eq!(third.len(), 2, "one of those, and whatever is not suspected: {:?}", ids(&third));
    assert!(ids(&third).contains(&"new".to_owned()));
    assert_eq!(claim(now).await, [], "nor with the next claim");
    let suspect = third.iter().find(|leased| leased.lease.attempt == 3).expect("a suspect").lease;
    let mut listener = case.store.bell().listen();
    assert_eq!(case.complete(&suspect, now).await, Settled::Current);
    let rung = tokio::time::timeout(Duration::from_secs(10), listener.heard()).await;
    assert!(rung.is_ok(), "the bell did not ring");
    let next = claim(now).await;
    assert_eq!((next.len(), next[0].lease.attempt), (1, 3), "one after the other");
    let retried = case.store.retry(&next[0].lease, now, "busy", now).await.expect(ANSWERS);
    assert_eq!(retried, Settled::Current);
    assert_eq!(claim(now).await.len(), 2, "one that has said a word is not suspected any more");
}

/// As after `max_attempts` was lowered: neither accepts nor what else is leased wait for all of them.
pub async fn what_has_no_attempt_left_is_buried_in_bounded_steps<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let spent = usize::try_from(Batch::MOST_BURIED).expect("few") + 44;
    let spent_ids: Vec<_> = (0..spent).map(|number| format!("spent_{number}")).collect();
    for some in spent_ids.chunks(50) {
        join_all(some.iter().map(|id| case.keep(id))).await;
    }
    let leased = case.batch(spent, case.start).await.leased;
    assert_eq!(leased.len(), spent);
    for some in leased.chunks(50) {
        let retries = some.iter().map(|leased| case.store.retry(&leased.lease, case.start, "busy", case.start));
        for settled in join_all(retries).await {
            assert_eq!(settled.expect(ANSWERS), Settled::Current);
        }
    }
    case.keep("fresh").await;
    let (mut buried, mut fresh) = (0, Vec::new());
    while fresh.is_empty() {
        let wanted = Wanted { limit: 10, lease: LEASE, max_attempts: 1 };
        let batch = case.store.claim(wanted, case.start).await.expect(ANSWERS);
        assert!(batch.buried <= Batch::MOST_BURIED, "{} are buried in one claim", batch.buried);
        assert!(batch.buried > 0 || !batch.leased.is_empty(), "it comes no further");
        buried += batch.buried;
        fresh = batch.leased;
    }
    assert_eq!((ids(&fresh), buried), (vec!["fresh".to_owned()], spent as u64));
    let entry = case.entry(leased[0].lease.number).await;
    let told = entry.last_error.unwrap_or_default();
    assert!(told.contains("busy") && !told.contains("without a word"), "it did not die without a word: {told}");
}

/// Not earlier, and with what went wrong.
pub async fn a_retry_is_due_when_it_was_said<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    let lease = case.claim_one(case.start).await.lease;
    let due = case.after(LEASE * 5);
    let retried = case.store.retry(&lease, due, "the database is away", case.start).await;
    assert_eq!(retried.expect(ANSWERS), Settled::Current);
    let entry = case.entry(lease.number).await;
    assert_eq!((entry.state, entry.due_at), (State::Pending, Some(due)));
    assert_eq!(entry.last_error.as_deref(), Some("the database is away"));
    case.expect_nothing_due(due.saturating_sub(TICK)).await;
    assert_eq!(case.claim_one(due).await.lease.attempt, 2);
}

/// An error's text comes from anywhere: it is kept as far as it fits, and never in the way.
pub async fn any_text_of_an_error_is_taken<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    for text in ["", "a\0b", "\u{1b}[2J\r\n", "'; DROP TABLE inbox; --", &"é".repeat(1 << 20), &"\0".repeat(5000)] {
        let lease = case.claim_one(case.start).await.lease;
        let retried = case.store.retry(&lease, case.start, text, case.start).await;
        assert_eq!(retried.expect(ANSWERS), Settled::Current, "retry");
        let kept = case.entry(lease.number).await.last_error.unwrap_or_default();
        assert!(kept.len() <= 5000, "{} bytes are kept", kept.len());
        let lease = case.claim_one(case.start).await.lease;
        assert_eq!(case.store.dead(&lease, text, case.start).await.expect(ANSWERS), Settled::Current, "dead");
        case.expect_state(lease.number, State::Dead).await;
        case.store.replay(Replay::AllDead, case.start).await.expect(ANSWERS);
    }
}

/// Work that was cut short by nothing of its own is due at once, and the attempt is not counted.
pub async fn a_release_gives_the_attempt_back<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    for _ in 0..MAX_ATTEMPTS * 2 {
        let lease = case.claim_one(case.start).await.lease;
        assert_eq!(lease.attempt, 1);
        assert_eq!(case.store.release(&lease, case.start).await.expect(ANSWERS), Settled::Current);
    }
    case.claim_one(case.start).await;
}

/// What is leased is leased for a while, or one claim could lease it twice.
pub async fn a_lease_lasts_a_millisecond_at_least<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    case.keep("msg_1").await;
    let wanted = Wanted { limit: 10, lease: Duration::ZERO, max_attempts: MAX_ATTEMPTS };
    let batch = case.store.claim(wanted, case.start).await.expect(ANSWERS);
    assert_eq!((batch.leased.len(), batch.next_due), (1, Some(case.after(TICK))));
    case.expect_nothing_due(case.start).await;
    assert_eq!(case.claim_one(case.after(TICK)).await.lease.attempt, 2);
}

/// Whatever is due, and whoever is suspected.
pub async fn a_claim_for_none_leases_none<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["msg_1", "msg_2", "msg_3"] {
        case.keep(id).await;
    }
    let mut now = case.start;
    for _ in 0..MAX_ATTEMPTS {
        let batch = case.batch(0, now).await;
        assert_eq!((batch.leased.len(), batch.buried), (0, 0));
        let _ = case.batch(2, now).await;
        now = now.saturating_add(LEASE);
    }
    let batch = case.batch(0, now).await;
    assert_eq!((batch.leased.len(), batch.buried), (0, 0));
}
