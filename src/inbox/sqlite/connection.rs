//! The database file: opened so that a commit is on the disk, or not opened at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::keys::{self, Keys};
use crate::causes::Listed;

/// The version of the schema that this program reads and writes.
const VERSION: i64 = 3;

/// What `PRAGMA synchronous` says when every commit waits for the disk.
const FULL: i64 = 2;

/// How many tables there are that tell the schema's version: one in an inbox.
const IS_THERE: &str = "SELECT count(*) FROM sqlite_schema WHERE name = 'countersign_inbox_schema'";

/// How many KiB of pages a writing connection keeps in memory, as `PRAGMA cache_size` has it: negative.
const CACHE: i64 = -32 * 1024;

/// Where the database is, and how long a lock of another process is waited for.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) busy_timeout: Duration,
    /// Whether nothing is made that is not there.
    pub(super) existing: bool,
}

/// A connection that may write, and what it knows of the file.
pub(super) struct Writing {
    connection: Connection,
    keys: Keys,
    /// Which file it is, whatever it is called by now.
    file: Option<Identity>,
}

/// Device and inode.
type Identity = (u64, u64);

/// Why a database cannot serve as an inbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteInboxError {
    /// The file's directory, or the file, could not be made.
    #[error("the inbox `{}` cannot be opened: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database does not write ahead: it is in memory, or on a file system that cannot share memory.
    #[error(
        "the inbox `{}` cannot keep a write-ahead log (its journal mode is `{mode}`): it must be a file on a local disk",
        path.display()
    )]
    JournalMode {
        /// The file.
        path: PathBuf,
        /// The mode that SQLite gave instead.
        mode: String,
    },
    /// There is no such file, and it was to be there.
    #[error("there is no inbox `{}`, and none has been made: give the path that the receiver opens", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is none of SQLite's, or holds other tables; and it was to be an inbox.
    #[error("`{}` is no inbox, and has been left as it is: give the path that the receiver opens", path.display())]
    NotAnInbox {
        /// The file.
        path: PathBuf,
    },
    /// An older program has made the tables, and they were not to be changed.
    #[error(
        "the inbox `{}` has the schema {version}, and this program works on {VERSION}: start the newer receiver first, \
         which brings it up, or use the older command line",
        path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The schema's version.
        version: i64,
    },
    /// The file, or the file system that it is on, is read-only, if only to this user.
    #[error(
        "the inbox `{}` is read-only: let its user write the file and its folder, on a file system that is mounted for it",
        path.display()
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Settings that are out of their range, at least one.
    #[error("the inbox cannot be opened: {}", Listed(.0))]
    Settings(Vec<SqliteInboxMistake>),
    /// SQLite could not do as asked.
    #[error("the inbox `{}` cannot be opened: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The database does not wait for the disk at a commit, though it was told to.
    #[error(
        "the inbox `{}` would not wait for the disk: `synchronous` is {synchronous}, not {FULL}; build the program with the \
         SQLite that `rusqlite` bundles",
        path.display()
    )]
    Synchronous {
        /// The file.
        path: PathBuf,
        /// What the pragma says.
        synchronous: i64,
    },
    /// A newer program has made the tables.
    #[error("the inbox `{}` has the schema {version}; this program knows {VERSION}: run the newer program", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The schema's version.
        version: i64,
    },
}

/// A setting of an inbox on SQLite that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteInboxMistake {
    /// Longer than SQLite can wait.
    #[error("`busy_timeout` is {given:?}; set it to 24 days or less, such as 1 s")]
    BusyTimeout {
        /// The setting.
        given: Duration,
    },
    /// Shorter than the retention.
    #[error("`keep_dead` is {given:?}; set it to the retention or more")]
    KeepDead {
        /// The setting.
        given: Duration,
    },
    /// No room for a single delivery.
    #[error("`queue` is 0; set it to how many deliveries may wait, such as 4096")]
    Queue,
    /// Nothing would be remembered.
    #[error("`retention` is 0; set it to longer than the sender retries, such as 80 hours")]
    Retention,
}

impl Writing {
    pub(super) fn parts(&mut self) -> (&mut Connection, &mut Keys) {
        (&mut self.connection, &mut self.keys)
    }
}

