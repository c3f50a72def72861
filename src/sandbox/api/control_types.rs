//! What the control API is told and tells: the engine's values on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::sandbox::deliver::{Attempt, Fault, Faults, Status, Strike, Triggered};

/// What goes wrong with deliveries that are triggered from now on.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FaultsBody {
    /// What chance is made of.
    seed: u64,
    /// Which faults hit which deliveries: `altered_body`, `delay`, `doubled_header`, `drop_answer`, `duplicate`,
    /// `duplicate_at_once`, `future_timestamp`, `reorder`, `slow_body`, `stale_timestamp`, `stripped_header`,
    /// `truncated_body`, `wrong_key`.
    #[schema(value_type = BTreeMap<String, StrikeBody>)]
    strikes: BTreeMap<Fault, StrikeBody>,
    /// Whether every attempt of a delivery is hit, and not its first one alone.
    every_attempt: bool,
    /// By how much a delayed delivery is late, in milliseconds; the speed divides it.
    delay_ms: u64,
    /// For how long a delivery waits at most to be overtaken, in milliseconds; the speed divides it.
    reorder_ms: u64,
    /// How far a stale or future time is off, in milliseconds.
    skew_ms: u64,
    /// How long a slow body takes, in milliseconds.
    slow_ms: u64,
}

/// Which deliveries a fault hits.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct StrikeBody {
    /// How many of the deliveries that come next.
    next: u64,
    /// Of all further ones, how probable it is.
    #[schema(minimum = 0, maximum = 1)]
    probability: f64,
}

impl Default for FaultsBody {
    fn default() -> Self {
        Faults::default().into()
    }
}

impl From<Faults> for FaultsBody {
    fn from(from: Faults) -> Self {
        let Faults { seed, strikes, every_attempt, delay_ms, reorder_ms, skew_ms, slow_ms } = from;
        let strike = |strike: Strike| StrikeBody { next: strike.next, probability: strike.probability };
        let strikes = strikes.into_iter().map(|(fault, hits)| (fault, strike(hits))).collect();
        Self { seed, strikes, every_attempt, delay_ms, reorder_ms, skew_ms, slow_ms }
    }
}

impl From<FaultsBody> for Faults {
    fn from(from: FaultsBody) -> Self {
        let FaultsBody { seed, strikes, every_attempt, delay_ms, reorder_ms, skew_ms, slow_ms } = from;
        let strike = |strike: StrikeBody| Strike { next: strike.next, probability: strike.probability };
        let strikes = strikes.into_iter().map(|(fault, hits)| (fault, strike(hits))).collect();
        Self { seed, strikes, every_attempt, delay_ms, reorder_ms, skew_ms, slow_ms }
    }
}

/// What a trigger came to.
#[derive(Serialize, ToSchema)]
pub(super) struct TriggeredBody {
    /// How many events there were.
    events: u64,
    /// How many deliveries they make.
    deliveries: u64,
    /// The deliveries' ids in their order: the first 1,000.
    delivery_ids: Vec<String>,
}

impl From<Triggered> for TriggeredBody {
    fn from(from: Triggered) -> Self {
        let Triggered { events, deliveries, delivery_ids } = from;
        Self { events, deliveries, delivery_ids }
    }
}

/// What is on its way.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusBody {
    /// Deliveries that were not yet tried.
    pending: u64,
    /// Deliveries that wait for the next attempt.
    retrying: u64,
    /// Deliveries that are being sent.
    in_flight: u64,
    /// Deliveries that were taken since the start.
    delivered: u64,
    /// Deliveries that were given up since the start.
    failed: u64,
    /// By how much waits are shorter than in life.
    speed: f64,
    /// How many answers of the management API are still to fail.
    api_failures: u32,
}

impl StatusBody {
    pub(super) fn new(status: Status, speed: f64, api_failures: u32) -> Self {
        let Status { pending, retrying, in_flight, delivered, failed } = status;
        Self { pending, retrying, in_flight, delivered, failed, speed, api_failures }
    }
}

/// Which attempts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptsQuery {
    /// Those with a higher number; all unless given.
    #[serde(default)]
    #[param(default = 0)]
    pub(super) after: u64,
}

/// One request that was sent, or was to be.
#[derive(Serialize, ToSchema)]
pub(super) struct AttemptBody {
    /// 1, 2, 3 … in the order in which they ended, since the sandbox was started.
    number: u64,
    /// The delivery's id, as the receiver sees it.
    delivery_id: String,
    event_type: String,
    webhook_url: String,
    /// Which attempt of the delivery it was, from 1.
    attempt: u32,
    /// Whether it was the second of a pair of duplicates.
    duplicate: bool,
    /// What was done wrong on purpose.
    #[schema(value_type = Vec<String>)]
    faults: Vec<Fault>,
    /// What the receiver answered; null without an answer.
    #[schema(required)]
    status: Option<u16>,
    /// Why it failed; null when it did not.
    #[schema(required)]
    error: Option<String>,
}

impl From<Attempt> for AttemptBody {
    fn from(from: Attempt) -> Self {
        let Attempt { number, delivery_id, event_type, webhook_url, attempt, duplicate, faults, status, error } = from;
        Self { number, delivery_id, event_type, webhook_url, attempt, duplicate, faults, status, error }
    }
}
