//! `logs`: the provider's delivery log.

use std::cell::OnceCell;
use std::pin::pin;

use clap::{Args, Subcommand};
use countersign::Timestamp;
use countersign::kycgenie::client::{Client, DeliveryStatus, LogEntry, LogId, RedeliveryProgress};
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::api::ApiArgs;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, BAD, GOOD, Out};
use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign logs list --since -1d --status failed
  countersign logs retry 5c0d1f0e-8a9b-4c1d-8e2f-3a4b5c6d7e8f
  countersign logs redeliver --since -1h --dry-run
  countersign --json logs list --limit 1000 | jq -r 'select(.http_status_code == 401) | .id'";

#[derive(Args)]
pub(crate) struct LogsArgs {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Subcommand)]
enum Action {
    /// The log, newest first, page after page; with --json one row a line
    #[command(after_help = "Example:\n  countersign logs list --since -1d --status failed --limit 500")]
    List(ListArgs),

    /// Retry one failed delivery
    #[command(after_help = "Example:\n  countersign logs retry 5c0d1f0e-8a9b-4c1d-8e2f-3a4b5c6d7e8f")]
    Retry {
        /// The id of its row in the log
        #[arg(value_name = "LOG_ID")]
        id: String,
    },

    /// Retry every delivery that failed since then
    #[command(after_help = "\
Example:
  countersign logs redeliver --since -1h --dry-run

The log does not tell what has been retried already: run it twice, and the same deliveries are sent twice. Receivers \
recognise the second one by its id.")]
    Redeliver(RedeliverArgs),
}

#[derive(Args)]
struct ListArgs {
    /// Nothing older than this: RFC 3339, seconds since 1970, or an offset such as -1h
    #[arg(long, value_name = "TIME", value_parser = moment::moment, allow_hyphen_values = true)]
    since: Option<Timestamp>,

    /// Only rows of this status
    #[arg(long, value_name = "STATUS", value_parser = ["pending", "delivered", "failed", "retrying"])]
    status: Option<String>,

    /// How many rows at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

#[derive(Args)]
struct RedeliverArgs {
    /// Nothing older than this: RFC 3339, seconds since 1970, or an offset such as -1h
    #[arg(long, value_name = "TIME", value_parser = moment::moment, allow_hyphen_values = true)]
    since: Timestamp,

    /// List what would be retried, and retry nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &LogsArgs, out: &Out) -> Result<(), Failure> {
    let client = args.api.client(out)?;
    runtime::block_on(runtime::unless_interrupted(async {
        match &args.action {
            Action::List(args) => list(args, &client, out).await,
            Action::Retry { id } => retry(id, &client, out).await,
            Action::Redeliver(args) => redeliver(args, &client, out).await,
        }
    }))
}

async fn list(args: &ListArgs, client: &Client, out: &Out) -> Result<(), Failure> {
    let wanted = args.status.clone().map(DeliveryStatus::from);
    let wanted = |entry: &LogEntry| wanted.as_ref().is_none_or(|status| *status == entry.status);
    print(client, args.since, args.limit, wanted, out).await.map(|_| ())
}

/// Prints the rows that are wanted; tells how many.
async fn print(
    client: &Client,
    since: Option<Timestamp>,
    limit: usize,
    wanted: impl Fn(&LogEntry) -> bool,
    out: &Out,
) -> Result<usize, Failure> {
    let progress = out.progress("rows read");
    let mut log = pin!(client.logs());
    let mut rows = Vec::new();
    let mut count = 0;
    while count < limit
        && let Some(entry) = log.next().await
    {
        let entry = entry?;
        progress.inc(1);
        if since.is_some_and(|since| entry.created_at.is_some_and(|created| created < since)) {
            break;
        }
        if !wanted(&entry) {
            continue;
        }
        count += 1;
        if out.json() { out.object(&entry)? } else { rows.push(row(&entry)) }
    }
    progress.finish_and_clear();
    match rows.len() {
        _ if out.json() => {}
        0 => out.line("no rows")?,
        _ => out.table(&["time", "status", "http", "try", "event type", "id", "url", "error"], &rows)?,
    }
    Ok(count)
}

fn row(entry: &LogEntry) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let time = or_dash(entry.created_at.map(|created| created.to_string()));
    vec![
        time.get(..19).map_or_else(|| time.clone(), |second| second.replace('T', " ")),
        entry.status.to_string(),
        or_dash(entry.http_status_code.map(|code| code.to_string())),
        or_dash(entry.attempt_number.map(|number| number.to_string())),
        entry.event_type.clone(),
        entry.id.to_string(),
        entry.webhook_url.clone(),
        entry.error_message.clone().unwrap_or_default(),
    ]
}

