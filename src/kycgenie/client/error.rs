//! What can become of a call.

use std::fmt;
use std::time::Duration;

use super::answer::{ApiError, ErrorCode};
use super::builder::ApiVersion;
use super::retry::GiveUp;

/// The most characters of any text from outside that are shown.
pub(super) const SHOWN: usize = 300;

/// Why a call failed, after all its attempts.
///
/// The text says what to do. Neither it nor `Debug` ever holds the API key or a secret; what the provider says is shown
/// in part.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    operation: &'static str,
    kind: ErrorKind,
    request_id: Option<String>,
    attempts: u32,
    gave_up: Option<GiveUp>,
    may_be_done: bool,
}

/// How a call failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The provider, or something in front of it, answered with an error.
    Api(ApiError),
    /// No connection came about: nothing was sent.
    Connect {
        /// What the system says.
        reason: String,
    },
    /// The connection ended before the answer did.
    ConnectionLost {
        /// What the system says.
        reason: String,
    },
    /// The answer says that there is more and more of the log, and shows the same again.
    EndlessLog,
    /// The version of the API that the client speaks does not have what was asked for. Nothing was sent.
    NotInVersion {
        /// The version that the client speaks.
        version: ApiVersion,
        /// What it does not have.
        missing: &'static str,
    },
    /// The answer is a redirect, or one was followed.
    Redirected {
        /// The status; `None` when a redirect was followed.
        status: Option<u16>,
    },
    /// There was no whole answer in time.
    TimedOut {
        /// How long this attempt was given.
        after: Duration,
    },
    /// The answer is larger than any answer of this API.
    TooLarge {
        /// The most bytes that are read.
        limit: usize,
    },
    /// The answer is a success that cannot be read.
    ///
    /// It tells where, not what: a secret may stand there.
    Undecodable {
        /// Its status.
        status: u16,
        /// The line of the first mistake, from 1.
        line: usize,
        /// The column of the first mistake, from 1.
        column: usize,
    },
}

impl Error {
    /// What was to be done, such as `rotate the secret`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// How the last attempt failed.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The provider's own error, where there is one.
    #[must_use]
    pub fn api(&self) -> Option<&ApiError> {
        match &self.0.kind {
            ErrorKind::Api(error) => Some(error),
            _ => None,
        }
    }

    /// The provider's code, which is stable ("Errors"): switch on this one.
    #[must_use]
    pub fn code(&self) -> Option<&ErrorCode> {
        self.api().map(|error| &error.code)
    }

    /// The HTTP status of the last answer, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match &self.0.kind {
            ErrorKind::Api(error) => Some(error.status),
            ErrorKind::Redirected { status } => *status,
            ErrorKind::Undecodable { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The provider's name for the request: from the body, or from the header `X-Request-ID`.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// How often it was tried; 0 when nothing was sent.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// How long the provider asks to wait, where it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.api().and_then(|error| error.retry_after)
    }

    /// Whether the provider may have done what was asked for, in this attempt or in an earlier one of the call.
    ///
    /// `false` is certain: nothing was sent, or every attempt was refused by the provider itself with a 4xx answer in one
    /// of its two shapes (408 apart). Everything else, such as a time-out or a 5xx, may have happened after the fact.
    #[must_use]
    pub fn may_have_been_done(&self) -> bool {
        self.0.may_be_done
    }
}

/// Making one.
impl Error {
    /// A failure without any attempt.
    pub(super) fn unsent(operation: &'static str, kind: ErrorKind) -> Self {
        Self::new(operation, kind, None, 0, None, false)
    }

    pub(super) fn new(
        operation: &'static str,
        kind: ErrorKind,
        request_id: Option<String>,
        attempts: u32,
        gave_up: Option<GiveUp>,
        may_be_done: bool,
    ) -> Self {
        Self(Box::new(Inner { operation, kind, request_id, attempts, gave_up, may_be_done }))
    }
}

impl ErrorKind {
    /// Whether an attempt that failed so may nevertheless have been acted on.
    pub(super) fn may_be_done(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::NotInVersion { .. } => false,
            // An answer in the provider's own shape refuses; a gateway's page leaves open what stands behind it.
            Self::Api(error) => {
                !(matches!(error.status, 400..=499) && error.status != 408 && error.code != ErrorCode::Unstated)
            }
            // "Moved": what was asked for is elsewhere. 302 and 303 also follow what has been done.
            Self::Redirected { status } => !matches!(status, Some(301 | 307 | 308)),
            Self::ConnectionLost { .. }
            | Self::EndlessLog
            | Self::TimedOut { .. }
            | Self::TooLarge { .. }
            | Self::Undecodable { .. } => true,
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { operation, kind, request_id, attempts, gave_up, .. } = &*self.0;
        write!(f, "cannot {operation}: {kind}")?;
        if let Some(id) = request_id {
            write!(f, " (request {})", clip(id))?;
        }
        match gave_up {
            Some(GiveUp::Attempts) if *attempts > 1 => write!(f, "; it was tried {attempts} times"),
            Some(GiveUp::Deadline) => write!(f, "; it was tried {attempts} times until the deadline"),
            Some(GiveUp::RetryAfter(delay)) => {
                let secs = delay.as_secs();
                write!(f, "; not tried again: it asks to wait {secs} s, longer than the deadline leaves")
            }
            Some(GiveUp::Attempts | GiveUp::Final) | None => Ok(()),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => fmt::Display::fmt(error, f),
            Self::Connect { reason } => {
                write!(f, "no connection ({reason}): check the base URL, the network and the proxy; nothing was sent")
            }
            Self::ConnectionLost { reason } => {
                write!(f, "the connection ended before the answer did ({reason}): it may have been done all the same")
            }
            Self::EndlessLog => {
                f.write_str("the log repeats itself page after page: its cursors lead in a circle, so no more is read")
            }
            Self::NotInVersion { version, missing } => {
                write!(f, "{version} of the API does not have {missing}: choose another `version`")
            }
            Self::Redirected { status: Some(status) } => write!(
                f,
                "the answer is a redirect (HTTP {status}), which is not followed, since the API key would travel along: \
                 set `base_url` to where the API is"
            ),
            Self::Redirected { status: None } => f.write_str(
                "a redirect was followed, and the API key may have travelled along: build the `reqwest::Client` with \
                 `redirect(Policy::none())`, and set `base_url` to where the API is",
            ),
            Self::TimedOut { after } => {
                write!(f, "no whole answer within {after:?}: it may have been done all the same")
            }
            Self::TooLarge { limit } => {
                write!(f, "the answer is larger than {limit} bytes: check that the base URL is the API's")
            }
            Self::Undecodable { status, line, column } => write!(
                f,
                "the answer is a success (HTTP {status}) that cannot be read (line {line}, column {column}): it was done \
                 or is not the API's answer; check the base URL and the version"
            ),
        }
    }
}

/// The reasons of a failure, one behind the other, without any address.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    clip(&text)
}

/// The beginning of a text from outside, on one line.
pub(super) fn clip(text: &str) -> String {
    let mut clipped: String = text.chars().take(SHOWN).flat_map(show).collect();
    if text.chars().nth(SHOWN).is_some() {
        clipped.push('…');
    }
    clipped
}

fn show(character: char) -> impl Iterator<Item = char> {
    let escaped = character.is_control().then(|| character.escape_default());
    let plain = (!character.is_control()).then_some(character);
    escaped.into_iter().flatten().chain(plain)
}
