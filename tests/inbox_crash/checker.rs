//! Looks at the file, and knows nothing of how it came to be so.

use std::collections::{HashMap, HashSet};

use countersign::SqliteInbox;
use countersign::inbox::rusqlite::Connection;

use crate::inbox_common::Folder;

pub(crate) struct Checker {
    connection: Connection,
}

impl Checker {
    /// Makes the inbox and the table of the effects.
    pub(crate) fn new(folder: &Folder) -> Self {
        drop(SqliteInbox::open(folder.file()).unwrap());
        let connection = Connection::open(folder.file()).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        connection.execute_batch("CREATE TABLE effect (id TEXT)").unwrap();
        Self { connection }
    }

    pub(crate) fn unfinished(&self) -> i64 {
        let text = "SELECT count(*) FROM countersign_inbox WHERE state < 3";
        self.connection.query_row(text, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn count(&self, condition: &str) -> i64 {
        let text = format!("SELECT count(*) FROM countersign_inbox WHERE {condition}");
        self.connection.query_row(&text, [], |row| row.get(0)).unwrap()
    }

    pub(crate) fn is_kept(&self, id: &str) -> bool {
        let text = "SELECT count(*) FROM countersign_inbox WHERE delivery_id = ?1";
        self.connection.query_row(text, [id], |row| row.get::<_, i64>(0)).unwrap() > 0
    }

    pub(crate) fn dead(&self) -> Vec<(String, i64)> {
        let text = "SELECT delivery_id, attempts FROM countersign_inbox WHERE state = 4";
        let mut rows = self.connection.prepare(text).unwrap();
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    }

    pub(crate) fn check(&mut self, when: &str, acknowledged: &HashSet<String>) {
        // One view of the file for all questions.
        let tx = self.connection.transaction().unwrap();
        let integrity: String = tx.pragma_query_value(None, "quick_check", |row| row.get(0)).unwrap();
        assert_eq!(integrity, "ok", "{when}: the file is sound");
        let mut states = HashMap::new();
        {
            let mut rows = tx.prepare("SELECT delivery_id, state FROM countersign_inbox").unwrap();
            let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u8>(1)?))).unwrap();
            for row in rows {
                let (id, state) = row.unwrap();
                assert!(states.insert(id.clone(), state).is_none(), "{when}: {id} was kept twice");
            }
        }
        let without_body = "SELECT count(*) FROM countersign_inbox LEFT JOIN countersign_inbox_payload USING (number) \
                            WHERE body IS NULL";
        let halves: i64 = tx.query_row(without_body, [], |row| row.get(0)).unwrap();
        assert_eq!(halves, 0, "{when}: half a record");
        let mut effects = HashMap::<String, u64>::new();
        {
            let mut rows = tx.prepare("SELECT id FROM effect").unwrap();
            for row in rows.query_map([], |row| row.get::<_, String>(0)).unwrap() {
                *effects.entry(row.unwrap()).or_default() += 1;
            }
        }
        let lost: Vec<_> = acknowledged.iter().filter(|id| !states.contains_key(*id)).collect();
        assert!(lost.is_empty(), "{when}: acknowledged and lost: {lost:?}");
        let doubled: Vec<_> = effects.iter().filter(|(_, count)| **count != 1).collect();
        assert!(doubled.is_empty(), "{when}: effects that are there twice: {doubled:?}");
        for (id, state) in &states {
            assert_eq!(effects.contains_key(id), *state == 3, "{when}: {id} is in state {state}");
        }
        let stray: Vec<_> = effects.keys().filter(|id| !states.contains_key(*id)).collect();
        assert!(stray.is_empty(), "{when}: effects of nothing: {stray:?}");
    }
}
