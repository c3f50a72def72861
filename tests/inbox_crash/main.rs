//! Ends a receiver with its workers by `kill -9`, at random moments and at every boundary between two steps, while
//! deliveries come in; and has a checker look at what is left.
//!
//! The parent is the sender and keeps a record of every acknowledgement that it has seen. The child, which is this same
//! program, receives and works over one database. The effects are rows in it, without a unique constraint: were one
//! doubled, it would be seen. After each round the verdict is:
//!
//! - acknowledged ⊆ done ∪ pending ∪ dead;
//! - one effect for each delivery that is done, at least one where the workers promise no more than that, and none for any
//!   other;
//! - the effects of one entity in the order in which its deliveries were accepted, each begun after the one before was there;
//! - everything is worked on within the lease and five seconds.
//!
//! A short form runs with the tests. `COUNTERSIGN_ROUNDS=1000 cargo test --all-features --test inbox_crash -- --nocapture`
//! runs the long one: that many rounds of `kill -9` at random moments, 20 of each boundary, 50 graceful ends of each kind,
//! 1,000 deliveries in 64 copies. It also holds the machine to the rate and the times that were asked for, so it wants a
//! machine that has nothing else to do; with `COUNTERSIGN_TIMES=told` it only tells them. `.ci/run` has 200 rounds of that
//! kind of `kill -9` with transactional workers. `COUNTERSIGN_SEED` repeats the moments of an earlier run.
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
mod ledger;
mod place;
mod planted;
mod sender;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use checker::Checker;
use child::{Child, LONG_LEASE, Orders};
use copies::of_64_identical_deliveries_at_once_to_1_3_and_8_processes_one_is_worked_on;
use graceful::{
    a_graceful_end_under_load_breaks_no_accepted_request_and_leaves_no_lease_behind,
    what_outlasts_a_graceful_end_is_given_back_and_done_once_by_the_next,
};
use harness::{Figures, Harness, RECOVERY, Random, alone, beside_others, is_long, judges_times, rounds, within};
use ledger::{AGAIN, LONG, NEVER, OF, STAYS};
use place::{Engine, Place, Promise};
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
    kill_9_at_random_moments_keeps_the_order_of_each_entity
    kill_9_at_random_moments_loses_nothing_and_doubles_nothing
    kill_9_at_random_moments_loses_nothing_of_workers_that_run_at_least_once
    of_64_identical_deliveries_at_once_to_1_3_and_8_processes_one_is_worked_on
    what_outlasts_a_graceful_end_is_given_back_and_done_once_by_the_next
}

fn kill_9_at_random_moments_loses_nothing_and_doubles_nothing(engine: Engine) {
    let figures = kill_9_at_random_moments(engine, Promise::ExactlyOnce, |number| format!("msg_{number}"));
    if judges_times() {
        assert!(figures.rate() >= RATE, "only {:.0} deliveries a second", figures.rate());
    }
}

/// The process may die between an effect and the record of it: then there is a second one.
fn kill_9_at_random_moments_loses_nothing_of_workers_that_run_at_least_once(engine: Engine) {
    kill_9_at_random_moments(engine, Promise::AtLeastOnce, |number| format!("msg_{number}"));
}

/// Every other delivery is of one of sixteen entities, so that several of each wait when the process is killed.
fn kill_9_at_random_moments_keeps_the_order_of_each_entity(engine: Engine) {
    kill_9_at_random_moments(engine, Promise::ExactlyOnce, |number| match number % 32 {
        entity if entity % 2 == 0 => format!("{OF}{entity}_{number}"),
        _ => format!("msg_{number}"),
    });
}

fn kill_9_at_random_moments(engine: Engine, promise: Promise, name: fn(u64) -> String) -> Figures {
    let _running = beside_others();
    let rounds = rounds().unwrap_or(6);
    let mut random = Random::new(engine);
    let mut all = Figures::default();
    let mut round = 0;
    while round < rounds {
        let mut harness = Harness::new(engine, promise, name);
        let orders = harness.orders();
        let end = rounds.min(round + ROUNDS_OF_AN_INBOX);
        for round in round..end {
            let run_for = Duration::from_millis(100 + random.below(400));
            harness.round(&format!("round {round}"), &orders, |_, _| std::thread::sleep(run_for));
        }
        all.add(harness.end());
        println!("{engine:?}: {end} of {rounds} rounds");
        round = end;
    }
    all.tell(engine, rounds);
    all
}

fn a_kill_at_every_step_boundary_loses_nothing_and_doubles_nothing(engine: Engine) {
    let _alone = alone();
    let rounds = if is_long() { 20 } else { 1 };
    let mut random = Random::new(engine);
    // So that each boundary is come to in every round. Few take long: on PostgreSQL each has a connection meanwhile.
    let mut harness = Harness::new(engine, Promise::ExactlyOnce, |number| match (number % 64, number % 8) {
        (7, _) => format!("{LONG}{number}"),
        (9, _) => format!("{STAYS}{number}"),
        (_, 3) => format!("{AGAIN}{number}"),
        (_, 5) => format!("{NEVER}{number}"),
        _ => format!("msg_{number}"),
    });
    let mut count = 0;
    for boundary in [
        "accept:verified",
        "accept:committing",
        "accept:committed",
        "claim:committing",
        "claim:committed",
        "extend:committing",
        "extend:committed",
        "handler:starting",
        "handler:within",
        "handler:ended",
        "complete:committing",
        "complete:committed",
        "retry:committing",
        "retry:committed",
        "dead:committing",
        "dead:committed",
        "release:committing",
        "release:committed",
        "answered",
    ] {
        for round in 0..rounds {
            count += 1;
            // All that are to be renewed are so at once, and what is given back is what has come to no end.
            let is_rare = boundary.starts_with("extend") || boundary.starts_with("release");
            let nth = 1 + random.below(if is_rare { 3 } else { 60 });
            let name = format!("{boundary} for the {nth}th time, round {round}");
            let die_at = format!("{boundary}:{nth}");
            let orders = Orders { die_at: Some(&die_at), ..harness.orders() };
            if boundary == "answered" {
                let orders = Orders { die_at: None, ..orders };
                harness.round(&name, &orders, |senders, _| senders.wait_for_acknowledgements(nth as usize));
            } else if boundary.starts_with("release") {
                let orders = Orders { drain: Duration::from_millis(200), stays: true, ..orders };
                harness.round(&name, &orders, |_, child| {
                    (0..nth).for_each(|_| drop(child.hear("INSIDE").unwrap()));
                    child.signal("TERM");
                });
            } else {
                harness.round(&name, &orders, |_, _| {});
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
    let mut checker = Checker::new(&place, Promise::ExactlyOnce);
    let child = Child::start(&place, &Orders { works: None, ..Orders::default() });
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
    let mut checker = Checker::new(&place, Promise::ExactlyOnce);
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
    let mut checker = Checker::new(&place, Promise::ExactlyOnce);
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
                assert!(started.elapsed() < within(FREEZING_LEASE + RECOVERY), "the second does not come to its end");
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
