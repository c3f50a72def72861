//! One attempt of one delivery: signed anew, spoilt as planned, sent.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;

use super::faults::{Fault, Plan};
use super::raw::host_and_port;
use super::record::Attempt;
use super::send::{NoReply, Pace, Reply, Request, Sender};
use super::sign::{Signing, Unsigned};
use super::target::Targets;
use crate::keyring::Secret;
use crate::sandbox::event_types::TEST;
use crate::sandbox::store::Claimed;
use crate::time::Timestamp;

/// What sending needs, whatever is sent.
pub(super) struct Delivering {
    pub(super) signing: Signing,
    pub(super) sender: Sender,
    pub(super) targets: Targets,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What the log is told.
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// Each request that was sent, or one that was not.
    pub(super) requests: Vec<Attempt>,
}

impl Outcome {
    /// Of an attempt that panicked: a mistake of ours, which must not hold up the delivery for ever.
    pub(super) fn broken() -> Self {
        Self { status: None, error: Some("The sandbox failed".to_owned()), retry_after: None, requests: Vec::new() }
    }
}

/// Makes the attempt that `claimed` is due for.
pub(super) async fn run(delivering: &Delivering, claimed: &Claimed, plan: &Plan, now: Timestamp) -> Outcome {
    let mut faults: Vec<Fault> = plan.faults.clone();
    let request = match prepare(delivering, claimed, plan, now, &mut faults) {
        Ok(request) => request,
        Err(why) => {
            let requests = vec![attempt(claimed, false, &[], None, Some(why.clone()))];
            return Outcome { status: None, error: Some(why), retry_after: None, requests };
        }
    };
    let sender = &delivering.sender;
    let replies = if plan.has(Fault::DuplicateAtOnce) {
        let (one, other) = join(sender.send(&request, now), sender.send(&request, now)).await;
        vec![one, other]
    } else if plan.has(Fault::Duplicate) {
        vec![sender.send(&request, now).await, sender.send(&request, now).await]
    } else {
        vec![sender.send(&request, now).await]
    };
    conclude(claimed, &replies, &faults)
}

/// Sends a `test` event once, signed with `secrets` or not at all.
pub(super) async fn run_test(
    delivering: &Delivering,
    id: &str,
    url: &str,
    body: &[u8],
    secrets: Vec<Secret>,
    now: Timestamp,
) -> Outcome {
    let claimed = Claimed::unlogged(id, TEST, url, body, secrets);
    run(delivering, &claimed, &Plan::default(), now).await
}

/// The answers to the copies of one request, as one outcome: a success is one, whichever copy had it.
fn conclude(claimed: &Claimed, replies: &[Result<Reply, NoReply>], faults: &[Fault]) -> Outcome {
    let dropped = faults.contains(&Fault::DropAnswer);
    let told = |reply: &Result<Reply, NoReply>| match reply {
        _ if dropped => Some(NoReply::Closed.message()),
        Ok(reply) => message_of(reply.status),
        Err(no_reply) => Some(no_reply.message()),
    };
    let requests = replies.iter().enumerate().map(|(at, reply)| {
        let status = reply.as_ref().ok().map(|reply| reply.status);
        attempt(claimed, at > 0, faults, status, told(reply))
    });
    let requests = requests.collect();
    let best = replies.iter().find(|reply| reply.as_ref().is_ok_and(|reply| is_success(reply.status)));
    let Some(best) = best.or(replies.first()) else {
        return Outcome { status: None, error: None, retry_after: None, requests };
    };
    let heard = best.as_ref().ok().filter(|_| !dropped);
    Outcome {
        status: heard.map(|reply| reply.status),
        error: told(best),
        retry_after: heard.and_then(|reply| reply.retry_after),
        requests,
    }
}

