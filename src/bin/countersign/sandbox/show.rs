//! What the sandbox prints: how to reach it, and each attempt.

use std::path::Path;

use countersign::sandbox::{Attempt, Sandbox};
use serde::Serialize;

use super::SandboxArgs;
use super::subscribe::{Kept, Subscription};
use crate::api::SANDBOX_URL;
use crate::exit::Failure;
use crate::output::{self, BAD, FAINT, GOOD, Out, STRONG};

/// The first line with `--json`; each attempt is a further one.
#[derive(Serialize)]
struct Started<'a> {
    url: &'a str,
    test_key: &'a str,
    live_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription: Option<Subscribed<'a>>,
}

#[derive(Serialize)]
struct Subscribed<'a> {
    id: &'a str,
    event_type: &'a str,
    webhook_url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'a Path>,
}

pub(super) fn started(
    args: &SandboxArgs,
    sandbox: &Sandbox,
    subscription: Option<&Subscription>,
    out: &Out,
) -> Result<(), Failure> {
    let started = Started {
        url: sandbox.url(),
        test_key: sandbox.test_key(),
        live_key: sandbox.live_key(),
        subscription: subscription.map(|subscription| Subscribed {
            id: &subscription.id,
            event_type: &subscription.event_type,
            webhook_url: &subscription.url,
            secret: secret(subscription),
            keys: match &subscription.secret {
                Kept::File(path) => Some(path),
                Kept::Before | Kept::Here(_) => None,
            },
        }),
    };
    out.either(&started, |out| human(args, sandbox, subscription, out))
}

fn human(args: &SandboxArgs, sandbox: &Sandbox, subscription: Option<&Subscription>, out: &Out) -> Result<(), Failure> {
    let url = sandbox.url();
    out.line(format!("KYC Genie's sandbox is on {}; stop with Ctrl-C", out.styled(STRONG, url)))?;
    let state = args.state.as_ref().map_or_else(|| "in memory".to_owned(), |path| format!("in {}", path.display()));
    out.fields(&[
        ("test key", sandbox.test_key().to_owned()),
        ("live key", sandbox.live_key().to_owned()),
        ("state", state),
        ("scheme", args.scheme.scheme()?.name().to_string()),
    ])?;
    out.line(out.styled(FAINT, "The keys are the same in every sandbox and open nothing else."))?;
    if let Some(subscription) = subscription {
        subscribed(subscription, out)?;
    }
    next(args, url, subscription, out)
}

fn subscribed(subscription: &Subscription, out: &Out) -> Result<(), Failure> {
    let Subscription { event_type, url, .. } = subscription;
    let types = if event_type == "all" { "all events" } else { event_type };
    out.line("")?;
    out.line(format!("subscribed to {types}: {}", output::visible(url)))?;
    let secret = match &subscription.secret {
        Kept::Before => "as an earlier run has told it".to_owned(),
        Kept::File(path) => format!("in {}", path.display()),
        Kept::Here(secret) => String::from_utf8_lossy(secret.expose_secret()).into_owned(),
    };
    out.fields(&[("secret", secret)])
}

/// What to do next, in the other terminal.
fn next(args: &SandboxArgs, url: &str, subscription: Option<&Subscription>, out: &Out) -> Result<(), Failure> {
    let at = if url == SANDBOX_URL { String::new() } else { format!(" --url {url}") };
    let api = if url == SANDBOX_URL { "--sandbox".to_owned() } else { format!("--sandbox --base-url {url}") };
    let receiver = "http://127.0.0.1:8080/webhooks/kycgenie";
    let mut lines = Vec::new();
    match subscription {
        None => lines.push(format!("countersign webhooks create all {receiver} {api} --keys keys.toml")),
        Some(subscription) => {
            if let Some(secret) = secret(subscription) {
                lines.push(format!("export KYCGENIE_WEBHOOK_SECRET='{secret}'"));
            }
        }
    }
    match subscription.map(|subscription| &subscription.secret) {
        Some(Kept::Here(_) | Kept::Before) => lines.push("countersign listen    # or your own receiver".to_owned()),
        Some(Kept::File(path)) => lines.push(format!("countersign listen --keys {}", path.display())),
        None => lines.push("countersign listen --keys keys.toml".to_owned()),
    }
    lines.push(format!("countersign trigger screening.completed{at}"));
    out.line("")?;
    out.line("next, in other terminals:")?;
    lines.iter().try_for_each(|line| out.line(format!("  {line}")))?;
    if args.interactive {
        out.line("or type an event type here")?;
    }
    out.line("")
}

pub(super) fn attempt(attempt: &Attempt, out: &Out) -> Result<(), Failure> {
    out.either(attempt, |out| {
        let good = matches!(attempt.status, Some(200..=299)) && attempt.error.is_none();
        let status = attempt.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
        let mut line = format!(
            "{}  {}  {}  {}",
            out.styled(if good { GOOD } else { BAD }, status),
            out.styled(STRONG, &attempt.event_type),
            attempt.delivery_id,
            output::visible(&attempt.webhook_url)
        );
        let mut add = |text: String| line.push_str(&format!("  {text}"));
        if attempt.attempt > 1 {
            add(format!("attempt {}", attempt.attempt));
        }
        if attempt.duplicate {
            add("duplicate".to_owned());
        }
        for fault in &attempt.faults {
            let name = serde_json::to_value(fault).ok();
            add(format!("fault {}", name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default()));
        }
        if let Some(error) = &attempt.error {
            add(output::visible(error));
        }
        out.line(line)
    })
}

fn secret(subscription: &Subscription) -> Option<String> {
    match &subscription.secret {
        Kept::Here(secret) => Some(String::from_utf8_lossy(secret.expose_secret()).into_owned()),
        Kept::Before | Kept::File(_) => None,
    }
}
