//! `sandbox`: plays the provider until Ctrl-C.

mod faults;
mod show;
mod subscribe;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use countersign::sandbox::{Assumptions, Fault, Sandbox, SandboxBuilder, Strike, Trigger};
use tokio::sync::mpsc;

use crate::body::Source;
use crate::exit::Failure;
use crate::moment;
use crate::output::Out;
use crate::runtime;
use crate::scheme::SchemeArgs;

pub(crate) const EXAMPLES: &str = "\
Examples, in two terminals:
  1$ countersign sandbox --subscribe http://127.0.0.1:8080/webhooks/kycgenie --keys-out keys.toml
  2$ countersign listen --keys keys.toml &
  2$ countersign trigger screening.completed

  # waits of a minute take a second, the next delivery has a wrong key, one in ten comes twice
  countersign sandbox --speed 60 --fault wrong_key=1 --fault duplicate=10%
  # what is not published about the provider, as settings
  countersign sandbox --print-assumptions > assumptions.toml

Faults: altered_body, delay, doubled_header, drop_answer, duplicate, duplicate_at_once, future_timestamp, reorder, \
slow_body, stale_timestamp, stripped_header, truncated_body, wrong_key.";

#[derive(Args)]
pub(crate) struct SandboxArgs {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4010")]
    bind: String,

    /// Subscribe this URL with the test key, so that a receiver is served at once
    #[arg(long, value_name = "URL", help_heading = "Subscription")]
    subscribe: Option<String>,

    /// With --subscribe: to which events
    #[arg(long, value_name = "TYPE", default_value = "all", requires = "subscribe", help_heading = "Subscription")]
    event_type: String,

    /// With --subscribe: put the secret into this key file instead of printing it; where there is one, its keys stay good
    /// for ten minutes
    #[arg(long, value_name = "FILE", requires = "subscribe", help_heading = "Subscription")]
    keys_out: Option<PathBuf>,

    /// Read event types from standard input, one a line, and trigger each
    #[arg(long, short)]
    interactive: bool,

    /// Keep everything in this file, so that it survives a restart [default: in memory]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// By how much waits between attempts are shorter than in life
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    speed: f64,

    /// What retries and faults make their chance of, so that a run can be repeated
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Send to this host too, besides loopback; may be repeated
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,

    /// Send anywhere: also to whom a test's data names by accident
    #[arg(long)]
    danger_send_anywhere: bool,

    /// Let --bind take an address that others can reach: whoever does makes the sandbox send what it may send
    #[arg(long)]
    danger_bind_any: bool,

    /// Take what is not published about the provider from this TOML file
    #[arg(long, value_name = "FILE", help_heading = "Assumptions")]
    assumptions: Option<PathBuf>,

    /// Print every assumption with its value, and end
    #[arg(long, help_heading = "Assumptions")]
    print_assumptions: bool,

    /// For how long after a rotation the old secret signs as well [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = moment::length, help_heading = "Assumptions")]
    rotation_overlap: Option<Duration>,

    /// Let something go wrong: NAME for every delivery, NAME=3 for the next three, NAME=10% for one in ten; may be
    /// repeated
    #[arg(long = "fault", value_name = "FAULT", value_parser = faults::fault, help_heading = "Faults")]
    faults: Vec<(Fault, Strike)>,

    /// Take the faults from this TOML or JSON file, as PUT /sandbox/faults takes them
    #[arg(long = "faults", value_name = "FILE", conflicts_with = "faults", help_heading = "Faults")]
    faults_file: Option<PathBuf>,

    #[command(flatten)]
    scheme: SchemeArgs,
}

pub(crate) fn run(args: &SandboxArgs, out: &Out) -> Result<(), Failure> {
    let assumptions = match &args.assumptions {
        Some(path) => {
            let text = String::from_utf8(Source::File(path.clone()).read()?);
            let text = text.map_err(|_| Failure::unusable(format!("{} is not UTF-8", path.display()), ""))?;
            Assumptions::from_toml(&text)?
        }
        None => Assumptions::default(),
    };
    if args.print_assumptions {
        return out.either(&assumptions, |out| out.raw(assumptions.to_toml().as_bytes()));
    }
    let faults = faults::chosen(&args.faults, args.faults_file.as_deref(), args.seed)?;
    let builder = builder(args, assumptions)?;
    runtime::block_on(async {
        let sandbox = builder.start().await?;
        if let Some(faults) = faults {
            sandbox.set_faults(faults)?;
        }
        let served = serve(args, &sandbox, out).await;
        sandbox.stop().await;
        served
    })
}

fn builder(args: &SandboxArgs, assumptions: Assumptions) -> Result<SandboxBuilder, Failure> {
    let mut builder = Sandbox::builder()
        .bind(&args.bind)
        .scheme(args.scheme.scheme()?)
        .speed(args.speed)
        .assumptions(assumptions)
        .allow_hosts(args.allow_host.iter().cloned());
    if let Some(path) = &args.state {
        builder = builder.state_file(path);
    }
    if let Some(seed) = args.seed {
        builder = builder.seed(seed);
    }
    if let Some(overlap) = args.rotation_overlap {
        builder = builder.rotation_overlap(overlap);
    }
    if args.danger_bind_any {
        builder = builder.danger_bind_any();
    }
    if args.danger_send_anywhere {
        builder = builder.danger_send_anywhere();
    }
    Ok(builder)
}

/// Until Ctrl-C, or until nobody reads the output.
async fn serve(args: &SandboxArgs, sandbox: &Sandbox, out: &Out) -> Result<(), Failure> {
    let mut interrupted = pin!(runtime::interruption()?);
    let subscription = match &args.subscribe {
        Some(url) => Some(subscribe::subscribe(sandbox, url, &args.event_type, args.keys_out.as_deref()).await?),
        None => None,
    };
    show::started(args, sandbox, subscription.as_ref(), out)?;
    let mut lines = args.interactive.then(lines);
    let mut newest = 0;
    let mut look = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            () = &mut interrupted => return Ok(()),
            line = next(&mut lines) => match line {
                Some(line) => trigger(line.trim(), sandbox, out).await,
                None => lines = None,
            },
            _ = look.tick() => {
                for attempt in sandbox.attempts(newest) {
                    newest = newest.max(attempt.number);
                    show::attempt(&attempt, out)?;
                }
            }
        }
    }
}

async fn trigger(event_type: &str, sandbox: &Sandbox, out: &Out) {
    if event_type.is_empty() {
        return;
    }
    match sandbox.trigger(&Trigger::new(event_type)).await {
        Ok(triggered) if triggered.deliveries == 0 => out.note("nobody is subscribed to it"),
        Ok(_) => {}
        Err(error) => out.note(error),
    }
}

/// Lines of standard input, read by a thread: there is no other way to wait for one and for Ctrl-C.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn next(lines: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}
