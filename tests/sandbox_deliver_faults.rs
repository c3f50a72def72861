//! Faults on demand: each as it is seen on the wire, and what a real receiver makes of it.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
mod sandbox_deliver_support;

use std::collections::BTreeSet;
use std::time::Duration;

use common::wait_for;
use countersign::sandbox::{Attempt, Fault, Faults, Sandbox, Strike, Trigger};
use countersign::{Scheme, kycgenie};
use sandbox_deliver_support::*;
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);

fn job(run: &str) -> Trigger {
    Trigger::new("job").data(json!({ "run": run }))
}

/// What was sent of this delivery: the statuses of its requests in order.
fn statuses(sandbox: &Sandbox, delivery: &str) -> Vec<Option<u16>> {
    of(sandbox, delivery).into_iter().map(|attempt| attempt.status).collect()
}

fn of(sandbox: &Sandbox, delivery: &str) -> Vec<Attempt> {
    sandbox.attempts(0).into_iter().filter(|attempt| attempt.delivery_id == delivery).collect()
}

/// Delivers `count` jobs, all of which `fault` hits, and checks what the receiver answers and which outcomes it saw.
/// Each is handled once in the end.
async fn strike(receiving: &Receiving, faults: Faults, fault: Fault, count: u64, status: u16, outcome: &str) {
    let sandbox = quick().start().await.unwrap();
    receiving.subscribed(&sandbox);
    receiving.probe.dispositions();
    sandbox.set_faults(faults.with(fault, Strike::next(count))).unwrap();
    let triggered = sandbox.trigger(&job("ok").count(count)).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    for delivery in &triggered.delivery_ids {
        let attempts = of(&sandbox, delivery);
        assert_eq!(statuses(&sandbox, delivery), [Some(status), Some(200)], "{fault:?}: {:?}", attempts[0].error);
        assert_eq!((&attempts[0].faults[..], &attempts[1].faults[..]), (&[fault][..], &[][..]));
        assert_eq!(receiving.probe.runs(delivery), 1, "{fault:?}");
    }
    let seen: BTreeSet<_> = receiving.probe.dispositions().into_iter().flatten().collect();
    assert_eq!(seen, BTreeSet::from([outcome, "handled"]), "{fault:?}");
    let status = sandbox.status();
    assert_eq!((status.delivered, status.failed), (count, 0));
}

#[tokio::test]
async fn what_is_not_signed_as_it_should_be_is_401_and_its_genuine_retry_is_handled() {
    let receiving = Receiving::start(kycgenie::scheme());
    for (fault, count) in [
        (Fault::WrongKey, 1),
        (Fault::AlteredBody, 8),
        (Fault::StaleTimestamp, 1),
        (Fault::FutureTimestamp, 1),
        // Each of the three headers is missing in one or the other.
        (Fault::StrippedHeader, 12),
    ] {
        strike(&receiving, Faults::seeded(7), fault, count, 401, "rejected").await;
    }
}

#[tokio::test]
async fn headers_that_stand_there_twice_are_400() {
    let receiving = Receiving::start(kycgenie::scheme());
    strike(&receiving, Faults::seeded(7), Fault::DoubledHeader, 12, 400, "rejected").await;
}

