#![doc = include_str!("../docs/inbox.md")]

mod backoff;
mod bell;
mod entry;
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
mod postgres;
mod promise;
mod receive;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod row;
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
mod sqlite;
pub(crate) mod step;
mod store;
mod workers;

pub use backoff::Backoff;
pub use bell::{Bell, Listener};
pub use entry::{Entry, Query, Replay, State, Stats};
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use postgres::{PostgresEffects, PostgresInbox, PostgresInboxBuilder, PostgresInboxError, PostgresInboxMistake};
pub use promise::{AtLeastOnce, ExactlyOnce, Promise, TransactionalHandlers};
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use sqlite::{SqliteEffects, SqliteInbox, SqliteInboxBuilder, SqliteInboxError, SqliteInboxMistake};
pub use store::{
    Accepted, Batch, CommitError, InboxError, InboxStore, Incoming, Lease, Leased, TransactionalStore, Wanted,
};
pub use workers::{Drained, Workers, WorkersBuilder, WorkersError, WorkersMistake};

pub use crate::verify::StoredDelivery;

/// The SQLite that the inbox uses: what a handler writes with is of this crate, and a program has only one of it.
#[cfg(feature = "sqlite")]
#[cfg_attr(docsrs, doc(cfg(feature = "sqlite")))]
pub use rusqlite;

/// The client of PostgreSQL that the inbox uses: what a handler writes with is of this crate.
#[cfg(feature = "postgres")]
#[cfg_attr(docsrs, doc(cfg(feature = "postgres")))]
pub use tokio_postgres;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::Handlers;
use crate::event::WebhookEvent;
use crate::scheme::{find_by_pointer, points_inside};
use crate::time::{Clock, SystemClock};
use crate::verify::Delivery;

/// An inbox of events `E` in the store `S`: what a receiver puts deliveries into, and workers take them from.
///
/// A clone is another handle to the same. `E` is usually known from the handlers that are given to
/// [`workers`](Self::workers); a program that only receives says it: `Inbox::<Event, _>::new(store)`.
pub struct Inbox<E, S> {
    store: Arc<S>,
    clock: Arc<dyn Clock>,
    entity: Option<EntityOf>,
    /// What `entity` was made of, where it was.
    pointer: Option<Arc<str>>,
    answer_within: Duration,
    /// What metrics call it.
    name: Arc<str>,
    event: PhantomData<fn() -> E>,
}

/// Says what a delivery is serialised by.
type EntityOf = Arc<dyn Fn(&Delivery) -> Option<String> + Send + Sync>;

