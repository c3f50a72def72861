//! A state file, and rows that no call can make.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::Connection;

/// A file of its own for each test, removed in the end.
pub struct StateFile(PathBuf);

impl StateFile {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sandbox-{}-{number}.sqlite", std::process::id());
        let file = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        file.remove();
        file
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The rows, while no sandbox runs.
    pub fn open(&self) -> Connection {
        let connection = Connection::open(&self.0).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection
    }

    fn remove(&self) {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", self.0.display()));
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// `count` log rows of the test key's tenant: all of them failed for good at their third attempt.
pub fn failed_logs(connection: &Connection, count: u32) {
    let sql = format!(
        "INSERT INTO delivery (seq, id, tenant, event_type, webhook_url, body, max_attempts, attempts, outcome, log)
         VALUES (1, 'msg_1', 1, 'screening.completed', 'https://api.yourcompany.com/webhooks/screening', x'7b7d', 3, 3, 2,
                 {count});
         INSERT INTO log
             WITH RECURSIVE numbers (number) AS
                 (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count})
             SELECT 1, number, randomblob(16), 1, 2, 500, 3, 'Server error', 1781274600000000 + number, NULL FROM numbers;
         UPDATE tenant SET log_count = {count} WHERE id = 1;"
    );
    connection.execute_batch(&sql).unwrap();
}
