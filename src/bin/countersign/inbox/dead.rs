//! `inbox dead`: what was given up, why, and what to do about it.

use clap::Args;
use countersign::Timestamp;
use countersign::inbox::{Entry, Query, State};

use super::entry::{Shown, fate, or_dash};
use super::list::{Filters, PAGE_OF_PEOPLE, Page, read};
use super::place::Place;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, BAD, FAINT, Out};
use crate::runtime;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox dead
  countersign inbox dead --event-type screening.completed --limit 500
  countersign --json inbox dead --limit 100000 | jq -r .last_error | sort | uniq -c | sort -rn
  countersign inbox dead > /dev/null || echo 'somebody should look'

A delivery is dead after a permanent error, or when its last attempt failed. It is kept, with its body, until it is \
replayed, or pruned with `inbox prune --keep-dead`. Its id stays taken: when the sender sends it again, that is a duplicate.

The exit code is 0 when there are none, and 1 when there are.";

#[derive(Args)]
pub(super) struct DeadArgs {
    #[command(flatten)]
    filters: Filters,

    #[command(flatten)]
    page: Page,
}

/// How many numbers are suggested on one command line.
const NUMBERS: usize = 100;

pub(super) async fn dead(args: &DeadArgs, place: &Place, out: &Out) -> Result<(), Failure> {
    let query = args.filters.apply(Query::of(State::Dead).after(args.page.after));
    runtime::unless_interrupted(async {
        let store = place.open().await?;
        let any = std::cell::Cell::new(false);
        let entries = read(&store, &query, args.page.limit, out, |entry| {
            any.set(true);
            out.object(&Shown::of(entry))
        })
        .await?;
        if out.json() {
            return if any.get() { Err(Failure::No(None)) } else { Ok(()) };
        }
        if entries.is_empty() {
            return out.line("no dead letters");
        }
        let now = moment::now();
        entries.iter().try_for_each(|entry| letter(entry, now, out))?;
        let all = if args.is_part() { None } else { Some(store.stats().await?.dead) };
        args.next_steps(&entries, all, place, out);
        Err(Failure::No(None))
    })
    .await
}

fn letter(entry: &Entry, now: Timestamp, out: &Out) -> Result<(), Failure> {
    let tries = if entry.attempts == 1 { "1 try".to_owned() } else { format!("{} tries", entry.attempts) };
    out.line(format!(
        "{}  {}  {}  {}",
        out.styled(BAD, entry.number),
        output::visible(&or_dash(entry.event_type.as_ref())),
        output::visible(&or_dash(entry.delivery_id.as_ref())),
        out.styled(FAINT, format!("{tries}, {}", fate(entry, now))),
    ))?;
    let error = entry.last_error.as_deref().unwrap_or("no error was told");
    output::visible_lines(error).lines().try_for_each(|line| out.line(format!("    {line}")))
}

impl DeadArgs {
    /// Whether only some of the dead are asked for, whose number nobody counts.
    fn is_part(&self) -> bool {
        self.filters.any() || self.page.after != 0
    }

    /// `all` is how many there are, where all were asked for.
    fn next_steps(&self, entries: &[Entry], all: Option<u64>, place: &Place, out: &Out) {
        let (Some(first), Some(last), option) = (entries.first(), entries.last(), place.option()) else { return };
        let shown = entries.len() as u64;
        let of = all.filter(|all| *all > shown).map_or_else(String::new, |all| format!(" of {all}"));
        let letters = if shown == 1 && of.is_empty() { "dead letter" } else { "dead letters" };
        let mut text = format!(
            "\n{shown}{of} {letters}. When the cause is mended:\n  countersign inbox show {}{option}\n  \
             countersign inbox replay {}{option}",
            first.number, first.number,
        );
        if let Some(which) = self.replayable(entries) {
            text += &format!("\n  countersign inbox replay {which}{option}");
        }
        out.note(text);
        if shown == self.page.limit {
            let limit = if shown == PAGE_OF_PEOPLE { String::new() } else { format!(" --limit {shown}") };
            let filters = self.filters.options();
            out.note(format!(
                "there may be more: countersign inbox dead --after {}{limit}{filters}{option}",
                last.number
            ));
        }
    }

    /// What to replay beside the first one: never more than what was asked for.
    fn replayable(&self, entries: &[Entry]) -> Option<String> {
        if !self.is_part() {
            return Some("--all-dead".to_owned());
        }
        match entries.len() {
            0 | 1 => None,
            2..=NUMBERS => Some(entries.iter().map(|entry| entry.number.to_string()).collect::<Vec<_>>().join(" ")),
            _ => self.filters.any().then(|| format!("--all-dead{}", self.filters.options())),
        }
    }
}
