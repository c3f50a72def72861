//! What an inbox's store does, and what it answers.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::dedupe::{ClaimKey, Fingerprint, Settled};
use crate::dispatch::HandlerError;
use crate::inbox::{Bell, Entry, Query, Replay, State, Stats};
use crate::meter::{Failing, Named};
use crate::time::Timestamp;
use crate::verify::StoredDelivery;

/// Keeps deliveries until somebody has worked on them, and remembers afterwards that somebody did.
///
/// ```text
///          accept              claim                 complete
///   (free) ──────▶ pending ─────────────▶ running ─────────────▶ done ──▶ (free, after the retention)
///             │      ▲ ▲                  │  │  │ dead, or the last attempt ran out
///             ▼      │ └── retry, release ┘  │  └──────────────▶ dead
///          waiting ──┘                       │ the lease runs out      │ replay
///          (its entity is busy)              └▶ may be claimed again   └▶ pending
/// ```
///
/// An implementation keeps these promises, which the conformance suite (feature `testing`) checks:
///
/// - what [`accept`](Self::accept) has answered with [`Accepted::New`] **is on the disk**: it survives the end of the
///   process and of the machine;
/// - **the row is the dedupe record**: of any number of simultaneous accepts of one key one is new. The same key under
///   the same fingerprint is a [`Accepted::Duplicate`] whatever became of it, under another one a
///   [`Accepted::Conflict`];
/// - each method is one arbitrated step: a delivery is leased to one at a time, under a **random token**. A lease that
///   ran out may be given to somebody else under another token; from then on the old one changes nothing
///   ([`Settled::Superseded`]). Until then it is good, however late;
/// - **attempts are counted when they begin**. What is due and has used all its attempts, such as an event that kills
///   its process, is not leased but goes to the dead, in steps of about [`Batch::MOST_BURIED`];
/// - what has ended without a word twice in a row (or once, if two attempts are all there are) is suspected of killing
///   its process, and **one suspect is leased at a time**. So what kills its process does not take along, attempt by
///   attempt, those that happen to run beside it;
/// - of the deliveries of one entity, one at a time is pending or running, in the order in which they were accepted.
///   The next follows when it is done or dead;
/// - what is done is remembered for [`retention`](Self::retention) from then on, never shorter, and is free afterwards.
///   Where several processes have it open, the longest of theirs counts for all, whichever of them prunes or accepts.
///   What is pending, running, waiting or dead stays;
/// - every moment comes in as `now`;
/// - a future that is dropped before it was polled has done nothing.
///
/// A store that cannot answer returns an error. It never answers "new" because it does not know, and never leaves half
/// a record.
pub trait InboxStore: Send + Sync + 'static {
    /// What metrics call it.
    const ENGINE: &'static str = "other";

    /// Keeps a delivery, durably.
    ///
    /// # Errors
    ///
    /// When it cannot: the sender is asked to come back. Whether it was kept after all is then unknown, and does not
    /// matter: what comes back is a duplicate.
    fn accept(&self, incoming: Incoming, now: Timestamp) -> impl Future<Output = Result<Accepted, InboxError>> + Send;

    /// Leases what is due: first one that is suspected of killing its process, if none is running; then what else has
    /// ended without a word; then the rest. Of each the longest due first.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached. What was leased unknown to us is due again when its lease has run out.
    fn claim(&self, wanted: Wanted, now: Timestamp) -> impl Future<Output = Result<Batch, InboxError>> + Send;

    /// Makes each lease end `lease` after `now`, and tells of each whether it is still good. One whose row somebody keeps
    /// locked is good, and ends when it did.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; the leases may then end when they did before.
    fn extend(
        &self,
        leases: &[Lease],
        lease: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Settled>, InboxError>> + Send;

    /// Records that the work is done.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; whether it was recorded is then unknown.
    fn complete(&self, lease: &Lease, now: Timestamp) -> impl Future<Output = Result<Settled, InboxError>> + Send;

    /// Gives it back, to be due at `due`, with what went wrong: any text, of any length, of which 4 KiB are kept.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; it is then due when its lease has run out.
    fn retry(
        &self,
        lease: &Lease,
        due: Timestamp,
        error: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Settled, InboxError>> + Send;

    /// Puts it with the dead, with what went wrong, until somebody replays it. The text may be any, as with
    /// [`retry`](Self::retry).
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn dead(
        &self,
        lease: &Lease,
        error: &str,
        now: Timestamp,
    ) -> impl Future<Output = Result<Settled, InboxError>> + Send;

    /// Gives it back as if it had not been leased: due at once, the attempt not counted. For work that was cut short
    /// by nothing of its own, such as the end of the process, or that could not begin.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached; it is then due when its lease has run out.
    fn release(&self, lease: &Lease, now: Timestamp) -> impl Future<Output = Result<Settled, InboxError>> + Send;

    /// The entries that `query` asks for, in the order of their numbers.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn list(&self, query: Query) -> impl Future<Output = Result<Vec<Entry>, InboxError>> + Send;

    /// One entry, with the delivery as it was kept.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn show(&self, number: i64) -> impl Future<Output = Result<Option<(Entry, StoredDelivery)>, InboxError>> + Send;

    /// Makes entries due at once, with all their attempts before them; tells how many. What is running stays as it is.
    /// What is done runs again, effects and all: that is what is asked for.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached. Of all the dead, some may have been replayed by then.
    fn replay(&self, what: Replay, now: Timestamp) -> impl Future<Output = Result<u64, InboxError>> + Send;

    /// Forgets at most `limit` of those that need not be remembered any more, and tells how many it were.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn prune(&self, limit: usize, now: Timestamp) -> impl Future<Output = Result<u64, InboxError>> + Send;

    /// How many there are, by state.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    fn stats(&self) -> impl Future<Output = Result<Stats, InboxError>> + Send;

    /// Whether the store answers and could keep a delivery now: what readiness asks. Cheap, however many there are, and
    /// changes nothing that any other method can see.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached, takes no writes, or has no room.
    fn ping(&self) -> impl Future<Output = Result<(), InboxError>> + Send;

    /// What the store rings when something may have become due before it was expected to: accepted, replayed, given
    /// back, next of its entity.
    fn bell(&self) -> &Bell;

    /// For how long something done is remembered at least: what this process was told.
    fn retention(&self) -> Duration;
}

/// A store in whose database a handler can write, so that its effects and the completion are committed together.
pub trait TransactionalStore: InboxStore {
    /// What a handler is handed to write with.
    type Effects: Send + 'static;

    /// Begins the effects of one run.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached. The delivery is given back, the attempt not counted.
    fn begin(&self, lease: &Lease) -> impl Future<Output = Result<Self::Effects, InboxError>> + Send;

    /// Commits the effects and the completion: both or neither. With [`Settled::Superseded`] it is neither.
    ///
    /// # Errors
    ///
    /// When one of the effects failed, or the store cannot be reached. After the first nothing was written; after the
    /// second it is unknown whether both were or neither.
    fn commit(
        &self,
        lease: &Lease,
        effects: Self::Effects,
        now: Timestamp,
    ) -> impl Future<Output = Result<Settled, CommitError>> + Send;
}

/// A delivery to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// What it is remembered by.
    pub key: ClaimKey,
    /// The fingerprint of its body.
    pub fingerprint: Fingerprint,
    /// Deliveries of one entity are worked on in order, one at a time; `None`: this one is not held up by any other.
    ///
    /// An [`Inbox`](crate::inbox::Inbox) hands over printable text of less than a KiB, whatever the body says.
    pub entity: Option<String>,
    /// The delivery.
    pub delivery: StoredDelivery,
}

