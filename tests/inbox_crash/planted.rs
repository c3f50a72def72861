//! The checker is shown each fault that it is there to find, on a real database with real records, and has to find it.

use std::time::{Duration, Instant};

use crate::checker::{Checker, Finding};
use crate::child::{Child, LONG_LEASE, Orders};
use crate::place::{Engine, Place, Promise};
use crate::sender::Senders;

/// How a fault is made on either engine, and what is to be found.
struct Fault {
    sqlite: &'static str,
    postgres: &'static str,
    finding: Finding,
}

pub(crate) fn each_fault_that_is_planted_is_found_and_nothing_else(engine: Engine) {
    for promise in [Promise::ExactlyOnce, Promise::AtLeastOnce] {
        plant(engine, promise);
    }
}

fn plant(engine: Engine, promise: Promise) {
    let place = Place::new(engine);
    let mut checker = Checker::new(&place, promise);
    let child = Child::start(&place, &Orders { lease: LONG_LEASE, works: Some(promise), ..Orders::default() });
    let senders = Senders::none();
    // Each of them acknowledged before the next is sent: they are accepted in this order.
    let ids = [
        "lost", "doubled", "twice", "missing", "early", "sound", "of_a_1", "of_a_2", "of_b_1", "of_b_2", "of_b_3",
        "of_c_1",
    ];
    for id in ids {
        assert_eq!(senders.send_one(child.addr, id), 200);
    }
    let started = Instant::now();
    while checker.unfinished() > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "they are worked on");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.terminate().is_some());
    let acknowledged = ids.map(str::to_owned).into();
    let mut expected = Vec::new();
    assert_eq!(checker.findings(&acknowledged), expected);
    for fault in faults() {
        checker.database.run(match engine {
            Engine::Postgres => fault.postgres,
            Engine::Sqlite => fault.sqlite,
        });
        // A second effect is no fault where one at least was promised.
        if promise == Promise::ExactlyOnce || !matches!(fault.finding, Finding::Doubled(_)) {
            expected.push(fault.finding.clone());
        }
        expected.sort();
        assert_eq!(checker.findings(&acknowledged), expected, "{promise:?} with {:?}", fault.finding);
    }
}

fn faults() -> [Fault; 10] {
    [
        Fault {
            sqlite: "DELETE FROM countersign_inbox_payload WHERE number IN
                         (SELECT number FROM countersign_inbox WHERE delivery_id = 'lost');
                     DELETE FROM countersign_inbox WHERE delivery_id = 'lost';
                     DELETE FROM effect WHERE id = 'lost'",
            postgres: "DELETE FROM {schema}.inbox WHERE number IN
                           (SELECT number FROM {schema}.inbox_delivery WHERE delivery_id = 'lost');
                       DELETE FROM {schema}.inbox_delivery WHERE delivery_id = 'lost';
                       DELETE FROM {schema}.effect WHERE id = 'lost'",
            finding: Finding::Lost("lost".to_owned()),
        },
        Fault {
            sqlite: "INSERT INTO effect (id) VALUES ('doubled')",
            postgres: "INSERT INTO {schema}.effect (id) VALUES ('doubled')",
            finding: Finding::Doubled("doubled".to_owned()),
        },
        Fault {
            sqlite: "CREATE TEMP TABLE copy AS SELECT * FROM countersign_inbox WHERE delivery_id = 'twice';
                     INSERT INTO countersign_inbox_payload SELECT 1000, headers, body FROM countersign_inbox_payload
                         WHERE number = (SELECT number FROM copy);
                     UPDATE copy SET number = 1000;
                     INSERT INTO countersign_inbox SELECT * FROM copy",
            // The unique index takes the claim key once.
            postgres: "CREATE TEMP TABLE kept AS SELECT * FROM {schema}.inbox_delivery WHERE delivery_id = 'twice';
                       CREATE TEMP TABLE stands AS SELECT * FROM {schema}.inbox
                           WHERE number = (SELECT number FROM kept);
                       UPDATE kept SET number = 1000, claim_key = claim_key || claim_key;
                       UPDATE stands SET number = 1000;
                       INSERT INTO {schema}.inbox_delivery SELECT * FROM kept;
                       INSERT INTO {schema}.inbox SELECT * FROM stands",
            finding: Finding::KeptTwice("twice".to_owned()),
        },
        Fault {
            sqlite: "INSERT INTO countersign_inbox_payload VALUES (2000, '[]', x'7b7d')",
            postgres: "UPDATE kept SET number = 2000, claim_key = claim_key || claim_key;
                       INSERT INTO {schema}.inbox_delivery SELECT * FROM kept",
            finding: Finding::Half(2000),
        },
        Fault {
            sqlite: "UPDATE copy SET number = 3000, delivery_id = 'half', state = 0;
                     INSERT INTO countersign_inbox SELECT * FROM copy",
            postgres: "UPDATE stands SET number = 3000, state = 0;
                       INSERT INTO {schema}.inbox SELECT * FROM stands",
            finding: Finding::Half(3000),
        },
        Fault {
            sqlite: "DELETE FROM effect WHERE id = 'missing'",
            postgres: "DELETE FROM {schema}.effect WHERE id = 'missing'",
            finding: Finding::Missing("missing".to_owned()),
        },
        Fault {
            sqlite: "UPDATE countersign_inbox SET state = 0 WHERE delivery_id = 'early'",
            postgres: "UPDATE {schema}.inbox SET state = 0 WHERE number =
                           (SELECT number FROM {schema}.inbox_delivery WHERE delivery_id = 'early')",
            finding: Finding::Early("early".to_owned()),
        },
        Fault {
            sqlite: "INSERT INTO effect (id) VALUES ('nobody')",
            postgres: "INSERT INTO {schema}.effect (id) VALUES ('nobody')",
            finding: Finding::Stray("nobody".to_owned()),
        },
        Fault {
            sqlite: "UPDATE effect SET place = 5000 WHERE id = 'of_a_1'",
            postgres: "UPDATE {schema}.effect SET place = 5000 WHERE id = 'of_a_1'",
            finding: Finding::OutOfOrder("of_a_2".to_owned()),
        },
        Fault {
            sqlite: "UPDATE effect SET seen = seen - 1 WHERE id = 'of_b_3'",
            postgres: "UPDATE {schema}.effect SET seen = seen - 1 WHERE id = 'of_b_3'",
            finding: Finding::Interleaved("of_b_3".to_owned()),
        },
    ]
}
