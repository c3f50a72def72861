//! Ends a receiver with its workers by `kill -9`, at random moments and at every boundary between two steps, while
//! deliveries come in; and has a checker look at what is left.
//!
//! The parent is the sender and keeps a record of every acknowledgement that it has seen. The child, which is this same
//! program, receives and works over one file. The effects are rows in that file, without a unique constraint: were one
//! doubled, it would be seen. After each round the verdict is:
//!
//! - acknowledged ⊆ done ∪ pending ∪ dead;
//! - one effect for each delivery that is done, and none for any other;
//! - everything is worked on within the lease and five seconds.
//!
//! A short form runs with the tests. `COUNTERSIGN_ROUNDS=1000 cargo test --release --features sqlite --test inbox_crash`
//! runs the long one (each boundary then has 20 rounds); `COUNTERSIGN_SEED` repeats the moments of an earlier run.
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
mod place;
mod sender;

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use checker::Checker;
use child::{Child, LEASE};
use place::{Engine, Place};
use sender::Senders;

/// How many deliveries are in flight at once.
const IN_FLIGHT: usize = 50;

/// What the brief allows above the lease.
const RECOVERY: Duration = Duration::from_secs(5);

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
    kill_9_at_random_moments_loses_nothing_and_doubles_nothing
    of_64_identical_deliveries_at_once_to_1_3_and_8_processes_one_is_worked_on
}

fn kill_9_at_random_moments_loses_nothing_and_doubles_nothing(engine: Engine) {
    let _alone = alone();
    let rounds = number("COUNTERSIGN_ROUNDS").unwrap_or(6);
    let mut harness = Harness::new(engine);
    for round in 0..rounds {
        let run_for = Duration::from_millis(100 + harness.random.below(400));
        harness.round(&format!("round {round}"), None, |_| std::thread::sleep(run_for));
    }
    harness.end(rounds);
}

fn a_kill_at_every_step_boundary_loses_nothing_and_doubles_nothing(engine: Engine) {
    let _alone = alone();
    let rounds = if is_long() { 20 } else { 1 };
    let mut harness = Harness::new(engine);
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
        "answered",
    ] {
        for round in 0..rounds {
            count += 1;
            let nth = 1 + harness.random.below(60);
            let name = format!("{boundary} for the {nth}th time, round {round}");
            if boundary == "answered" {
                harness.round(&name, None, |senders| senders.wait_for_acknowledgements(nth as usize));
            } else {
                harness.round(&name, Some(&format!("{boundary}:{nth}")), |_| {});
            }
        }
    }
    harness.end(count);
}

fn a_delivery_that_kills_its_process_is_dead_after_exactly_the_maximum_and_takes_nobody_along(engine: Engine) {
    let _alone = alone();
    let place = Place::new(engine);
    let mut checker = Checker::new(&place);
    let child = Child::start(&place, None, false);
    let senders = Senders::start(1, 1);
    for number in 0..12 {
        let id = if number == 5 { "aborts".to_owned() } else { format!("good_{number}") };
        assert_eq!(senders.send_one(child.addr, &id), 200);
    }
    drop(child);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut deaths = 0;
    loop {
        let mut child = Child::start(&place, None, true);
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
    let child = Child::start(&place, None, true);
    let senders = Senders::start(0, 1);
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
    let senders = Senders::start(0, 1);
    let rounds = if is_long() { 20 } else { 1 };
    for round in 0..rounds {
        let id = format!("freezes_{round}");
        let mut frozen = Child::start(&place, None, true);
        assert_eq!(senders.send_one(frozen.addr, &id), 200);
        frozen.hear("INSIDE").unwrap();
        // With the effect written, the completion to come, and the lease running.
        frozen.signal("STOP");
        let mut second = Child::start(&place, None, true);
        second.hear("INSIDE").unwrap();
        if round % 2 == 0 {
            second.let_go();
            let started = Instant::now();
            while checker.unfinished() > 0 {
                assert!(started.elapsed() < LEASE + RECOVERY, "the second does not come to its end");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        // Every other time the second is at work still.
        let before = checker.standing(&id);
        frozen.signal("CONT");
        frozen.let_go();
        assert!(frozen.terminate(), "it ends by itself, when it has done what it would");
        let (state, attempts, finished_at, effects) = checker.standing(&id);
        assert_eq!((state, attempts, finished_at, effects), before, "round {round}: it has changed nothing");
        assert_eq!(attempts, 2);
        second.let_go();
        assert!(second.terminate());
        assert_eq!(checker.standing(&id).3, 1, "round {round}: one effect");
        checker.check("frozen", &[id].into());
    }
    println!("{engine:?}: {rounds} frozen, one effect each");
}

fn a_graceful_end_under_load_breaks_no_accepted_request_and_leaves_no_lease_behind(engine: Engine) {
    let _alone = alone();
    let rounds = if is_long() { 50 } else { 3 };
    let mut harness = Harness::new(engine);
    for round in 0..rounds {
        let child = Child::start(&harness.place, None, true);
        harness.senders.go(child.addr);
        harness.senders.wait_for_acknowledgements(20 + harness.random.below(100) as usize);
        assert!(child.terminate(), "round {round}: it ended by itself");
        harness.senders.pause();
        assert_eq!(harness.checker.count("state = 1"), 0, "round {round}: a lease is left behind");
        // A request on a connection that is being closed may go unread; one that was kept has been answered.
        let acknowledged = harness.senders.acknowledged();
        let broken = harness.senders.take_broken();
        let kept_ids = harness.checker.kept();
        let kept: Vec<_> = broken.iter().filter(|id| !acknowledged.contains(*id) && kept_ids.contains(*id)).collect();
        assert!(kept.is_empty(), "round {round}: kept, and not answered: {kept:?}");
        harness.checker.check(&format!("round {round}"), &acknowledged);
    }
    harness.end(rounds);
}

fn of_64_identical_deliveries_at_once_to_1_3_and_8_processes_one_is_worked_on(engine: Engine) {
    let _alone = alone();
    let events = if is_long() { 1000 } else { 5 };
    for processes in [1, 3, 8] {
        let place = Place::new(engine);
        let mut checker = Checker::new(&place);
        let children: Vec<_> = (0..processes).map(|_| Child::start(&place, None, true)).collect();
        let senders = Senders::start(0, 1);
        let barrier = Barrier::new(64);
        let slowest = Mutex::new(Duration::ZERO);
        let refused = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for copy in 0..64 {
                let (senders, barrier, slowest, refused) = (&senders, &barrier, &slowest, &refused);
                let addr = children[copy % processes].addr;
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    for event in 0..events {
                        barrier.wait();
                        let started = Instant::now();
                        let status = senders.send_on(&mut stream, &format!("event_{event}"));
                        let taken = started.elapsed();
                        assert!(matches!(status, 200 | 503), "{status}");
                        refused.fetch_add(u64::from(status == 503), Ordering::SeqCst);
                        let mut slowest = slowest.lock().unwrap();
                        *slowest = taken.max(*slowest);
                    }
                });
            }
        });
        let started = Instant::now();
        while checker.unfinished() > 0 {
            assert!(started.elapsed() < LEASE + RECOVERY, "{} are left", checker.unfinished());
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(checker.count("state = 3"), events, "each of them once");
        checker.check("64 at once", &(0..events).map(|event| format!("event_{event}")).collect());
        println!(
            "{processes} processes: {events} events, 64 copies each at once: one run each, {} refused for now, the longest \
             wait {:?}",
            refused.into_inner(),
            slowest.into_inner().unwrap()
        );
    }
}

