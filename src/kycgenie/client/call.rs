//! One call: its attempts, its deadline, and what was answered.

use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use reqwest::{Method, Request, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::Client;
use super::answer::ApiError;
use super::error::{Error, ErrorKind, chain};
use super::retry::{Failure, GiveUp, decide};
use crate::http_date::{http_date, retry_after};
use crate::time::{Clock, SystemClock};

/// The largest answer that is read: a page of 100 rows has some 50 KiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// How much of an error's body is read: the status tells most.
const MAX_ERROR: usize = 64 * 1024;

/// What to ask for.
pub(super) struct Call {
    operation: &'static str,
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
    /// Whether an answer that is no success is nevertheless the outcome that was asked for.
    is_outcome: fn(&Answer) -> bool,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

impl Call {
    pub(super) fn new(operation: &'static str, method: Method, url: Url) -> Self {
        Self { operation, method, url, body: None, is_outcome: |_| false }
    }

    pub(super) fn operation(&self) -> &'static str {
        self.operation
    }

    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        // Cannot fail: all bodies are structs of texts, flags and JSON.
        self.body = serde_json::to_vec(body).ok();
        self
    }

    pub(super) fn or_outcome(mut self, is_outcome: fn(&Answer) -> bool) -> Self {
        self.is_outcome = is_outcome;
        self
    }
}

impl Client {
    /// Makes the call and reads its answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let operation = call.operation;
        let (answer, attempts) = self.send(call).await?;
        answer.decode(operation, attempts)
    }

    /// Makes the call: the answer is a success, or what the call takes for its outcome. Also how often it was tried.
    pub(super) async fn send(&self, call: Call) -> Result<(Answer, u32), Error> {
        let inner = &*self.0;
        let began = Instant::now();
        let idempotency_key = (call.method != Method::GET).then(|| uuid::Uuid::new_v4().to_string());
        let mut may_be_done = false;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let limit = inner.timeout.min(inner.deadline.saturating_sub(began.elapsed()));
            let tried = self.attempt(&call, idempotency_key.as_deref(), limit).await;
            let (kind, request_id) = match tried {
                Ok(answer) => {
                    let Answer { status, request_id, .. } = &answer;
                    tracing::debug!(operation = call.operation, attempt, status, request_id, "provider answered");
                    match self.failure(&call, &answer) {
                        None => return Ok((answer, attempt)),
                        Some(failed) => failed,
                    }
                }
                Err(kind) => (kind, None),
            };
            may_be_done |= kind.may_be_done();
            let verdict =
                decide(&inner.retry, inner.deadline, kind.failure(), attempt, began.elapsed(), fastrand::f64());
            match verdict {
                Ok(delay) => {
                    tracing::debug!(operation = call.operation, attempt, ?delay, reason = %kind, "trying again");
                    tokio::time::sleep(delay).await;
                    if began.elapsed() >= inner.deadline {
                        // A busy machine slept too long: an attempt without any time would only hide this failure.
                        let gave_up = Some(GiveUp::Deadline);
                        return Err(Error::new(call.operation, kind, request_id, attempt, gave_up, may_be_done));
                    }
                }
                Err(gave_up) => {
                    let gave_up = (gave_up != GiveUp::Final).then_some(gave_up);
                    return Err(Error::new(call.operation, kind, request_id, attempt, gave_up, may_be_done));
                }
            }
        }
    }

    /// How the answer is a failure, and the provider's name for the request; `None` when it is none.
    fn failure(&self, call: &Call, answer: &Answer) -> Option<(ErrorKind, Option<String>)> {
        let request_id = answer.request_id.clone();
        match answer.status {
            200..=299 => None,
            300..=399 => Some((ErrorKind::Redirected { status: Some(answer.status) }, request_id)),
            _ if (call.is_outcome)(answer) => None,
            status => {
                let error = ApiError::read(status, &answer.body, request_id, answer.retry_after, &self.0.key);
                let request_id = error.request_id.clone();
                Some((ErrorKind::Api(error), request_id))
            }
        }
    }

    async fn attempt(&self, call: &Call, idempotency_key: Option<&str>, limit: Duration) -> Result<Answer, ErrorKind> {
        let until = Instant::now() + limit;
        let request = self.request(call, idempotency_key);
        let response = match timeout_at(until, self.0.http.execute(request)).await {
            Err(_) => return Err(ErrorKind::TimedOut { after: limit }),
            Ok(Err(error)) => return Err(self.transport(error, limit)),
            Ok(Ok(response)) => response,
        };
        if response.url() != &call.url {
            return Err(ErrorKind::Redirected { status: None });
        }
        let answer = self.head(&response);
        if response.status().is_success() {
            self.read_whole(answer, response, until, limit).await
        } else {
            Ok(read_beginning(answer, response, until).await)
        }
    }

    fn request(&self, call: &Call, idempotency_key: Option<&str>) -> Request {
        let mut request = Request::new(call.method.clone(), call.url.clone());
        let headers = request.headers_mut();
        if let Some(key) = self.0.key.header() {
            headers.insert(AUTHORIZATION, key);
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION"))));
        if let Some(key) = idempotency_key.and_then(|key| HeaderValue::from_str(key).ok()) {
            headers.insert("idempotency-key", key);
        }
        if let Some(body) = &call.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.clone().into());
        } else if call.method == Method::POST {
            // "SHOULD send Content-Length" where the method expects content (RFC 9110, 8.6); some gateways insist.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        request
    }

    /// Everything but the body.
    fn head(&self, response: &Response) -> Answer {
        let headers = response.headers();
        let mut request_id = header(headers, "x-request-id").map(ToOwned::to_owned);
        if let Some(id) = &mut request_id {
            self.0.key.scrub(id);
        }
        let now = header(headers, DATE.as_str()).and_then(http_date).unwrap_or_else(|| SystemClock.now());
        let retry_after = header(headers, RETRY_AFTER.as_str()).and_then(|value| retry_after(value, now));
        Answer { status: response.status().as_u16(), body: Zeroizing::default(), request_id, retry_after }
    }

    /// The body of a success: all of it or nothing.
    async fn read_whole(
        &self,
        mut answer: Answer,
        mut response: Response,
        until: Instant,
        limit: Duration,
    ) -> Result<Answer, ErrorKind> {
        let told = response.content_length().unwrap_or(0);
        if told > MAX_ANSWER as u64 {
            return Err(ErrorKind::TooLarge { limit: MAX_ANSWER });
        }
        loop {
            match timeout_at(until, response.chunk()).await {
                Err(_) => return Err(ErrorKind::TimedOut { after: limit }),
                Ok(Err(error)) => return Err(self.transport(error, limit)),
                Ok(Ok(None)) => return Ok(answer),
                Ok(Ok(Some(chunk))) if answer.body.len() + chunk.len() > MAX_ANSWER => {
                    return Err(ErrorKind::TooLarge { limit: MAX_ANSWER });
                }
                Ok(Ok(Some(chunk))) => answer.body.extend_from_slice(&chunk),
            }
        }
    }

    fn transport(&self, error: reqwest::Error, limit: Duration) -> ErrorKind {
        if error.is_redirect() {
            return ErrorKind::Redirected { status: None };
        }
        let connect = error.is_connect();
        let timed_out = error.is_timeout();
        let host = error.url().and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
        let mut reason = chain(&error.without_url());
        if let Some((host, port)) = host.filter(|_| connect) {
            reason = format!("{host}:{port}: {reason}");
        }
        self.0.key.scrub(&mut reason);
        match (connect, timed_out) {
            (true, _) => ErrorKind::Connect { reason },
            (false, true) => ErrorKind::TimedOut { after: limit },
            (false, false) => ErrorKind::ConnectionLost { reason },
        }
    }
}

