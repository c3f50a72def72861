//! What can be wrong with a keyring.

use std::io;
use std::path::PathBuf;

use super::secret::SecretError;
use super::set::MAX_KEYS;
use crate::ids::{InvalidId, KeyId};
use crate::time::Timestamp;

/// Why a keyring cannot be built, read or changed.
///
/// Every message names the setting and what would work. None ever holds a secret, nor a line of a file that does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// Two keys have one id, so that no log could tell them apart.
    #[error("two keys have the id `{id}`: give each key an id of its own")]
    DuplicateId {
        /// The id that stands twice.
        id: KeyId,
    },

    /// The secret decodes to no bytes at all: a prefix with nothing behind it.
    #[error("the secret of key `{id}` holds nothing: the scheme expects {expected}")]
    EmptySecret {
        /// The key.
        id: KeyId,
        /// How the scheme's secrets are written.
        expected: String,
    },

    /// A rotation to a key that has ended.
    #[error("the new key `{id}` ended at {not_after}: give it a later `not_after`, or none")]
    Ended {
        /// The new key.
        id: KeyId,
        /// Its end.
        not_after: Timestamp,
    },

    /// Something is wrong with the key file.
    #[error("key file {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: Box<KeyringError>,
    },

    /// Two schemes that decode secrets differently share a keyring.
    #[error(
        "the keyring serves a scheme whose secrets are {bound} and cannot serve one whose secrets are {asked}: make a \
         second keyring for that scheme"
    )]
    FormatConflict {
        /// How secrets are written in the scheme that came first.
        bound: String,
        /// How they are written in the scheme that came second.
        asked: String,
    },

    /// The key file is being changed by another process, or by another rotation of this one.
    #[error("is being changed by another rotation: wait until that has ended, then try again")]
    FileInUse,

    /// A rotation that would leave a time without any key.
    #[error(
        "the new key `{id}` begins at {not_before}, but the other keys would end at {end}: rotate with an overlap that \
         lasts until the new key begins"
    )]
    Gap {
        /// The new key.
        id: KeyId,
        /// When it begins.
        not_before: Timestamp,
        /// When the overlap is over.
        end: Timestamp,
    },

    /// A date of a key cannot be read.
    #[error("`{setting}` of key `{id}` is not a date with an offset: write it as 2026-11-22T20:30:00Z")]
    InvalidDate {
        /// The key.
        id: KeyId,
        /// `not_before` or `not_after`.
        setting: &'static str,
    },

    /// A key's name cannot be an id. The text is not repeated: a secret may have slipped into its place.
    #[error("the id of {which} does not do: {reason}")]
    InvalidId {
        /// Which key, by its place.
        which: String,
        /// The rule it breaks.
        reason: InvalidId,
    },

    /// The time until which a key file is being rotated cannot be read.
    #[error("`rotating_until` is not a date with an offset: write it as 2026-11-22T20:30:00Z, or take it out")]
    InvalidRotatingUntil,

    /// The key file is not TOML of the documented form. Tells the place only: the line may hold a secret.
    #[error(
        "line {line}, column {column}: expected TOML tables [[key]] with `id`, `secret` and, optionally, `not_before` \
         and `not_after`; before them `rotating_until`, if at all; the line is not shown since it may hold a secret"
    )]
    InvalidToml {
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },

    /// There are no keys.
    #[error("there is no key: give at least one")]
    NoKeys,

    /// The environment variable, or the file, is not UTF-8.
    #[error("{which} is not UTF-8: write the secret as the text that the provider shows")]
    NotUtf8 {
        /// What is not.
        which: String,
    },

    /// A rotation of the keyring has begun and not ended.
    #[error("the keyring is being rotated already: end that rotation before you begin another")]
    RotationUnderWay,

    /// The secret is one that cannot be.
    #[error("key `{id}`: {reason}")]
    Secret {
        /// The key.
        id: KeyId,
        /// What is wrong with its secret.
        reason: SecretError,
    },

    /// There are more keys than are ever tried on one request.
    #[error("{count} keys are too many: keep at most {MAX_KEYS}, and drop those that the sender no longer signs with")]
    TooManyKeys {
        /// How many there would be.
        count: usize,
    },

    /// The secret is not written as the scheme expects.
    #[error("the secret of key `{id}` does not decode: the scheme expects {expected}")]
    Undecodable {
        /// The key.
        id: KeyId,
        /// How the scheme's secrets are written.
        expected: String,
    },

    /// The key file cannot be read.
    #[error("cannot be read ({reason}): make it a regular file that this process may read")]
    Unreadable {
        /// What the operating system says.
        reason: io::Error,
    },

    /// The key file changed each time it was being read.
    #[error("changes while it is being read: write a new file beside it, then rename that into its place")]
    Unsettled,

    /// The key file cannot be written.
    #[error("cannot be written ({reason}): its directory must be one in which this process may make and rename files")]
    Unwritable {
        /// What the operating system says.
        reason: io::Error,
    },

    /// The environment variable is missing or empty.
    #[error("the environment variable `{variable}` is missing or empty: set it to the signing secret")]
    Variable {
        /// Its name.
        variable: String,
    },

    /// The thread that watches the file cannot be started.
    #[error("the thread that watches the key file cannot be started ({reason}): raise the limit of threads")]
    WatchThread {
        /// What the operating system says.
        reason: io::Error,
    },

    /// The keyring follows a file, so that all processes change keys together.
    #[error("the keyring follows {}: replace that file instead, and every process takes the change", path.display())]
    Watched {
        /// The file.
        path: PathBuf,
    },

    /// A key's window ends before it begins.
    #[error("key `{id}` never counts, from {not_before} until {not_after}: put `not_after` later than `not_before`")]
    Window {
        /// The key.
        id: KeyId,
        /// When it would begin.
        not_before: Timestamp,
        /// When it would end.
        not_after: Timestamp,
    },
}

impl KeyringError {
    /// The same, said of the file at `path`.
    pub(super) fn in_file(self, path: &std::path::Path) -> Self {
        Self::File { path: path.to_owned(), reason: Box::new(self) }
    }
}
