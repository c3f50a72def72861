//! The command line's grammar.

use std::ffi::OsString;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::completions::{self, CompletionsArgs};
use crate::exit::{self, Exit, Failure};
use crate::identify::{self, IdentifyArgs};
use crate::inbox::{self, InboxArgs};
use crate::listen::{self, ListenArgs};
use crate::logs::{self, LogsArgs};
use crate::man::{self, ManArgs};
use crate::output::{Colour, Out};
use crate::rotate::{self, RotateArgs};
use crate::sandbox::{self, SandboxArgs};
use crate::send::{self, SendArgs};
use crate::sign::{self, SignArgs};
use crate::trigger::{self, TriggerArgs};
use crate::verify::{self, VerifyArgs};
use crate::webhooks::{self, WebhooksArgs};

/// Signed webhooks at the terminal: receive them, send them, play their provider, and find out what it signs
#[derive(Parser)]
#[command(name = "countersign", version, after_help = after_help(), max_term_width = 110, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Print results as JSON: one object, or one a line where there are many; errors too, on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colour; without this, on a terminal unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t, hide_default_value = true)]
    pub(crate) color: Colour,

    /// Log what is going on to standard error; twice for more. No secret, signature or body is ever logged
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Play the provider: its management API, and deliveries that are signed, retried and logged
    #[command(after_help = sandbox::EXAMPLES)]
    Sandbox(Box<SandboxArgs>),

    /// Have a running sandbox deliver an event
    #[command(after_help = trigger::EXAMPLES)]
    Trigger(TriggerArgs),

    /// Sign a body and post it to a receiver
    #[command(after_help = send::EXAMPLES)]
    Send(Box<SendArgs>),

    /// Print the headers that make a body a signed delivery
    #[command(after_help = sign::EXAMPLES)]
    Sign(Box<SignArgs>),

    /// Tell whether a captured request is genuine: which key, how old, or exactly what is wrong
    #[command(after_help = verify::EXAMPLES)]
    Verify(Box<VerifyArgs>),

    /// Receive deliveries and print each as it comes
    #[command(after_help = listen::EXAMPLES)]
    Listen(Box<ListenArgs>),

    /// Create, read, change and delete the provider's webhook subscriptions
    #[command(after_help = webhooks::EXAMPLES)]
    Webhooks(Box<WebhooksArgs>),

    /// Read the provider's delivery log, and retry what failed
    #[command(after_help = logs::EXAMPLES)]
    Logs(Box<LogsArgs>),

    /// Rotate a subscription's secret, from the provider into a key file that receivers follow
    #[command(after_help = rotate::EXAMPLES)]
    Rotate(Box<RotateArgs>),

    /// Find out from one captured request which bytes a provider signs
    #[command(after_help = identify::EXAMPLES)]
    Identify(Box<IdentifyArgs>),

    /// Look into a durable inbox, and replay or prune what is in it
    #[command(after_help = inbox::EXAMPLES)]
    Inbox(Box<InboxArgs>),

    /// Print a script that completes this command in a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(CompletionsArgs),

    /// Print the manual, or write a page for each command
    #[command(after_help = man::EXAMPLES)]
    Man(ManArgs),
}

/// The grammar, for what is made of it.
pub(crate) fn grammar() -> clap::Command {
    Cli::command()
}

/// The command line, or the exit code of one that asks for help or cannot be understood.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, Exit> {
    Cli::try_parse_from(arguments).map_err(|error| {
        if error.use_stderr() {
            let json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
            Out::new(json, Colour::Auto).usage(&error.render().to_string(), Exit::Usage);
            return Exit::Usage;
        }
        // A reader that has gone is no failure.
        let _ = error.print();
        Exit::Done
    })
}

/// Does what is asked.
pub(crate) fn run(command: Command, out: &Out) -> Result<(), Failure> {
    match command {
        Command::Sandbox(args) => sandbox::run(&args, out),
        Command::Trigger(args) => trigger::run(&args, out),
        Command::Send(args) => send::run(&args, out),
        Command::Sign(args) => sign::run(&args, out),
        Command::Verify(args) => verify::run(&args, out),
        Command::Listen(args) => listen::run(&args, out),
        Command::Webhooks(args) => webhooks::run(&args, out),
        Command::Logs(args) => logs::run(&args, out),
        Command::Rotate(args) => rotate::run(&args, out),
        Command::Identify(args) => identify::run(&args, out),
        Command::Inbox(args) => inbox::run(&args, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::Man(args) => man::run(&args, out),
    }
}

fn after_help() -> String {
    format!(
        "\
Two terminals, no account:
  1$ countersign sandbox --subscribe http://127.0.0.1:8080/webhooks/kycgenie --keys-out keys.toml
  2$ countersign listen --keys keys.toml &
  2$ countersign trigger screening.completed

Environment:
  COUNTERSIGN_SECRET, KYCGENIE_WEBHOOK_SECRET   the signing secret, where none is given
  KYCGENIE_API_KEY, KYCGENIE_BASE_URL           the management API, where none is given
  COUNTERSIGN_INBOX_SQLITE                      the file of the inbox, where none is given
  COUNTERSIGN_INBOX_POSTGRES                    or the URL of its database
  NO_COLOR                                      no colour

{}",
        exit::TABLE
    )
}
