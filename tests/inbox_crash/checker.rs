//! Looks at the database, and knows nothing of how it came to be so.

use std::collections::{HashMap, HashSet};

use crate::place::{Database, Place, Snapshot};

pub(crate) struct Checker {
    database: Database,
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

    pub(crate) fn kept(&mut self) -> HashSet<String> {
        self.database.snapshot().rows.into_iter().map(|row| row.id).collect()
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
        // One view of the database for all questions.
        let Snapshot { rows, effects, halves } = self.database.snapshot();
        let mut states = HashMap::new();
        for row in rows {
            assert!(states.insert(row.id.clone(), row.state).is_none(), "{when}: {} was kept twice", row.id);
        }
        assert_eq!(halves, 0, "{when}: half a record");
        let mut counts = HashMap::<String, u64>::new();
        for id in effects {
            *counts.entry(id).or_default() += 1;
        }
        let lost: Vec<_> = acknowledged.iter().filter(|id| !states.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{when}: acknowledged and lost: {lost:?}");
        let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "{when}: effects that are there twice: {doubled:?}");
        for (id, state) in &states {
            assert_eq!(counts.contains_key(id), *state == 3, "{when}: {id} is in state {state}");
        }
        let stray: Vec<_> = counts.keys().filter(|id| !states.contains_key(*id)).collect();
        assert!(stray.is_empty(), "{when}: effects of nothing: {stray:?}");
    }
}
