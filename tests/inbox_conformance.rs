//! The conformance suite for inboxes can fail: stores with one mistake each, and the case that must catch it.
//!
//! Each is the inbox on SQLite behind a wrapper that makes the mistake, in what it passes on or in the file.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod inbox_common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::inbox::rusqlite::{Connection, Params};
use countersign::inbox::{
    Accepted, Batch, Bell, Entry, InboxError, InboxStore, Incoming, Lease, Leased, Query, Replay, SqliteInbox, State,
    Stats, StoredDelivery, Wanted,
};
use countersign::testing::inbox as cases;
use countersign::{Settled, Timestamp};
use inbox_common::Folder;

/// Each mistake and the case that it must not pass.
macro_rules! caught {
    ($($test:ident: $mistake:ident by $case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let case = |mistake| tokio::spawn(async move { cases::$case(Arc::new(Wrong::with(mistake))).await });
                let caught = case(Mistake::$mistake).await;
                assert!(
                    caught.is_err_and(|error| error.is_panic()),
                    "{} passes an inbox that {}",
                    stringify!($case),
                    stringify!($test)
                );
                case(Mistake::None).await.expect("the wrapper itself is sound");
            }
        )*
    };
}

caught! {
    accepts_twice: AcceptsTwice by of_64_accepts_at_once_one_is_new,
    buries_all_at_once: BuriesAll by what_has_no_attempt_left_is_buried_in_bounded_steps,
    buries_without_the_error: NoError by a_dead_delivery_is_kept_with_its_error_and_body,
    calls_another_body_a_duplicate: IgnoresBody by another_body_under_one_key_is_a_conflict_in_every_state,
    counts_attempts_when_they_end: CountsLate by attempts_that_end_without_a_word_are_counted_and_the_last_is_the_last,
    counts_released_attempts: CountsReleased by a_release_gives_the_attempt_back,
    extends_nothing: ExtendsNothing by an_extended_lease_holds_until_its_new_end,
    forgets_the_dead: ForgetsDead by a_dead_delivery_is_kept_with_its_error_and_body,
    forgets_too_early: ForgetsEarly by something_done_is_remembered_for_the_retention_and_free_afterwards,
    gives_everybody_one_token: OneToken by a_lease_that_ran_out_is_given_again_under_another_token,
    has_no_fencing: NoFencing by a_superseded_lease_can_change_nothing,
    keeps_no_headers: NoHeaders by what_is_accepted_comes_out_with_everything_that_was_kept,
    knows_no_entities: NoEntities by deliveries_of_one_entity_run_in_order_one_at_a_time,
    leases_one_delivery_to_two: LeasesTwice by of_64_claims_at_once_each_delivery_goes_to_one,
    leases_suspects_together: NoSuspects by what_ended_twice_without_a_word_runs_beside_no_other_such,
    lists_those_of_every_entity: ListsEveryEntity by entries_are_listed_by_entity_and_tenant,
    never_gives_up_a_lease: EternalLease by a_lease_that_ran_out_is_given_again_under_another_token,
    never_rings: NeverRings by the_bell_rings_when_something_is_due,
    pings_a_delivery_away: PingsAway by a_ping_is_answered_and_changes_nothing,
    prunes_without_bound: PrunesAll by pruning_takes_what_is_done_and_old_in_bounded_steps,
    replays_with_attempts_used_up: ReplaysSpent by a_replayed_delivery_has_all_its_attempts_before_it,
    retries_at_once: RetriesAtOnce by a_retry_is_due_when_it_was_said,
    tells_no_next_due_time: NoNextDue by the_next_due_time_is_told,
}

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    AcceptsTwice,
    BuriesAll,
    CountsLate,
    CountsReleased,
    EternalLease,
    ExtendsNothing,
    ForgetsDead,
    ForgetsEarly,
    IgnoresBody,
    LeasesTwice,
    ListsEveryEntity,
    NeverRings,
    NoEntities,
    NoError,
    NoFencing,
    NoHeaders,
    NoNextDue,
    NoSuspects,
    None,
    OneToken,
    PingsAway,
    PrunesAll,
    ReplaysSpent,
    RetriesAtOnce,
}

struct Wrong {
    inbox: SqliteInbox,
    mistake: Mistake,
    silent: Bell,
    /// What was leased first, for the mistake that leases it again.
    first: Mutex<Option<Leased>>,
    _folder: Folder,
}

