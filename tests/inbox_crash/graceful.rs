//! A receiver that is asked to end while deliveries come in.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::child::{Child, LONG_LEASE, Orders};
use crate::harness::{Harness, Random, alone, is_long};
use crate::ledger::STAYS;
use crate::place::{Engine, Promise};

pub(crate) fn a_graceful_end_under_load_breaks_no_accepted_request_and_leaves_no_lease_behind(engine: Engine) {
    let _alone = alone();
    let rounds = if is_long() { 50 } else { 3 };
    let mut random = Random::new(engine);
    let mut harness = Harness::new(engine, Promise::ExactlyOnce, |number| format!("msg_{number}"));
    let (mut all, mut late) = (0, 0);
    for round in 0..rounds {
        let child = Child::start(&harness.place, &Orders::default());
        harness.senders.go(child.addr);
        harness.senders.wait_for_acknowledgements(20 + random.below(100) as usize);
        late += harness.senders.under_way();
        let begun = child.terminate().unwrap_or_else(|| panic!("round {round}: it did not end by itself")).begun;
        harness.senders.pause();
        assert_eq!(harness.checker.count("state = 1"), 0, "round {round}: a lease is left behind");
        // A request on a connection that is being closed may go unread. One that was begun has its answer, whole.
        let mut open = BTreeMap::<String, i64>::new();
        for id in &begun {
            *open.entry(id.clone()).or_default() += 1;
        }
        for id in harness.senders.take_answered() {
            *open.entry(id).or_default() -= 1;
        }
        open.retain(|_, count| *count != 0);
        assert!(open.is_empty(), "round {round}: begun, and how often without an answer: {open:?}");
        all += begun.len();
        harness.checker.check(&format!("round {round}"), &harness.senders.acknowledged());
    }
    harness.end().tell(engine, rounds);
    println!("{engine:?}: {all} requests were begun and answered; {late} were under way when the end was asked for");
}

/// Some handlers come to no end: when the time is over that they were given, they are dropped, and what they were at is given
/// back as if it had never been tried.
pub(crate) fn what_outlasts_a_graceful_end_is_given_back_and_done_once_by_the_next(engine: Engine) {
    let _alone = alone();
    let rounds = if is_long() { 50 } else { 3 };
    let mut random = Random::new(engine);
    let mut harness = Harness::new(engine, Promise::ExactlyOnce, |number| match number % 16 {
        3 => format!("{STAYS}{number}"),
        _ => format!("msg_{number}"),
    });
    let mut all = 0;
    for round in 0..rounds {
        // No lease runs out, however slow the machine is: each attempt is one that was meant.
        let orders = Orders { drain: Duration::from_millis(200), lease: LONG_LEASE, stays: true, ..harness.orders() };
        let mut child = Child::start(&harness.place, &orders);
        harness.senders.go(child.addr);
        harness.senders.wait_for_acknowledgements(20 + random.below(100) as usize);
        child.hear("INSIDE").unwrap();
        let told = child.terminate().unwrap_or_else(|| panic!("round {round}: it did not end by itself"));
        harness.senders.pause();
        let checker = &mut harness.checker;
        assert_eq!(checker.count("state = 1"), 0, "round {round}: a lease is left behind");
        assert_eq!(
            checker.count("state < 3 AND (attempts > 0 OR silent > 0)"),
            0,
            "round {round}: an attempt is counted"
        );
        assert!(!told.held.is_empty(), "round {round}: none was at work");
        for id in &told.held {
            let (state, attempts, finished_at, effects) = checker.standing(id);
            assert_eq!(
                (state, attempts, finished_at, effects),
                (0, 0, None, 0),
                "round {round}: {id} is not given back"
            );
        }
        all += told.held.len();
        harness.recover(&format!("round {round}"));
        for id in &told.held {
            let (state, attempts, _, effects) = harness.checker.standing(id);
            assert_eq!((state, attempts, effects), (3, 1, 1), "round {round}: {id} is done once");
        }
    }
    harness.end().tell(engine, rounds);
    println!("{engine:?}: {all} handlers were at work that would never have ended; each was given back and done once");
}
