//! Every metric that there is: its name, what it counts in, its labels, and what it says.

use metrics::{Counter, Gauge, Histogram, with_recorder};

use super::family::{Family, describe as describe_one};

/// A metric of this crate.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name; all begin with `countersign_`.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it counts in: `seconds`, `bytes`, or things.
    pub unit: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
    /// For a histogram, the upper bounds of buckets that fit what it measures, for exporters that want to be told.
    pub buckets: &'static [f64],
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Has a value at each moment.
    Gauge,
    /// How often values of each size were seen.
    Histogram,
}

/// Tells the recorder that is installed what each metric is and what it counts in.
///
/// Not needed: each is described when it is first used. It is for recorders that show what has not happened yet.
pub fn describe() {
    with_recorder(|recorder| METRICS.iter().for_each(|metric| describe_one(metric, recorder)));
}

/// From a memory store to a handler that takes a minute.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// From a clock that is behind to a delivery that was on its way for five minutes, the usual tolerance.
const SKEW_SECONDS: &[f64] =
    &[-300.0, -120.0, -60.0, -30.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
const TIMES: &[f64] = &[1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 50.0];

/// Makes the metrics, and the table of them all.
macro_rules! metrics {
    ($($family:ident: $kind:ident $name:literal in $unit:literal by [$($label:literal),*] $(buckets $buckets:ident)?
        = $help:literal;)*) => {
        /// All metrics, in the order of the table in the documentation.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: MetricKind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
            buckets: metrics!(@buckets $($buckets)?),
        }),*];

        metrics!(@families 0; $($family $kind [$($label),*])*);
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
    (@families $at:expr; $family:ident $kind:ident [$($label:literal),*] $($rest:tt)*) => {
        pub(super) static $family: Family<$kind, { <[&str]>::len(&[$($label),*]) }> = Family::of(&METRICS[$at]);
        metrics!(@families $at + 1; $($rest)*);
    };
    (@families $at:expr;) => {};
}

metrics! {
    REQUESTS: Counter "countersign_requests_total" in "requests" by ["source", "outcome", "kind", "status"]
        = "Requests that were answered, by what became of them.";
    REQUEST_SECONDS: Histogram "countersign_request_seconds" in "seconds" by ["source", "status"] buckets SECONDS
        = "From the head of a request to its answer.";
    BODY_BYTES: Histogram "countersign_body_bytes" in "bytes" by ["source"] buckets BYTES
        = "The bodies of verified deliveries.";
    BYTES_IN_FLIGHT: Gauge "countersign_bytes_in_flight" in "bytes" by []
        = "Bytes of bodies that are held now, over all receivers of the process.";
    VERIFIED: Counter "countersign_verified_total" in "deliveries" by ["source", "key_id"]
        = "Deliveries whose signature matched, by the key that it matched.";
    SKEW: Histogram "countersign_timestamp_skew_seconds" in "seconds" by ["source"] buckets SKEW_SECONDS
        = "Our clock less the signed time of verified deliveries: on its way if positive, ahead of us if negative.";
    HANDLER_SECONDS: Histogram "countersign_handler_seconds" in "seconds" by ["source", "mode", "result"] buckets SECONDS
        = "How long handlers ran.";
    STORE_SECONDS: Histogram "countersign_store_seconds" in "seconds" by ["store", "engine", "operation"] buckets SECONDS
        = "How long a store took to answer, with or without success.";
    STORE_FAILURES: Counter "countersign_store_failures_total" in "failures" by ["store", "engine", "operation", "kind"]
        = "Questions that a store did not answer.";
    MEMORY_KEYS: Gauge "countersign_memory_store_keys" in "keys" by ["state"]
        = "Keys that memory stores hold.";
    MEMORY_CAPACITY: Gauge "countersign_memory_store_capacity" in "keys" by []
        = "Keys that memory stores have room for.";
    FORGOTTEN: Counter "countersign_memory_store_forgotten_total" in "keys" by []
        = "Keys that were forgotten within their retention; a retry of theirs would run again.";
    INBOX: Gauge "countersign_inbox_deliveries" in "deliveries" by ["inbox", "engine", "state"]
        = "Deliveries in the inbox, when it was last looked at.";
    OLDEST: Gauge "countersign_inbox_oldest_seconds" in "seconds" by ["inbox", "engine"]
        = "The age of the oldest delivery that is neither done nor dead; 0 when there is none.";
    SAMPLED: Gauge "countersign_inbox_sampled_timestamp_seconds" in "seconds" by ["inbox", "engine"]
        = "When the inbox was last looked at, in seconds since 1970.";
    ATTEMPTS: Counter "countersign_attempts_total" in "attempts" by ["inbox", "engine", "source", "result"]
        = "Attempts of workers that have ended.";
    ATTEMPTS_NEEDED: Histogram "countersign_attempts_needed" in "attempts" by ["source", "result"] buckets TIMES
        = "How many attempts deliveries had when they were done or dead.";
    DEAD: Counter "countersign_dead_letters_total" in "deliveries" by ["source", "reason"]
        = "Deliveries that were given up.";
    LEASES_LOST: Counter "countersign_leases_lost_total" in "leases" by ["engine", "noticed"]
        = "Leases that were somebody else's before their work was settled.";
    PRUNED: Counter "countersign_pruned_total" in "deliveries" by ["engine"]
        = "Deliveries that were forgotten after their retention.";
    PROBES: Counter "countersign_probes_total" in "probes" by ["result"]
        = "Readiness probes that were answered, by what they found.";
}
