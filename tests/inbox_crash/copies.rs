//! Copies of one delivery, all at once.

use std::net::TcpStream;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::checker::Checker;
use crate::child::{Child, LONG_LEASE, Orders};
use crate::harness::{alone, is_long, judges_times};
use crate::place::{Engine, Place, Promise};
use crate::sender::Senders;

const COPIES: usize = 64;

/// The longest that anybody may wait. A busy machine is nobody's mistake, so the long form alone insists on it.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What a busy machine may be refused for: it did not answer in time, or somebody held a lock for too long. Anything else, such
/// as a queue that is full or a pool that has no connection left, is a refusal that 64 deliveries are not to cause.
const TOO_BUSY: [&str; 3] = ["the inbox did not answer within ", "lock timeout", "database is locked"];

pub(crate) fn of_64_identical_deliveries_at_once_to_1_3_and_8_processes_one_is_worked_on(engine: Engine) {
    let _alone = alone();
    let events = if is_long() { 1000 } else { 5 };
    for processes in [1, 3, 8] {
        let place = Place::new(engine);
        let mut checker = Checker::new(&place, Promise::ExactlyOnce);
        let orders = Orders { lease: LONG_LEASE, ..Orders::default() };
        let children: Vec<_> = (0..processes).map(|_| Child::start(&place, &orders)).collect();
        let senders = Senders::none();
        let barrier = Barrier::new(COPIES);
        let (waits, refusals) = (Mutex::new(Duration::ZERO), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for copy in 0..COPIES {
                let (senders, barrier, waits, refusals) = (&senders, &barrier, &waits, &refusals);
                let addr = children[copy % processes].addr;
                scope.spawn(move || {
                    let mut stream = TcpStream::connect(addr).unwrap();
                    for event in 0..events {
                        barrier.wait();
                        let started = Instant::now();
                        let status = senders.send_on(&mut stream, &format!("event_{event}"));
                        let waited = started.elapsed();
                        assert!(matches!(status, 200 | 503), "{status}");
                        if status == 503 {
                            refusals.lock().unwrap().push(waited);
                        }
                        let mut longest = waits.lock().unwrap();
                        *longest = waited.max(*longest);
                    }
                });
            }
        });
        let started = Instant::now();
        while checker.unfinished() > 0 {
            assert!(started.elapsed() < Duration::from_secs(60), "{} are left", checker.unfinished());
            std::thread::sleep(Duration::from_millis(5));
        }
        // A second run, whatever became of it, would have been a second attempt.
        assert_eq!(checker.count("state = 3 AND attempts = 1"), events, "each of them once, and at once");
        assert_eq!(checker.count("state IS NOT NULL"), events, "and nothing else");
        checker.check("64 at once", &(0..events).map(|event| format!("event_{event}")).collect());
        let (longest, refusals) = (waits.into_inner().unwrap(), refusals.into_inner().unwrap());
        let told = children.into_iter().map(|child| child.terminate().expect("it ends by itself"));
        let reasons: Vec<String> = told.flat_map(|told| told.refused).collect();
        println!(
            "{engine:?}, {processes} processes: {events} events, {COPIES} copies each at once: one run each, {} refused for \
             now, the longest wait {longest:?}",
            refusals.len(),
        );
        assert_eq!(reasons.len(), refusals.len(), "each 503 has its reason: {reasons:?} for {refusals:?}");
        let is_busy = |reason: &&String| TOO_BUSY.iter().any(|busy| reason.contains(busy));
        let exhausted = reasons.iter().filter(|reason| !is_busy(reason)).count();
        assert_eq!(exhausted, 0, "a queue was full, or a pool empty: {reasons:?}");
        if judges_times() {
            assert!(refusals.is_empty() && longest <= LONGEST_WAIT, "{longest:?}, refused after {refusals:?}");
        }
    }
}
