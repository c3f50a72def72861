//! The work itself: every MAC of a stage, once, on all processors, compared with every tag of the request.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::body::Form;
use super::recipes::Contents;
use super::secrets::Candidate;
use crate::crypto::{RunningDigest, Tag};

/// Below so many bytes a thread costs more than it saves.
const WORTH_A_THREAD: u64 = 1 << 18;

/// How many passes over the body a thread takes at once.
const BATCH: usize = 8;

/// One stage: what is combined with what.
pub(super) struct Stage<'a> {
    pub(super) keys: Vec<&'a Candidate>,
    pub(super) forms: &'a [Form],
    pub(super) contents: &'a Contents,
    pub(super) tags: &'a [Tag],
}

/// A MAC that is one of the request's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) form: usize,
    /// Its index among the stage's keys.
    pub(super) key: usize,
    pub(super) beginning: usize,
    pub(super) ending: usize,
    /// Its index among the tags.
    pub(super) tag: usize,
}

/// What came of a stage.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) hits: Vec<Hit>,
    /// How many MACs were computed.
    pub(super) macs: u64,
    /// How many were not, because the budget was spent.
    pub(super) skipped: u64,
}

impl Stage<'_> {
    /// Computes all MACs of the stage, as long as `budget`, in bytes to be hashed, lasts.
    pub(super) fn scan(&self, budget: &mut u64) -> Scanned {
        let passes = self.passes();
        if passes == 0 || self.tags.is_empty() {
            return Scanned::default();
        }
        let (next, spent, done) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let hits = Mutex::new(Vec::new());
        let limit = *budget;
        let work = || {
            loop {
                let from = next.fetch_add(BATCH, Ordering::Relaxed);
                if from >= passes || spent.load(Ordering::Relaxed) > limit {
                    return;
                }
                for pass in from..passes.min(from + BATCH) {
                    let (bytes, macs) = self.pass(pass, |hit| {
                        hits.lock().unwrap_or_else(PoisonError::into_inner).push(hit);
                    });
                    spent.fetch_add(bytes, Ordering::Relaxed);
                    done.fetch_add(macs, Ordering::Relaxed);
                }
            }
        };
        let all: u64 = self.macs();
        let threads = self.threads();
        if threads > 1 {
            std::thread::scope(|scope| {
                for _ in 1..threads {
                    scope.spawn(work);
                }
                work();
            });
        } else {
            work();
        }
        *budget = limit.saturating_sub(spent.into_inner());
        let macs = done.into_inner();
        let mut hits = hits.into_inner().unwrap_or_else(PoisonError::into_inner);
        hits.sort_unstable();
        Scanned { hits, macs, skipped: all - macs }
    }

    /// One pass over one form of the body: the beginning before it, every ending behind it.
    fn pass(&self, pass: usize, mut hit: impl FnMut(Hit)) -> (u64, u64) {
        let (beginnings, keys) = (self.contents.beginnings.len(), self.keys.len());
        let (rest, beginning) = (pass / beginnings, pass % beginnings);
        let (form, key) = (rest / keys, rest % keys);
        let begin = &self.contents.beginnings[beginning];
        let mut mac = self.keys[key].key.start();
        mac.update(&begin.recipe.bytes);
        mac.update(&self.forms[form].bytes);
        let mut bytes = begin.recipe.bytes.len() + self.forms[form].bytes.len();
        for (ending, recipe) in self.contents.endings.iter().take(begin.endings).enumerate() {
            let mut mac = mac.clone();
            mac.update(&recipe.bytes);
            bytes += recipe.bytes.len() + 128; // and two blocks to end it
            // Which of them it is, is asked only of the one MAC that matched.
            if bool::from(mac.clone().matches_any(self.tags)) {
                for (tag, value) in self.tags.iter().enumerate() {
                    if bool::from(mac.clone().matches_any(std::slice::from_ref(value))) {
                        hit(Hit { form, key, beginning, ending, tag });
                    }
                }
            }
        }
        (bytes as u64, begin.endings as u64)
    }

    fn passes(&self) -> usize {
        self.forms.len() * self.keys.len() * self.contents.beginnings.len()
    }

    fn macs(&self) -> u64 {
        let each: usize = self.contents.beginnings.iter().map(|begin| begin.endings).sum();
        (self.forms.len() * self.keys.len() * each) as u64
    }

    fn threads(&self) -> usize {
        let body: u64 = self.forms.iter().map(|form| form.bytes.len() as u64).sum();
        let bytes = body * (self.keys.len() * self.contents.beginnings.len()) as u64 + self.macs() * 128;
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        usize::try_from(bytes / WORTH_A_THREAD).map_or(most, |worth| worth.clamp(1, most))
    }
}

/// Which of `tags` is a SHA-256 of the body and the secret side by side, or of the body alone: no HMAC at all.
pub(super) fn plain_digests(form: &Form, keys: &[&Candidate], tags: &[Tag]) -> Vec<(Option<usize>, usize, bool)> {
    let mut hits = Vec::new();
    let mut compare = |key: Option<usize>, parts: [&[u8]; 2], before: bool| {
        let mut digest = RunningDigest::default();
        parts.iter().for_each(|part| digest.update(part));
        if bool::from(digest.clone().matches_any(tags)) {
            let of = |value: &Tag| bool::from(digest.clone().matches_any(std::slice::from_ref(value)));
            hits.extend(tags.iter().enumerate().filter(|(_, value)| of(value)).map(|(tag, _)| (key, tag, before)));
        }
    };
    compare(None, [&form.bytes, b""], false);
    for (index, key) in keys.iter().enumerate() {
        compare(Some(index), [&key.bytes, &form.bytes], true);
        compare(Some(index), [&form.bytes, &key.bytes], false);
    }
    hits
}
