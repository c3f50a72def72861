//! What operators see of an inbox.

use crate::ids::{DeliveryId, EventType, Source, TenantId};
use crate::time::Timestamp;

/// What can be said of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum State {
    /// To be worked on, at once or after a pause.
    Pending,
    /// Leased to a worker.
    Running,
    /// Behind another delivery of the same entity.
    Waiting,
    /// Worked on with success, and remembered.
    Done,
    /// Given up: a permanent error, or as many attempts as there may be. Kept with error and body.
    Dead,
}

/// An entry of the inbox, without headers and body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its number: higher than that of all that were accepted before it.
    pub number: i64,
    /// What can be said of it.
    pub state: State,
    /// Who sent it.
    pub source: Source,
    /// Whose keys verified it, where there are several.
    pub tenant: Option<TenantId>,
    /// The sender's id of the delivery.
    pub delivery_id: Option<DeliveryId>,
    /// The event's type.
    pub event_type: Option<EventType>,
    /// What it is serialised by.
    pub entity: Option<String>,
    /// When it was verified and accepted.
    pub received_at: Timestamp,
    /// When it may run, or when its lease ends.
    pub due_at: Option<Timestamp>,
    /// When it was done, or given up.
    pub finished_at: Option<Timestamp>,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last try failed, in the handler's words.
    pub last_error: Option<String>,
}

/// Which entries to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Those in this state; all of them unless set.
    pub state: Option<State>,
    /// Those behind this number: the last one of the page before.
    pub after: i64,
    /// How many at most; 100 unless set.
    pub limit: usize,
}

/// What to make due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// All the dead.
    AllDead,
    /// The entry of this number, unless it is running.
    One(i64),
}

/// How many entries there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// To be worked on, at once or after a pause.
    pub pending: u64,
    /// Leased to a worker.
    pub running: u64,
    /// Behind another delivery of the same entity.
    pub waiting: u64,
    /// Worked on, and remembered.
    pub done: u64,
    /// Given up.
    pub dead: u64,
    /// When the oldest of those that are neither done nor dead was received.
    pub oldest: Option<Timestamp>,
}

impl State {
    /// The state as one word, for logs, metrics and the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }
}

impl Query {
    /// All entries, from the first one on.
    #[must_use]
    pub fn all() -> Self {
        Self { state: None, after: 0, limit: 100 }
    }

    /// Those in `state`, from the first one on.
    #[must_use]
    pub fn of(state: State) -> Self {
        Self { state: Some(state), ..Self::all() }
    }

    /// The same, behind entry `number`.
    #[must_use]
    pub fn after(self, number: i64) -> Self {
        Self { after: number, ..self }
    }

    /// The same, at most `limit`.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}