async fn retry(id: &str, client: &Client, out: &Out) -> Result<(), Failure> {
    let id = LogId::new(id).map_err(|reason| Failure::usage(format!("the row's id: {reason}"), "see `logs list`"))?;
    let retried = client.retry(&id).await?;
    out.either(&retried, |out| {
        let row = retried.log_id.as_ref().map_or_else(String::new, |row| format!("  new row {row}"));
        out.line(output::visible(&format!("{}{row}", retried.message)))
    })
}

/// `{"walked": n, "retried": […], "refused": […], "left": […], "undated": […]}`
#[derive(Serialize)]
struct Redelivery<'a> {
    walked: u64,
    retried: Vec<Retried<'a>>,
    refused: Vec<Refused<'a>>,
    /// Failed rows that were not tried, since the API stopped answering.
    left: Vec<&'a str>,
    /// Failed rows that do not tell when; they are left alone.
    undated: Vec<&'a str>,
}

#[derive(Serialize)]
struct Retried<'a> {
    id: &'a str,
    log_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Refused<'a> {
    id: &'a str,
    reason: String,
}

async fn redeliver(args: &RedeliverArgs, client: &Client, out: &Out) -> Result<(), Failure> {
    if args.dry_run {
        let failed = |entry: &LogEntry| entry.status == DeliveryStatus::Failed;
        let count = print(client, Some(args.since), usize::MAX, failed, out).await?;
        out.note(format!("{count} would be retried; nothing was"));
        return Ok(());
    }
    let (reading, retrying) = (out.progress("rows read"), OnceCell::new());
    let tell = |progress| match progress {
        RedeliveryProgress::Walking { walked } => reading.set_position(walked),
        RedeliveryProgress::Retrying { tried, all } => {
            reading.finish_and_clear();
            retrying.get_or_init(|| out.counted("retried", all)).set_position(tried);
        }
        _ => {}
    };
    let outcome = client.redeliver_failed_telling(args.since, tell).await;
    reading.finish_and_clear();
    if let Some(retrying) = retrying.get() {
        retrying.finish_and_clear();
    }
    let outcome = outcome?;
    let shown = Redelivery {
        walked: outcome.walked,
        retried: outcome
            .retried
            .iter()
            .map(|row| Retried { id: row.id.as_str(), log_id: row.log_id.as_ref().map(LogId::as_str) })
            .collect(),
        refused: outcome
            .refused
            .iter()
            .map(|row| Refused { id: row.id.as_str(), reason: row.error.to_string() })
            .collect(),
        left: outcome.left.iter().map(LogId::as_str).collect(),
        undated: outcome.undated.iter().map(LogId::as_str).collect(),
    };
    out.either(&shown, |out| human(&shown, out))?;
    match outcome.stopped_by {
        Some(error) => Err(error.into()),
        None if outcome.refused.is_empty() => Ok(()),
        None => Err(Failure::No(None)),
    }
}

fn human(shown: &Redelivery<'_>, out: &Out) -> Result<(), Failure> {
    for row in &shown.refused {
        out.line(format!("{}  {}  {}", out.styled(BAD, "refused"), row.id, output::visible(&row.reason)))?;
    }
    for row in &shown.undated {
        out.line(format!("left alone  {row}  it does not tell when"))?;
    }
    out.line(format!(
        "{} rows read, {} retried, {} refused, {} left",
        shown.walked,
        out.styled(GOOD, shown.retried.len()),
        shown.refused.len(),
        shown.left.len()
    ))
}
