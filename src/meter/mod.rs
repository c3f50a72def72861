//! What is counted and measured, and the one place that names the crate `metrics`.
//!
//! Without the feature every function here is empty and every type has no size. With it, a series costs a look-up by
//! its labels among those that are known already, and what the program's recorder costs.
//!
//! Labels are words of our own and names from the configuration. What a sender writes is never one.

#[cfg(feature = "metrics")]
mod family;
mod keys;
#[cfg(feature = "metrics")]
mod table;

pub(crate) use keys::Keys;
#[cfg(feature = "metrics")]
pub use table::{METRICS, Metric, MetricKind, describe};

#[cfg(feature = "metrics")]
use std::time::Instant;

#[cfg(feature = "metrics")]
use self::table as to;

/// When something began; nothing where nobody measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    #[cfg(feature = "metrics")]
    started: Instant,
}

/// Why a store failed, as one word.
pub(crate) trait Failing {
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nobody counts"))]
    fn kind(&self) -> &'static str;
}

/// A store, as its series are labelled: what it is for, and which one it is.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nobody measures"))]
pub(crate) struct Named {
    pub(crate) store: &'static str,
    pub(crate) engine: &'static str,
}

/// What is in an inbox.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "nobody measures"))]
pub(crate) struct Depth {
    pub(crate) states: [(&'static str, u64); 5],
    /// The age of the oldest that is neither done nor dead, in seconds.
    pub(crate) oldest: f64,
    /// When it was looked at, in seconds since 1970.
    pub(crate) sampled: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            started: Instant::now(),
        }
    }

    #[cfg(feature = "metrics")]
    fn seconds(self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// Functions that do something with the feature, and nothing without it.
macro_rules! meters {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            #[cfg(feature = "metrics")]
            pub(crate) fn $name($($arg: $type),*) $body

            #[cfg(not(feature = "metrics"))]
            #[allow(dead_code, reason = "some are called with the feature alone")]
            #[inline]
            pub(crate) fn $name($(_: $type),*) {}
        )*
    };
}

meters! {
    /// A request was answered. `kind` is the reason of a rejection, and empty for everything else.
    fn answered(source: &str, outcome: &'static str, kind: &'static str, status: u16, watch: Stopwatch) {
        let class = class(status);
        to::REQUESTS.with([source, outcome, kind, class], |counter| counter.increment(1));
        to::REQUEST_SECONDS.with([source, class], |histogram| histogram.record(watch.seconds()));
    }

    /// A delivery was verified: with which key, how long ago it says that it was signed, and how long it is.
    fn verified(source: &str, key_id: &str, skew_millis: Option<i64>, bytes: usize) {
        to::VERIFIED.with([source, key_id], |counter| counter.increment(1));
        to::BODY_BYTES.with([source], |histogram| histogram.record(bytes as f64));
        if let Some(millis) = skew_millis {
            to::SKEW.with([source], |histogram| histogram.record(millis as f64 / 1e3));
        }
    }

    /// A handler has run.
    fn handled(source: &str, mode: &'static str, result: &'static str, watch: Stopwatch) {
        to::HANDLER_SECONDS.with([source, mode, result], |histogram| histogram.record(watch.seconds()));
    }

    /// Bytes of bodies are held from now on.
    fn held(bytes: usize) {
        to::BYTES_IN_FLIGHT.with([], |gauge| gauge.increment(bytes as f64));
    }

    /// Bytes of bodies are held no longer.
    fn let_go(bytes: usize) {
        to::BYTES_IN_FLIGHT.with([], |gauge| gauge.decrement(bytes as f64));
    }

    /// A remembered key was forgotten within its retention.
    fn forgotten_early() {
        to::FORGOTTEN.with([], |counter| counter.increment(1));
    }

    /// An attempt in an inbox has ended; `number` where it was the last of its delivery.
    fn attempted(inbox: &str, engine: &'static str, source: &str, result: &'static str, number: Option<u32>) {
        to::ATTEMPTS.with([inbox, engine, source, result], |counter| counter.increment(1));
        if let Some(number) = number {
            to::ATTEMPTS_NEEDED.with([source, result], |histogram| histogram.record(f64::from(number)));
        }
    }

    /// Deliveries were given up.
    fn buried(source: &str, reason: &'static str, count: u64) {
        to::DEAD.with([source, reason], |counter| counter.increment(count));
    }

    /// A lease was somebody else's before its work was settled.
    fn lease_lost(engine: &'static str, noticed: &'static str) {
        to::LEASES_LOST.with([engine, noticed], |counter| counter.increment(1));
    }

    /// Entries were forgotten.
    fn pruned(engine: &'static str, count: u64) {
        to::PRUNED.with([engine], |counter| counter.increment(count));
    }

    /// What is in an inbox now.
    fn sampled(inbox: &str, engine: &'static str, depth: Depth) {
        for (state, count) in depth.states {
            to::INBOX.with([inbox, engine, state], |gauge| gauge.set(count as f64));
        }
        to::OLDEST.with([inbox, engine], |gauge| gauge.set(depth.oldest));
        to::SAMPLED.with([inbox, engine], |gauge| gauge.set(depth.sampled));
    }

    /// A readiness probe was answered.
    fn probed(result: &'static str) {
        to::PROBES.with([result], |counter| counter.increment(1));
    }
}

/// Asks a store, and measures how long it takes to answer and how it fails. What answers in the process is not timed:
/// the clock would cost more than the answer.
#[cfg(feature = "metrics")]
pub(crate) async fn timed<T, E: Failing>(
    named: Named,
    operation: &'static str,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let Named { store, engine } = named;
    let watch = (engine != "memory").then(Stopwatch::start);
    let answer = asked.await;
    if let Some(watch) = watch {
        to::STORE_SECONDS.with([store, engine, operation], |histogram| histogram.record(watch.seconds()));
    }
    if let Err(error) = &answer {
        to::STORE_FAILURES.with([store, engine, operation, error.kind()], |counter| counter.increment(1));
    }
    answer
}

#[cfg(not(feature = "metrics"))]
#[inline]
pub(crate) fn timed<T, E: Failing, F: Future<Output = Result<T, E>>>(_: Named, _: &'static str, asked: F) -> F {
    asked
}

#[cfg(feature = "metrics")]
fn class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
