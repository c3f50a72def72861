//! Keys that change while deliveries come in.

#![cfg(all(feature = "actix", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::ops::RangeInclusive;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{BOTH, Client, Mount, NOW, Probe, Server, Setup, StopOnDrop, job, wait_for};
use countersign::testing::FakeClock;
use countersign::{Clock, Key, Keyring, Receiver, SystemClock, Timestamp};

const CYCLES: usize = 100;
const SENDERS: usize = 8;
const OVERLAP: Duration = Duration::from_secs(60);

/// The key of a cycle: 24 bytes whose base64 text is the cycle's number.
fn key(cycle: usize) -> Key {
    common::key(&format!("key-{cycle}"), &format!("whsec_{cycle:032}"))
}

fn post_signed_by(cycle: usize, id: &str, at: Timestamp) -> Vec<u8> {
    let ring = Keyring::new([key(cycle)]).unwrap();
    common::signed_with(&common::scheme(), &ring, id, at, job("ok")).to_bytes()
}

fn status(client: &mut Client, request: &[u8]) -> u16 {
    client.send(request);
    client.receive().status
}

/// A receiver with `key(0)` on two workers, and senders that post all the time.
///
/// A sender takes one of the keys that are in use, and holds on to them while its delivery is under way. So a key that
/// is taken out of use under the lock has nothing under way any more.
struct Load {
    ring: Keyring,
    probe: Probe,
    server: Server,
    in_use: RwLock<RangeInclusive<usize>>,
    stop: AtomicBool,
    sent: AtomicUsize,
}

impl Load {
    fn new(mount: Mount, clock: impl Clock) -> Self {
        let probe = Probe::default();
        let ring = Keyring::new([key(0)]).unwrap();
        let receiver =
            Receiver::builder(common::scheme(), ring.clone()).handlers(probe.clone()).clock(clock).build().unwrap();
        let setup = Setup { workers: 2, mount, ..Setup::default() };
        Self {
            server: Server::with(setup, &receiver, &probe),
            ring,
            probe,
            in_use: RwLock::new(0..=0),
            stop: AtomicBool::new(false),
            sent: AtomicUsize::new(0),
        }
    }

    /// Runs `operate` while the senders send.
    fn run(&self, clock: &(impl Clock + Clone), operate: impl FnOnce()) {
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                let clock = clock.clone();
                scope.spawn(move || self.send(sender, &clock));
            }
            let _end = StopOnDrop(&self.stop);
            operate();
        });
    }

    fn send(&self, sender: usize, clock: &impl Clock) {
        let mut client = self.server.client();
        for number in 0_usize.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let in_use = self.in_use.read().unwrap();
            let cycle = in_use.clone().cycle_at(sender + number);
            let request = post_signed_by(cycle, &format!("msg_{sender}_{number}"), clock.now());
            assert_eq!(status(&mut client, &request), 200, "key {cycle} of {in_use:?}");
            drop(in_use);
            self.sent.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// From now on senders use these keys; nothing under other keys is under way.
    fn use_keys(&self, cycles: RangeInclusive<usize>) {
        *self.in_use.write().unwrap() = cycles;
        let before = self.sent.load(Ordering::SeqCst);
        wait_for("deliveries under these keys", || {
            (self.sent.load(Ordering::SeqCst) >= before + 2 * SENDERS).then_some(())
        });
    }
}

trait CycleAt {
    fn cycle_at(self, index: usize) -> usize;
}

impl CycleAt for RangeInclusive<usize> {
    fn cycle_at(self, index: usize) -> usize {
        self.start() + index % (self.end() - self.start() + 1)
    }
}

/// The clock is a fake one, so that a key's last moment and its end can be met to the millisecond.
#[test]
fn in_a_hundred_rotations_at_full_load_no_delivery_is_refused_and_no_ended_key_accepted() {
    let clock = FakeClock::at(NOW);
    let load = Load::new(Mount::Service, clock.clone());
    load.run(&clock, || {
        let mut client = load.server.client();
        for cycle in 1..=CYCLES {
            // Nobody holds still for it: deliveries under the old key are under way.
            load.ring.rotate_at(key(cycle), OVERLAP, clock.now()).unwrap();
            load.use_keys(cycle - 1..=cycle);
            load.use_keys(cycle..=cycle);
            let old = |id: &str, at| post_signed_by(cycle - 1, &format!("{id}_{cycle}"), at);
            let last = clock.advance(OVERLAP - Duration::from_millis(1));
            assert_eq!(status(&mut client, &old("last", last)), 200, "cycle {cycle}: the last moment");
            let end = clock.advance(Duration::from_millis(1));
            for at in [last, end] {
                // Refused, and so on a connection of its own.
                assert_eq!(status(&mut load.server.client(), &old("late", at)), 401, "cycle {cycle}: the end");
            }
        }
    });
    assert_eq!(load.probe.all_runs(), load.sent.load(Ordering::SeqCst) + CYCLES);
    assert_eq!(load.ring.keys().len(), 2, "ended keys are dropped by the next rotation");
}

/// The same with the system's clock: overlaps long enough that no test run outlasts them, and then one that is over
/// once the clock says so.
#[test]
fn rotation_by_the_systems_clock_refuses_nothing_and_ends_the_old_key() {
    for mount in BOTH {
        let load = Load::new(mount, SystemClock);
        load.run(&SystemClock, || {
            for cycle in 1..Keyring::MAX_KEYS {
                load.ring.rotate(key(cycle), Duration::from_hours(1)).unwrap();
                load.use_keys(0..=cycle);
            }
            let newest = Keyring::MAX_KEYS - 1;
            load.use_keys(newest..=newest);
        });
        let newest = Keyring::MAX_KEYS - 1;
        load.ring.replace([key(newest)]).unwrap();
        load.ring.rotate(key(newest + 1), Duration::from_millis(20)).unwrap();
        let end = load.ring.keys()[1].not_after().unwrap();
        let now = wait_for("the end of the overlap", || Some(SystemClock.now()).filter(|now| *now >= end));
        let post = |cycle, id: &str| status(&mut load.server.client(), &post_signed_by(cycle, id, now));
        assert_eq!(post(newest, "old"), 401);
        assert_eq!(post(newest + 1, "new"), 200);
    }
}

#[test]
fn a_rotation_without_an_overlap_ends_the_old_key_at_once() {
    let load = Load::new(Mount::Service, FakeClock::at(NOW));
    let post = |cycle, id: &str| status(&mut load.server.client(), &post_signed_by(cycle, id, NOW));
    assert_eq!(post(0, "before"), 200);
    load.ring.rotate_at(key(1), Duration::ZERO, NOW).unwrap();
    assert_eq!((post(0, "after"), post(1, "new")), (401, 200));
}
