//! From what happened to what the sender is told: the one place where a status code is chosen.

use std::time::Duration;

use crate::dispatch::HandlerError;
use crate::event::{EnvelopeError, PayloadError};
use crate::verify::Rejection;

#[doc = include_str!("../docs/answers.md")]
#[derive(Debug)]
#[non_exhaustive]
pub enum Disposition {
    /// Kept in an inbox, durably, to be handled later.
    Accepted,
    /// The same signed id came with another body.
    Conflict,
    /// A duplicate of a delivery that is done, or kept in an inbox already.
    Duplicate,
    /// The body comes in a content encoding: what was signed cannot be known before it is decoded.
    Encoded,
    /// A handler failed, and another try may mend it.
    Failed(HandlerError),
    /// A handler is done with it, or the user's own route answered 2xx.
    Handled,
    /// A duplicate of a delivery that is being worked on.
    InFlight,
    /// Verified, but not an event.
    Malformed(EnvelopeError),
    /// A request method other than POST.
    MethodNotAllowed,
    /// Too many bytes are being read already, or the receiver is draining.
    Overloaded,
    /// A handler panicked.
    Panicked,
    /// A handler says that no try can mend it.
    Permanent(HandlerError),
    /// Not accepted by the verifier.
    Rejected(Rejection),
    /// The user's own route did not answer 2xx, so the sender's retry will run.
    Released,
    /// The dedupe store or the inbox cannot answer, or is full.
    StoreUnavailable,
    /// A handler took longer than its limit.
    TimedOut,
    /// The body is longer than the limit.
    TooLarge,
    /// The body came too slowly, or not at all.
    TooSlow,
    /// The body ended before it was whole, or could not be read.
    Truncated,
    /// The payload of a known event type does not fit the type that it is decoded into.
    Undecodable(PayloadError),
    /// Verified and decoded, and no handler wants it.
    Unhandled,
}

/// What is sent back: a status, a constant body and, where another try makes sense, when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    retry_after: Option<u64>,
    body: &'static str,
}

impl Answer {
    /// The HTTP status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of the `Retry-After` header, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// The body: plain text that depends on the status alone.
    #[must_use]
    pub fn body(&self) -> &'static str {
        self.body
    }

    /// Whether the sender may forget the delivery.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }
}

impl Disposition {
    /// The answer for this, where `pause` is how long the sender should wait before another try.
    ///
    /// This is the status table of the documentation, and nothing else chooses a status.
    #[must_use]
    pub fn answer(&self, pause: Duration) -> Answer {
        let pause = pause.as_secs().max(1);
        let (status, retry_after) = match self {
            Self::Accepted | Self::Handled | Self::Unhandled | Self::Duplicate | Self::Permanent(_) => (200, None),
            Self::Malformed(_) | Self::Truncated => (400, None),
            Self::Rejected(rejection) if rejection.is_malformed() => (400, None),
            Self::Rejected(rejection) if rejection.is_ours() => (503, Some(pause)),
            Self::Rejected(_) => (401, None),
            Self::MethodNotAllowed => (405, None),
            Self::TooSlow => (408, None),
            Self::Conflict => (409, None),
            Self::InFlight => (409, Some(pause)),
            Self::TooLarge => (413, None),
            Self::Encoded => (415, None),
            Self::Failed(error) => match error.delay() {
                Some(delay) => (503, Some(delay.as_secs().max(1))),
                None => (500, Some(pause)),
            },
            Self::Panicked | Self::Released | Self::Undecodable(_) => (500, Some(pause)),
            Self::Overloaded | Self::StoreUnavailable | Self::TimedOut => (503, Some(pause)),
        };
        Answer { status, retry_after, body: body(status) }
    }

