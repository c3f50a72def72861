//! `inbox prune`: what need not be remembered any more is forgotten, in steps that hold nobody up.

use std::time::{Duration, Instant};

use clap::Args;
use countersign::Timestamp;
use countersign::inbox::{Query, State};
use serde::Serialize;

use super::list::PAGE;
use super::place::{Memory, Place, RETENTION, Store};
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, Out};
use crate::runtime;
use crate::scheme;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox prune --dry-run
  countersign inbox prune --retention 30d --keep-dead 90d
  countersign inbox prune --scheme github --retention 73h

Workers prune by themselves; this is for an inbox without any, or to make room now.

An entry that is done is what a duplicate is recognised by. The sender may deliver one again for as long as it retries, \
and a clock may be wrong: forgotten earlier, a late retry is new, and its handler runs a second time. 80 hours outlast \
every preset. With --scheme, what outlasts that sender is enough. Give the retention of your receivers if theirs is longer.

Dead letters stay unless --keep-dead is given. Pending, running and waiting entries always stay.";

/// How many are forgotten in one transaction: for so many a receiver waits, at the most.
const STEP: usize = 500;

/// The longest pause between two steps, in which others write.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct PruneArgs {
    /// How long what is done is remembered
    #[arg(long, value_name = "TIME", default_value = "80h", value_parser = moment::length)]
    retention: Duration,

    /// How long dead letters are kept; no shorter than --retention [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = moment::length)]
    keep_dead: Option<Duration>,

    /// All senders of this inbox sign by this preset or scheme file, and retry no longer than it says
    #[arg(long, value_name = "NAME|FILE")]
    scheme: Option<std::path::PathBuf>,

    /// Forget earlier than the senders stop retrying: handlers will run twice
    #[arg(long)]
    danger_forget_early: bool,

    /// Count what would be forgotten, and forget nothing
    #[arg(long)]
    dry_run: bool,
}

/// `{"done": n, "dead": n, "dry_run": bool}`
#[derive(Default, Serialize)]
struct Pruned {
    done: u64,
    dead: u64,
    dry_run: bool,
}

pub(super) async fn prune(args: &PruneArgs, place: &Place, out: &Out) -> Result<(), Failure> {
    check(args)?;
    let now = moment::now();
    let mut pruned = Pruned { dry_run: args.dry_run, ..Pruned::default() };
    let ended = runtime::unless_interrupted(async {
        if args.dry_run {
            count(args, place, &mut pruned, now, out).await
        } else {
            forget(args, place, &mut pruned, now, out).await
        }
    })
    .await;
    out.either(&pruned, |out| {
        let kept = match args.keep_dead {
            Some(keep) => format!("given up more than {} ago", output::length(keep)),
            None => "dead letters are kept".to_owned(),
        };
        let verb = if args.dry_run { "would be forgotten" } else { "forgotten" };
        out.line(format!("{} done {verb}: done more than {} ago", pruned.done, output::length(args.retention)))?;
        out.line(format!("{} dead {verb}: {kept}", pruned.dead))
    })?;
    ended
}

fn check(args: &PruneArgs) -> Result<(), Failure> {
    if let Some(keep) = args.keep_dead
        && keep < args.retention
    {
        return Err(Failure::usage(
            "--keep-dead is shorter than --retention, and the ids of the dead are remembered by them",
            "keep them as long as --retention, or longer",
        ));
    }
    if args.retention.is_zero() {
        return Err(Failure::usage("--retention cannot be 0", "80h, for example"));
    }
    let (enough, why) = match &args.scheme {
        Some(name) => {
            let scheme = scheme::named(name)?;
            let skew = scheme.tolerance().unwrap_or_default().saturating_mul(2);
            // Longer than the exposure, as a receiver's store must be.
            let exposed = scheme.retry_horizon().saturating_add(skew).saturating_add(Duration::from_secs(1));
            let retries = output::length(scheme.retry_horizon());
            (exposed, format!("`{}` delivers again for {retries}, and clocks may be wrong", scheme.name()))
        }
        None => (RETENTION, "that is what outlasts every preset".to_owned()),
    };
    if args.retention >= enough || args.danger_forget_early {
        return Ok(());
    }
    let shortest = output::length(enough);
    Err(Failure::usage(
        format!("--retention is shorter than {shortest} ({why}): a delivery that comes again after it would run twice"),
        "keep the default, say which --scheme all senders use, or accept that with --danger-forget-early",
    ))
}

async fn forget(
    args: &PruneArgs,
    place: &Place,
    pruned: &mut Pruned,
    now: Timestamp,
    out: &Out,
) -> Result<(), Failure> {
    let progress = out.progress("forgotten");
    let memory = Memory { retention: args.retention, keep_dead: None };
    steps(&place.open_with(memory).await?, &mut pruned.done, now, &progress).await?;
    // What was done by `now` is gone, so all that is forgotten from here on was dead.
    if args.keep_dead.is_some() {
        let memory = Memory { keep_dead: args.keep_dead, ..memory };
        steps(&place.open_with(memory).await?, &mut pruned.dead, now, &progress).await?;
    }
    progress.finish_and_clear();
    Ok(())
}

async fn steps(
    store: &Store,
    count: &mut u64,
    now: Timestamp,
    progress: &indicatif::ProgressBar,
) -> Result<(), Failure> {
    loop {
        let began = Instant::now();
        let forgotten = store.prune(STEP, now).await?;
        *count += forgotten;
        progress.inc(forgotten);
        if forgotten < STEP as u64 {
            return Ok(());
        }
        // Who waits for the lock looks for it now and then, and would otherwise always find it taken.
        tokio::time::sleep(began.elapsed().min(LONGEST_PAUSE)).await;
    }
}

async fn count(args: &PruneArgs, place: &Place, pruned: &mut Pruned, now: Timestamp, out: &Out) -> Result<(), Failure> {
    let store = place.open().await?;
    let progress = out.progress("counted");
    let old = |state, age| Query::of(state).finished_until(now.saturating_sub(age)).limit(PAGE as usize);
    pages(&store, old(State::Done, args.retention), &mut pruned.done, &progress).await?;
    if let Some(keep) = args.keep_dead {
        pages(&store, old(State::Dead, keep), &mut pruned.dead, &progress).await?;
    }
    progress.finish_and_clear();
    Ok(())
}

async fn pages(store: &Store, query: Query, count: &mut u64, progress: &indicatif::ProgressBar) -> Result<(), Failure> {
    let mut query = query;
    loop {
        let page = store.list(query.clone()).await?;
        *count += page.len() as u64;
        progress.inc(page.len() as u64);
        match page.last() {
            Some(last) if page.len() as u64 == PAGE => query.after = last.number,
            _ => return Ok(()),
        }
    }
}
