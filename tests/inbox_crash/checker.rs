//! Looks at the database, and knows nothing of how it came to be so.

use std::collections::{HashMap, HashSet};

use crate::ledger::entity;
use crate::place::{Database, Effect, Place, Promise, Row, Snapshot};

pub(crate) struct Checker {
    pub(crate) database: Database,
    promise: Promise,
}

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Finding {
    /// More than one effect of one delivery, where one was promised.
    Doubled(String),
    /// An effect of a delivery that is not done.
    Early(String),
    /// A part of a record, of that number.
    Half(i64),
    /// Begun before the effect of one of the same entity was there that had been accepted before it.
    Interleaved(String),
    /// Two records of one delivery.
    KeptTwice(String),
    /// Acknowledged, and not there.
    Lost(String),
    /// A delivery that is done, without its effect.
    Missing(String),
    /// Its effect was there before that of one of the same entity that had been accepted before it.
    OutOfOrder(String),
    /// An effect of a delivery that is not there.
    Stray(String),
}

impl Checker {
    /// Makes the inbox and the table of the effects.
    pub(crate) fn new(place: &Place, promise: Promise) -> Self {
        Self { database: Database::new(place, promise), promise }
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
        (row.state, row.attempts, row.finished_at, effects.iter().filter(|effect| effect.id == id).count())
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
        findings.extend(disorder(&rows, &effects));
        let mut states = HashMap::new();
        for row in rows {
            if states.insert(row.id.clone(), row.state).is_some() {
                findings.push(Finding::KeptTwice(row.id));
            }
        }
        let mut counts = HashMap::<String, u64>::new();
        for effect in effects {
            *counts.entry(effect.id).or_default() += 1;
        }
        let lost = acknowledged.iter().filter(|id| !states.contains_key(*id));
        findings.extend(lost.cloned().map(Finding::Lost));
        let missing = states.iter().filter(|(id, state)| **state == 3 && !counts.contains_key(*id));
        findings.extend(missing.map(|(id, _)| Finding::Missing(id.clone())));
        for (id, count) in counts {
            if count != 1 && self.promise == Promise::ExactlyOnce {
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

/// What was not worked on in the order of the numbers of its entity, or not one at a time.
fn disorder(rows: &[Row], effects: &[Effect]) -> Vec<Finding> {
    let numbers: HashMap<&str, i64> = rows.iter().map(|row| (row.id.as_str(), row.number)).collect();
    let mut entities = HashMap::<&str, Vec<(i64, &Effect)>>::new();
    for effect in effects {
        if let (Some(entity), Some(number)) = (entity(&effect.id), numbers.get(effect.id.as_str())) {
            entities.entry(entity).or_default().push((*number, effect));
        }
    }
    let mut findings = Vec::new();
    for mut effects in entities.into_values() {
        effects.sort_by_key(|(number, effect)| (*number, effect.place));
        // The last effect of all those that had been accepted before.
        let mut before = 0;
        for of_one in effects.chunk_by(|(one, _), (next, _)| one == next) {
            for (_, effect) in of_one {
                if effect.place < before {
                    findings.push(Finding::OutOfOrder(effect.id.clone()));
                } else if effect.seen.is_none_or(|seen| seen < before) {
                    findings.push(Finding::Interleaved(effect.id.clone()));
                }
            }
            before = of_one.iter().map(|(_, effect)| effect.place).fold(before, i64::max);
        }
    }
    findings
}
