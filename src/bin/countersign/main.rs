//! The command line: plays the provider, speaks to it, receives from it, and finds out what it signs.

mod api;
mod args;
mod body;
mod completions;
mod exit;
mod http;
mod identify;
mod inbox;
mod listen;
mod logging;
mod logs;
mod man;
mod moment;
mod output;
mod rotate;
mod runtime;
mod sandbox;
mod scheme;
mod secrets;
mod send;
mod shell;
mod sign;
mod trigger;
mod verify;
mod webhooks;

use std::process::ExitCode;

use crate::exit::Exit;
use crate::output::Out;

fn main() -> ExitCode {
    let cli = match args::parse(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    let out = Out::new(cli.common.json, cli.common.color);
    logging::start(cli.common.verbose, out.colours_errors());
    match args::run(cli.command, &out) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            let code = exit::code(&failure);
            out.failure(&failure, code);
            code.into()
        }
    }
}
