//! One request on the wire.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, Url, retry};

use super::raw;
use crate::http_date::retry_after;
use crate::time::Timestamp;

/// A request that is ready to be sent, more than once if need be.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) url: Url,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) pace: Pace,
}

/// How the body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    AtOnce,
    /// A few bytes at a time, all of it in this time.
    Slow(Duration),
    /// This many bytes, and then no more.
    Truncated(usize),
}

/// What a receiver answered, as far as anybody cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoReply {
    /// It was sent, or some of it, and the connection ended.
    Closed,
    /// There is no connection.
    Unreachable,
    TimedOut(Duration),
}

impl NoReply {
    /// As it stands in the log. The texts are invented: the provider publishes one of its own, for a status.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Closed => "Connection closed before an answer".to_owned(),
            Self::Unreachable => "Connection failed".to_owned(),
            Self::TimedOut(limit) => format!("No answer within {limit:?}"),
        }
    }
}

pub(super) struct Sender {
    client: Client,
    timeout: Duration,
}

/// Kept connections are dropped before servers drop theirs: actix-web's limit is 5 seconds.
const IDLE: Duration = Duration::from_secs(3);

/// How much of an answer's body is read, so that its connection can be used again.
const MAX_ANSWER: usize = 64 * 1024;

impl Sender {
    pub(super) fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        // Never looked up: a name server that says otherwise must not turn deliveries away from this machine.
        let loopback = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
        let client = Client::builder()
            .redirect(Policy::none())
            .retry(retry::never())
            .no_proxy()
            .http1_only()
            .pool_idle_timeout(IDLE)
            .resolve_to_addrs("localhost", &loopback)
            .build()?;
        Ok(Self { client, timeout })
    }

    /// Sends `request` and waits for the answer, at most for the time limit in all.
    pub(super) async fn send(&self, request: &Request, now: Timestamp) -> Result<Reply, NoReply> {
        match request.pace {
            Pace::Truncated(sent) if request.url.scheme() == "http" => {
                let exchange = raw::exchange(request, sent);
                match tokio::time::timeout(self.timeout, exchange).await {
                    Ok(Ok(status)) => Ok(Reply { status, retry_after: None }),
                    Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(NoReply::Unreachable),
                    Ok(Err(_)) => Err(NoReply::Closed),
                    Err(_) => Err(NoReply::TimedOut(self.timeout)),
                }
            }
            _ => self.post(request, now).await,
        }
    }

    async fn post(&self, request: &Request, now: Timestamp) -> Result<Reply, NoReply> {
        let mut post = self.client.post(request.url.clone()).timeout(self.timeout);
        for (name, value) in &request.headers {
            post = post.header(name, value);
        }
        post = match request.pace {
            Pace::AtOnce => post.body(request.body.clone()),
            Pace::Slow(all) => post.header(CONTENT_LENGTH, request.body.len()).body(dripped(&request.body, all)),
            Pace::Truncated(sent) => post.header(CONTENT_LENGTH, request.body.len()).body(broken(&request.body, sent)),
        };
        let mut answer = post.send().await.map_err(|error| self.no_reply(&error))?;
        let status = answer.status().as_u16();
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|asked| retry_after(asked, now));
        // What it says does not matter, and neither does whether it comes to its end.
        let mut read = 0;
        while read < MAX_ANSWER
            && let Ok(Some(chunk)) = answer.chunk().await
        {
            read += chunk.len();
        }
        Ok(Reply { status, retry_after })
    }

    fn no_reply(&self, error: &reqwest::Error) -> NoReply {
        if error.is_timeout() {
            NoReply::TimedOut(self.timeout)
        } else if error.is_connect() || error.is_builder() {
            NoReply::Unreachable
        } else {
            NoReply::Closed
        }
    }
}

/// In how many pieces a slow body comes, at most.
const DRIPS: usize = 20;

fn dripped(body: &Bytes, all: Duration) -> Body {
    let size = body.len().div_ceil(DRIPS).max(1);
    let pause = all / u32::try_from(body.len().div_ceil(size)).unwrap_or(u32::MAX).max(1);
    Body::wrap_stream(stream::unfold(body.clone(), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, io::Error>(piece), rest))
    }))
}

/// Ends with an error, upon which the connection is closed.
fn broken(body: &Bytes, sent: usize) -> Body {
    let pieces = [Ok(body.slice(..sent.min(body.len()))), Err(io::Error::from(io::ErrorKind::BrokenPipe))];
    Body::wrap_stream(stream::iter(pieces))
}