struct Harness {
    place: Place,
    checker: Checker,
    senders: Senders,
    random: Random,
    slowest: Duration,
    loaded: Duration,
}

impl Harness {
    fn new(engine: Engine) -> Self {
        let place = Place::new(engine);
        let checker = Checker::new(&place);
        let senders = Senders::start(IN_FLIGHT, 3);
        let seed = number("COUNTERSIGN_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        println!("{engine:?}, seed {seed}");
        let random = Random(seed | 1);
        Self { place, checker, senders, random, slowest: Duration::ZERO, loaded: Duration::ZERO }
    }

    /// Starts the child on what the one before has left, waits until that is worked on, checks; then lets the senders
    /// loose until the child is killed, or has ended by itself.
    fn round(&mut self, name: &str, die_at: Option<&str>, load: impl FnOnce(&Senders)) {
        self.recover(name);
        let dies = die_at.is_some();
        let mut child = Child::start(&self.place, die_at, true);
        let started = Instant::now();
        self.senders.go(child.addr);
        load(&self.senders);
        while dies && !child.is_over() {
            assert!(started.elapsed() < Duration::from_secs(60), "{name}: the child did not come to its end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.loaded += started.elapsed();
        drop(child);
        self.senders.pause();
    }

    fn recover(&mut self, name: &str) {
        let child = Child::start(&self.place, None, true);
        let started = Instant::now();
        let at_first = self.checker.unfinished();
        while self.checker.unfinished() > 0 {
            if started.elapsed() > LEASE + RECOVERY {
                let left: Vec<_> = ["state = 0", "state = 1", "state = 2", "silent > 0", "silent > 1", "attempts > 1"]
                    .map(|condition| (condition, self.checker.count(&format!("state < 3 AND {condition}"))))
                    .into();
                panic!("{name}: of {at_first} some are left: {left:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.slowest = self.slowest.max(started.elapsed());
        drop(child);
        self.checker.check(name, &self.senders.acknowledged());
    }

    fn end(mut self, rounds: u64) {
        self.recover("the end");
        let acknowledged = self.senders.acknowledged().len();
        let wrong = self.senders.wrong();
        assert!(wrong.is_empty(), "answers that a sender must not get: {wrong:?}");
        assert!(acknowledged > 0);
        let rate = acknowledged as f64 / self.loaded.as_secs_f64();
        let rate = if self.loaded.is_zero() { String::new() } else { format!(" ({rate:.0}/s under load)") };
        println!(
            "{rounds} rounds, {acknowledged} acknowledged{rate}, 0 lost, 0 doubled, all worked on within {:?} of a restart \
             (lease {LEASE:?})",
            self.slowest,
        );
    }
}

/// xorshift64: moments that can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// One of these at a time: they measure how long a recovery takes.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether it is the long form.
fn is_long() -> bool {
    number("COUNTERSIGN_ROUNDS").is_some_and(|rounds| rounds >= 100)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
