//! A receiver that is asked to end while deliveries come in.

use std::collections::BTreeMap;

use crate::child::{Child, Orders};
use crate::harness::{Harness, Random, alone, is_long};
use crate::place::Engine;

pub(crate) fn a_graceful_end_under_load_breaks_no_accepted_request_and_leaves_no_lease_behind(engine: Engine) {
    let _alone = alone();
    let rounds = if is_long() { 50 } else { 3 };
    let mut random = Random::new(engine);
    let mut harness = Harness::new(engine, |number| format!("msg_{number}"));
    let (mut all, mut late) = (0, 0);
    for round in 0..rounds {
        let child = Child::start(&harness.place, &Orders::default());
        harness.senders.go(child.addr);
        harness.senders.wait_for_acknowledgements(20 + random.below(100) as usize);
        late += harness.senders.under_way();
        let begun = child.terminate().unwrap_or_else(|| panic!("round {round}: it did not end by itself"));
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
