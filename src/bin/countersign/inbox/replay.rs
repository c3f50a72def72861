//! `inbox replay`: entries are worked on again, which may do again what they have done.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use countersign::inbox::{Query, State};
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use serde::Serialize;

use super::list::{Filters, PAGE};
use super::place::{Place, Store};
use crate::exit::Failure;
use crate::output::{GOOD, ODD, Out};
use crate::runtime;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox replay 4711
  countersign inbox replay 4711 4712 4720 --yes
  countersign inbox replay --all-dead --event-type screening.completed

A replayed entry is due at once, with all its attempts before it. The effects of one that is done happen again, those \
in the inbox's own transaction included: replay it only where they are lost. Its effect key stays the same.

More than one, and whatever is done, is confirmed at the terminal first; elsewhere --yes is needed. The exit code is 0 \
when all of them were replayed, and 1 when one was not: it is running, it waits for its entity, or there is none of \
that number.";

/// How many are replayed at the same time; an inbox writes them together.
const AT_ONCE: usize = 64;

/// How many lines tell why entries were not replayed.
const REASONS: usize = 20;

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// The entries' numbers, as `inbox list` shows them
    #[arg(value_name = "NUMBER", required_unless_present = "all_dead", conflicts_with = "all_dead")]
    numbers: Vec<i64>,

    /// All dead letters, or those that the filters leave
    #[arg(long)]
    all_dead: bool,

    #[command(flatten)]
    filters: Filters,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// `{"replayed": [number, …], "not_replayed": [{"number": n, "reason": …}, …]}`
#[derive(Default, Serialize)]
struct Replayed {
    replayed: Vec<i64>,
    not_replayed: Vec<Left>,
}

#[derive(Serialize)]
struct Left {
    number: i64,
    /// `running`, `waiting` or `none`; `left` where it was not tried any more, or nobody has seen what came of it.
    reason: &'static str,
}

/// What is to be replayed, of which how many are done, and what cannot be.
#[derive(Default)]
struct Plan {
    numbers: Vec<i64>,
    done: usize,
    left: Vec<Left>,
}

impl Replayed {
    /// What of `numbers` is in neither list, after an error or an interruption.
    fn tell_left(&mut self, numbers: &[i64]) {
        let told = self.replayed.iter().copied().chain(self.not_replayed.iter().map(|left| left.number));
        let told: HashSet<i64> = told.collect();
        let left = numbers.iter().filter(|number| !told.contains(number));
        self.not_replayed.extend(left.map(|&number| Left { number, reason: "left" }));
    }
}

pub(super) async fn replay(args: &ReplayArgs, place: &Place, out: &Out) -> Result<(), Failure> {
    if args.filters.any() && !args.all_dead {
        return Err(Failure::usage(
            "--source, --tenant, --event-type, --delivery-id and --entity choose among the dead",
            "give them with --all-dead, or give numbers alone",
        ));
    }
    let (store, plan) = runtime::unless_interrupted(async {
        let store = place.open().await?;
        let plan = if args.all_dead { all_dead(&store, args, out).await? } else { named(&store, args).await? };
        Ok((store, plan))
    })
    .await?;
    if (plan.numbers.len() > 1 || plan.done > 0) && !args.yes {
        confirm(&plan)?;
    }
    let mut outcome = Replayed { replayed: Vec::new(), not_replayed: plan.left };
    let ended = runtime::unless_interrupted(run(&store, &plan.numbers, &mut outcome, out)).await;
    outcome.tell_left(&plan.numbers);
    tell(&outcome, out).and_then(|all| match ended {
        Ok(()) if all => Ok(()),
        Ok(()) => Err(Failure::No(None)),
        Err(failure) => Err(failure),
    })
}

async fn named(store: &Store, args: &ReplayArgs) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let mut numbers = args.numbers.clone();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers {
        match store.entry(number).await?.map(|entry| entry.state) {
            Some(State::Done) => {
                plan.done += 1;
                plan.numbers.push(number);
            }
            Some(State::Pending | State::Dead) => plan.numbers.push(number),
            state => plan.left.push(Left { number, reason: reason(state) }),
        }
    }
    Ok(plan)
}

