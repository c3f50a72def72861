//! `trigger`: has a running sandbox deliver an event.

use std::collections::HashSet;
use std::ffi::OsString;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use countersign::sandbox::Sandbox;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::api::SANDBOX_URL;
use crate::body::Source;
use crate::exit::Failure;
use crate::http::{self, Answer, Sender};
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
  countersign trigger test --live";

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
    #[arg(long, value_name = "N", value_parser = rate)]
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

/// JSON has no infinity, and would have it mean that no rate is given.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "write a number of events a second that is more than 0".to_owned())
}

/// What the sandbox is asked for.
#[derive(Serialize)]
struct Request<'a> {
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
}

/// What it answers, and what is printed with `--json`; the rest of it with `--wait` only.
#[derive(Deserialize, Serialize)]
struct Triggered {
    events: u64,
    deliveries: u64,
    /// At most 1,000 of them.
    delivery_ids: Vec<String>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    delivered: Option<u64>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    failed: Option<u64>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<Attempt>>,
}

/// One request that was sent.
#[derive(Deserialize, Serialize)]
struct Attempt {
    #[serde(skip_serializing)]
    number: u64,
    delivery_id: String,
    webhook_url: String,
    attempt: u32,
    duplicate: bool,
    faults: Vec<String>,
    status: Option<u16>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Attempts {
    attempts: Vec<Attempt>,
}

/// How many deliveries there are of each kind, of all that the sandbox has made.
#[derive(Clone, Copy, Deserialize)]
struct Status {
    pending: u64,
    retrying: u64,
    in_flight: u64,
    delivered: u64,
}

impl Triggered {
    /// How many have been delivered, where the ids of all are known.
    fn delivered_of_ours(&self) -> Option<u64> {
        let good = self.attempts.iter().flatten().filter(|attempt| attempt.is_good());
        let delivered: HashSet<&str> = good.map(|attempt| attempt.delivery_id.as_str()).collect();
        (self.delivery_ids.len() as u64 == self.deliveries).then_some(delivered.len() as u64)
    }
}

impl Attempt {
    fn is_good(&self) -> bool {
        matches!(self.status, Some(200..=299)) && self.error.is_none()
    }
}

impl Status {
    fn unfinished(&self) -> u64 {
        self.pending + self.retrying + self.in_flight
    }
}

pub(crate) fn run(args: &TriggerArgs, out: &Out) -> Result<(), Failure> {
    let data = args.data.clone().map(|data| Source::of_argument(data).read()).transpose()?;
    let data = data.map(|data| serde_json::from_slice(&data)).transpose().map_err(|error| {
        Failure::usage(format!("the data is not JSON: line {}, column {}", error.line(), error.column()), "")
    })?;
    let request = Request { event_type: &args.event_type, data, count: args.count, rate: args.rate };
    // A trigger at a rate is answered when its last event has been triggered.
    let takes = args.rate.filter(|rate| *rate > 0.0).map_or(0.0, |rate| args.count as f64 / rate);
    let limit = Duration::try_from_secs_f64(takes).unwrap_or(Duration::MAX).saturating_add(LIMIT);
    let key = if args.live { Sandbox::LIVE_KEY } else { Sandbox::TEST_KEY };
    let control = Control { sender: Sender::new(&args.url, limit)?, key };
    runtime::block_on(runtime::unless_interrupted(trigger(args, &request, &control, out)))
}

async fn trigger(args: &TriggerArgs, request: &Request<'_>, control: &Control, out: &Out) -> Result<(), Failure> {
    let before: Status = control.read("/sandbox/status", "").await?;
    let newest = if args.wait { control.attempts(0).await?.last().map_or(0, |attempt| attempt.number) } else { 0 };
    let progress = out.progress(if args.rate.is_some() { "triggering" } else { "" });
    let mut triggered: Triggered = control.post("/sandbox/trigger", request).await?;
    progress.finish_and_clear();
    if triggered.deliveries == 0 {
        out.note("nobody is subscribed to it: see `countersign webhooks create --sandbox`");
    }
    if !args.wait {
        return out.either(&triggered, |out| summary(&triggered, out));
    }
    let after = settle(args, control, newest, &mut triggered, out).await?;
    // Where all ids are known, what others trigger meanwhile is not counted.
    let delivered = match triggered.delivered_of_ours() {
        Some(delivered) => delivered,
        None => after.delivered.saturating_sub(before.delivered),
    };
    triggered.delivered = Some(delivered);
    triggered.failed = Some(if after.unfinished() == 0 { triggered.deliveries.saturating_sub(delivered) } else { 0 });
    out.either(&triggered, |out| summary(&triggered, out))?;
    match triggered.deliveries.saturating_sub(delivered) {
        0 => Ok(()),
        _ if after.unfinished() == 0 => Err(Failure::No(None)),
        left => Err(Failure::Unready(format!(
            "{left} deliveries are not done after {}: they wait for a retry; see `countersign logs list --sandbox`, or \
             start the sandbox with a higher --speed",
            output::length(args.timeout)
        ))),
    }
}

/// Waits until nothing is unfinished, or time is up, and gathers the attempts meanwhile.
async fn settle(
    args: &TriggerArgs,
    control: &Control,
    mut newest: u64,
    triggered: &mut Triggered,
    out: &Out,
) -> Result<Status, Failure> {
    let ours: HashSet<String> = triggered.delivery_ids.iter().cloned().collect();
    triggered.attempts = Some(Vec::new());
    let deadline = Instant::now().checked_add(args.timeout);
    let progress = out.progress("waiting for deliveries");
    let status = loop {
        // In this order: what ends between the two is not missed.
        let status: Status = control.read("/sandbox/status", "").await?;
        for attempt in control.attempts(newest).await? {
            newest = newest.max(attempt.number);
            if ours.contains(&attempt.delivery_id) {
                triggered.attempts.get_or_insert_default().push(attempt);
            }
        }
        let all = triggered.delivered_of_ours() == Some(triggered.deliveries);
        if all || status.unfinished() == 0 || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break status;
        }
        tokio::time::sleep(POLL).await;
    };
    progress.finish_and_clear();
    Ok(status)
}

