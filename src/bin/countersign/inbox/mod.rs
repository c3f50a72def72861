//! `inbox`: what is in a durable inbox, and what to do about it, while receivers and workers run on it.

mod dead;
mod entry;
mod list;
mod place;
mod prune;
mod replay;
mod show;
mod stats;

use clap::{Args, Subcommand};

use self::dead::DeadArgs;
use self::list::ListArgs;
use self::place::PlaceArgs;
use self::prune::PruneArgs;
use self::replay::ReplayArgs;
use self::show::ShowArgs;
use self::stats::StatsArgs;
use crate::exit::Failure;
use crate::output::Out;
use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign inbox stats --sqlite inbox.sqlite
  countersign inbox stats --postgres postgres://app@db.internal/app
  export COUNTERSIGN_INBOX_SQLITE=/var/lib/app/inbox.sqlite
  countersign inbox dead
  countersign inbox show 4711
  countersign inbox replay 4711
  countersign --json inbox list --state dead --limit 1000 | jq -r .last_error | sort | uniq -c

Receivers and workers may run meanwhile. Nothing is ever created: an inbox that is not there is an error.";

#[derive(Args)]
pub(crate) struct InboxArgs {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Subcommand)]
enum Action {
    /// How many deliveries there are by state, and how old the oldest is that waits for a worker
    #[command(after_help = stats::EXAMPLES)]
    Stats(StatsArgs),

    /// The entries, the oldest first, page by page; with --json one entry a line
    #[command(after_help = list::EXAMPLES)]
    List(ListArgs),

    /// Everything about one entry; its headers and its body only if asked for
    #[command(after_help = show::EXAMPLES)]
    Show(ShowArgs),

    /// Have entries worked on again
    #[command(after_help = replay::EXAMPLES)]
    Replay(ReplayArgs),

    /// The deliveries that were given up, each with its error
    #[command(after_help = dead::EXAMPLES)]
    Dead(DeadArgs),

    /// Forget what has been done for longer than it must be remembered
    #[command(after_help = prune::EXAMPLES)]
    Prune(PruneArgs),
}

pub(crate) fn run(args: &InboxArgs, out: &Out) -> Result<(), Failure> {
    let place = args.place.place(out)?;
    runtime::block_on(async {
        match &args.action {
            Action::Stats(args) => stats::stats(args, &place, out).await,
            Action::List(args) => list::list(args, &place, out).await,
            Action::Show(args) => show::show(args, &place, out).await,
            Action::Replay(args) => replay::replay(args, &place, out).await,
            Action::Dead(args) => dead::dead(args, &place, out).await,
            Action::Prune(args) => prune::prune(args, &place, out).await,
        }
    })
}