/// Their numbers, so that what is confirmed is what is replayed.
async fn all_dead(store: &Store, args: &ReplayArgs, out: &Out) -> Result<Plan, Failure> {
    let progress = out.progress("dead letters found");
    let mut plan = Plan::default();
    let mut query = args.filters.apply(Query::of(State::Dead)).limit(PAGE as usize);
    loop {
        let page = store.list(query.clone()).await?;
        let Some(last) = page.last() else { break };
        query.after = last.number;
        plan.numbers.extend(page.iter().map(|entry| entry.number));
        progress.set_position(plan.numbers.len() as u64);
        if (page.len() as u64) < PAGE {
            break;
        }
    }
    progress.finish_and_clear();
    Ok(plan)
}

/// Asks whoever sits at the terminal; where nobody does, the answer is no.
fn confirm(plan: &Plan) -> Result<(), Failure> {
    let count = plan.numbers.len();
    let what = match (count, plan.done) {
        (1, _) => "it is done, and its effects happen again".to_owned(),
        (_, 0) => format!("{count} entries are worked on again"),
        (_, 1) => format!("{count} entries are worked on again; one of them is done, and its effects happen again"),
        (_, done) => {
            format!("{count} entries are worked on again; {done} of them are done, and their effects happen again")
        }
    };
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("nobody can be asked: {what}"), "give --yes if that is meant"));
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{what}. Replay? [y/N] ").and_then(|()| stderr.flush());
    drop(stderr);
    let mut answer = String::new();
    if io::stdin().read_line(&mut answer).map_err(Failure::system("asking at the terminal"))? == 0 {
        // The terminal has not shown the end of a line.
        let _ = writeln!(io::stderr().lock());
    }
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::No(Some("nothing was replayed".to_owned())))
}

async fn run(store: &Store, numbers: &[i64], outcome: &mut Replayed, out: &Out) -> Result<(), Failure> {
    let progress: ProgressBar = out.counted("replaying", numbers.len() as u64);
    let replays = numbers.iter().map(|&number| async move { (number, store.replay(number).await) });
    let mut replays = futures_util::stream::iter(replays).buffered(AT_ONCE);
    while let Some((number, replayed)) = replays.next().await {
        progress.inc(1);
        match replayed {
            Ok(true) => outcome.replayed.push(number),
            // It was there a moment ago; somebody else was faster.
            Ok(false) => {
                let state = store.entry(number).await?.map(|entry| entry.state);
                outcome.not_replayed.push(Left { number, reason: reason(state) });
            }
            Err(failure) => {
                progress.finish_and_clear();
                return Err(failure);
            }
        }
    }
    progress.finish_and_clear();
    Ok(())
}

fn reason(state: Option<State>) -> &'static str {
    state.map_or("none", State::as_str)
}

/// Whether all of them were replayed.
fn tell(outcome: &Replayed, out: &Out) -> Result<bool, Failure> {
    let all = outcome.not_replayed.is_empty();
    out.either(outcome, |out| {
        for left in outcome.not_replayed.iter().take(REASONS) {
            let why = match left.reason {
                "running" => "it is running: wait for its end",
                "waiting" => "it waits for another one of its entity, and runs after that",
                "none" => "there is no entry of this number",
                "left" => "it was cut short: `countersign inbox show` tells what came of it",
                other => other,
            };
            out.line(format!("{}  {}  {why}", out.styled(ODD, "not replayed"), left.number))?;
        }
        if let Some(more @ 1..) = outcome.not_replayed.len().checked_sub(REASONS) {
            out.line(format!("and {more} more"))?;
        }
        out.line(match outcome.replayed.as_slice() {
            [] => "nothing was replayed".to_owned(),
            [one] => format!("{} replayed: {one}", out.styled(GOOD, 1)),
            many => format!("{} replayed", out.styled(GOOD, many.len())),
        })
    })?;
    Ok(all)
}
