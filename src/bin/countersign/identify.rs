//! `identify`: which bytes does a provider sign?

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use countersign::identify::{Hints, Search};
use countersign::{Secret, Source as ProviderName};

use crate::body::Source;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, BAD, FAINT, GOOD, Out};
use crate::secrets::{Prompt, SecretArgs};
use crate::verify::read_request;

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign listen --capture captures         # and have the provider send its test delivery
  countersign identify --request captures/1795526774721-0000.http --out scheme.toml
  countersign listen --scheme scheme.toml

It tries every header that may hold a signature with every usual content, encoding and reading of the secret, and the \
usual mistakes: a body that was parsed and written anew, a line break too many, white space in the secret, `whsec_` as \
text or as base64. The exit code is 0 when something fits, and 1 when nothing does.";

#[derive(Args)]
pub(crate) struct IdentifyArgs {
    /// The captured request as raw HTTP; - for standard input
    #[arg(long, value_name = "FILE")]
    request: OsString,

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

pub(crate) fn run(args: &IdentifyArgs, out: &Out) -> Result<(), Failure> {
    let source = Source::of_path(&args.request);
    let captured = read_request(&source)?;
    let prompt = if source.is_stdin() { Prompt::MayNot } else { Prompt::May };
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
    let report = Search::new(&secrets, captured, moment::now()).hints(hints).run();
    progress.finish_and_clear();
    let toml = report.matches.iter().find_map(|found| found.toml.as_ref());
    if let (Some(path), Some(toml)) = (&args.out, toml) {
        fs::write(path, toml).map_err(Failure::file(path))?;
    }
    out.either(&report, |out| {
        let (style, word) = if report.matches.is_empty() { (BAD, "not found") } else { (GOOD, "found") };
        out.line(out.styled(style, word))?;
        if named.len() > 1 {
            let names: Vec<_> = named.iter().zip(1..).map(|((name, _), at)| format!("{at} {name}")).collect();
            out.line(out.styled(FAINT, format!("secrets: {}", names.join(", "))))?;
        }
        out.line(output::visible_lines(report.to_string().trim_end()))?;
        match (&args.out, toml) {
            (Some(path), Some(_)) => out.line(out.styled(FAINT, format!("written to {}", path.display()))),
            _ => Ok(()),
        }
    })?;
    if report.matches.is_empty() { Err(Failure::No(None)) } else { Ok(()) }
}
