//! `verify`: whether a captured request is genuine, and if not, exactly why.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use countersign::identify::{Captured, Diagnosis, diagnose};
use countersign::{Keyring, Scheme, Timestamp};
use serde::Serialize;

use crate::body::Source;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, BAD, GOOD, Out};
use crate::scheme::SchemeArgs;
use crate::secrets::{Prompt, SecretArgs};
use crate::sign;

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign verify captures/1795526774721-0000.http --any-age
  countersign verify --keys keys.toml - < request.http
  countersign verify --body @body.json -H 'webhook-id: msg_1' -H 'webhook-timestamp: 1795526774' \\
      -H 'webhook-signature: v1,...'

A request file is raw HTTP: request line, headers, a blank line, body; `listen --capture` writes such files. The exit \
code is 0 when a receiver would accept it, and 1 when not.";

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The request as raw HTTP; - for standard input
    #[arg(value_name = "REQUEST", required_unless_present = "body", conflicts_with = "body")]
    request: Option<OsString>,

    /// The body, in place of a request file: @FILE, - for standard input, or the text itself
    #[arg(long, value_name = "BODY")]
    body: Option<OsString>,

    /// With --body: a header, "Name: value"; may be repeated
    #[arg(long = "header", short = 'H', value_name = "HEADER", value_parser = sign::header, requires = "body")]
    headers: Vec<(String, String)>,

    /// As of this time: RFC 3339, seconds since 1970, or an offset such as -10m [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::moment, allow_hyphen_values = true)]
    at: Option<Timestamp>,

    /// As of the moment that it was signed at: a capture grows old
    #[arg(long, conflicts_with = "at")]
    any_age: bool,

    #[command(flatten)]
    scheme: SchemeArgs,

    #[command(flatten)]
    secret: SecretArgs,
}

/// The diagnosis, and in front of it what a script wants to know.
#[derive(Serialize)]
struct Verdict<'a> {
    accepted: bool,
    key_id: Option<&'a str>,
    age_seconds: Option<i64>,
    diagnosis: &'a Diagnosis,
}

pub(crate) fn run(args: &VerifyArgs, out: &Out) -> Result<(), Failure> {
    let scheme = args.scheme.scheme()?;
    let (captured, from_stdin) = captured(args)?;
    let prompt = if from_stdin { Prompt::MayNot } else { Prompt::May };
    let keyring = args.secret.keyring(prompt, out)?;
    let mut diagnosis = diagnose(&scheme, &keyring, &captured, args.at.unwrap_or_else(moment::now));
    let age_seconds = diagnosis.time.map(|time| time.age_seconds);
    if args.any_age {
        diagnosis = at_any_age(&scheme, &keyring, &captured);
    }
    let accepted = diagnosis.accepted.as_ref();
    let verdict = Verdict {
        accepted: accepted.is_some(),
        key_id: accepted.map(|accepted| accepted.key_id.as_str()),
        age_seconds,
        diagnosis: &diagnosis,
    };
    out.either(&verdict, |out| human(&verdict, out))?;
    if verdict.accepted { Ok(()) } else { Err(Failure::No(None)) }
}

/// The diagnosis as of the moment that the request was signed at.
pub(crate) fn at_any_age(scheme: &Scheme, keyring: &Keyring, captured: &Captured) -> Diagnosis {
    let diagnosis = diagnose(scheme, keyring, captured, moment::now());
    match diagnosis.time {
        Some(time) => diagnose(scheme, keyring, captured, Timestamp::from_secs(time.seconds)),
        None => diagnosis,
    }
}

fn captured(args: &VerifyArgs) -> Result<(Captured, bool), Failure> {
    if let Some(body) = &args.body {
        let source = Source::of_argument(body.clone());
        let headers = args.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        return Ok((Captured::new(headers, source.read()?), source.is_stdin()));
    }
    let path = args.request.clone().unwrap_or_default();
    let source = Source::of_path(&path);
    Ok((read_request(&source)?, source.is_stdin()))
}

/// A request file.
pub(crate) fn read_request(source: &Source) -> Result<Captured, Failure> {
    Captured::parse(&source.read()?)
        .map_err(|reason| Failure::unusable(reason.to_string(), "`countersign listen --capture DIR` writes such files"))
}

fn human(verdict: &Verdict<'_>, out: &Out) -> Result<(), Failure> {
    let age = verdict.age_seconds.map(|seconds| {
        let length = output::length(Duration::from_secs(seconds.unsigned_abs()));
        if seconds < 0 { format!("signed {length} ahead of our time") } else { format!("signed {length} ago") }
    });
    let what = match (verdict.key_id, verdict.diagnosis.reason) {
        (Some(key), _) => format!("key {key}"),
        (None, reason) => reason.unwrap_or("not genuine").replace('_', " "),
    };
    let (style, word) = if verdict.accepted { (GOOD, "accepted") } else { (BAD, "refused") };
    let facts: Vec<String> = [Some(what), age].into_iter().flatten().collect();
    out.line(format!("{}: {}", out.styled(style, word), facts.join(", ")))?;
    // The first line of the whole text says the same.
    let text = verdict.diagnosis.to_string();
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    out.line(output::visible_lines(rest.trim_end()))
}
