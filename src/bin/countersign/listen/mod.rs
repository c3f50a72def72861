//! `listen`: a receiver that prints what it gets.

mod capture;
mod report;
mod server;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use countersign::{Receiver, Verifier};
use serde::Serialize;

use crate::exit::Failure;
use crate::http::Sender;
use crate::output::{FAINT, Out, STRONG};
use crate::scheme::SchemeArgs;
use crate::secrets::SecretArgs;

use self::capture::Captures;
use self::report::Reporter;
use self::server::Listener;

/// Of a forwarded delivery; below the receiver's own limit on a route, so that it is the forward that is told.
const FORWARD_LIMIT: Duration = Duration::from_secs(14);

/// The longest body, as any receiver of this crate has it.
const BODY_LIMIT: usize = 1024 * 1024;

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign listen
  countersign listen --keys keys.toml --forward http://127.0.0.1:3000/hook
  countersign listen --capture captures
  countersign --json listen --show-body | jq .body

Any path is listened at, and each request is one line: verified, duplicate, or refused and why. Bodies are \
compliance data and are printed with --show-body only. What is captured is for `countersign identify`.

Without a secret nothing is verified and everything is answered 503, so that the sender comes back. A key file is \
followed: replace it, and the new keys count. Ctrl-C ends it.";

#[derive(Args)]
pub(crate) struct ListenArgs {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = address)]
    bind: SocketAddr,

    /// Pass verified deliveries on to this URL, and answer as it answers; 502 or 504 when it does not
    #[arg(long, value_name = "URL")]
    forward: Option<String>,

    /// Write each request, verified or not, into this directory as raw HTTP (files of mode 0600)
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,

    /// How many requests to capture at most
    #[arg(long, value_name = "N", default_value_t = 100, requires = "capture")]
    capture_limit: u32,

    /// Print the body of verified deliveries
    #[arg(long)]
    show_body: bool,

    /// End after this many verified deliveries
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    #[command(flatten)]
    scheme: SchemeArgs,

    #[command(flatten)]
    secret: SecretArgs,
}

pub(crate) fn run(args: &ListenArgs, out: &Out) -> Result<(), Failure> {
    let scheme = args.scheme.scheme()?;
    let keyring = args.secret.serving(out)?;
    let forward = args.forward.as_deref().map(|url| Sender::new(url, FORWARD_LIMIT)).transpose()?;
    let captures = args.capture.as_ref().map(|path| Captures::new(path, args.capture_limit)).transpose()?;
    let verifying = match &keyring {
        Some(keyring) => {
            let receiver = Receiver::builder(scheme.clone(), keyring.clone()).body_limit(BODY_LIMIT).build()?;
            Some((receiver, Verifier::new(scheme.clone(), keyring.clone())?))
        }
        None => None,
    };
    let keys = keyring.map(|keyring| keyring.keys()).unwrap_or_default();
    let keys: Vec<String> = keys.iter().map(|key| key.id().to_string()).collect();
    let reporter = Reporter::new(*out, args.show_body, args.count);
    let started = Started { scheme: scheme.name().to_string(), keys, forward: args.forward.clone() };
    server::serve(args.bind, Listener { verifying, forward, captures, reporter }, |url| started.print(url, out))
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:8080".to_owned())
}

/// What is printed once the port is open.
struct Started {
    scheme: String,
    keys: Vec<String>,
    forward: Option<String>,
}

/// `{"listening": url, "scheme": …, "keys": […], "verifies": bool}`: the first line with `--json`.
#[derive(Serialize)]
struct StartedObject<'a> {
    listening: &'a str,
    scheme: &'a str,
    keys: &'a [String],
    verifies: bool,
}

impl Started {
    fn print(&self, url: &str, out: &Out) -> Result<(), Failure> {
        let verifies = !self.keys.is_empty();
        let object = StartedObject { listening: url, scheme: &self.scheme, keys: &self.keys, verifies };
        out.either(&object, |out| {
            out.line(format!("listening on {}, any path; stop with Ctrl-C", out.styled(STRONG, url)))?;
            let keys = if verifies { format!("key {}", self.keys.join(", ")) } else { "no key".to_owned() };
            out.line(out.styled(FAINT, format!("scheme {}, {keys}", self.scheme)))?;
            self.forward.iter().try_for_each(|to| out.line(out.styled(FAINT, format!("forwarding to {to}"))))
        })?;
        if !verifies {
            out.warn(
                "there is no secret, so nothing is verified and everything is answered 503; give one with \
                 COUNTERSIGN_SECRET, --secret-file or --keys",
            );
        }
        Ok(())
    }
}
