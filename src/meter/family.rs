//! The series of one metric: handles that are made once and kept.

use arc_swap::ArcSwapOption;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit, with_recorder};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::table::{Metric, MetricKind};

/// The most series of one metric. Past it everything goes to one more, whose labels say `other`: a configuration with
/// thousands of keys is not made into thousands of series.
const MOST: usize = 500;

const OTHER: &str = "other";

const METADATA: Metadata<'static> = Metadata::new("countersign", Level::INFO, Some("countersign"));

/// A metric and its series, by the values of its `N` labels.
pub(super) struct Family<H: 'static, const N: usize> {
    pub(super) metric: &'static Metric,
    known: ArcSwapOption<Known<H, N>>,
}

/// The series that one recorder was asked for.
struct Known<H, const N: usize> {
    recorder: usize,
    series: Vec<Series<H, N>>,
}

#[derive(Clone)]
struct Series<H, const N: usize> {
    hash: u64,
    labels: [Arc<str>; N],
    handle: H,
}

/// What a recorder hands out.
pub(super) trait Handle: Clone {
    fn register(recorder: &dyn Recorder, key: &Key) -> Self;
}

impl<H: Handle, const N: usize> Family<H, N> {
    pub(super) const fn of(metric: &'static Metric) -> Self {
        Self { metric, known: ArcSwapOption::const_empty() }
    }

    /// Does something with the series of these labels. It is made where there is none yet, and anew when another
    /// recorder is installed: whoever counts before that has not counted for ever into the void.
    pub(super) fn with(&self, labels: [&str; N], act: impl FnOnce(&H)) {
        let recorder = recorder();
        let hash = labels.iter().fold(0, |seed, label| xxh3_64_with_seed(label.as_bytes(), seed));
        let known = self.known.load();
        let mut full = false;
        if let Some(known) = known.as_ref().filter(|known| known.recorder == recorder) {
            if let Some(series) = known.find(hash, labels) {
                return act(&series.handle);
            }
            full = known.series.len() >= MOST;
        }
        drop(known);
        if full && labels.iter().any(|label| *label != OTHER) {
            return self.with([OTHER; N], act);
        }
        act(&self.add(recorder, hash, labels));
    }

    #[cold]
    fn add(&self, recorder: usize, hash: u64, labels: [&str; N]) -> H {
        let handle = with_recorder(|recorder| {
            describe(self.metric, recorder);
            let pairs = self.metric.labels.iter().zip(labels);
            let pairs = pairs.map(|(name, value)| Label::new(*name, value.to_owned()));
            H::register(recorder, &Key::from_parts(self.metric.name, pairs.collect::<Vec<_>>()))
        });
        let series = Series { hash, labels: labels.map(Arc::from), handle: handle.clone() };
        self.known.rcu(|known| {
            let mut all = match known {
                Some(known) if known.recorder == recorder => known.series.clone(),
                _ => Vec::new(),
            };
            all.push(series.clone());
            Some(Arc::new(Known { recorder, series: all }))
        });
        handle
    }
}

impl<H, const N: usize> Known<H, N> {
    fn find(&self, hash: u64, labels: [&str; N]) -> Option<&Series<H, N>> {
        let same = |series: &&Series<H, N>| {
            series.hash == hash && series.labels.iter().zip(labels).all(|(known, label)| **known == *label)
        };
        self.series.iter().find(same)
    }
}

/// Which recorder there is: the global one, or that of this thread.
pub(super) fn recorder() -> usize {
    with_recorder(|recorder| std::ptr::from_ref(recorder).addr())
}

pub(super) fn describe(metric: &Metric, recorder: &dyn Recorder) {
    let (name, help) = (KeyName::from_const_str(metric.name), metric.help.into());
    let unit = match metric.unit {
        "bytes" => Some(Unit::Bytes),
        "seconds" => Some(Unit::Seconds),
        "" => None,
        _ => Some(Unit::Count),
    };
    match metric.kind {
        MetricKind::Counter => recorder.describe_counter(name, unit, help),
        MetricKind::Gauge => recorder.describe_gauge(name, unit, help),
        MetricKind::Histogram => recorder.describe_histogram(name, unit, help),
    }
}

impl Handle for Counter {
    fn register(recorder: &dyn Recorder, key: &Key) -> Self {
        recorder.register_counter(key, &METADATA)
    }
}

impl Handle for Gauge {
    fn register(recorder: &dyn Recorder, key: &Key) -> Self {
        recorder.register_gauge(key, &METADATA)
    }
}

impl Handle for Histogram {
    fn register(recorder: &dyn Recorder, key: &Key) -> Self {
        recorder.register_histogram(key, &METADATA)
    }
}
