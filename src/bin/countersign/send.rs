//! `send`: signs a body and posts it to a receiver.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use crate::exit::Failure;
use crate::http::{Answer, Sender};
use crate::moment;
use crate::output::{self, BAD, FAINT, GOOD, ODD, Out};
use crate::runtime;
use crate::sign::{Prepared, Signed, Signing};

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign send http://127.0.0.1:8080/webhooks/kycgenie '{\"event\":\"test\",\"data\":{}}'
  # stale, so that it must be refused
  countersign send --time -10m http://127.0.0.1:8080/hook @payload.json
  # the second one is a duplicate
  countersign send --repeat 2 http://127.0.0.1:8080/hook @payload.json
  countersign send --repeat 100 --fresh http://127.0.0.1:8080/hook @payload.json

The exit code is 0 when every answer is 2xx, 1 when one is 3xx or 4xx, 4 when one is 5xx or missing.";

#[derive(Args)]
pub(crate) struct SendArgs {
    /// Where to send it
    url: String,

    /// How often to send it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// With --repeat: a new id, time and signature each time, instead of the same delivery again
    #[arg(long, conflicts_with = "id")]
    fresh: bool,

    /// How long to wait for each answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = moment::length)]
    timeout: Duration,

    // Last: what comes after it would stand under its heading.
    #[command(flatten)]
    signing: Signing,
}

pub(crate) fn run(args: &SendArgs, out: &Out) -> Result<(), Failure> {
    let sender = Sender::new(&args.url, args.timeout)?;
    let prepared = args.signing.prepare(out)?;
    runtime::block_on(runtime::unless_interrupted(send(args, &prepared, &sender, out)))
}

async fn send(args: &SendArgs, prepared: &Prepared<'_>, sender: &Sender, out: &Out) -> Result<(), Failure> {
    let mut signed = prepared.sign()?;
    let mut worst = Verdict::Accepted;
    for sent in 0..args.repeat {
        if args.fresh && sent > 0 {
            signed = prepared.sign()?;
        }
        let started = Instant::now();
        let answer = sender.post(&bytes_of(&signed), Bytes::from(signed.body.clone())).await?;
        worst = worst.max(Verdict::of(answer.status));
        print(&signed, &answer, started.elapsed(), out)?;
    }
    match worst {
        Verdict::Accepted => Ok(()),
        Verdict::Refused => Err(Failure::No(None)),
        Verdict::Unready => Err(Failure::Unready("the receiver cannot take it now: send it again later".to_owned())),
    }
}

/// What a status means to a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Accepted,
    Refused,
    Unready,
}

impl Verdict {
    fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Accepted,
            500.. => Self::Unready,
            _ => Self::Refused,
        }
    }
}

/// One line for each answer.
#[derive(Serialize)]
struct Sent<'a> {
    id: &'a str,
    status: u16,
    reason: &'a str,
    retry_after: Option<&'a str>,
    duration_ms: u64,
    body: String,
}

fn print(signed: &Signed, answer: &Answer, took: Duration, out: &Out) -> Result<(), Failure> {
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let sent = Sent {
        id: &signed.id,
        status: answer.status,
        reason: answer.reason,
        retry_after: answer.retry_after.as_deref(),
        duration_ms,
        body: String::from_utf8_lossy(&answer.body).into_owned(),
    };
    out.either(&sent, |out| {
        let style = match Verdict::of(answer.status) {
            Verdict::Accepted => GOOD,
            Verdict::Refused => BAD,
            Verdict::Unready => ODD,
        };
        let status = out.styled(style, format!("{} {}", sent.status, sent.reason));
        let mut line = format!("{status}  {}  {}", sent.id, out.styled(FAINT, format!("{duration_ms} ms")));
        if let Some(seconds) = sent.retry_after {
            line.push_str(&format!("  retry after {}", output::visible(seconds)));
        }
        let said: String = sent.body.trim().chars().take(200).collect();
        if !said.is_empty() {
            line.push_str(&format!("  {}", out.styled(FAINT, output::visible(&said))));
        }
        out.line(line)
    })
}

fn bytes_of(signed: &Signed) -> Vec<(String, Vec<u8>)> {
    signed.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect()
}