impl<E: WebhookEvent, S: InboxStore> Inbox<E, S> {
    /// An inbox in `store`.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self {
            store: Arc::new(store),
            clock: Arc::new(SystemClock),
            entity: None,
            pointer: None,
            answer_within: Duration::from_secs(5),
            name: Arc::default(),
            event: PhantomData,
        }
    }

    /// Works on deliveries for which `entity` says the same one at a time, in the order in which they were accepted; on
    /// those for which it says `None`, and on those of other entities, at the same time.
    ///
    /// It is asked when a delivery comes in, so set it before the inbox is handed to a receiver. One that fails and is
    /// tried again later holds up those behind it until it is done or dead. Source and tenant are part of the entity
    /// without being named.
    #[must_use]
    pub fn in_order_by(self, entity: impl Fn(&Delivery) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { entity: Some(Arc::new(entity)), pointer: None, ..self }
    }

    /// The same by a string or a whole number in the body, at an RFC 6901 pointer through objects, such as
    /// `/data/entity_id`. Deliveries without it are not held up. What is no such pointer is found by
    /// [`ReceiverBuilder::build`](crate::ReceiverBuilder::build).
    #[must_use]
    pub fn in_order_by_pointer(self, pointer: &str) -> Self {
        let pointer = Arc::<str>::from(pointer);
        let followed = Arc::clone(&pointer);
        let ordered = self.in_order_by(move |delivery| find_by_pointer(delivery.raw(), &followed));
        Self { pointer: Some(pointer), ..ordered }
    }

    /// How long a receiver waits for the store before it asks the sender to come back; 5 s unless set. No time at all is
    /// refused by [`ReceiverBuilder::build`](crate::ReceiverBuilder::build).
    #[must_use]
    pub fn answer_within(self, limit: Duration) -> Self {
        Self { answer_within: limit, ..self }
    }

    /// What metrics call it: the label `inbox` of its gauges and attempts, which is empty unless set. For a program with
    /// several inboxes of one engine, whose gauges would be one series otherwise. A word of the program's own, such as the
    /// provider's name, and the same in every process that works on this inbox or samples it.
    #[must_use]
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// What tells the workers the time; the operating system unless set. A receiver has its own.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// Workers that run `handlers`, the same that would run inline: each delivery **at least once**. A process can die
    /// between the effect and the record of it; pass [`Delivery::effect_key`] on, and the effect happens once.
    pub fn workers<H: Handlers<Event = E>>(&self, handlers: H) -> WorkersBuilder<E, S, AtLeastOnce<H>> {
        WorkersBuilder::new(self.clone(), AtLeastOnce(handlers))
    }

    /// Workers whose handlers write into the inbox's own database, together with the completion: the effects of each
    /// delivery are there **exactly once**.
    pub fn transactional_workers<H>(&self, handlers: H) -> WorkersBuilder<E, S, ExactlyOnce<H>>
    where
        S: TransactionalStore,
        H: TransactionalHandlers<S::Effects, Event = E>,
    {
        WorkersBuilder::new(self.clone(), ExactlyOnce(handlers))
    }
}

#[cfg(feature = "metrics")]
impl<E, S: InboxStore> Inbox<E, S> {
    /// Counts what is in the inbox and tells the metrics. Workers do so by themselves
    /// ([`sample_every`](WorkersBuilder::sample_every)); this is for a process that has none.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached: the metrics stay as they were.
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub async fn sample(&self) -> Result<Stats, InboxError> {
        let stats = crate::meter::timed(store::named::<S>(), "stats", self.store.stats()).await?;
        let now = self.clock.now();
        let oldest = stats.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        let states = [
            (State::Pending, stats.pending),
            (State::Running, stats.running),
            (State::Waiting, stats.waiting),
            (State::Done, stats.done),
            (State::Dead, stats.dead),
        ];
        let depth = crate::meter::Depth {
            states: states.map(|(state, count)| (state.as_str(), count)),
            oldest: oldest.as_secs_f64(),
            sampled: now.as_millis() as f64 / 1e3,
        };
        crate::meter::sampled(&self.name, S::ENGINE, depth);
        Ok(stats)
    }
}

impl<E, S> Inbox<E, S> {
    /// What is wrong with what a receiver makes use of, one text each, with what would work.
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(pointer) = self.pointer.as_deref().filter(|pointer| !points_inside(pointer)) {
            mistakes.push(format!(
                "`in_order_by_pointer` is {pointer:?}, which is found in no body; write an RFC 6901 pointer, such as \
                 \"/data/entity_id\""
            ));
        }
        if self.answer_within.is_zero() {
            mistakes
                .push("`answer_within` is zero, so nothing could be kept; set it to 5 seconds, for example".to_owned());
        }
        mistakes
    }

    /// The store: to list, show, replay, prune and count what is in it.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }
}

impl<E, S> Clone for Inbox<E, S> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            entity: self.entity.clone(),
            pointer: self.pointer.clone(),
            answer_within: self.answer_within,
            name: Arc::clone(&self.name),
            event: PhantomData,
        }
    }
}

impl<E, S> fmt::Debug for Inbox<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("name", &self.name)
            .field("in_order", &self.entity.is_some())
            .field("answer_within", &self.answer_within)
            .finish_non_exhaustive()
    }
}
