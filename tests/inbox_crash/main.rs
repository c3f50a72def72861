//! Ends a receiver with its workers by `kill -9`, at random moments and at every boundary between two steps, while
//! deliveries come in; and has a checker look at what is left.
//!
//! The parent is the sender and keeps a record of every acknowledgement that it has seen. The child, which is this same
//! program, receives and works over one database. The effects are rows in it, without a unique constraint: were one
//! doubled, it would be seen. After each round the verdict is:
//!
//! - acknowledged ⊆ done ∪ pending ∪ dead;
//! - one effect for each delivery that is done, and none for any other;
//! - everything is worked on within the lease and five seconds.
//!
//! A short form runs with the tests. `COUNTERSIGN_ROUNDS=1000 cargo test --all-features --test inbox_crash -- --nocapture`
//! runs the long one: that many rounds of `kill -9` at random moments, 20 of each boundary, 50 graceful ends, 1,000 deliveries
//! in 64 copies. It also holds the machine to the rate and the waits that were asked for, so it wants a machine that has
//! nothing else to do. `.ci/run` has 200 rounds of `kill_9`. `COUNTERSIGN_SEED` repeats the moments of an earlier run.
//!
//! The boundaries are hooks in the library that exist with its feature `testing` only
//! (`countersign::testing::inbox::on_step`). The child sets one that ends the process, without any unwinding or
//! flushing, when it has come to the boundary for the n-th time.

#![cfg(all(unix, feature = "actix", feature = "postgres", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../inbox_common/mod.rs"]
mod inbox_common;

#[path = "../common/servers.rs"]
mod servers;

mod checker;
mod child;
mod copies;
mod graceful;
mod harness;
mod place;
mod planted;
mod sender;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use checker::Checker;
use child::{AGAIN, Child, LONG_LEASE, NEVER, Orders};
use copies::of_64_identical_deliveries_at_once_to_1_3_and_8_processes_one_is_worked_on;
use graceful::a_graceful_end_under_load_breaks_no_accepted_request_and_leaves_no_lease_behind;
use harness::{Figures, Harness, RECOVERY, Random, alone, beside_others, is_long, rounds};
use place::{Engine, Place};
use planted::each_fault_that_is_planted_is_found_and_nothing_else;
use sender::Senders;

/// How many deliveries a second are acknowledged at least, while processes are killed.
const RATE: f64 = 500.0;

/// Long enough for a second process, which keeps its own lease, to do so on a busy machine.
const FREEZING_LEASE: Duration = Duration::from_secs(1);

/// How many rounds of `kill -9` have an inbox in common: all of it is looked at after each, and that is not to take longer
/// than the rest of the round.
const ROUNDS_OF_AN_INBOX: u64 = 50;

#[test]
fn the_child() {
    // Does nothing unless it is the child of one of the tests below.
    child::run_if_told();
}