    /// What happened as one word, for logs and metrics.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Conflict => "conflict",
            Self::Duplicate => "duplicate",
            Self::Encoded => "encoded",
            Self::Failed(_) => "failed",
            Self::Handled => "handled",
            Self::InFlight => "in_flight",
            Self::Malformed(_) => "malformed",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Overloaded => "overloaded",
            Self::Panicked => "panicked",
            Self::Permanent(_) => "permanent",
            Self::Rejected(_) => "rejected",
            Self::Released => "released",
            Self::StoreUnavailable => "store_unavailable",
            Self::TimedOut => "timed_out",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Truncated => "truncated",
            Self::Undecodable(_) => "undecodable",
            Self::Unhandled => "unhandled",
        }
    }

    /// The reason of a rejection as one word; empty for everything else.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.as_str(),
            _ => "",
        }
    }

    /// Why, as text for logs. Holds nothing of a secret, a signature or a body; a handler's own error stands as the
    /// handler wrote it.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Failed(error) | Self::Permanent(error) => Some(error.to_string()),
            Self::Malformed(error) => Some(error.to_string()),
            Self::Rejected(rejection) => Some(rejection.as_str().to_owned()),
            Self::Undecodable(error) => Some(error.to_string()),
            _ => None,
        }
    }
}

fn body(status: u16) -> &'static str {
    match status {
        200 => "",
        400 => "malformed request\n",
        401 => "signature not accepted\n",
        405 => "use POST\n",
        408 => "request body too slow\n",
        409 => "delivery in conflict with an earlier one\n",
        413 => "request body too large\n",
        415 => "content encoding not supported\n",
        503 => "try again later\n",
        _ => "not handled\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheme::HeadError;
    use crate::verify::RejectionKind;

    #[test]
    fn the_status_table() {
        let rejected = |kind: RejectionKind| Disposition::Rejected(kind.into());
        let head = |error| rejected(RejectionKind::Head(error));
        let late = HandlerError::retryable("busy").retry_after(Duration::from_secs(90));
        let table = [
            (Disposition::Accepted, 200, None),
            (Disposition::Handled, 200, None),
            (Disposition::Unhandled, 200, None),
            (Disposition::Duplicate, 200, None),
            (Disposition::Permanent(HandlerError::permanent("gone")), 200, None),
            (Disposition::InFlight, 409, Some(5)),
            (Disposition::Conflict, 409, None),
            (Disposition::Failed("x".into()), 500, Some(5)),
            (Disposition::Failed(late), 503, Some(90)),
            (Disposition::Panicked, 500, Some(5)),
            (Disposition::Released, 500, Some(5)),
            (Disposition::TimedOut, 503, Some(5)),
            (Disposition::Undecodable(PayloadError::new()), 500, Some(5)),
            (rejected(RejectionKind::WrongSignature), 401, None),
            (rejected(RejectionKind::TooOld), 401, None),
            (rejected(RejectionKind::TooNew), 401, None),
            (rejected(RejectionKind::NoActiveKey), 503, Some(5)),
            (rejected(RejectionKind::Rotating), 503, Some(5)),
            (head(HeadError::MissingHeader), 401, None),
            (head(HeadError::MissingSignature), 401, None),
            (head(HeadError::MissingTimestamp), 401, None),
            (head(HeadError::NoSignature), 401, None),
            (head(HeadError::HeaderTooLong), 400, None),
            (head(HeadError::InvalidEventType), 400, None),
            (head(HeadError::InvalidHeader), 400, None),
            (head(HeadError::InvalidId), 400, None),
            (head(HeadError::InvalidTimestamp), 400, None),
            (head(HeadError::RepeatedHeader), 400, None),
            (head(HeadError::RepeatedTimestamp), 400, None),
            (head(HeadError::TooManySignatures), 400, None),
            (Disposition::Malformed(EnvelopeError::InvalidType), 400, None),
            (Disposition::Truncated, 400, None),
            (Disposition::MethodNotAllowed, 405, None),
            (Disposition::TooSlow, 408, None),
            (Disposition::TooLarge, 413, None),
            (Disposition::Encoded, 415, None),
            (Disposition::Overloaded, 503, Some(5)),
            (Disposition::StoreUnavailable, 503, Some(5)),
        ];
        for (disposition, status, retry_after) in table {
            let answer = disposition.answer(Duration::from_secs(5));
            assert_eq!((answer.status(), answer.retry_after()), (status, retry_after), "{disposition:?}");
            assert_eq!(answer.body(), body(status), "{disposition:?}");
        }
    }

    #[test]
    fn a_sender_is_never_asked_to_come_back_at_once() {
        assert_eq!(Disposition::InFlight.answer(Duration::ZERO).retry_after(), Some(1));
        let hasty = HandlerError::retryable("x").retry_after(Duration::ZERO);
        assert_eq!(Disposition::Failed(hasty).answer(Duration::ZERO).retry_after(), Some(1));
    }
}
