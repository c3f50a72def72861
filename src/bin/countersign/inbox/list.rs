//! `inbox list` and `inbox dead`: entries as a table, or one a line for machines.

use clap::{Args, ValueEnum};
use countersign::inbox::{Entry, Query, State};
use countersign::{DeliveryId, EventType, Source};

use super::entry::{Shown, ago, fate, or_dash};
use super::place::{Place, Store};
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, BAD, FAINT, Out};
use crate::runtime;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox list --newest
  countersign inbox list --state pending --event-type screening.completed
  countersign inbox list --delivery-id msg_2KWPBgLlAfxdpx2AI54pPJ85f4W
  countersign inbox list --limit 500 --after 4711
  countersign --json inbox list --state running | jq -r '[.number, .due_at] | @tsv'

The next page begins behind the last number: --after NUMBER, or with the newest first --before NUMBER.";

pub(super) const DEAD_EXAMPLES: &str = "\
Examples:
  countersign inbox dead
  countersign --json inbox dead --limit 100000 | jq -r .last_error | sort | uniq -c | sort -rn
  countersign inbox dead > /dev/null || echo 'somebody should look'

A delivery is dead after a permanent error, or when its last attempt failed. It is kept, with its body, until it is \
replayed, or pruned with `inbox prune --keep-dead`. Its id stays taken: when the sender sends it again, that is a duplicate.

The exit code is 0 when there are none, and 1 when there are.";

#[derive(Args)]
pub(super) struct ListArgs {
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_enum)]
    state: Option<Wanted>,

    #[command(flatten)]
    filters: Filters,

    #[command(flatten)]
    page: Page,

    /// The newest first
    #[arg(long, conflicts_with = "after")]
    newest: bool,

    /// The newest of those before this number first: the last number of the page before
    #[arg(long, value_name = "NUMBER", conflicts_with = "after")]
    before: Option<i64>,
}

#[derive(Args)]
pub(super) struct DeadArgs {
    #[command(flatten)]
    filters: Filters,

    #[command(flatten)]
    page: Page,
}

/// Which entries, whatever their state.
#[derive(Args, Clone)]
pub(super) struct Filters {
    /// Only those of this sender, as its scheme is called
    #[arg(long, value_name = "NAME")]
    source: Option<Source>,

    /// Only those of this type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<EventType>,

    /// Only those under this id of the sender's
    #[arg(long, value_name = "ID")]
    delivery_id: Option<DeliveryId>,
}

#[derive(Args)]
struct Page {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,

    /// Those behind this number: the last one of the page before
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    after: i64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wanted {
    Pending,
    Running,
    Waiting,
    Done,
    Dead,
}

impl From<Wanted> for State {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Pending => Self::Pending,
            Wanted::Running => Self::Running,
            Wanted::Waiting => Self::Waiting,
            Wanted::Done => Self::Done,
            Wanted::Dead => Self::Dead,
        }
    }
}

impl Filters {
    pub(super) fn apply(&self, query: Query) -> Query {
        let mut query = query;
        query.source.clone_from(&self.source);
        query.event_type.clone_from(&self.event_type);
        query.delivery_id.clone_from(&self.delivery_id);
        query
    }

    pub(super) fn any(&self) -> bool {
        self.source.is_some() || self.event_type.is_some() || self.delivery_id.is_some()
    }
}

/// How many entries are read at once, however many are asked for.
pub(super) const PAGE: u64 = 1_000;

pub(super) async fn list(args: &ListArgs, place: &Place, out: &Out) -> Result<(), Failure> {
    let mut query = args.filters.apply(Query::all().after(args.page.after));
    query.state = args.state.map(State::from);
    query.before = args.before.or(args.newest.then_some(i64::MAX));
    runtime::unless_interrupted(async {
        let store = place.open().await?;
        let entries = read(&store, &query, args.page.limit, out, |entry| out.object(&Shown::of(entry))).await?;
        if out.json() {
            return Ok(());
        }
        if entries.is_empty() {
            return out.line("no entries");
        }
        let now = moment::now();
        let rows: Vec<_> = entries.iter().map(|entry| row(entry, now)).collect();
        let names = ["number", "state", "tries", "event type", "delivery id", "received", "due or ended", "last error"];
        out.table(&names, &rows)?;
        if let Some(last) = entries.last().filter(|_| entries.len() as u64 == args.page.limit) {
            let direction = if query.before.is_some() { "before" } else { "after" };
            out.note(format!("there may be more: --{direction} {}", last.number));
        }
        Ok(())
    })
    .await
}

/// Reads page by page; for machines each entry is told at once, and none is gathered.
async fn read(
    store: &Store,
    query: &Query,
    limit: u64,
    out: &Out,
    told: impl Fn(&Entry) -> Result<(), Failure>,
) -> Result<Vec<Entry>, Failure> {
    let mut query = query.clone();
    let mut gathered = Vec::new();
    let mut left = limit;
    while left > 0 {
        let wanted = left.min(PAGE);
        let page = store.list(query.clone().limit(wanted as usize)).await?;
        let Some(last) = page.last().map(|entry| entry.number) else { break };
        let full = page.len() as u64 == wanted;
        left -= page.len() as u64;
        if query.before.is_some() {
            query.before = Some(last);
        } else {
            query.after = last;
        }
        if out.json() {
            page.iter().try_for_each(&told)?;
        }
        gathered.extend(page.into_iter().filter(|_| !out.json()));
        if !full {
            break;
        }
    }
    Ok(gathered)
}

fn row(entry: &Entry, now: countersign::Timestamp) -> Vec<String> {
    vec![
        entry.number.to_string(),
        entry.state.as_str().to_owned(),
        entry.attempts.to_string(),
        or_dash(entry.event_type.as_ref()),
        or_dash(entry.delivery_id.as_ref()),
        ago(entry.received_at, now),
        fate(entry, now),
        entry.last_error.clone().unwrap_or_default(),
    ]
}

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
        let more = match store.stats().await?.dead {
            all if all > entries.len() as u64 && !args.filters.any() => format!(" of {all}"),
            _ => String::new(),
        };
        next_steps(&entries, &more, place, out);
        Err(Failure::No(None))
    })
    .await
}

fn letter(entry: &Entry, now: countersign::Timestamp, out: &Out) -> Result<(), Failure> {
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

fn next_steps(entries: &[Entry], more: &str, place: &Place, out: &Out) {
    let (Some(first), Some(last), option) = (entries.first(), entries.last(), place.option()) else { return };
    let letters = if entries.len() == 1 && more.is_empty() { "dead letter" } else { "dead letters" };
    out.note(format!(
        "\n{}{more} {letters}. When the cause is mended:\n  \
         countersign inbox show {}{option}\n  \
         countersign inbox replay {}{option}\n  \
         countersign inbox replay --all-dead{option}",
        entries.len(),
        first.number,
        first.number,
    ));
    if !more.is_empty() {
        out.note(format!("the next of them: countersign inbox dead --after {}{option}", last.number));
    }
}
