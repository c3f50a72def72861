//! `inbox list`: entries as a table, or one a line for machines.

use clap::{Args, ValueEnum};
use countersign::inbox::{Entry, Query, State};
use countersign::{DeliveryId, EventType, Source, TenantId};

use super::entry::{Shown, ago, fate, or_dash};
use super::place::{Place, Store};
use crate::exit::Failure;
use crate::moment;
use crate::output::Out;
use crate::runtime;
use crate::shell;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox list --newest
  countersign inbox list --state pending --event-type screening.completed
  countersign inbox list --delivery-id msg_2KWPBgLlAfxdpx2AI54pPJ85f4W
  countersign inbox list --entity 'kycgenie acme ent_7' --state pending
  countersign inbox list --limit 500 --after 4711
  countersign --json inbox list --state running | jq -r '[.number, .due_at] | @tsv'

Of an entity one is worked on at a time: the one that is pending or running, which the waiting ones are behind.

The next page begins behind the last number: --after NUMBER, or with the newest first --before NUMBER.";

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

/// Which entries, whatever their state.
#[derive(Args, Clone)]
pub(super) struct Filters {
    /// Only those of this sender, as its scheme is called
    #[arg(long, value_name = "NAME")]
    source: Option<Source>,

    /// Only those that the keys of this tenant verified
    #[arg(long, value_name = "NAME")]
    tenant: Option<TenantId>,

    /// Only those of this type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<EventType>,

    /// Only those under this id of the sender's
    #[arg(long, value_name = "ID")]
    delivery_id: Option<DeliveryId>,

    /// Only those that are worked on one after the other for this entity, as `inbox show` tells it: sender, tenant (or
    /// nothing) and entity, with a space between
    #[arg(long, value_name = "TEXT")]
    entity: Option<String>,
}

#[derive(Args)]
pub(super) struct Page {
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = PAGE_OF_PEOPLE, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) limit: u64,

    /// Those behind this number: the last one of the page before
    #[arg(long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    pub(super) after: i64,
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
        query.tenant.clone_from(&self.tenant);
        query.event_type.clone_from(&self.event_type);
        query.delivery_id.clone_from(&self.delivery_id);
        query.entity.clone_from(&self.entity);
        query
    }

    pub(super) fn any(&self) -> bool {
        self.given().next().is_some()
    }

    /// How they are said on a command line that follows.
    pub(super) fn options(&self) -> String {
        self.given().map(|(name, value)| shell::option(name, value)).collect()
    }

    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("source", self.source.as_ref().map(AsRef::<str>::as_ref)),
            ("tenant", self.tenant.as_ref().map(AsRef::<str>::as_ref)),
            ("event-type", self.event_type.as_ref().map(AsRef::<str>::as_ref)),
            ("delivery-id", self.delivery_id.as_ref().map(AsRef::<str>::as_ref)),
            ("entity", self.entity.as_deref()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// How many entries are listed, unless told otherwise.
pub(super) const PAGE_OF_PEOPLE: u64 = 50;

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
pub(super) async fn read(
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