/// The beginning of an error's body. That it is cut short, or too slow, changes nothing: the status is known.
async fn read_beginning(mut answer: Answer, mut response: Response, until: Instant) -> Answer {
    while let Ok(Ok(Some(chunk))) = timeout_at(until, response.chunk()).await {
        let room = MAX_ERROR - answer.body.len();
        answer.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if answer.body.len() == MAX_ERROR {
            break;
        }
    }
    answer
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

impl Answer {
    /// The body as a `T`.
    pub(super) fn decode<T: DeserializeOwned>(self, operation: &'static str, attempts: u32) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // The place only: serde's own words quote what stands there.
            let kind = ErrorKind::Undecodable { status: self.status, line: error.line(), column: error.column() };
            Error::new(operation, kind, self.request_id, attempts, None, true)
        })
    }

    /// A success that is JSON, and still not what was asked for.
    pub(super) fn misshapen(operation: &'static str, status: u16, attempts: u32) -> Error {
        let kind = ErrorKind::Undecodable { status, line: 1, column: 1 };
        Error::new(operation, kind, None, attempts, None, true)
    }
}

impl ErrorKind {
    fn failure(&self) -> Failure {
        match self {
            Self::Api(error) => Failure::Answer { status: error.status, retry_after: error.retry_after },
            Self::Connect { .. } | Self::ConnectionLost { .. } => Failure::Connection,
            Self::TimedOut { .. } => Failure::TimedOut,
            Self::EndlessLog
            | Self::NotInVersion { .. }
            | Self::Redirected { .. }
            | Self::TooLarge { .. }
            | Self::Undecodable { .. } => Failure::Unusable,
        }
    }
}
