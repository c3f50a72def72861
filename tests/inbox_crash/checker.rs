//! Looks at the database, and knows nothing of how it came to be so.

use std::collections::{HashMap, HashSet};

use crate::place::{Database, Place, Snapshot};

pub(crate) struct Checker {
    pub(crate) database: Database,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finding {
    /// More than one effect of one delivery.
    Doubled(String),
    /// An effect of a delivery that is not done.
    Early(String),
    /// A part of a record, of that number.
    Half(i64),
    /// Two records of one delivery.
    KeptTwice(String),
    /// Acknowledged, and not there.
    Lost(String),
    /// A delivery that is done, without its effect.
    Missing(String),
    /// An effect of a delivery that is not there.
    Stray(String),
}

impl Checker {
    /// Makes the inbox and the table of the effects.
    pub(crate) fn new(place: &Place) -> Self {
        Self { database: Database::new(place) }
    }

    pub(crate) fn unfinished(&mut self) -> i64 {
        self.count("state < 3")
    }

    pub(crate) fn count(&mut self, condition: &str) -> i64 {
        self.database.count(condition)
    }

    /// The ids of the dead, and how many attempts they have had.
    pub(crate) fn dead(&mut self) -> Vec<(String, i64)> {
        let rows = self.database.snapshot().rows.into_iter();
        rows.filter(|row| row.state == 4).map(|row| (row.id, row.attempts)).collect()
    }

    /// How the one delivery of that id stands: everything of it that a completion would change.
    pub(crate) fn standing(&mut self, id: &str) -> (i64, i64, Option<i64>, usize) {
        let Snapshot { rows, effects, .. } = self.database.snapshot();
        let row = rows.into_iter().find(|row| row.id == id).unwrap();
        (row.state, row.attempts, row.finished_at, effects.iter().filter(|effect| *effect == id).count())
    }

    pub(crate) fn check(&mut self, when: &str, acknowledged: &HashSet<String>) {
        let findings = self.findings(acknowledged);
        assert!(findings.is_empty(), "{when}: {findings:?}");
    }

    /// Everything that must not be, in order.
    pub(crate) fn findings(&mut self, acknowledged: &HashSet<String>) -> Vec<Finding> {
        // One view of the database for all questions.
        let Snapshot { rows, effects, halves } = self.database.snapshot();
        let mut findings: Vec<_> = halves.into_iter().map(Finding::Half).collect();
        let mut states = HashMap::new();
        for row in rows {
            if states.insert(row.id.clone(), row.state).is_some() {
                findings.push(Finding::KeptTwice(row.id));
            }
        }
        let mut counts = HashMap::<String, u64>::new();
        for id in effects {
            *counts.entry(id).or_default() += 1;
        }
        let lost = acknowledged.iter().filter(|id| !states.contains_key(*id));
        findings.extend(lost.cloned().map(Finding::Lost));
        let missing = states.iter().filter(|(id, state)| **state == 3 && !counts.contains_key(*id));
        findings.extend(missing.map(|(id, _)| Finding::Missing(id.clone())));
        for (id, count) in counts {
            if count != 1 {
                findings.push(Finding::Doubled(id.clone()));
            }
            match states.get(&id) {
                Some(3) => {}
                Some(_) => findings.push(Finding::Early(id)),
                None => findings.push(Finding::Stray(id)),
            }
        }
        findings.sort();
        findings
    }
}
