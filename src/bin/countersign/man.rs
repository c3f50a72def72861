//! `man`: the manual, made of the same grammar as the help.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};
use clap_mangen::Man;
use serde::Serialize;

use crate::args::grammar;
use crate::exit::Failure;
use crate::output::Out;

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign man | man -l -
  countersign man --out ~/.local/share/man/man1";

#[derive(Args)]
pub(crate) struct ManArgs {
    /// Write a page for every command into this directory, instead of printing the first one
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// `{"pages": [file, …]}`
#[derive(Serialize)]
struct Written {
    pages: Vec<String>,
}

pub(crate) fn run(args: &ManArgs, out: &Out) -> Result<(), Failure> {
    // With everything passed down to the subcommands, as it is when they are run.
    let mut grammar = grammar().disable_help_subcommand(true);
    grammar.build();
    let Some(folder) = &args.out else {
        return out.raw(&page(grammar)?);
    };
    fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    let mut written = Written { pages: Vec::new() };
    for command in all(grammar) {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, page(command)?).map_err(Failure::file(&path))?;
        written.pages.push(path.display().to_string());
    }
    out.either(&written, |out| written.pages.iter().try_for_each(|page| out.line(page)))
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Failure::system("writing the manual"))?;
    Ok(page)
}

/// A command and those below it.
fn all(command: Command) -> Vec<Command> {
    let below: Vec<_> = command.get_subcommands().cloned().collect();
    let mut found = vec![command];
    found.extend(below.into_iter().flat_map(all));
    found
}
