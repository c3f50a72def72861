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
    /// What it is serialised by: an [`Inbox`](crate::inbox::Inbox) has source, tenant and entity here, with a space after
    /// each of the first two, and a digest in place of an entity that is long or not printable.
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

/// Which entries to list: those to which all that is set applies.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// Those in this state.
    pub state: Option<State>,
    /// Those of this sender.
    pub source: Option<Source>,
    /// Those whose signature was verified by the keys of this tenant.
    pub tenant: Option<TenantId>,
    /// Those of this type.
    pub event_type: Option<EventType>,
    /// Those under this id of the sender's: one, unless several senders or tenants use the same.
    pub delivery_id: Option<DeliveryId>,
    /// Those that are serialised by this, as [`Entry::entity`] has it: the first that is neither done nor dead is the one
    /// that the others wait for.
    pub entity: Option<String>,
    /// Those that were done, or given up, at this moment or before it.
    pub finished_until: Option<Timestamp>,
    /// Those behind this number: the last one of the page before.
    pub after: i64,
    /// Those before this number, and the newest first; unless set, the oldest first.
    pub before: Option<i64>,
    /// How many at most; 100 unless set.
    pub limit: usize,
}

/// What to make due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Replay {
    /// All the dead.
    AllDead,
    /// The entry of this number, unless it is running, or waits behind another of its entity: its turn comes anyway.
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
    /// When that one was received which, of those that are neither done nor dead, was accepted first.
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
        Self {
            state: None,
            source: None,
            tenant: None,
            event_type: None,
            delivery_id: None,
            entity: None,
            finished_until: None,
            after: 0,
            before: None,
            limit: 100,
        }
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

    /// The same from the newest one on.
    #[must_use]
    pub fn newest_first(self) -> Self {
        self.before(i64::MAX)
    }

    /// The same before entry `number`, the newest first.
    #[must_use]
    pub fn before(self, number: i64) -> Self {
        Self { before: Some(number), ..self }
    }

    /// The same, of this sender.
    #[must_use]
    pub fn source(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The same, of this tenant.
    #[must_use]
    pub fn tenant(self, tenant: TenantId) -> Self {
        Self { tenant: Some(tenant), ..self }
    }

    /// The same, of this type.
    #[must_use]
    pub fn event_type(self, event_type: EventType) -> Self {
        Self { event_type: Some(event_type), ..self }
    }

    /// The same, under this id of the sender's.
    #[must_use]
    pub fn delivery_id(self, id: DeliveryId) -> Self {
        Self { delivery_id: Some(id), ..self }
    }

    /// The same, serialised by this, as [`Entry::entity`] has it.
    #[must_use]
    pub fn entity(self, entity: impl Into<String>) -> Self {
        Self { entity: Some(entity.into()), ..self }
    }

    /// The same, done or given up at `moment` or before it.
    #[must_use]
    pub fn finished_until(self, moment: Timestamp) -> Self {
        Self { finished_until: Some(moment), ..self }
    }

    /// The same, at most `limit`.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}
