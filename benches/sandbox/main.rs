//! How the sandbox bears a load: pages of a long log, events at a rate and at full speed, memory.
//!
//! `cargo bench --bench sandbox --features sandbox -- [--quick | --full]`. Prints, asserts nothing about time.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod load;
mod pages;

use std::time::Duration;

/// How much is done.
#[derive(Clone, Copy)]
struct Size {
    subscriptions: u64,
    /// Rows of the log of which pages are listed.
    rows: u64,
    /// Seconds of a thousand events each.
    seconds: u64,
    /// Events at full speed.
    burst: u64,
    /// Requests of which a median is taken.
    requests: usize,
}

const QUICK: Size = Size { subscriptions: 1_000, rows: 100_000, seconds: 3, burst: 5_000, requests: 20 };
const USUAL: Size = Size { subscriptions: 10_000, rows: 1_000_000, seconds: 10, burst: 50_000, requests: 50 };
/// As usual, and a million rows by real deliveries, in memory: some minutes.
const FULL: Size = Size { burst: 1_000_000, ..USUAL };

fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let size = match () {
        () if has("--quick") => QUICK,
        () if has("--full") => FULL,
        () => USUAL,
    };
    println!("machine: {}", machine());
    println!("memory before anything: {} MiB", resident());
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        pages::run(size).await;
        load::run(size).await;
    });
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1).map(str::to_owned));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{}, {cores} cores, load average {load}", model.unwrap_or_else(|| "unknown".into()))
}

/// Resident memory of this process in MiB: the sandbox's, and in `load` that of the receiver beside it.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

/// Time that this process has spent on a core, from all its threads.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold spaces: the 12th and 13th fields, in hundredths of a second.
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
