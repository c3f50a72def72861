//! The contest: rounds in which every contender serves the same deliveries, one after the other.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::deliveries::Sender;
use crate::load::{Load, Request};
use crate::machine::{cpu_time, describe, median, pin};
use crate::server::CONTENDERS;

const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;
pub const CONNECTIONS: usize = 32;

/// What the library promises: a contender, over which other one, at least how much.
const REQUIRED: [(usize, &str, &str, f64); 6] = [
    (1024, "pipeline", "bare", 0.52),
    (1024, "pipeline", "straightforward", 1.12),
    (1024, "verify", "bare", 0.85),
    (1024, "floor", "bare", 0.0),
    (65536, "pipeline", "straightforward", 1.0),
    (65536, "pipeline-unwanted", "straightforward", 1.9),
];

#[derive(Default)]
struct Row {
    /// Requests a second, round by round.
    rates: Vec<f64>,
    /// Nanoseconds of the server's CPU time for one request, round by round.
    cpu: Vec<f64>,
    latencies: Vec<Duration>,
}

pub fn run(quick: bool) -> std::io::Result<()> {
    describe();
    pin(LOAD_CORE);
    let (rounds, share) = if quick { (3, 10) } else { (9, 1) };
    size(1024, 100_000 / share, rounds)?;
    size(65536, 8_000 / share, rounds)
}

fn size(len: usize, requests: usize, rounds: usize) -> std::io::Result<()> {
    let (server, ports) = Server::start(requests * (rounds + 2))?;
    let mut sender = Sender::new(len);
    // Connected when first used: a connection that sends nothing for 5 seconds is closed by the server.
    let mut loads: Vec<Option<Load>> = ports.iter().map(|_| None).collect();
    let mut rows: Vec<Row> = CONTENDERS.iter().map(|_| Row::default()).collect();
    for round in 0..=rounds {
        // Every contender remembers for itself, so all of them may be sent the same.
        let deliveries: Vec<_> = (0..requests).map(|_| sender.next()).collect();
        let requests = made(&sender, &deliveries);
        for step in 0..rows.len() {
            // Each round begins with another one, so that nobody is always first.
            let at = (step + round) % rows.len();
            let load = match &mut loads[at] {
                Some(load) => load,
                none => none.insert(Load::connect(ports[at], CONNECTIONS)?),
            };
            let before = cpu_time(server.child.id());
            let took = load.full(&requests)?;
            let used = cpu_time(server.child.id()) - before;
            if round > 0 {
                rows[at].rates.push(requests.len() as f64 / took.as_secs_f64());
                rows[at].cpu.push(used as f64 / requests.len() as f64);
            }
        }
    }
    let deliveries: Vec<_> = (0..requests).map(|_| sender.next()).collect();
    let requests = made(&sender, &deliveries);
    for (row, load) in rows.iter_mut().zip(loads.iter_mut().flatten()) {
        let rate = median(row.rates.clone()) / 2.0;
        row.latencies = load.paced(&requests, rate)?;
        row.latencies.sort();
    }
    report(len, rounds, &rows);
    Ok(())
}

fn made<'a>(sender: &'a Sender, deliveries: &[crate::deliveries::Delivery]) -> Vec<Request<'a>> {
    let request = |delivery| Request {
        head: sender.head(delivery),
        body: sender.body(delivery),
    };
    deliveries.iter().map(request).collect()
}

fn report(len: usize, rounds: usize, rows: &[Row]) {
    println!(
        "{} KiB, {rounds} rounds, {CONNECTIONS} connections, medians\n",
        len / 1024
    );
    println!(
        "| contender | req/s | CPU µs/req | p50 µs | p99 µs | ÷ bare | ÷ bare (CPU) | ÷ straightforward | ÷ straightforward (CPU) |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, row) in CONTENDERS.iter().zip(rows) {
        let latency = |share: f64| row.latencies[(row.latencies.len() as f64 * share) as usize].as_micros();
        println!(
            "| {name} | {:.0} | {:.2} | {} | {} | {:.3} | {:.3} | {:.3} | {:.3} |",
            median(row.rates.clone()),
            median(row.cpu.clone()) / 1e3,
            latency(0.50),
            latency(0.99),
            over(&row.rates, &named(rows, "bare").rates),
            over(&named(rows, "bare").cpu, &row.cpu),
            over(&row.rates, &named(rows, "straightforward").rates),
            over(&named(rows, "straightforward").cpu, &row.cpu),
        );
    }
    println!("\n| required | at least | req/s | | CPU | |");
    println!("|---|---|---|---|---|---|");
    for (_, name, other, least) in REQUIRED.iter().filter(|row| row.0 == len) {
        let rate = over(&named(rows, name).rates, &named(rows, other).rates);
        let cpu = over(&named(rows, other).cpu, &named(rows, name).cpu);
        let word = |ratio: f64| if ratio >= *least { "reached" } else { "NOT REACHED" };
        println!(
            "| {name} ÷ {other} | {least} | {rate:.3} | {} | {cpu:.3} | {} |",
            word(rate),
            word(cpu)
        );
    }
    println!();
}

fn named<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    let at = CONTENDERS.iter().position(|contender| *contender == name);
    &rows[at.expect("a contender")]
}

/// The median of the rounds' own ratios: what disturbs a whole round disturbs both sides of it.
fn over(rates: &[f64], others: &[f64]) -> f64 {
    median(rates.iter().zip(others).map(|(rate, other)| rate / other).collect())
}

struct Server {
    child: Child,
}

impl Server {
    fn start(capacity: usize) -> std::io::Result<(Self, Vec<u16>)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["server", &SERVER_CORE.to_string(), &capacity.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line)?;
        let ports = line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        Ok((Self { child }, ports))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By closing its standard input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// One contender alone, to be looked at by a profiler: `peers solo pipeline 1024 2000000`.
pub fn solo(name: &str, len: usize, requests: usize) -> std::io::Result<()> {
    pin(LOAD_CORE);
    let at = CONTENDERS.iter().position(|contender| *contender == name);
    let at = at.ok_or_else(|| std::io::Error::other(format!("none of {CONTENDERS:?}")))?;
    let (server, ports) = Server::start(requests + 1_000_000)?;
    let mut sender = Sender::new(len);
    let mut load = Load::connect(ports[at], CONNECTIONS)?;
    let mut left = requests;
    while left > 0 {
        let deliveries: Vec<_> = (0..left.min(100_000)).map(|_| sender.next()).collect();
        let before = cpu_time(server.child.id());
        let took = load.full(&made(&sender, &deliveries))?;
        let used = (cpu_time(server.child.id()) - before) / deliveries.len() as u64;
        println!(
            "{:.0} req/s, {used} ns of CPU a request",
            deliveries.len() as f64 / took.as_secs_f64()
        );
        left -= deliveries.len();
    }
    Ok(())
}
