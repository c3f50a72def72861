//! `inbox stats`: how much there is to do.

use std::time::Duration;

use clap::Args;
use countersign::inbox::Stats;
use countersign::{Timestamp, inbox::State};
use serde::Serialize;

use super::entry::{ago, style};
use super::place::{Place, Store};
use crate::exit::Failure;
use crate::moment;
use crate::output::{FAINT, Out, STRONG};
use crate::runtime;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox stats --sqlite inbox.sqlite
  countersign inbox stats --watch 2s
  countersign --json inbox stats | jq .oldest_age_seconds

The oldest is the one of those pending, running and waiting that came in first. With --watch there is a line each time; \
Ctrl-C ends it well.";

#[derive(Args)]
pub(super) struct StatsArgs {
    /// Count again at this interval, until interrupted
    #[arg(long, value_name = "TIME", value_parser = interval)]
    watch: Option<Duration>,
}

/// `{"pending": n, "running": n, "waiting": n, "done": n, "dead": n, "oldest": time, "oldest_age_seconds": s}`
#[derive(Serialize)]
struct Counted {
    pending: u64,
    running: u64,
    waiting: u64,
    done: u64,
    dead: u64,
    oldest: Option<String>,
    oldest_age_seconds: Option<f64>,
}

impl Counted {
    fn of(stats: &Stats, now: Timestamp) -> Self {
        Self {
            pending: stats.pending,
            running: stats.running,
            waiting: stats.waiting,
            done: stats.done,
            dead: stats.dead,
            oldest: stats.oldest.map(|oldest| oldest.to_string()),
            oldest_age_seconds: stats.oldest.map(|oldest| now.since(oldest).as_secs_f64()),
        }
    }
}

pub(super) async fn stats(args: &StatsArgs, place: &Place, out: &Out) -> Result<(), Failure> {
    let Some(pause) = args.watch else {
        return runtime::unless_interrupted(once(place, out)).await;
    };
    match runtime::unless_interrupted(watch(&place.open().await?, pause, out)).await {
        Err(Failure::Interrupted) => Ok(()),
        ended => ended,
    }
}

async fn once(place: &Place, out: &Out) -> Result<(), Failure> {
    let (stats, now) = (place.open().await?.stats().await?, moment::now());
    out.either(&Counted::of(&stats, now), |out| {
        let oldest = match stats.oldest {
            Some(oldest) => format!("received {}, at {oldest}", ago(oldest, now)),
            None => "nothing waits for a worker".to_owned(),
        };
        let counts = [
            ("pending", stats.pending, "due, or due later"),
            ("running", stats.running, "leased by a worker"),
            ("waiting", stats.waiting, "behind another one of their entity"),
            ("done", stats.done, "remembered, so that duplicates are known"),
            ("dead", stats.dead, "given up, and kept"),
        ];
        let width = counts.iter().map(|(_, count, _)| count.to_string().len()).max().unwrap_or_default();
        for (state, count, meaning) in counts {
            let number = format!("{count:>width$}");
            let is_bad = state == State::Dead.as_str() && count > 0;
            let number = if is_bad { out.styled(style(State::Dead), number) } else { number };
            out.line(format!(
                "{}  {number}  {}",
                out.styled(FAINT, format!("{state:<7}")),
                out.styled(FAINT, meaning)
            ))?;
        }
        out.fields(&[("oldest ", oldest)])?;
        if stats.dead > 0 {
            out.note(format!("`countersign inbox dead{}` tells why they were given up", place.option()));
        }
        Ok(())
    })
}

async fn watch(store: &Store, pause: Duration, out: &Out) -> Result<(), Failure> {
    let mut first = true;
    loop {
        let (stats, now) = (store.stats().await?, moment::now());
        if out.json() {
            out.object(&Counted::of(&stats, now))?;
        } else {
            let line = |cells: [&str; 7]| {
                let [time, pending, running, waiting, done, dead, oldest] = cells;
                format!("{time:<19} {pending:>10} {running:>8} {waiting:>8} {done:>10} {dead:>7}  {oldest}")
            };
            if first {
                let names = ["time", "pending", "running", "waiting", "done", "dead", "oldest received"];
                out.line(out.styled(STRONG, line(names)))?;
            }
            let number = |count: u64| count.to_string();
            out.line(line([
                &second(now),
                &number(stats.pending),
                &number(stats.running),
                &number(stats.waiting),
                &number(stats.done),
                &number(stats.dead),
                &stats.oldest.map_or_else(|| "-".to_owned(), |oldest| ago(oldest, now)),
            ]))?;
        }
        first = false;
        tokio::time::sleep(pause).await;
    }
}

/// A moment to the second, as a person reads it.
fn second(moment: Timestamp) -> String {
    let text = moment.to_string();
    text.get(..19).map_or_else(|| text.clone(), |second| second.replace('T', " "))
}

fn interval(text: &str) -> Result<Duration, String> {
    // A number alone is seconds, as with `watch`.
    let length = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => moment::length(text)?,
    };
    if length < Duration::from_millis(100) { Err("every 100ms at most".to_owned()) } else { Ok(length) }
}
