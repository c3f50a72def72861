//! Puts an inbox on SQLite together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connection::{Place, SqliteInboxError, SqliteInboxMistake};
use super::writer::Writer;
use super::{Inner, SqliteInbox, retention};
use crate::inbox::Bell;
use crate::inbox::row::warn_of_shorter;

/// SQLite counts the milliseconds in 31 bits, which is some hours more.
const MAX_BUSY_TIMEOUT: Duration = Duration::from_hours(24 * 24);

/// Builds a [`SqliteInbox`]. What to decide, in this order: where it is, and for how long it remembers.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct SqliteInboxBuilder {
    path: PathBuf,
    retention: Duration,
    keep_dead: Option<Duration>,
    queue: usize,
    busy_timeout: Duration,
    existing: bool,
    forget_early: bool,
}

impl SqliteInboxBuilder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            // As the memory store's: longer than the 76 hours in which senders of Standard Webhooks retry.
            retention: Duration::from_hours(80),
            keep_dead: None,
            queue: 4096,
            busy_timeout: Duration::from_secs(1),
            existing: false,
            forget_early: false,
        }
    }

    /// For how long a delivery that is done is remembered, with its body; 80 hours unless set, and never nothing. That
    /// outlasts every preset. A receiver refuses to be built where it is shorter than the sender retries.
    ///
    /// The inbox remembers for the longest retention that any process has opened it with, and records that: one that is
    /// shorter than what is recorded is warned about, and changes nothing.
    pub fn retention(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    /// For how long the dead are kept; for ever unless set. Never shorter than the retention: their ids are remembered
    /// by them. So they are kept for as long as the inbox remembers, where that is longer.
    pub fn keep_dead(self, keep: Duration) -> Self {
        Self { keep_dead: Some(keep), ..self }
    }

    /// How many deliveries may wait to be written before further ones are refused (503): one at least; 4096 unless set.
    pub fn queue(self, deliveries: usize) -> Self {
        Self { queue: deliveries, ..self }
    }

    /// How long a lock of another process on the file is waited for; 1 s unless set, 24 days at most. Everything that is to
    /// be written waits meanwhile, so keep transactions of your own on the same file short.
    pub fn busy_timeout(self, timeout: Duration) -> Self {
        Self { busy_timeout: timeout, ..self }
    }

    /// Opens an inbox that is there, or none: neither a file nor a table is made or changed. For tools, whose mistyped path
    /// would otherwise be an empty inbox, and which must not bring up an inbox to their own version while receivers of the
    /// older one run on it.
    pub fn existing(self) -> Self {
        Self { existing: true, ..self }
    }

    /// Has the inbox remember for no longer than the retention that is set here, although another process has opened it
    /// with a longer one; until one does so again. What senders deliver again after that runs twice.
    pub fn danger_forget_early(self) -> Self {
        Self { forget_early: true, ..self }
    }

    /// Opens the file, which is made where there is none, for its owner alone; and starts the thread that writes.
    ///
    /// The file is made here and never later. When it is gone, such as with a volume that is not mounted any more, what is
    /// to be written is refused until it is back.
    ///
    /// # Errors
    ///
    /// When a setting is out of its range (all of them at once); when it cannot be opened, does not wait for the disk at
    /// each commit, or was made by a newer program.
    pub fn open(self) -> Result<SqliteInbox, SqliteInboxError> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            return Err(SqliteInboxError::Settings(mistakes));
        }
        let Self { path, retention, keep_dead, queue, busy_timeout, existing, forget_early } = self;
        let place = Place { path, busy_timeout, existing };
        let mut writing = place.open()?;
        let recorded = retention::record(writing.parts().0, retention, !existing, forget_early);
        let recorded = recorded.map_err(|source| place.failed(source))?;
        if !existing {
            warn_of_shorter(retention, recorded);
        }
        // From here on this file and no other: one that is gone is not made anew by whoever opens it again.
        let place = place.found()?;
        let bell = Bell::default();
        let writer = Writer::start(place.clone(), writing, queue, bell.clone());
        let writer = writer.map_err(|source| SqliteInboxError::File { path: place.path.clone(), source })?;
        Ok(SqliteInbox::new(Inner { place, writer, bell, retention, keep_dead }))
    }

    fn mistakes(&self) -> Vec<SqliteInboxMistake> {
        let mut mistakes = Vec::new();
        if self.busy_timeout > MAX_BUSY_TIMEOUT {
            mistakes.push(SqliteInboxMistake::BusyTimeout { given: self.busy_timeout });
        }
        if self.retention.is_zero() {
            mistakes.push(SqliteInboxMistake::Retention);
        }
        if let Some(given) = self.keep_dead.filter(|keep| *keep < self.retention) {
            mistakes.push(SqliteInboxMistake::KeepDead { given });
        }
        if self.queue == 0 {
            mistakes.push(SqliteInboxMistake::Queue);
        }
        mistakes
    }
}