impl Place {
    /// Opens the database to write, makes the tables where there are none, and checks that commits reach the disk.
    pub(super) fn open(&self) -> Result<Writing, SqliteInboxError> {
        let failed = |source| self.failed(source);
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if self.existing {
            self.check_there()?;
        } else {
            make_private(&self.path).map_err(|source| SqliteInboxError::File { path: self.path.clone(), source })?;
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
        }
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(failed)?;
        connection.busy_timeout(self.busy_timeout).map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(64);
        if self.existing {
            // Before anything of it is changed, such as its journal.
            self.check_inbox(&connection)?;
            let version = version(&connection).map_err(failed)?;
            if version < VERSION {
                return Err(SqliteInboxError::Older { path: self.path.clone(), version });
            }
        }
        // SQLite opens a file that it may not write all the same.
        if connection.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
            return Err(SqliteInboxError::ReadOnly { path: self.path.clone() });
        }
        let mode = journal_mode(&connection).map_err(failed)?;
        if mode != "wal" {
            return Err(SqliteInboxError::JournalMode { path: self.path.clone(), mode });
        }
        let synchronous = self.settle_synchronous(&connection).map_err(failed)?;
        if synchronous != FULL {
            return Err(SqliteInboxError::Synchronous { path: self.path.clone(), synchronous });
        }
        // Where nothing is to be done to the tables, nobody's lock is waited for.
        let version = if self.existing { version(&connection) } else { migrate(&mut connection) }.map_err(failed)?;
        if version != VERSION {
            return Err(SqliteInboxError::Version { path: self.path.clone(), version });
        }
        Ok(Writing { connection, keys: Keys::default(), file: self.identity() })
    }

    /// Whether what is open is what is there: what goes into a file that was deleted or moved is lost with it.
    pub(super) fn holds(&self, writing: &Writing) -> bool {
        self.identity() == writing.file
    }

    /// `None` where there is no file, or where files cannot be told apart.
    fn identity(&self) -> Option<Identity> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            std::fs::metadata(&self.path).ok().map(|file| (file.dev(), file.ino()))
        }
        #[cfg(not(unix))]
        None
    }

    /// The same file, wherever its name may lead later on, and only while it is there.
    pub(super) fn found(self) -> Result<Self, SqliteInboxError> {
        match self.path.canonicalize() {
            Ok(path) => Ok(Self { path, existing: true, ..self }),
            Err(source) => Err(SqliteInboxError::File { path: self.path, source }),
        }
    }

    /// A connection to read from, for one question.
    pub(super) fn read(&self) -> rusqlite::Result<Connection> {
        // Readers of a write-ahead log write to its index, so this one may write as far as the file is concerned.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    fn check_there(&self) -> Result<(), SqliteInboxError> {
        match std::fs::metadata(&self.path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(SqliteInboxError::Missing { path: self.path.clone() })
            }
            Err(source) => Err(SqliteInboxError::File { path: self.path.clone(), source }),
        }
    }

    fn check_inbox(&self, connection: &Connection) -> Result<(), SqliteInboxError> {
        match connection.query_row(IS_THERE, [], |row| row.get::<_, i64>(0)) {
            Ok(0) => Err(SqliteInboxError::NotAnInbox { path: self.path.clone() }),
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
                Err(SqliteInboxError::NotAnInbox { path: self.path.clone() })
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    pub(super) fn failed(&self, source: rusqlite::Error) -> SqliteInboxError {
        let path = self.path.clone();
        // Even a reader writes to the index of the log. (The file is not opened to find out more: closing it again would let
        // go of the locks that other connections of this process have.)
        match source.sqlite_error_code() {
            Some(ErrorCode::ReadOnly) => SqliteInboxError::ReadOnly { path },
            _ => SqliteInboxError::Sqlite { path, source },
        }
    }

    /// Asks for commits that wait for the disk, and reads back what was given.
    fn settle_synchronous(&self, connection: &Connection) -> rusqlite::Result<i64> {
        connection.pragma_update(None, "synchronous", "FULL")?;
        // On macOS, and only there, an `fsync` does not wait for the disk unless this is set.
        connection.pragma_update(None, "fullfsync", true)?;
        connection.pragma_update(None, "checkpoint_fullfsync", true)?;
        connection.pragma_update(None, "cache_size", CACHE)?;
        connection.pragma_query_value(None, "synchronous", |row| row.get(0))
    }
}

fn journal_mode(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
}

/// Makes the tables where there are none, changes those of an older program, and tells their version.
fn migrate(connection: &mut Connection) -> rusqlite::Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let tables: i64 = transaction.query_row(IS_THERE, [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(include_str!("schema.sql"))?;
    }
    if version(&transaction)? == 1 {
        transaction.execute_batch(include_str!("from_1_to_2.sql"))?;
        keys::enter_all(&transaction)?;
    }
    if version(&transaction)? == 2 {
        transaction.execute_batch(include_str!("from_2_to_3.sql"))?;
    }
    let version = version(&transaction)?;
    transaction.commit()?;
    Ok(version)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT max(version) FROM countersign_inbox_schema", [], |row| row.get(0))
}

/// Makes the file, where there is none, for its owner alone: it holds what was sent. SQLite gives the files beside it
/// the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            // What is not there and cannot be made may be a name that SQLite knows, such as ":memory:"; it will say.
            if path.exists() { Ok(()) } else { Err(error) }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that goes with its test.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("countersign-connection-{}", std::process::id()));
            std::fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// How the connection itself commits, and in which journal.
    fn asked(writing: &mut Writing) -> (i64, String) {
        let (connection, _) = writing.parts();
        let ask = |pragma: &str| format!("PRAGMA {pragma}");
        let synchronous = connection.query_row(&ask("synchronous"), [], |row| row.get(0)).expect("an answer");
        let journal = connection.query_row(&ask("journal_mode"), [], |row| row.get(0)).expect("an answer");
        (synchronous, journal)
    }

    #[test]
    fn each_writing_connection_waits_for_the_disk() {
        let folder = Folder::new();
        let path = folder.0.join("inbox.sqlite");
        let full = (FULL, "wal".to_owned());
        let place = Place { path: path.clone(), busy_timeout: Duration::from_secs(1), existing: false };
        let mut first = place.open().expect("an inbox");
        assert_eq!(asked(&mut first), full, "when it is made");

        // Whatever another connection does for itself, meanwhile and afterwards.
        let other = Connection::open(&path).expect("a database");
        other.execute_batch("PRAGMA synchronous = OFF; CREATE TABLE theirs (id)").expect("a change");
        assert_eq!(asked(&mut first), full, "beside another that does not wait");
        let again = place.found().expect("a file");
        assert_eq!(asked(&mut again.open().expect("an inbox")), full, "opened again beside it");

        // The journal is the file's, and not the connection's.
        drop(first);
        for journal in ["delete", "truncate", "persist", "memory", "off"] {
            let set = format!("PRAGMA journal_mode = {journal}");
            let given: String = other.query_row(&set, [], |row| row.get(0)).expect("an answer");
            assert_eq!(given, journal, "nobody else has it open");
            other.execute_batch("INSERT INTO theirs VALUES (1)").expect("a change");
            assert_eq!(asked(&mut again.open().expect("an inbox")), full, "opened again after {journal}");
        }
    }
}