#[tokio::test]
async fn a_body_that_ends_too_early_is_400() {
    let receiving = Receiving::start(kycgenie::scheme());
    strike(&receiving, Faults::seeded(7), Fault::TruncatedBody, 8, 400, "truncated").await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408_and_one_that_comes_in_time_is_handled() {
    let hasty = Receiving::with(kycgenie::scheme(), |builder| builder.body_deadline(Duration::from_millis(50)));
    let slow = Faults::seeded(7).slow(Duration::from_secs(4));
    strike(&hasty, slow, Fault::SlowBody, 1, 408, "too_slow").await;

    let patient = Receiving::start(kycgenie::scheme());
    let sandbox = quick().start().await.unwrap();
    patient.subscribed(&sandbox);
    let slow = Faults::seeded(7).slow(Duration::from_millis(200)).with(Fault::SlowBody, Strike::next(1));
    sandbox.set_faults(slow).unwrap();
    let triggered = sandbox.trigger(&job("ok")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(statuses(&sandbox, &triggered.delivery_ids[0]), [Some(200)]);
}

#[tokio::test]
async fn which_header_is_stripped_or_doubled_is_told_by_the_seed_and_all_of_them_come_to_it() {
    let names = ["webhook-id", "webhook-signature", "webhook-timestamp"];
    for (fault, expected) in [(Fault::StrippedHeader, 0), (Fault::DoubledHeader, 2)] {
        let script = Script::always("200 OK");
        let sandbox = quick().start().await.unwrap();
        subscribe(&sandbox, "all", &script.url);
        sandbox.set_faults(Faults::seeded(7).with(fault, Strike::always())).unwrap();
        sandbox.trigger(&job("ok").count(30)).await.unwrap();
        let mut hit = BTreeSet::new();
        for _ in 0..30 {
            let came = script.next();
            let odd: Vec<&str> = names.into_iter().filter(|name| came.headers(name).len() != 1).collect();
            assert_eq!(odd.len(), 1, "{}", came.head);
            assert_eq!(came.headers(odd[0]).len(), expected);
            hit.extend(odd);
        }
        assert_eq!(hit, BTreeSet::from(names), "{fault:?}");
    }
}

#[tokio::test]
async fn a_duplicate_that_follows_is_200_and_does_not_run() {
    let receiving = Receiving::start(kycgenie::scheme());
    let sandbox = quick().start().await.unwrap();
    receiving.subscribed(&sandbox);
    sandbox.set_faults(Faults::seeded(7).with(Fault::Duplicate, Strike::next(1))).unwrap();
    let triggered = sandbox.trigger(&job("ok")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let id = &triggered.delivery_ids[0];
    assert_eq!(statuses(&sandbox, id), [Some(200), Some(200)]);
    assert_eq!(of(&sandbox, id).iter().map(|attempt| attempt.duplicate).collect::<Vec<_>>(), [false, true]);
    assert_eq!(receiving.probe.runs(id), 1);
    assert_eq!(receiving.probe.dispositions(), [Some("handled"), Some("duplicate")]);
    assert_eq!(short_log(&sandbox), ["1 delivered 200 -"], "one attempt, as far as the provider knows");
}

#[tokio::test]
async fn of_two_duplicates_at_once_one_is_handled_and_the_other_is_409() {
    let receiving = Receiving::start(kycgenie::scheme());
    let sandbox = quick().start().await.unwrap();
    receiving.subscribed(&sandbox);
    sandbox.set_faults(Faults::seeded(7).with(Fault::DuplicateAtOnce, Strike::next(1))).unwrap();
    let triggered = sandbox.trigger(&job("gate")).await.unwrap();
    wait_for("the answer to the other", || receiving.probe.dispositions().contains(&Some("in_flight")).then_some(()));
    receiving.probe.open_gate(1);
    sandbox.settled(PATIENCE).await.unwrap();
    let id = &triggered.delivery_ids[0];
    let mut answers = statuses(&sandbox, id);
    answers.sort_unstable();
    assert_eq!((answers, receiving.probe.runs(id)), (vec![Some(200), Some(409)], 1));
    assert_eq!(short_log(&sandbox), ["1 delivered 200 -"], "the better of the two");
}

#[tokio::test]
async fn when_the_answer_is_lost_the_retry_is_a_duplicate_of_what_was_done() {
    let receiving = Receiving::start(kycgenie::scheme());
    let sandbox = quick().start().await.unwrap();
    receiving.subscribed(&sandbox);
    sandbox.set_faults(Faults::seeded(7).with(Fault::DropAnswer, Strike::next(1))).unwrap();
    let triggered = sandbox.trigger(&job("ok")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(receiving.probe.runs(&triggered.delivery_ids[0]), 1);
    assert_eq!(receiving.probe.dispositions(), [Some("handled"), Some("duplicate")]);
    assert_eq!(short_log(&sandbox), ["1 retrying null Connection closed before an answer", "2 delivered 200 -"]);
}

#[tokio::test]
async fn one_that_is_reordered_comes_after_later_ones_and_at_the_latest_when_its_time_is_up() {
    let script = Script::always("200 OK");
    let sandbox = Sandbox::start().await.unwrap();
    subscribe(&sandbox, "all", &script.url);
    sandbox.set_faults(Faults::seeded(7).reorder(HOUR).with(Fault::Reorder, Strike::next(1))).unwrap();
    let triggered = sandbox.trigger(&job("ok").count(4)).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let came: Vec<String> = (0..4).map(|_| script.next().header("webhook-id")).collect();
    assert_ne!(came[0], triggered.delivery_ids[0]);
    assert!(came.contains(&triggered.delivery_ids[0]));

    sandbox.set_faults(Faults::seeded(7).reorder(HOUR).with(Fault::Reorder, Strike::next(1))).unwrap();
    let alone = sandbox.trigger(&job("ok")).await.unwrap();
    assert_eq!(sandbox.status().pending, 1);
    sandbox.set_speed(Sandbox::MAX_SPEED).unwrap();
    assert_eq!(script.next().header("webhook-id"), alone.delivery_ids[0]);
}

#[tokio::test]
async fn one_that_is_delayed_comes_later_and_others_do_not_wait_for_it() {
    let script = Script::always("200 OK");
    let sandbox = Sandbox::start().await.unwrap();
    subscribe(&sandbox, "all", &script.url);
    sandbox.set_faults(Faults::seeded(7).delay(HOUR).with(Fault::Delay, Strike::next(1))).unwrap();
    let triggered = sandbox.trigger(&job("ok").count(2)).await.unwrap();
    assert_eq!(script.next().header("webhook-id"), triggered.delivery_ids[1]);
    wait_for("the end of the other", || (sandbox.status().delivered == 1).then_some(()));
    assert_eq!(sandbox.status().pending, 1);
    sandbox.set_speed(Sandbox::MAX_SPEED).unwrap();
    assert_eq!(script.next().header("webhook-id"), triggered.delivery_ids[0]);
    sandbox.settled(PATIENCE).await.unwrap();
    let id = &triggered.delivery_ids[0];
    assert_eq!(of(&sandbox, id)[0].faults, [Fault::Delay]);
}

#[tokio::test]
async fn mixed_faults_lose_nothing_and_nothing_is_handled_twice() {
    let receiving = Receiving::start(kycgenie::scheme());
    let sandbox = quick().start().await.unwrap();
    receiving.subscribed(&sandbox);
    let mut faults = Faults::seeded(7).slow(Duration::from_millis(40));
    for fault in Fault::ALL {
        faults = faults.with(fault, Strike::probability(0.15));
    }
    sandbox.set_faults(faults).unwrap();
    let triggered = sandbox.trigger(&job("ok").count(200)).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    for delivery in &triggered.delivery_ids {
        assert_eq!(receiving.probe.runs(delivery), 1, "{:?}", of(&sandbox, delivery));
    }
    let done: BTreeSet<Fault> = sandbox.attempts(0).into_iter().flat_map(|attempt| attempt.faults).collect();
    assert_eq!(done, BTreeSet::from(Fault::ALL));
    assert_eq!((sandbox.status().delivered, sandbox.status().failed), (200, 0));
}

#[tokio::test]
async fn the_same_seed_and_the_same_triggers_give_the_same_faults_on_the_same_deliveries() {
    let script = Script::always("500 Oops");
    let mut faults = Faults::seeded(7).slow(Duration::ZERO);
    for fault in [Fault::WrongKey, Fault::StrippedHeader, Fault::AlteredBody, Fault::Duplicate, Fault::DropAnswer] {
        faults = faults.with(fault, Strike::probability(0.3));
    }
    let sandbox = quick().start().await.unwrap();
    subscribe(&sandbox, "all", &script.url);
    // Of each delivery of two triggers, what was done to its first attempt, and how it looked.
    let run = async |faults: Faults| {
        sandbox.set_faults(faults).unwrap();
        let mut ids = Vec::new();
        for count in [20, 30] {
            ids.extend(sandbox.trigger(&job("ok").count(count)).await.unwrap().delivery_ids);
        }
        sandbox.settled(PATIENCE).await.unwrap();
        let came = script.all();
        let look = |id: &String| {
            let came = came.iter().filter(|came| came.headers("webhook-id").contains(id));
            came.map(|came| (came.body.clone(), came.headers("webhook-signature").len())).collect::<BTreeSet<_>>()
        };
        ids.iter().map(|id| (of(&sandbox, id)[0].faults.clone(), look(id))).collect::<Vec<_>>()
    };
    let first = run(faults.clone()).await;
    assert!(first.iter().any(|(faults, _)| faults.len() > 1) && first.iter().any(|(faults, _)| faults.is_empty()));
    assert_eq!(run(faults.clone()).await, first);
    let mut other = faults;
    other.seed = 8;
    assert_ne!(run(other).await, first);
}

#[tokio::test]
async fn faults_hit_what_is_triggered_after_they_were_set_and_every_attempt_if_wanted() {
    let receiving = Receiving::start(kycgenie::scheme());
    let sandbox = quick().start().await.unwrap();
    receiving.subscribed(&sandbox);
    let always = Faults::seeded(7).with(Fault::WrongKey, Strike::always());
    sandbox.set_faults(always.clone().every_attempt()).unwrap();
    let hit = sandbox.trigger(&job("ok")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(statuses(&sandbox, &hit.delivery_ids[0]), [Some(401); 3]);
    assert_eq!(sandbox.status().failed, 1);
    sandbox.set_faults(Faults::none()).unwrap();
    let spared = sandbox.trigger(&job("ok")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(statuses(&sandbox, &spared.delivery_ids[0]), [Some(200)]);

    // An inline test takes no strike away.
    sandbox.set_faults(Faults::seeded(7).with(Fault::WrongKey, Strike::next(1))).unwrap();
    ask(&sandbox, "POST", "/api/v2/webhooks/test/", Some(json!({ "webhook_url": receiving.url })));
    let hit = sandbox.trigger(&job("ok").count(2)).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    assert_eq!(statuses(&sandbox, &hit.delivery_ids[0]), [Some(401), Some(200)]);
    assert_eq!(statuses(&sandbox, &hit.delivery_ids[1]), [Some(200)]);
    assert!(sandbox.set_faults(Faults::none().with(Fault::Delay, Strike::probability(2.0))).is_err());
    assert_eq!(sandbox.faults().strikes.len(), 1, "what is refused changes nothing");
}

#[tokio::test]
async fn what_a_scheme_has_no_place_for_is_not_told_as_done() {
    let receiving = Receiving::start(Scheme::github());
    let sandbox = quick().scheme(Scheme::github()).start().await.unwrap();
    receiving.subscribed(&sandbox);
    sandbox.set_faults(Faults::seeded(7).with(Fault::StaleTimestamp, Strike::always())).unwrap();
    let triggered = sandbox.trigger(&job("ok")).await.unwrap();
    sandbox.settled(PATIENCE).await.unwrap();
    let attempts = of(&sandbox, &triggered.delivery_ids[0]);
    assert_eq!((attempts[0].status, &attempts[0].faults[..]), (Some(200), &[][..]));
}
