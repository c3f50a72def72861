//! The conformance suite can fail: stores with one mistake each, and the case that must catch it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::testing::dedupe as cases;
use countersign::{ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Settled, StoreError, Timestamp};

mod without_a_mistake {
    use super::{Mistake, Model};

    countersign::dedupe_conformance!(Model::with(Mistake::None));
}

/// Each mistake and the case that it must not pass.
macro_rules! caught {
    ($($test:ident: $mistake:ident by $case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                let store = Arc::new(Model::with(Mistake::$mistake));
                let case = tokio::spawn(cases::$case(store)).await;
                assert!(
                    case.is_err_and(|error| error.is_panic()),
                    "{} passes a store that {}",
                    stringify!($case),
                    stringify!($test)
                );
            }
        )*
    };
}

caught! {
    abandons_nothing: AbandonsNothing by a_dropped_claim_frees_its_key,
    acts_before_it_is_polled: Eager by a_future_that_was_never_polled_has_done_nothing,
    checks_then_inserts: ChecksThenInserts by of_64_claims_at_once_one_is_new,
    checks_then_takes_over: ChecksThenInserts by of_64_takeovers_at_once_one_is_new,
    counts_the_retention_from_the_claim: RetainsFromClaim by something_done_is_remembered_for_the_whole_retention,
    extends_nothing: ExtendsNothing by an_extended_lease_holds_until_its_new_end,
    forgets_at_completion: ForgetsAtOnce by a_completed_key_is_done,
    forgets_too_early: ForgetsEarly by something_done_is_remembered_for_the_whole_retention,
    has_no_fencing: NoFencing by a_superseded_claim_can_change_nothing,
    has_one_key_for_all: OneKey by keys_do_not_affect_one_another,
    ignores_the_body_in_flight: IgnoresBody by another_body_in_flight_is_a_conflict,
    ignores_the_body_when_done: IgnoresBody by another_body_when_done_is_a_conflict,
    keeps_the_body_of_a_released_claim: ReleasesToTheSameBody by a_released_key_is_free_for_any_body,
    never_forgets: NeverForgets by something_done_is_forgotten_after_the_retention,
    never_gives_up_a_lease: NoTakeover by a_lease_that_ran_out_may_be_taken_over,
    pings_everything_away: PingsAway by a_ping_is_answered_and_changes_nothing,
    records_done_at_the_claim: DoneAtClaim by a_second_claim_finds_the_first_in_flight,
    refuses_a_late_completion: RefusesLate by a_late_completion_counts_while_nobody_took_over,
    repeats_epochs: RepeatsEpochs by epochs_never_repeat_for_a_key,
    settles_twice: SettlesTwice by a_settled_claim_cannot_be_settled_again,
    takes_every_key_for_known: DoneAlways by a_fresh_key_is_new,
    takes_every_source_for_one: OneKey by sources_do_not_share_ids,
}

#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    AbandonsNothing,
    ChecksThenInserts,
    DoneAlways,
    DoneAtClaim,
    Eager,
    ExtendsNothing,
    ForgetsAtOnce,
    ForgetsEarly,
    IgnoresBody,
    NeverForgets,
    NoFencing,
    NoTakeover,
    None,
    OneKey,
    PingsAway,
    RefusesLate,
    ReleasesToTheSameBody,
    RepeatsEpochs,
    RetainsFromClaim,
    SettlesTwice,
}

/// The protocol in its plainest form: one map under one lock.
struct Model {
    mistake: Mistake,
    rows: Mutex<HashMap<[u8; 32], Row>>,
}

#[derive(Clone, Copy)]
struct Row {
    epoch: u64,
    fingerprint: Fingerprint,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Done { until: Timestamp },
    Free,
    InFlight { since: Timestamp, until: Timestamp },
}

impl Model {
    fn with(mistake: Mistake) -> Self {
        Self { mistake, rows: Mutex::default() }
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == mistake
    }

    fn row_key(&self, key: &ClaimKey) -> [u8; 32] {
        if self.has(Mistake::OneKey) { [0; 32] } else { *key.as_bytes() }
    }

    /// What a claim finds: the answer if it is not new, and the epoch it would get.
    fn look(&self, key: &ClaimKey, fingerprint: Fingerprint, now: Timestamp) -> (Option<Claimed>, u64) {
        if self.has(Mistake::DoneAlways) {
            return (Some(Claimed::Done), 0);
        }
        let rows = self.rows.lock().expect("sound");
        let Some(row) = rows.get(&self.row_key(key)) else {
            return (None, 1);
        };
        let epoch = if self.has(Mistake::RepeatsEpochs) { 1 } else { row.epoch + 1 };
        let same = row.fingerprint == fingerprint || self.has(Mistake::IgnoresBody);
        let found = match row.state {
            State::Done { until } if until > now || self.has(Mistake::NeverForgets) => Some(Claimed::Done),
            State::InFlight { until, .. } if until > now || self.has(Mistake::NoTakeover) => {
                Some(Claimed::InFlight { until })
            }
            State::Free if !same && self.has(Mistake::ReleasesToTheSameBody) => Some(Claimed::Conflict),
            _ => None,
        };
        (found.map(|found| if same { found } else { Claimed::Conflict }), epoch)
    }

