//! Whole receivers whose store is stopped, killed, frozen and restarted under load, over real sockets.
//!
//! Senders come back with each delivery until they are told 2xx, as a provider does, and write every answer down. Every
//! run of a handler is a row in a database that no outage touches. The verdict is a checker's, from these two and from
//! what is in the store:
//!
//! - every request has an answer: 2xx, or 503 with `Retry-After`; in inline mode also 409 with `Retry-After` for a
//!   duplicate of what still runs;
//! - what was acknowledged was handled, or is kept in the inbox and is handled when the store is back;
//! - in the inbox, effects that are written into its database are there once;
//! - inline, nothing runs twice unless the store was away when the first run ended and until its lease had run out: what
//!   nobody could record. The second run is then at least a lease behind the first;
//! - the receiver comes back by itself.
//!
//! How long it took to come back and how slow a 503 was is printed (`docs/reliability.md`).
//!
//! A short form runs with the tests, one outage of each kind. `COUNTERSIGN_ROUNDS=20 cargo test --release --all-features
//! --test outages -- --nocapture` is the long one: a frozen server stays so for 30 s, and the verdict is also about time,
//! 503 within a second and 2xx within five seconds of the server's return. `COUNTERSIGN_OUTAGES=frozen` leaves the other
//! kinds out.

#![cfg(all(unix, feature = "actix", feature = "postgres", feature = "redis", feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../inbox_common/mod.rs"]
mod inbox_common;
#[path = "../common/servers.rs"]
mod servers;

mod book;
mod inbox;
mod inline;
mod senders;

use std::time::{Duration, Instant};

use senders::{Answer, Senders};
use servers::Outage;

/// What takes longer than this to come back does not come back.
const PATIENCE: Duration = Duration::from_secs(60);
/// For how long neither a 503 nor a 409 is seen before a receiver counts as back.
const CALM: Duration = Duration::from_secs(1);
/// Within which a receiver is back to 2xx, and to nothing else. Judged in the long form, on a machine that is quiet.
const BACK_WITHIN: Duration = Duration::from_secs(5);
/// Within which a sender is told to come back. Judged likewise.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

#[test]
fn an_inbox_on_postgres_through_every_outage() {
    inbox::on_postgres();
}

#[test]
fn claims_in_postgres_through_every_outage() {
    inline::on_postgres();
}

#[test]
fn claims_in_redis_through_every_outage() {
    inline::on_redis();
}

/// How often each outage happens.
fn rounds() -> usize {
    std::env::var("COUNTERSIGN_ROUNDS").map_or(1, |text| text.parse().expect("COUNTERSIGN_ROUNDS is a number"))
}

/// Whether the long form was asked for, in which time is judged as well.
fn long() -> bool {
    rounds() >= 20
}

/// Whether an outage of this kind was asked for.
fn asked_for(kind: &str) -> bool {
    std::env::var("COUNTERSIGN_OUTAGES").map_or(true, |text| text.split(',').any(|asked| asked == kind))
}

/// What was done to a server, and from when to when.
#[derive(Clone, Copy, Debug)]
struct Away {
    from: Instant,
    until: Instant,
}

/// What was seen of all outages.
struct Seen {
    away: Vec<Away>,
    /// By what was done.
    figures: Vec<(String, Figures)>,
}

/// What was seen of one kind of outage.
#[derive(Clone, Debug, Default)]
struct Figures {
    outages: usize,
    first_successes: Vec<Duration>,
    last_refusals: Vec<Duration>,
    /// 409 to what a run that nobody has seen the end of still holds.
    last_conflicts: Vec<Duration>,
    slowest_refusal: Duration,
    refusals: usize,
}

