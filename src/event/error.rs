//! What can be wrong with an event whose signature was right. No message repeats a byte of the body.

/// An envelope that cannot be read. The sender's mistake: it signed something that is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The event type is not 1 to 256 visible ASCII characters.
    #[error("the event type is not 1 to 256 visible ASCII characters")]
    InvalidType,
    /// The body has no event type where the envelope says.
    #[error("the body has no member `{tag}` with the event type")]
    MissingType {
        /// The member that was looked for.
        tag: &'static str,
    },
    /// The body is not a JSON object, or holds one of the envelope's members twice.
    #[error("the body is not a JSON object with one event (line {line}, column {column})")]
    NotJson {
        /// The line of the first mistake, from 1.
        line: usize,
        /// The column of the first mistake, from 1.
        column: usize,
    },
}

impl EnvelopeError {
    /// `error` is about `body` from `begin` on.
    pub(super) fn not_json(body: &[u8], begin: usize, error: &serde_json::Error) -> Self {
        let (line, column) = place(&body[..begin]);
        Self::NotJson {
            line: line + error.line().saturating_sub(1),
            column: error.column() + if error.line() == 1 { column } else { 0 },
        }
    }

    /// What ends at `end` of `body` is not what has to stand there.
    pub(super) fn not_json_at(body: &[u8], end: usize) -> Self {
        let (line, column) = place(&body[..end]);
        Self::NotJson { line, column }
    }
}

/// The line and the column of the last byte of `text`.
fn place(text: &[u8]) -> (usize, usize) {
    let line = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = text.iter().rev().take_while(|byte| **byte != b'\n').count();
    (line, column)
}

/// The payload of a known event type that does not decode into that type's payload.
///
/// It tells where, not what: serde's own messages may quote the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload does not decode (line {line}, column {column} of the payload)")]
pub struct PayloadError {
    line: usize,
    column: usize,
}

impl PayloadError {
    /// A payload that is refused for a reason of one's own, at no place in particular.
    #[must_use]
    pub fn new() -> Self {
        Self { line: 0, column: 0 }
    }

    /// The line of the first mistake, from 1; 0 when no place is known.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column of the first mistake, from 1; 0 when no place is known.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }
}

impl Default for PayloadError {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&serde_json::Error> for PayloadError {
    fn from(error: &serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}