/// Each of these for each engine.
macro_rules! of_both_engines {
    ($($test:ident)*) => {
        mod sqlite {
            $(#[test] fn $test() { super::$test(super::Engine::Sqlite); })*
        }
        mod postgres {
            $(#[test] fn $test() { super::$test(super::Engine::Postgres); })*
        }
    };
}

of_both_engines! {
    a_delivery_that_always_fails_is_dead_after_exactly_the_maximum_and_holds_nobody_up
    a_delivery_that_kills_its_process_is_dead_after_exactly_the_maximum_and_takes_nobody_along
    a_graceful_end_under_load_breaks_no_accepted_request_and_leaves_no_lease_behind
    a_kill_at_every_step_boundary_loses_nothing_and_doubles_nothing
    a_process_frozen_past_its_lease_and_resumed_changes_nothing
    each_fault_that_is_planted_is_found_and_nothing_else
    kill_9_at_random_moments_loses_nothing_and_doubles_nothing
    of_64_identical_deliveries_at_once_to_1_3_and_8_processes_one_is_worked_on
}

fn kill_9_at_random_moments_loses_nothing_and_doubles_nothing(engine: Engine) {
    let _running = beside_others();
    let rounds = rounds().unwrap_or(6);
    let mut random = Random::new(engine);
    let mut all = Figures::default();
    let mut round = 0;
    while round < rounds {
        let mut harness = Harness::new(engine, |number| format!("msg_{number}"));
        let end = rounds.min(round + ROUNDS_OF_AN_INBOX);
        for round in round..end {
            let run_for = Duration::from_millis(100 + random.below(400));
            harness.round(&format!("round {round}"), None, |_| std::thread::sleep(run_for));
        }
        all.add(harness.end());
        println!("{engine:?}: {end} of {rounds} rounds");
        round = end;
    }
    all.tell(engine, rounds);
    if is_long() {
        assert!(all.rate() >= RATE, "only {:.0} deliveries a second", all.rate());
    }
}

fn a_kill_at_every_step_boundary_loses_nothing_and_doubles_nothing(engine: Engine) {
    let _alone = alone();
    let rounds = if is_long() { 20 } else { 1 };
    let mut random = Random::new(engine);
    // So that each boundary is come to in every round.
    let mut harness = Harness::new(engine, |number| match number % 8 {
        3 => format!("{AGAIN}{number}"),
        5 => format!("{NEVER}{number}"),
        _ => format!("msg_{number}"),
    });
    let mut count = 0;
    for boundary in [
        "accept:verified",
        "accept:committing",
        "accept:committed",
        "claim:committing",
        "claim:committed",
        "handler:starting",
        "handler:within",
        "handler:ended",
        "complete:committing",
        "complete:committed",
        "retry:committing",
        "retry:committed",
        "dead:committing",
        "dead:committed",
        "answered",
    ] {
        for round in 0..rounds {
            count += 1;
            let nth = 1 + random.below(60);
            let name = format!("{boundary} for the {nth}th time, round {round}");
            if boundary == "answered" {
                harness.round(&name, None, |senders| senders.wait_for_acknowledgements(nth as usize));
            } else {
                harness.round(&name, Some(&format!("{boundary}:{nth}")), |_| {});
            }
        }
    }
    harness.end().tell(engine, count);
    let dead: HashSet<_> = harness.checker.dead().into_iter().map(|(id, _)| id).collect();
    let wrongly: Vec<_> = dead.iter().filter(|id| !id.starts_with(NEVER)).collect();
    assert!(wrongly.is_empty(), "dead, though a handler would have taken them: {wrongly:?}");
    let mut hopeless = harness.senders.acknowledged();
    hopeless.retain(|id| id.starts_with(NEVER));
    assert!(!hopeless.is_empty() && hopeless.is_subset(&dead), "{hopeless:?} of {dead:?}");
}

fn a_delivery_that_kills_its_process_is_dead_after_exactly_the_maximum_and_takes_nobody_along(engine: Engine) {
    let _alone = alone();
    let place = Place::new(engine);
    let mut checker = Checker::new(&place);
    let child = Child::start(&place, &Orders { works: false, ..Orders::default() });
    let senders = Senders::none();
    for number in 0..12 {
        let id = if number == 5 { "aborts".to_owned() } else { format!("good_{number}") };
        assert_eq!(senders.send_one(child.addr, &id), 200);
    }
    drop(child);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut deaths = 0;
    loop {
        let mut child = Child::start(&place, &Orders::default());
        while !child.is_over() && checker.unfinished() > 0 {
            assert!(Instant::now() < deadline, "the killer was not given up: {deaths} deaths");
            std::thread::sleep(Duration::from_millis(5));
        }
        if !child.is_over() {
            break;
        }
        deaths += 1;
    }
    assert_eq!(deaths, child::MAX_ATTEMPTS, "processes that it took along");
    let dead = checker.dead();
    assert_eq!(dead, [("aborts".to_owned(), i64::from(child::MAX_ATTEMPTS))]);
    let acknowledged = (0..12).filter(|number| *number != 5).map(|number| format!("good_{number}"));
    checker.check("the killer", &acknowledged.collect());
}

fn a_delivery_that_always_fails_is_dead_after_exactly_the_maximum_and_holds_nobody_up(engine: Engine) {
    let _alone = alone();
    let place = Place::new(engine);
    let mut checker = Checker::new(&place);
    let child = Child::start(&place, &Orders { lease: LONG_LEASE, ..Orders::default() });
    let senders = Senders::none();
    let ids: Vec<_> =
        (0..40).map(|number| if number == 5 { "fails".to_owned() } else { format!("good_{number}") }).collect();
    for id in &ids {
        assert_eq!(senders.send_one(child.addr, id), 200);
    }
    let started = Instant::now();
    while checker.unfinished() > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "{} are left", checker.unfinished());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(checker.dead(), [("fails".to_owned(), i64::from(child::MAX_ATTEMPTS))]);
    assert_eq!(checker.count("state = 3 AND attempts = 1"), 39, "everybody else at the first attempt");
    checker.check("one that fails", &ids.into_iter().collect());
}

fn a_process_frozen_past_its_lease_and_resumed_changes_nothing(engine: Engine) {
    let _alone = alone();
    let place = Place::new(engine);
    let mut checker = Checker::new(&place);
    let senders = Senders::none();
    let rounds = if is_long() { 20 } else { 1 };
    let orders = Orders { lease: FREEZING_LEASE, ..Orders::default() };
    for round in 0..rounds {
        let id = format!("freezes_{round}");
        let mut frozen = Child::start(&place, &orders);
        assert_eq!(senders.send_one(frozen.addr, &id), 200);
        frozen.hear("INSIDE").unwrap();
        // With the effect written, the completion to come, and the lease running.
        frozen.signal("STOP");
        let mut second = Child::start(&place, &orders);
        second.hear("INSIDE").unwrap();
        if round % 2 == 0 {
            second.let_go();
            let started = Instant::now();
            while checker.unfinished() > 0 {
                assert!(started.elapsed() < FREEZING_LEASE + RECOVERY, "the second does not come to its end");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // Every other time the second is at work still.
        let before = checker.standing(&id);
        frozen.signal("CONT");
        frozen.let_go();
        assert!(frozen.terminate().is_some(), "it ends by itself, when it has done what it would");
        let (state, attempts, finished_at, effects) = checker.standing(&id);
        assert_eq!((state, attempts, finished_at, effects), before, "round {round}: it has changed nothing");
        assert_eq!(attempts, 2);
        second.let_go();
        assert!(second.terminate().is_some());
        assert_eq!(checker.standing(&id).3, 1, "round {round}: one effect");
        checker.check("frozen", &[id].into());
    }
    println!("{engine:?}: {rounds} frozen, one effect each");
}