/// Puts `server` through `rounds` of every outage under the load of `senders`, and judges every answer.
fn through<O: Outage>(name: &str, server: &mut O, senders: &Senders, inline: bool) -> Seen {
    let frozen = Duration::from_secs(if long() { 30 } else { 3 });
    let down = Duration::from_secs(1);
    type Kind<O> = (&'static str, fn(&mut O), Duration, fn(&mut O));
    let kinds: [Kind<O>; 4] = [
        ("stopped", O::stop, down, O::start_again),
        ("killed", O::kill, down, O::start_again),
        ("frozen", O::freeze, frozen, O::thaw),
        ("restarted", O::stop, Duration::ZERO, O::start_again),
    ];
    let mut figures = kinds.each_ref().map(|_| Figures::default());
    let mut away = Vec::new();
    for round in 0..rounds() {
        let asked_for = kinds.iter().zip(&mut figures).filter(|((kind, ..), _)| asked_for(kind));
        for ((kind, begin, lasts, end), figures) in asked_for {
            let what = format!("{name} {kind}, round {round}");
            senders.wait_for_successes(&what, 50, Instant::now());
            let before = senders.take_answers();
            judge(&what, &before, inline);
            let from = Instant::now();
            begin(server);
            std::thread::sleep(*lasts);
            end(server);
            let until = Instant::now();
            away.push(Away { from, until });
            senders.wait_for_successes(&what, 50, until);
            wait_for_calm(&what, senders, until);
            let answers = senders.take_answers();
            judge(&what, &answers, inline);
            println!("{what}: {}", figures.add(&answers, until));
            assert!(lasts.is_zero() || figures.refusals > 0, "{what}: nobody noticed");
        }
    }
    let seen = || kinds.iter().map(|(kind, ..)| kind).zip(&figures).filter(|(_, figures)| figures.outages > 0);
    for (kind, figures) in seen() {
        println!(
            "{name}: {kind} {} times; after it was back, the first 2xx came {}, the last 503 {}, the last 409 {}; {} \
             answers of 503, the slowest after {:?}",
            figures.outages,
            spread(&figures.first_successes),
            spread(&figures.last_refusals),
            spread(&figures.last_conflicts),
            figures.refusals,
            figures.slowest_refusal,
        );
    }
    let figures = seen().map(|(kind, figures)| (format!("{name} {kind}"), figures.clone())).collect();
    Seen { away, figures }
}

fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    format!("after {:.1?} (median), {:.1?} (longest)", times[times.len() / 2], times[times.len() - 1])
}

fn wait_for_calm(what: &str, senders: &Senders, since: Instant) {
    while senders.last_refusal().is_some_and(|last| last.elapsed() < CALM) {
        assert!(since.elapsed() < PATIENCE, "{what}: it is still refusing");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn judge(what: &str, answers: &[Answer], inline: bool) {
    for answer in answers {
        let fits = match answer.status {
            Some(200) => true,
            Some(503) => answer.retry_after,
            Some(409) => inline && answer.retry_after,
            _ => false,
        };
        assert!(fits, "{what}: an answer that no sender may see: {answer:?}");
    }
}

impl Figures {
    /// Adds one outage, and tells of it.
    fn add(&mut self, answers: &[Answer], back: Instant) -> String {
        self.outages += 1;
        let successes = answers.iter().filter(|answer| answer.status == Some(200) && answer.ended >= back);
        let first = successes.map(|answer| answer.ended - back).min();
        let first = first.expect("it was waited for");
        self.first_successes.push(first);
        let last = |status| {
            let answers = answers.iter().filter(|answer| answer.status == Some(status));
            answers.map(|answer| answer.ended.saturating_duration_since(back)).max().unwrap_or_default()
        };
        let (refusal, conflict) = (last(503), last(409));
        self.last_refusals.push(refusal);
        self.last_conflicts.push(conflict);
        for refusal in answers.iter().filter(|answer| answer.status == Some(503)) {
            self.refusals += 1;
            self.slowest_refusal = self.slowest_refusal.max(refusal.ended - refusal.started);
        }
        format!("the first 2xx after {first:.2?}, the last 503 after {refusal:.2?}, the last 409 after {conflict:.2?}")
    }
}

impl Seen {
    /// The verdict about time, where it was asked for; after the one about what was lost.
    fn judge_times(&self) {
        for (what, figures) in self.figures.iter().filter(|_| long()) {
            for (told, times) in [
                ("first 2xx", &figures.first_successes),
                ("last 503", &figures.last_refusals),
                ("last 409", &figures.last_conflicts),
            ] {
                let longest = times.iter().max().copied().unwrap_or_default();
                assert!(longest <= BACK_WITHIN, "{what}: the {told} came {longest:?} after the server was back");
            }
            let slowest = figures.slowest_refusal;
            assert!(slowest <= REFUSED_WITHIN, "{what}: a 503 came after {slowest:?}");
        }
    }
}
