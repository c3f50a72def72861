//! Which inbox: named on the command line or by the environment, and opened only where there is one.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use countersign::SqliteInbox;
use countersign::inbox::{Entry, InboxStore as _, Query, Replay, Stats, StoredDelivery};

use crate::exit::Failure;
use crate::moment;
use crate::output::Out;

const FILE_VARIABLE: &str = "COUNTERSIGN_INBOX_SQLITE";

/// How long a lock of a receiver on the file is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long an inbox remembers what is done, unless told otherwise: its own default.
pub(super) const RETENTION: Duration = Duration::from_hours(80);

/// Where the inbox is.
#[derive(Args, Clone)]
#[command(next_help_heading = "Inbox (default: COUNTERSIGN_INBOX_SQLITE)")]
pub(crate) struct PlaceArgs {
    /// The file of an inbox on SQLite
    #[arg(long, global = true, value_name = "FILE")]
    sqlite: Option<PathBuf>,
}

/// An inbox that was named.
pub(super) enum Place {
    Sqlite(PathBuf),
}

/// For how long an inbox remembers, where something is to be forgotten.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) retention: Duration,
    pub(super) keep_dead: Option<Duration>,
}

/// An open inbox of either engine.
pub(super) enum Store {
    Sqlite(SqliteInbox),
}

impl PlaceArgs {
    pub(super) fn place(&self, _out: &Out) -> Result<Place, Failure> {
        let file = || std::env::var_os(FILE_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.sqlite.clone().or_else(file).map(Place::Sqlite).ok_or_else(|| {
            Failure::usage("it is not said which inbox", format!("give --sqlite FILE, or set {FILE_VARIABLE}"))
        })
    }
}

impl Place {
    pub(super) async fn open(&self) -> Result<Store, Failure> {
        self.open_with(Memory { retention: RETENTION, keep_dead: None }).await
    }

    pub(super) async fn open_with(&self, memory: Memory) -> Result<Store, Failure> {
        match self {
            Self::Sqlite(path) => {
                let builder = SqliteInbox::builder(path).existing().busy_timeout(BUSY_TIMEOUT);
                let builder = builder.retention(memory.retention);
                let builder = match memory.keep_dead {
                    Some(keep) => builder.keep_dead(keep),
                    None => builder,
                };
                Ok(Store::Sqlite(builder.open()?))
            }
        }
    }

    /// How it is named on a command line that follows.
    pub(super) fn option(&self) -> String {
        match self {
            Self::Sqlite(path) if std::env::var_os(FILE_VARIABLE).is_some_and(|set| set == *path) => String::new(),
            Self::Sqlite(path) => format!(" --sqlite {}", path.display()),
        }
    }
}

impl Store {
    pub(super) async fn stats(&self) -> Result<Stats, Failure> {
        match self {
            Self::Sqlite(store) => Ok(store.stats().await?),
        }
    }

    pub(super) async fn list(&self, query: Query) -> Result<Vec<Entry>, Failure> {
        match self {
            Self::Sqlite(store) => Ok(store.list(query).await?),
        }
    }

    pub(super) async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, Failure> {
        match self {
            Self::Sqlite(store) => Ok(store.show(number).await?),
        }
    }

    /// The entry of this number, without its headers and body.
    pub(super) async fn entry(&self, number: i64) -> Result<Option<Entry>, Failure> {
        let mut found = self.list(Query::all().after(number.saturating_sub(1)).limit(1)).await?;
        Ok(found.pop().filter(|entry| entry.number == number))
    }

    /// Whether it was replayed.
    pub(super) async fn replay(&self, number: i64) -> Result<bool, Failure> {
        let what = Replay::One(number);
        let replayed = match self {
            Self::Sqlite(store) => store.replay(what, moment::now()).await?,
        };
        Ok(replayed > 0)
    }

    pub(super) async fn prune(&self, limit: usize, now: countersign::Timestamp) -> Result<u64, Failure> {
        match self {
            Self::Sqlite(store) => Ok(store.prune(limit, now).await?),
        }
    }
}
