//! `identify`: which bytes does a provider sign?

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use countersign::identify::{Captured, Hints, Report, Search};
use countersign::{Keyring, Scheme, Secret, Source as ProviderName};
use serde::Serialize;

use crate::body::Source;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, BAD, FAINT, GOOD, Out};
use crate::secrets::{Prompt, SecretArgs};
use crate::verify::{self, read_request};

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign listen --capture captures         # and have the provider send its test delivery
  countersign identify --request captures/*.http --out scheme.toml
  countersign listen --scheme scheme.toml

It tries every header that may hold a signature with every usual content, encoding and reading of the secret, and the \
usual mistakes: a body that was parsed and written anew, a line break too many, white space in the secret, `whsec_` as \
text or as base64. The exit code is 0 when something fits, and 1 when nothing does.";

#[derive(Args)]
pub(crate) struct IdentifyArgs {
    /// The captured request as raw HTTP; - for standard input. Of several, the first with a match counts, and what is
    /// found is held against the others
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    request: Vec<OsString>,

    /// Only this header may hold the signature
    #[arg(long, value_name = "NAME")]
    signature_header: Option<String>,

    /// What the scheme that is found is to be called [default: found]
    #[arg(long, value_name = "NAME")]
    name: Option<ProviderName>,

    /// Write the scheme into this file as TOML, as --scheme of the other commands reads it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    secret: SecretArgs,
}

/// The report, and what else is known where several requests were given.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    report: &'a Report,
    request: String,
    others: Vec<Other>,
}

/// A further request, held against the scheme that was found.
#[derive(Serialize)]
struct Other {
    request: String,
    accepted: bool,
    reason: Option<&'static str>,
}

pub(crate) fn run(args: &IdentifyArgs, out: &Out) -> Result<(), Failure> {
    let sources: Vec<Source> = args.request.iter().map(|path| Source::of_path(path)).collect();
    let captures = sources.iter().map(read_request).collect::<Result<Vec<_>, _>>()?;
    let prompt = if sources.iter().any(Source::is_stdin) { Prompt::MayNot } else { Prompt::May };
    let named = args.secret.secrets(prompt, out)?;
    let secrets: Vec<Secret> = named.iter().map(|(_, secret)| secret.clone()).collect();
    let mut hints = Hints::new();
    if let Some(name) = &args.name {
        hints = hints.named(name.clone());
    }
    if let Some(header) = &args.signature_header {
        hints = hints.signature_header(header);
    }
    let progress = out.progress("searching");
    let search =
        |captured: &Captured| Search::new(&secrets, captured.clone(), moment::now()).hints(hints.clone()).run();
    let mut reports = captures.iter().map(search).enumerate();
    let Some(mut found) = reports.next() else { return Err(Failure::usage("there is no request", "give one")) };
    // Where none has a match, the first one is told.
    if found.1.matches.is_empty()
        && let Some(other) = reports.find(|(_, report)| !report.matches.is_empty())
    {
        found = other;
    }
    let (at, report) = found;
    progress.finish_and_clear();
    // Where a mistake is to be mended first, the others are wrong in the same way.
    let others = match report.clean().and_then(|found| found.scheme.as_ref()) {
        Some(scheme) => others(scheme, &secrets, args, &captures, at),
        None => Vec::new(),
    };
    let toml = report.matches.iter().find_map(|found| found.toml.as_ref());
    let shown = Shown { report: &report, request: name_of(&args.request[at]), others };
    let written = match (&args.out, toml) {
        (Some(path), Some(toml)) => fs::write(path, toml).map(|()| Some(path)).map_err(Failure::file(path)),
        _ => Ok(None),
    };
    out.either(&shown, |out| {
        let (style, word) = if report.matches.is_empty() { (BAD, "not found") } else { (GOOD, "found") };
        out.line(out.styled(style, word))?;
        if captures.len() > 1 {
            out.line(out.styled(FAINT, format!("in {}", output::visible(&shown.request))))?;
        }
        if named.len() > 1 {
            let names: Vec<_> = named.iter().zip(1..).map(|((name, _), at)| format!("{at} {name}")).collect();
            out.line(out.styled(FAINT, format!("secrets: {}", names.join(", "))))?;
        }
        out.line(output::visible_lines(report.to_string().trim_end()))?;
        for other in &shown.others {
            let reason = other.reason.unwrap_or("refused").replace('_', " ");
            let verdict = if other.accepted { "verifies with it".to_owned() } else { format!("does not: {reason}") };
            out.line(format!("{}: {verdict}", output::visible(&other.request)))?;
        }
        match &written {
            Ok(Some(path)) => out.line(out.styled(FAINT, format!("written to {}", path.display()))),
            _ => Ok(()),
        }
    })?;
    written?;
    if report.matches.is_empty() { Err(Failure::No(None)) } else { Ok(()) }
}

/// The other requests, each as of the moment that it was signed at, under each secret by itself: one that the scheme cannot
/// read makes no other useless.
fn others(
    scheme: &Scheme,
    secrets: &[Secret],
    args: &IdentifyArgs,
    captures: &[Captured],
    found_in: usize,
) -> Vec<Other> {
    let keyrings: Vec<Keyring> = secrets.iter().cloned().map(Keyring::single).collect();
    let others = captures.iter().zip(&args.request).enumerate().filter(|(at, _)| *at != found_in);
    let held = others.map(|(_, (captured, path))| {
        let mut diagnoses = keyrings.iter().map(|keyring| verify::at_any_age(scheme, keyring, captured));
        let reason = diagnoses.try_fold(None, |_, diagnosis| match diagnosis.accepted {
            Some(_) => Err(()),
            None => Ok(diagnosis.reason),
        });
        Other { request: name_of(path), accepted: reason.is_err(), reason: reason.ok().flatten() }
    });
    held.collect()
}

fn name_of(path: &OsString) -> String {
    path.to_string_lossy().into_owned()
}
