//! `inbox prune`: what need not be remembered any more is forgotten, in steps that hold nobody up.

use std::time::{Duration, Instant};

use clap::Args;
use countersign::Timestamp;
use countersign::inbox::{Query, State};
use serde::Serialize;

use super::list::PAGE;
use super::place::{Memory, Place, Store};
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, Out};
use crate::runtime;
use crate::scheme;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox prune --dry-run
  countersign inbox prune --retention 30d --keep-dead 90d
  countersign inbox prune --scheme github

Workers prune by themselves; this is for an inbox without any, or to make room now.

An entry that is done is what a duplicate is recognised by. The sender may deliver one again for as long as it retries, \
and a clock may be wrong: forgotten earlier, a late retry is new, and its handler runs a second time. So the inbox records \
the longest retention that a receiver or worker has opened it with, and nothing forgets before that is over. With --scheme it \
is checked that it outlasts that sender as well. --danger-forget-early lowers what is recorded, until one of them is started \
anew.

Dead letters stay unless --keep-dead is given. Pending, running and waiting entries always stay.";

/// How many are forgotten in one transaction: for so many a receiver waits, at the most.
const STEP: usize = 500;

/// The longest pause between two steps, in which others write.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Args)]
pub(super) struct PruneArgs {
    /// How long what is done is remembered [default: as the inbox does]
    #[arg(long, value_name = "TIME", value_parser = moment::length)]
    retention: Option<Duration>,

    /// How long dead letters are kept; no shorter than --retention [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = moment::length)]
    keep_dead: Option<Duration>,

    /// All senders of this inbox sign by this preset or scheme file, and retry no longer than it says
    #[arg(long, value_name = "NAME|FILE")]
    scheme: Option<std::path::PathBuf>,

    /// Have the inbox forget earlier than its receivers promised or the senders stop retrying: handlers will run twice
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
    let (store, recorded) = runtime::unless_interrupted(async {
        let store = place.open().await?;
        let recorded = store.longest_retention().await?;
        Ok((store, recorded))
    })
    .await?;
    let retention = args.retention.unwrap_or(recorded);
    check(args, retention, recorded)?;
    let memory = Memory { retention, keep_dead: args.keep_dead, forget_early: args.danger_forget_early };
    let now = moment::now();
    let mut pruned = Pruned { dry_run: args.dry_run, ..Pruned::default() };
    let ended = runtime::unless_interrupted(async {
        if args.dry_run {
            count(memory, &store, &mut pruned, now, out).await
        } else {
            forget(memory, place, &mut pruned, now, out).await
        }
    })
    .await;
    out.either(&pruned, |out| {
        let kept = match args.keep_dead {
            Some(keep) => format!("given up more than {} ago", output::length(keep)),
            None => "dead letters are kept".to_owned(),
        };
        let verb = if args.dry_run { "would be forgotten" } else { "forgotten" };
        out.line(format!("{} done {verb}: done more than {} ago", pruned.done, output::length(retention)))?;
        out.line(format!("{} dead {verb}: {kept}", pruned.dead))
    })?;
    ended
}

fn check(args: &PruneArgs, retention: Duration, recorded: Duration) -> Result<(), Failure> {
    let what = if args.retention.is_some() { "--retention" } else { "what the inbox remembers for" };
    if args.keep_dead.is_some_and(|keep| keep < retention) {
        return Err(Failure::usage(
            format!("--keep-dead is shorter than {what}, and the ids of the dead are remembered by them"),
            format!("keep them for {} or longer", output::length(retention)),
        ));
    }
    if retention.is_zero() {
        return Err(Failure::usage("--retention cannot be 0", "80h, for example"));
    }
    let refused = |enough: Duration, why: String, help: &str| {
        let enough = output::length(enough);
        let what =
            format!("{what} is shorter than {enough} ({why}): a delivery that comes again after it would run twice");
        Err(Failure::usage(what, format!("{help}, or accept that with --danger-forget-early")))
    };
    let scheme = args.scheme.as_deref().map(scheme::named).transpose()?;
    if args.danger_forget_early {
        return Ok(());
    }
    if retention < recorded {
        let why =
            "the inbox remembers for so long, as a receiver or worker has opened it with that retention".to_owned();
        return refused(recorded, why, "leave --retention out");
    }
    if let Some(scheme) = scheme {
        let skew = scheme.tolerance().unwrap_or_default().saturating_mul(2);
        // Longer than the exposure, as a receiver's store must be.
        let enough = scheme.retry_horizon().saturating_add(skew).saturating_add(Duration::from_secs(1));
        if retention < enough {
            let retries = output::length(scheme.retry_horizon());
            let why = format!("`{}` delivers again for {retries}, and clocks may be wrong", scheme.name());
            return refused(enough, why, "give a longer --retention, and the receivers too");
        }
    }
    Ok(())
}

async fn forget(memory: Memory, place: &Place, pruned: &mut Pruned, now: Timestamp, out: &Out) -> Result<(), Failure> {
    let progress = out.progress("forgotten");
    let done = Memory { keep_dead: None, ..memory };
    steps(&place.open_with(Some(done)).await?, &mut pruned.done, now, &progress).await?;
    // What was done by `now` is gone, so all that is forgotten from here on was dead.
    if memory.keep_dead.is_some() {
        steps(&place.open_with(Some(memory)).await?, &mut pruned.dead, now, &progress).await?;
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

async fn count(memory: Memory, store: &Store, pruned: &mut Pruned, now: Timestamp, out: &Out) -> Result<(), Failure> {
    let progress = out.progress("counted");
    let old = |state, age| Query::of(state).finished_until(now.saturating_sub(age)).limit(PAGE as usize);
    pages(store, old(State::Done, memory.retention), &mut pruned.done, &progress).await?;
    if let Some(keep) = memory.keep_dead {
        pages(store, old(State::Dead, keep), &mut pruned.dead, &progress).await?;
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
