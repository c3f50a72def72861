//! What the memory store costs: time by how full it is, and memory a key.
//!
//! `cargo bench --bench memory_store` prints a table. Each row is measured in a process of its own, so that one
//! allocator's history does not colour the next; times are medians over batches of keys that were made before the clock
//! was started. `-- "moka insert" 50000` measures one row.

use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::pin::pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use countersign::{ClaimKey, Claimed, DedupeStore, Fingerprint, MemoryStore, Source, Timestamp};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.as_slice() {
        [subject, keys] => measure(subject, keys.parse().expect("a number of keys")),
        _ => table(),
    }
}

fn table() {
    println!("{:<34} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9}", "", "keys", "claim", "+compl.", "done", "slowest", "B/key");
    let this = std::env::current_exe().expect("the path of this program");
    for subject in SUBJECTS {
        for keys in [10_000, 100_000, 1_000_000] {
            let row = Command::new(&this).args([subject, &keys.to_string()]).output();
            print!("{}", String::from_utf8_lossy(&row.expect("a row").stdout));
        }
    }
    println!(
        "times in ns; `claim`: a new key; `+compl.`: claim and complete; `done`: a claim of what is done already;\n`B/key`: resident memory"
    );
}

const SUBJECTS: [&str; 5] =
    ["MemoryStore", "MemoryStore, room for 1M", "moka entry().or_insert", "moka insert", "moka insert, time_to_live"];

fn measure(subject: &str, keys: usize) {
    match subject {
        "MemoryStore" => measure_store(subject, keys, 2 * keys),
        "MemoryStore, room for 1M" => measure_store(subject, keys, 1_010_000),
        _ => measure_moka(subject, keys),
    }
}

fn measure_store(subject: &str, keys: usize, capacity: usize) {
    let all: Vec<ClaimKey> = (0..keys + PROBES).map(key).collect();
    let before = resident();
    let store = MemoryStore::builder().capacity(capacity).build().expect("sound settings");
    let body = Fingerprint::of(b"{}");
    let claim = |key: &ClaimKey| now(store.claim(key, body, LEASE, START)).expect("room");
    let handle = |key: &ClaimKey| match claim(key) {
        Claimed::New(token) => now(store.complete(&token, START)).expect("room"),
        other => unreachable!("{other:?}"),
    };
    let (filled, probes) = all.split_at(keys);
    let mut slowest = Duration::ZERO;
    for key in filled {
        let start = Instant::now();
        let _ = handle(key);
        slowest = slowest.max(start.elapsed());
    }
    let after = resident();
    let (claims, rest) = probes.split_at(PROBES / 2);
    // Claimed and given back, so that it is the claim of an unknown key among `keys` known ones.
    let claimed = median_and(claims, &claim, |claimed| match claimed {
        Claimed::New(token) => store.abandon(&token),
        other => unreachable!("{other:?}"),
    });
    let handled = median(rest, |key| handle(key));
    let step = (keys / (PROBES / 2)).max(1);
    let some: Vec<ClaimKey> = filled.iter().step_by(step).copied().collect();
    let done = median(&some, |key| claim(key));
    row(subject, keys, [claimed, handled, done], slowest, after.saturating_sub(before) / keys);
}

fn measure_moka(subject: &str, keys: usize) {
    let all: Vec<ClaimKey> = (0..keys + PROBES).map(key).collect();
    let before = resident();
    let builder = Cache::builder().eviction_policy(EvictionPolicy::lru()).max_capacity((2 * keys) as u64);
    let retention = Duration::from_hours(73);
    let builder = if subject.ends_with("time_to_live") {
        builder.time_to_live(retention)
    } else {
        builder.time_to_idle(retention)
    };
    let cache: Cache<ClaimKey, (u64, i64), BuildHasherDefault<FirstWord>> =
        builder.build_with_hasher(BuildHasherDefault::default());
    let insert = |key: &ClaimKey| {
        if subject.contains("entry") {
            black_box(cache.entry(*key).or_insert((0, 0)));
        } else {
            cache.insert(*key, (0, 0));
        }
    };
    let (filled, probes) = all.split_at(keys);
    let mut slowest = Duration::ZERO;
    for key in filled {
        let start = Instant::now();
        insert(key);
        slowest = slowest.max(start.elapsed());
    }
    let after = resident();
    let (lookups, inserts) = probes.split_at(PROBES / 2);
    let looked = median(lookups, |key| cache.contains_key(key));
    let inserted = median(inserts, insert);
    let step = (keys / (PROBES / 2)).max(1);
    let some: Vec<ClaimKey> = filled.iter().step_by(step).copied().collect();
    let found = median(&some, |key| cache.get(key));
    row(subject, keys, [looked, inserted, found], slowest, after.saturating_sub(before) / keys);
}

fn row(subject: &str, keys: usize, times: [u64; 3], slowest: Duration, bytes: usize) {
    println!(
        "{subject:<34} {keys:>9} {:>8} {:>8} {:>8} {:>7}µs {:>9}",
        times[0],
        times[1],
        times[2],
        slowest.as_micros(),
        bytes
    );
}

/// The median over batches of the mean time in a batch, in nanoseconds.
fn median<T>(keys: &[ClaimKey], step: impl FnMut(&ClaimKey) -> T) -> u64 {
    median_and(keys, step, |_| {})
}

/// The same; what came of the steps of a batch is cleared away while the clock stands still.
fn median_and<T>(keys: &[ClaimKey], mut step: impl FnMut(&ClaimKey) -> T, clear: impl FnMut(T) + Copy) -> u64 {
    let mut results = Vec::with_capacity(BATCH);
    let mut batches: Vec<u64> = keys
        .chunks(BATCH)
        .map(|batch| {
            let start = Instant::now();
            results.extend(batch.iter().map(|key| black_box(step(key))));
            let time = start.elapsed().as_nanos() as u64 / batch.len() as u64;
            results.drain(..).for_each(clear);
            time
        })
        .collect();
    batches.sort_unstable();
    batches[batches.len() / 2]
}

fn key(number: usize) -> ClaimKey {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    ClaimKey::for_content(&Source::new("bench").expect("a source"), None, &digest)
}

/// The memory store answers at the first poll.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the memory store does not wait"),
    }
}

/// The resident set in bytes, which includes the allocator's own overhead; 0 where there is no /proc.
fn resident() -> usize {
    // The second number, in pages of 4 KiB (proc_pid_statm(5)).
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}

/// The same hasher that the store uses, for a fair comparison.
#[derive(Clone, Copy, Default)]
struct FirstWord(u64);

impl Hasher for FirstWord {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a claim key feeds one word")
    }
}

const BATCH: usize = 50;
const LEASE: Duration = Duration::from_secs(30);
const PROBES: usize = 4_000;
const START: Timestamp = Timestamp::from_secs(1_800_000_000);
