//! Why a request was not accepted.

use std::fmt;

use crate::scheme::HeadError;

/// A request that was not accepted. What a sender is told never depends on more than whether it
/// [is malformed](Rejection::is_malformed).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rejection(RejectionKind);

/// Why a request was not accepted; for logs and tests, never for the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The head cannot be that of a genuine delivery.
    Head(HeadError),
    /// No key of the keyring is active now: ours to mend, not the sender's.
    NoActiveKey,
    /// No listed signature is that of the content under an active key, and the sender's keys are being rotated: it may
    /// be one that is not here yet ([`Keyring::begin_rotation`](crate::Keyring::begin_rotation)).
    Rotating,
    /// The signature is right and its time too far ahead of ours.
    TooNew,
    /// The signature is right and its time too far behind ours.
    TooOld,
    /// No listed signature is that of the content under an active key.
    WrongSignature,
}

impl Rejection {
    /// Why.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.0
    }

    /// Whether the request is not even shaped as the scheme says, rather than unproved.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self.0 {
            RejectionKind::Head(error) => !matches!(
                error,
                HeadError::MissingHeader
                    | HeadError::MissingSignature
                    | HeadError::MissingTimestamp
                    | HeadError::NoSignature
            ),
            _ => false,
        }
    }

    /// Whether it is the receiver that is in the wrong: the sender should try again.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self.0, RejectionKind::NoActiveKey | RejectionKind::Rotating)
    }

    /// The reason as one word for logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self.0 {
            RejectionKind::Head(error) => match error {
                HeadError::HeaderTooLong => "header_too_long",
                HeadError::InvalidEventType => "invalid_event_type",
                HeadError::InvalidHeader => "invalid_header",
                HeadError::InvalidId => "invalid_id",
                HeadError::InvalidTimestamp => "invalid_timestamp",
                HeadError::MissingHeader => "missing_header",
                HeadError::MissingSignature => "missing_signature",
                HeadError::MissingTimestamp => "missing_timestamp",
                HeadError::NoSignature => "no_signature",
                HeadError::RepeatedHeader => "repeated_header",
                HeadError::RepeatedTimestamp => "repeated_timestamp",
                HeadError::TooManySignatures => "too_many_signatures",
            },
            RejectionKind::NoActiveKey => "no_active_key",
            RejectionKind::Rotating => "rotating",
            RejectionKind::TooNew => "too_new",
            RejectionKind::TooOld => "too_old",
            RejectionKind::WrongSignature => "wrong_signature",
        }
    }
}

impl From<RejectionKind> for Rejection {
    fn from(kind: RejectionKind) -> Self {
        Self(kind)
    }
}

impl From<HeadError> for Rejection {
    fn from(error: HeadError) -> Self {
        Self(RejectionKind::Head(error))
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rejection").field(&self.0).finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request was not accepted: {}", self.as_str())
    }
}

impl std::error::Error for Rejection {}
