//! What a handler says at its end.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::causes::Causes;

/// How the handling of an event ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It is done: the sender may forget it.
    Handled,
    /// It cannot succeed, however often it is sent: recorded, and answered as if done.
    Permanent(HandlerError),
    /// It failed this time: the sender is asked to send it again.
    Retry(HandlerError),
    /// No handler is there for this type of event. Answered as if done.
    Unhandled,
}

/// Why a handler failed, and whether another try may succeed.
///
/// Every error type converts into it with `?`, as a failure worth a retry; say otherwise with
/// [`HandlerError::permanent`] or [`ResultExt::permanent`]. The first line of its text, and of each of its causes, goes to
/// the log and to the inbox as the handler wrote it, so keep payloads out of it; it never goes to the sender.
pub struct HandlerError {
    error: Box<dyn Error + Send + Sync>,
    permanent: bool,
    retry_after: Option<Duration>,
}

impl HandlerError {
    /// A failure that another try may mend.
    #[must_use]
    pub fn retryable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), permanent: false, retry_after: None }
    }

    /// A failure that no other try can mend.
    #[must_use]
    pub fn permanent(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { error: error.into(), permanent: true, retry_after: None }
    }

    /// The same, asking the sender not to come back before `delay` (in whole seconds, at least one).
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// Whether no other try can mend it.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The error itself.
    #[must_use]
    pub fn source(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.error
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::retryable(error)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError").field("error", &self.error).field("permanent", &self.permanent).finish()
    }
}

/// The error and its causes in one line, joined with colons: of each the first line, and what the one before says
/// already only once. Further lines often quote what was sent, such as the `DETAIL` of a database.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Causes(&*self.error).fmt(f)
    }
}

/// Marks the error of a `Result` as permanent.
pub trait ResultExt<T> {
    /// The same result; its error says that no other try can mend it.
    ///
    /// # Errors
    ///
    /// As `self`.
    fn permanent(self) -> Result<T, HandlerError>;
}

impl<T, E: Into<HandlerError>> ResultExt<T> for Result<T, E> {
    fn permanent(self) -> Result<T, HandlerError> {
        self.map_err(|error| HandlerError { permanent: true, ..error.into() })
    }
}

/// What a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not `()`, `Result<(), E>` or `Outcome`",
    note = "a handler returns `()`, `Result<(), E>` where `E` is an error, or `Outcome`"
)]
pub trait IntoOutcome {
    /// The outcome that this stands for.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Handled
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl<E: Into<HandlerError>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Outcome {
        match self.map_err(Into::into) {
            Ok(()) => Outcome::Handled,
            Err(error) if error.permanent => Outcome::Permanent(error),
            Err(error) => Outcome::Retry(error),
        }
    }
}