/// The answer to an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a conflict has not been kept"]
pub enum Accepted {
    /// The key is taken by a delivery with another body. Somebody should know.
    Conflict,
    /// It was kept before, and this is what became of it.
    Duplicate(State),
    /// It is kept now.
    New,
}

/// What a worker asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// How many at most.
    pub limit: usize,
    /// For how long: a millisecond at least, or one claim could lease the same delivery twice.
    pub lease: Duration,
    /// What has had this many attempts, and is due, is dead.
    pub max_attempts: u32,
}

/// What a worker gets.
#[derive(Clone, Debug, Default)]
#[must_use = "what is leased is nobody else's to work on"]
pub struct Batch {
    /// What is leased to it.
    pub leased: Vec<Leased>,
    /// How many went to the dead, because they have had all their attempts. Where there are any, more may be due than was
    /// leased: claim again.
    pub buried: u64,
    /// When something becomes due next after `now`: a pause ends, or a lease runs out. What is due already and was not
    /// leased, for want of hands or beside a suspect, is not meant; the bell tells of that.
    pub next_due: Option<Timestamp>,
}

/// A delivery that is leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The proof.
    pub lease: Lease,
    /// The fingerprint of the body that was accepted.
    pub fingerprint: Fingerprint,
    /// The delivery as it was kept.
    pub delivery: StoredDelivery,
}

/// Proof that a delivery is leased to its holder. It is only as good as its token is the present one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The number of the entry.
    pub number: i64,
    /// What nobody else has: random, another for each lease.
    pub token: u128,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// Why an inbox could not answer. Each of them is ours and not the sender's: 503, try again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// More is waiting to be written than may.
    #[error(
        "the inbox has too much waiting to be written, as its disk is slower than what comes in: raise `queue` for bursts, \
         or give it a faster disk"
    )]
    Full,
    /// It did not answer in time. It may yet have done what was asked.
    #[error("the inbox did not answer within {} ms", .0.as_millis())]
    TooSlow(Duration),
    /// It could not be reached, or it failed. Unless it was a connection that was lost on the way, nothing was written.
    #[error("the inbox is unavailable: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// Why effects were not committed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// One of the effects failed; nothing was written.
    #[error("an effect failed: {0}")]
    Effect(HandlerError),
    /// The inbox could not be reached, or it failed.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

impl Batch {
    /// About how many go to the dead in one claim at most. Whoever lowers the number of attempts may have hundreds of
    /// thousands that have had them, and what a claim has leased does not wait for all of those, nor do accepts.
    pub const MOST_BURIED: u64 = 256;
}

impl Wanted {
    /// When the lease of what is leased at `now` ends: a millisecond later at least, so that it has begun.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.lease.max(Duration::from_millis(1)))
    }

    /// After how many attempts in a row that ended without a word a delivery is suspected of killing its process.
    #[must_use]
    pub fn silent_before_suspect(&self) -> u32 {
        self.max_attempts.saturating_sub(1).clamp(1, 2)
    }
}

impl InboxError {
    /// The store could not be reached, or it failed, for the reason `error`.
    #[must_use]
    pub fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

impl Failing for InboxError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::TooSlow(_) => "too_slow",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl Failing for CommitError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Effect(_) => "effect",
            Self::Inbox(error) => error.kind(),
        }
    }
}

/// What metrics call an inbox in a store `S`.
pub(super) const fn named<S: InboxStore>() -> Named {
    Named { store: "inbox", engine: S::ENGINE }
}

/// Without the token: who knows it could settle the lease.
impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("number", &self.number).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}
