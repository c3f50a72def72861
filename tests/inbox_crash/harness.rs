//! Rounds: a child comes to its end under load, and the next one works on what it has left.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::checker::Checker;
use crate::child::{Child, LEASE, Orders};
use crate::place::{Engine, Place, Promise};
use crate::sender::Senders;

/// How many deliveries are in flight at once.
const IN_FLIGHT: usize = 50;

/// What the brief allows above the lease.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Harness {
    pub(crate) place: Place,
    pub(crate) checker: Checker,
    pub(crate) senders: Senders,
    promise: Promise,
    figures: Figures,
}

/// What was seen. All of it was found in order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    acknowledged: usize,
    /// For how long there was somebody to send to, until the kill.
    loaded: Duration,
    /// The longest recovery.
    slowest: Duration,
}

impl Harness {
    pub(crate) fn new(engine: Engine, promise: Promise, name: fn(u64) -> String) -> Self {
        let place = Place::new(engine);
        let checker = Checker::new(&place, promise);
        let senders = Senders::start(IN_FLIGHT, 3, name);
        Self { place, checker, senders, promise, figures: Figures::default() }
    }

    pub(crate) fn orders(&self) -> Orders<'static> {
        Orders { works: Some(self.promise), ..Orders::default() }
    }

    /// Starts a child on what the one before has left, waits until that is worked on, checks; then lets the senders loose on
    /// another until that is killed, or has ended by itself.
    pub(crate) fn round(&mut self, name: &str, orders: &Orders<'_>, load: impl FnOnce(&Senders, &mut Child)) {
        self.recover(name);
        let mut child = Child::start(&self.place, orders);
        let started = Instant::now();
        self.senders.go(child.addr);
        load(&self.senders, &mut child);
        while orders.die_at.is_some() && !child.is_over() {
            assert!(started.elapsed() < Duration::from_secs(60), "{name}: the child did not come to its end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.figures.loaded += started.elapsed();
        drop(child);
        self.senders.pause();
    }

    /// Has a child work on everything that is there, and checks.
    pub(crate) fn recover(&mut self, name: &str) {
        let child = Child::start(&self.place, &self.orders());
        let started = Instant::now();
        let at_first = self.checker.unfinished();
        while self.checker.unfinished() > 0 {
            if started.elapsed() > within(LEASE + RECOVERY) {
                let left: Vec<_> = ["state = 0", "state = 1", "state = 2", "silent > 0", "silent > 1", "attempts > 1"]
                    .map(|condition| (condition, self.checker.count(&format!("state < 3 AND {condition}"))))
                    .into();
                panic!("{name}: of {at_first} some are left: {left:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.figures.slowest = self.figures.slowest.max(started.elapsed());
        drop(child);
        self.checker.check(name, &self.senders.acknowledged());
    }

    /// Once more after the last round; and what was seen in all of them.
    pub(crate) fn end(&mut self) -> Figures {
        self.recover("the end");
        let wrong = self.senders.wrong();
        assert!(wrong.is_empty(), "answers that a sender must not get: {wrong:?}");
        self.figures.acknowledged = self.senders.acknowledged().len();
        assert!(self.figures.acknowledged > 0);
        self.figures
    }
}

impl Figures {
    pub(crate) fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.loaded += other.loaded;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// How many deliveries were acknowledged in a second, while there was somebody to do so.
    pub(crate) fn rate(self) -> f64 {
        self.acknowledged as f64 / self.loaded.as_secs_f64()
    }

    pub(crate) fn tell(self, engine: Engine, rounds: u64) {
        let Self { acknowledged, loaded, slowest } = self;
        let rate = if loaded.is_zero() { String::new() } else { format!(" ({:.0}/s under load)", self.rate()) };
        let verdict = if slowest <= LEASE + RECOVERY { "reached" } else { "NOT REACHED" };
        println!(
            "{engine:?}: {rounds} rounds, {acknowledged} acknowledged{rate}, 0 lost, 0 against the promise, all worked on \
             within {slowest:?} of a restart (goal {:?}: {verdict})",
            LEASE + RECOVERY
        );
    }
}

/// xorshift64: moments that can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(engine: Engine) -> Self {
        let seed = number("COUNTERSIGN_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        println!("{engine:?}: seed {seed}");
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

static RUNNING: RwLock<()> = RwLock::new(());

/// One of these at a time: they measure how long something takes.
pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    RUNNING.write().unwrap_or_else(PoisonError::into_inner)
}

/// These run beside one another: most of a round is waiting.
pub(crate) fn beside_others() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().unwrap_or_else(PoisonError::into_inner)
}

/// How many rounds the long form has, if it is that.
pub(crate) fn rounds() -> Option<u64> {
    number("COUNTERSIGN_ROUNDS")
}

pub(crate) fn is_long() -> bool {
    rounds().is_some()
}

/// Whether rates and times are judged, and not only told: in the long form, which wants a machine that has nothing else to
/// do. `COUNTERSIGN_TIMES=told` has as many rounds on one that has.
pub(crate) fn judges_times() -> bool {
    is_long() && std::env::var("COUNTERSIGN_TIMES").map_or(true, |times| times != "told")
}

/// `bound` where times are judged, and patience elsewhere.
pub(crate) fn within(bound: Duration) -> Duration {
    if judges_times() { bound } else { PATIENCE }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