fn summary(triggered: &Triggered, out: &Out) -> Result<(), Failure> {
    match &triggered.attempts {
        Some(attempts) => attempts.iter().try_for_each(|attempt| out.line(described(attempt, out)))?,
        None => triggered.delivery_ids.iter().try_for_each(|id| out.line(output::visible(id)))?,
    }
    let mut line = format!("{}, {}", counted(triggered.events, "event"), counted(triggered.deliveries, "delivery"));
    if let (Some(delivered), Some(failed)) = (triggered.delivered, triggered.failed) {
        line.push_str(&format!(": {delivered} delivered, {failed} failed"));
    }
    out.line(out.styled(FAINT, line))
}

fn described(attempt: &Attempt, out: &Out) -> String {
    let good = attempt.is_good();
    let answer = attempt.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let mut line = format!("{}  {}", out.styled(if good { GOOD } else { BAD }, answer), attempt.delivery_id);
    let mut add = |text: &str| line.push_str(&format!("  {}", output::visible(text)));
    if attempt.attempt > 1 {
        add(&format!("attempt {}", attempt.attempt));
    }
    if attempt.duplicate {
        add("duplicate");
    }
    add(&attempt.webhook_url);
    if !attempt.faults.is_empty() {
        add(&format!("with {}", attempt.faults.join(", ").replace('_', " ")));
    }
    if let Some(error) = &attempt.error {
        add(error);
    }
    line
}

fn counted(number: u64, what: &str) -> String {
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}

/// The sandbox's own API.
struct Control {
    sender: Sender,
    key: &'static str,
}

impl Control {
    async fn attempts(&self, after: u64) -> Result<Vec<Attempt>, Failure> {
        Ok(self.read::<Attempts>("/sandbox/attempts", &format!("after={after}")).await?.attempts)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, query: &str) -> Result<T, Failure> {
        self.decode(self.sender.at(path, query).read(&self.headers()).await)
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::system("writing JSON")(error.into()))?;
        self.decode(self.sender.at(path, "").post(&self.headers(), Bytes::from(body)).await)
    }

    fn headers(&self) -> [(String, Vec<u8>); 2] {
        [
            ("authorization".to_owned(), format!("Bearer {}", self.key).into_bytes()),
            ("content-type".to_owned(), b"application/json".to_vec()),
        ]
    }

    fn decode<T: DeserializeOwned>(&self, answer: Result<Answer, http::Error>) -> Result<T, Failure> {
        let answer = answer.map_err(|error| match error {
            http::Error::Connect { host, .. } => Failure::Unready(format!(
                "no sandbox answers on {host}: start one with `countersign sandbox`, or say where it is with --url"
            )),
            other => other.into(),
        })?;
        if let (200..=299, Ok(value)) = (answer.status, serde_json::from_slice(&answer.body)) {
            return Ok(value);
        }
        #[derive(Deserialize)]
        struct Refusal {
            error: String,
        }
        let said = serde_json::from_slice(&answer.body).map(|refusal: Refusal| refusal.error);
        let host = self.sender.host();
        match (answer.status, said) {
            (500.., _) => Err(Failure::Unready(format!("the sandbox on {host} fails: HTTP {}", answer.status))),
            (_, Ok(said)) => Err(Failure::Refused(format!("the sandbox refuses: {said}"))),
            _ => Err(Failure::unusable(format!("what answers on {host} is no sandbox"), "say where it is with --url")),
        }
    }
}