impl Wrong {
    fn with(mistake: Mistake) -> Self {
        let folder = Folder::new();
        Self {
            inbox: SqliteInbox::open(folder.file()).unwrap(),
            mistake,
            silent: Bell::default(),
            first: Mutex::default(),
            _folder: folder,
        }
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn tamper(&self, mistake: Mistake, text: &str, params: impl Params) {
        if self.has(mistake) {
            let connection = Connection::open(self.inbox.path()).unwrap();
            connection.busy_timeout(Duration::from_secs(20)).unwrap();
            connection.execute(text, params).unwrap();
        }
    }
}

impl InboxStore for Wrong {
    async fn accept(&self, mut incoming: Incoming, now: Timestamp) -> Result<Accepted, InboxError> {
        if self.has(Mistake::NoHeaders) {
            incoming.delivery.headers.clear();
        }
        if self.has(Mistake::NoEntities) {
            incoming.entity = None;
        }
        let accepted = self.inbox.accept(incoming, now).await?;
        Ok(match accepted {
            Accepted::Duplicate(_) if self.has(Mistake::AcceptsTwice) => Accepted::New,
            Accepted::Conflict if self.has(Mistake::IgnoresBody) => Accepted::Duplicate(State::Pending),
            _ => accepted,
        })
    }

    async fn claim(&self, wanted: Wanted, now: Timestamp) -> Result<Batch, InboxError> {
        self.tamper(Mistake::NoSuspects, "UPDATE countersign_inbox SET silent = 0", []);
        let mut batch = self.inbox.claim(wanted, now).await?;
        while self.has(Mistake::BuriesAll) && batch.leased.is_empty() && batch.buried > 0 {
            let next = self.inbox.claim(wanted, now).await?;
            batch = Batch { buried: batch.buried + next.buried, ..next };
        }
        if self.has(Mistake::LeasesTwice) {
            let mut first = self.first.lock().unwrap();
            batch.leased.extend(first.clone());
            *first = first.take().or_else(|| batch.leased.first().cloned());
        }
        self.tamper(Mistake::CountsLate, "UPDATE countersign_inbox SET attempts = 0", []);
        self.tamper(Mistake::EternalLease, "UPDATE countersign_inbox SET due_at = ?1 WHERE state = 1", [i64::MAX]);
        self.tamper(Mistake::OneToken, "UPDATE countersign_inbox SET token = zeroblob(16) WHERE state = 1", []);
        if self.has(Mistake::OneToken) {
            batch.leased.iter_mut().for_each(|leased| leased.lease.token = 0);
        }
        if self.has(Mistake::NoNextDue) {
            batch.next_due = None;
        }
        Ok(batch)
    }

    async fn extend(&self, leases: &[Lease], lease: Duration, now: Timestamp) -> Result<Vec<Settled>, InboxError> {
        let lease = if self.has(Mistake::ExtendsNothing) { Duration::ZERO } else { lease };
        self.inbox.extend(leases, lease, now).await
    }

    async fn complete(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        self.tamper(
            Mistake::NoFencing,
            "UPDATE countersign_inbox SET token = ?1 WHERE number = ?2",
            (lease.token.to_le_bytes(), lease.number),
        );
        self.inbox.complete(lease, now).await
    }

    async fn retry(&self, lease: &Lease, due: Timestamp, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        let due = if self.has(Mistake::RetriesAtOnce) { now } else { due };
        self.inbox.retry(lease, due, error, now).await
    }

    async fn dead(&self, lease: &Lease, error: &str, now: Timestamp) -> Result<Settled, InboxError> {
        self.inbox.dead(lease, if self.has(Mistake::NoError) { "" } else { error }, now).await
    }

    async fn release(&self, lease: &Lease, now: Timestamp) -> Result<Settled, InboxError> {
        if self.has(Mistake::CountsReleased) {
            return self.inbox.retry(lease, now, "", now).await;
        }
        self.inbox.release(lease, now).await
    }

    async fn list(&self, query: Query) -> Result<Vec<Entry>, InboxError> {
        let mut query = query;
        query.entity.take_if(|_| self.mistake == Mistake::ListsEveryEntity);
        self.inbox.list(query).await
    }

    async fn show(&self, number: i64) -> Result<Option<(Entry, StoredDelivery)>, InboxError> {
        self.inbox.show(number).await
    }

    async fn replay(&self, what: Replay, now: Timestamp) -> Result<u64, InboxError> {
        let replayed = self.inbox.replay(what, now).await?;
        self.tamper(Mistake::ReplaysSpent, "UPDATE countersign_inbox SET attempts = 2 WHERE state = 0", []);
        Ok(replayed)
    }

    async fn prune(&self, limit: usize, now: Timestamp) -> Result<u64, InboxError> {
        self.tamper(Mistake::ForgetsDead, "DELETE FROM countersign_inbox WHERE state = 4", []);
        self.tamper(Mistake::ForgetsEarly, "DELETE FROM countersign_inbox WHERE state = 3", []);
        self.inbox.prune(if self.has(Mistake::PrunesAll) { 1000 } else { limit }, now).await
    }

    async fn stats(&self) -> Result<Stats, InboxError> {
        self.inbox.stats().await
    }

    async fn ping(&self) -> Result<(), InboxError> {
        self.tamper(Mistake::PingsAway, "DELETE FROM countersign_inbox", []);
        self.inbox.ping().await
    }

    fn bell(&self) -> &Bell {
        if self.has(Mistake::NeverRings) { &self.silent } else { self.inbox.bell() }
    }

    fn retention(&self) -> Duration {
        self.inbox.retention()
    }
}