    fn insert(&self, key: &ClaimKey, fingerprint: Fingerprint, epoch: u64, lease: Duration, now: Timestamp) -> Claimed {
        let mut state = State::InFlight { since: now, until: now.saturating_add(lease) };
        if self.has(Mistake::DoneAtClaim) {
            state = State::Done { until: now.saturating_add(RETENTION) };
        }
        let row = Row { epoch, fingerprint, state };
        self.rows.lock().expect("sound").insert(self.row_key(key), row);
        Claimed::New(ClaimToken { key: *key, fingerprint, epoch, claimed_at: now })
    }

    /// Claims in one step, with the lock held: the map is looked at and changed by one caller at a time.
    fn claim_now(&self, key: &ClaimKey, fingerprint: Fingerprint, lease: Duration, now: Timestamp) -> Claimed {
        static ONE_STEP: Mutex<()> = Mutex::new(());
        let _one_step = ONE_STEP.lock().expect("sound");
        let (found, epoch) = self.look(key, fingerprint, now);
        found.unwrap_or_else(|| self.insert(key, fingerprint, epoch, lease, now))
    }

    fn settle(&self, claim: &ClaimToken, change: impl FnOnce(Timestamp, Timestamp) -> Option<State>) -> Settled {
        let mut rows = self.rows.lock().expect("sound");
        let Some(row) = rows.get_mut(&self.row_key(&claim.key)) else {
            return Settled::Superseded;
        };
        let (since, until) = match row.state {
            State::InFlight { since, until } => (since, until),
            _ if self.has(Mistake::SettlesTwice) => (claim.claimed_at, claim.claimed_at),
            _ => return Settled::Superseded,
        };
        if row.epoch != claim.epoch && !self.has(Mistake::NoFencing) {
            return Settled::Superseded;
        }
        match change(since, until) {
            Some(state) => row.state = state,
            None => return Settled::Superseded,
        }
        Settled::Current
    }
}

impl DedupeStore for Model {
    fn claim(
        &self,
        key: &ClaimKey,
        fingerprint: Fingerprint,
        lease: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<Claimed, StoreError>> + Send {
        let key = *key;
        let eager = self.has(Mistake::Eager).then(|| self.claim_now(&key, fingerprint, lease, now));
        async move {
            if let Some(claimed) = eager {
                return Ok(claimed);
            }
            if self.has(Mistake::ChecksThenInserts) {
                let (found, epoch) = self.look(&key, fingerprint, now);
                tokio::task::yield_now().await;
                return Ok(found.unwrap_or_else(|| self.insert(&key, fingerprint, epoch, lease, now)));
            }
            Ok(self.claim_now(&key, fingerprint, lease, now))
        }
    }

    async fn complete(&self, claim: &ClaimToken, now: Timestamp) -> Result<Settled, StoreError> {
        Ok(self.settle(claim, |since, until| {
            let until = match self.mistake {
                Mistake::RefusesLate if until <= now => return None,
                Mistake::ForgetsAtOnce => now,
                Mistake::ForgetsEarly => now.saturating_add(RETENTION / 2),
                Mistake::RetainsFromClaim => since.saturating_add(RETENTION),
                _ => now.saturating_add(RETENTION),
            };
            Some(State::Done { until })
        }))
    }

    async fn release(&self, claim: &ClaimToken, _now: Timestamp) -> Result<Settled, StoreError> {
        Ok(self.settle(claim, |_, _| Some(State::Free)))
    }

    async fn extend(&self, claim: &ClaimToken, lease: Duration, now: Timestamp) -> Result<Settled, StoreError> {
        Ok(self.settle(claim, |since, until| {
            let extended = now.saturating_add(lease);
            let until = if self.has(Mistake::ExtendsNothing) { until } else { extended };
            Some(State::InFlight { since, until })
        }))
    }

    fn abandon(&self, claim: &ClaimToken) {
        if !self.has(Mistake::AbandonsNothing) {
            let _ = self.settle(claim, |_, _| Some(State::Free));
        }
    }

    fn retention(&self) -> Duration {
        RETENTION
    }

    async fn ping(&self) -> Result<(), StoreError> {
        if self.has(Mistake::PingsAway) {
            self.rows.lock().expect("sound").clear();
        }
        Ok(())
    }
}

const RETENTION: Duration = Duration::from_hours(73);