/// The request as it goes out. What cannot be done to it is taken out of `faults`.
fn prepare(
    delivering: &Delivering,
    claimed: &Claimed,
    plan: &Plan,
    now: Timestamp,
    faults: &mut Vec<Fault>,
) -> Result<Request, String> {
    let signing = &delivering.signing;
    let url = delivering.targets.admit(&claimed.url)?;
    let signed = !claimed.secrets.is_empty();
    let strange = signing.strange_secret(plan.chance(Fault::WrongKey)).filter(|_| plan.has(Fault::WrongKey));
    let secrets = match &strange {
        Some(strange) if signed => std::slice::from_ref(strange),
        _ => &claimed.secrets,
    };
    let at = match () {
        () if plan.has(Fault::StaleTimestamp) => now.saturating_sub(plan.times.skew),
        () if plan.has(Fault::FutureTimestamp) => now.saturating_add(plan.times.skew),
        () => now,
    };
    let host = host_and_port(&url);
    let unsigned = Unsigned { id: &claimed.id, event_type: &claimed.event_type, host: &host, body: &claimed.body, at };
    let mut headers = signing.headers(&unsigned, secrets)?;
    faults.retain(|fault| match fault {
        Fault::StaleTimestamp | Fault::FutureTimestamp => signed && signing.has_time(),
        Fault::DoubledHeader | Fault::StrippedHeader | Fault::WrongKey => signed,
        _ => true,
    });
    // Of two that exclude each other, the first is done.
    for (done, other) in EXCLUSIVE {
        if faults.contains(&done) {
            faults.retain(|fault| *fault != other);
        }
    }
    if faults.contains(&Fault::DoubledHeader) {
        let names: Vec<&str> = signing.names().collect();
        if let Some(name) = plan.chance(Fault::DoubledHeader).choice(names)
            && let Some(line) = headers.iter().find(|(key, _)| key == name).cloned()
        {
            headers.push(line);
        }
    }
    if faults.contains(&Fault::StrippedHeader)
        && let Some(name) = plan.chance(Fault::StrippedHeader).choice(signing.needed())
    {
        headers.retain(|(key, _)| key != name);
    }
    let mut body = claimed.body.clone();
    if faults.contains(&Fault::AlteredBody) {
        alter(&mut body, plan.chance(Fault::AlteredBody));
    }
    let pace = if faults.contains(&Fault::TruncatedBody) {
        Pace::Truncated(plan.chance(Fault::TruncatedBody).usize(..body.len().max(1)))
    } else if faults.contains(&Fault::SlowBody) {
        Pace::Slow(plan.times.slow)
    } else {
        Pace::AtOnce
    };
    Ok(Request { url, headers, body: Bytes::from(body), pace })
}

const EXCLUSIVE: [(Fault, Fault); 4] = [
    (Fault::Delay, Fault::Reorder),
    (Fault::DuplicateAtOnce, Fault::Duplicate),
    (Fault::StaleTimestamp, Fault::FutureTimestamp),
    (Fault::TruncatedBody, Fault::SlowBody),
];

/// Makes one letter or digit another one.
fn alter(body: &mut Vec<u8>, mut chance: fastrand::Rng) {
    let places: Vec<usize> = (0..body.len()).filter(|at| body[*at].is_ascii_alphanumeric()).collect();
    match chance.choice(places) {
        Some(at) => body[at] = if body[at] == b'0' { b'1' } else { b'0' },
        None => body.push(b' '),
    }
}

fn attempt(
    claimed: &Claimed,
    duplicate: bool,
    faults: &[Fault],
    status: Option<u16>,
    error: Option<String>,
) -> Attempt {
    Attempt {
        number: 0,
        delivery_id: claimed.id.clone(),
        event_type: claimed.event_type.clone(),
        webhook_url: claimed.url.clone(),
        attempt: claimed.attempt,
        duplicate,
        faults: faults.to_vec(),
        status,
        error,
    }
}

pub(super) fn is_success(status: u16) -> bool {
    matches!(status, 200..=299)
}

/// What the log says of a status. "Server error" for 500 is published; the others are invented after it.
fn message_of(status: u16) -> Option<String> {
    let what = match status {
        200..=299 => return None,
        300..=399 => "Redirects are not followed",
        400..=499 => "Client error",
        500..=599 => "Server error",
        _ => "Unexpected status",
    };
    Some(what.to_owned())
}
