//! `trigger`: has a running sandbox deliver an event.

use std::ffi::OsString;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::api::SANDBOX_URL;
use crate::body::Source;
use crate::exit::Failure;
use crate::http::{Answer, Sender};
use crate::moment;
use crate::output::{self, BAD, FAINT, GOOD, Out};
use crate::runtime;

/// Of a request to the sandbox, which is on this machine.
const LIMIT: Duration = Duration::from_secs(30);

/// How often it is asked whether all is settled.
const POLL: Duration = Duration::from_millis(50);

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign trigger screening.completed
  countersign trigger screening.completed --data '{\"entity_id\":\"ent_7\"}' --wait
  countersign trigger case.opened --count 1000 --rate 50
  countersign trigger test --live                               # what subscriptions of the live key get";

#[derive(Args)]
pub(crate) struct TriggerArgs {
    /// The event's type, such as screening.completed
    #[arg(value_name = "TYPE")]
    event_type: String,

    /// The event's data as JSON: @FILE, - for standard input, or the text itself [default: example data]
    #[arg(long, value_name = "DATA")]
    data: Option<OsString>,

    /// How many events
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// How many a second [default: as fast as it goes]
    #[arg(long, value_name = "N")]
    rate: Option<f64>,

    /// Wait until every delivery is done or given up, and tell how they went
    #[arg(long)]
    wait: bool,

    /// With --wait: for how long
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = moment::length)]
    timeout: Duration,

    /// With the live key instead of the test key
    #[arg(long)]
    live: bool,

    /// Where the sandbox is
    #[arg(long, value_name = "URL", default_value = SANDBOX_URL)]
    url: String,
}
pub(crate) fn run(_args: &TriggerArgs, _out: &Out) -> Result<(), Failure> { Ok(()) }
