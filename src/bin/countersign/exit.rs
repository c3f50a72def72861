//! How a command ends: what went wrong, what to do about it, and the exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use countersign::inbox::rusqlite::ErrorCode;
use countersign::inbox::{InboxError, PostgresInboxError, SqliteInboxError};
use countersign::kycgenie::client::{self, ErrorKind, RotateError};
use countersign::sandbox::SandboxError;
use countersign::{BuildError, KeyringError, SchemeError, SecretError, SignError};

use crate::http;

/// The exit codes, as the manual lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done; or the answer is yes.
    Done = 0,
    /// The answer is no: a signature is wrong, nothing was identified, a delivery was refused, there are dead letters.
    No = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// A secret, a key file, a scheme or another file is missing or of no use.
    Unusable = 3,
    /// The other side cannot be reached, took too long, or cannot work now.
    Unreachable = 4,
    /// The API refused the request.
    Refused = 5,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The codes in words, for the help and the manual.
pub(crate) const TABLE: &str = "\
Exit codes:
  0    done; or the answer is yes
  1    the answer is no: wrong signature, nothing identified, delivery refused (3xx, 4xx), no such
       entry in the inbox, dead letters in it
  2    the command line cannot be understood
  3    a secret, key file, scheme, inbox or other file is missing or of no use
  4    the other side cannot be reached, took too long, or cannot work now (5xx)
  5    the API refused the request
  130  interrupted";

/// For a file that this user may not write.
const AS_RECEIVER: &str = "run this as the receiver's user: whoever only reads an inbox writes to its log's index, too";

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The API refused, or could not be reached.
    #[error("{0}")]
    Api(#[from] client::Error),
    #[error("the API key: {0}")]
    ApiKey(#[from] client::ApiKeyError),
    /// Whoever read our output has read enough.
    #[error("nobody reads the output any more")]
    BrokenPipe,
    /// A receiver cannot be built of these settings.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// A file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: io::Error },
    #[error("{0}")]
    Http(#[from] http::Error),
    /// The inbox cannot be asked now.
    #[error("{0}")]
    Inbox(#[from] InboxError),
    /// There is no such inbox, or it is of no use.
    #[error("{0}")]
    InboxFile(#[from] SqliteInboxError),
    #[error("{0}")]
    InboxServer(#[from] PostgresInboxError),
    /// The tables of the inbox cannot be looked up: mostly because a right is missing.
    #[error("{reason}")]
    InboxTables { reason: PostgresInboxError, grants: String },
    /// By a signal, before it was done.
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Keyring(#[from] KeyringError),
    /// The answer is no, and has been printed unless there is a text.
    #[error("{}", .0.as_deref().unwrap_or("no"))]
    No(Option<String>),
    /// The operating system does not play along.
    #[error("{what}: {reason}")]
    System { what: String, reason: io::Error },
    #[error("{0}")]
    Rotate(#[from] RotateError),
    /// The sandbox's own API refused.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Sandbox(#[from] SandboxError),
    #[error("the scheme in {}: {reason}", path.display())]
    Scheme { path: PathBuf, reason: SchemeError },
    #[error("{which}: {reason}")]
    Secret { which: String, reason: SecretError },
    #[error("{0}")]
    Sign(#[from] SignError),
    #[error("{0}")]
    Settings(#[from] client::SettingsError),
    /// The other side cannot work now, or took too long.
    #[error("{0}")]
    Unready(String),
    /// Something that was given is of no use.
    #[error("{what}")]
    Unusable {
        what: String,
        /// What to do.
        help: String,
    },
    /// The command line is understood by its grammar and still makes no sense.
    #[error("{what}")]
    Usage { what: String, help: String },
}

impl Failure {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::File { path: path.into(), reason }
    }

    pub(crate) fn system(what: &str) -> impl FnOnce(io::Error) -> Self {
        move |reason| Self::System { what: what.to_owned(), reason }
    }

    pub(crate) fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), help: help.into() }
    }

    pub(crate) fn unusable(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Unusable { what: what.into(), help: help.into() }
    }

    /// What to do about it, where the message itself does not say.
    pub(crate) fn help(&self) -> Option<&str> {
        match self {
            Self::Unusable { help, .. } | Self::Usage { help, .. } => {
                Some(help).filter(|help| !help.is_empty()).map(String::as_str)
            }
            Self::Sign(SignError::Missing(_)) => Some("give it with --id, --event-type or --header"),
            Self::Sign(SignError::NoActiveKey) => Some("see `not_before` and `not_after` in the key file"),
            Self::Inbox(InboxError::Full) => Some("more comes in than it can write: try again when less does"),
            Self::Inbox(InboxError::TooSlow(_)) => {
                Some("it is busy or hangs: try again, and look after its disk or server")
            }
            Self::Inbox(InboxError::Unavailable(_)) => Some("it may be busy: try again"),
            Self::InboxFile(SqliteInboxError::Missing { .. } | SqliteInboxError::NotAnInbox { .. }) => {
                Some("a path that does not begin with `/` counts from the folder that this runs in")
            }
            Self::InboxFile(SqliteInboxError::ReadOnly { .. }) => Some(AS_RECEIVER),
            Self::InboxFile(SqliteInboxError::Sqlite { source, .. })
                if source.sqlite_error_code() == Some(ErrorCode::CannotOpen) =>
            {
                Some(AS_RECEIVER)
            }
            Self::InboxTables { grants, .. } => Some(grants),
            Self::InboxServer(PostgresInboxError::Missing { .. }) => Some("the schema is that of --schema"),
            Self::InboxServer(PostgresInboxError::Unreachable(_)) => {
                Some("see whether `psql` gets in with the same URL")
            }
            Self::Rotate(RotateError::NotInstalled { .. }) => Some("mend this, and run the same command again"),
            Self::Rotate(RotateError::MayHaveRotated { .. }) => Some("run the same command again"),
            _ => None,
        }
    }
}

/// The exit code for a failure; nothing else chooses one.
pub(crate) fn code(failure: &Failure) -> Exit {
    match failure {
        Failure::Api(error)
        | Failure::Rotate(RotateError::Refused { error } | RotateError::MayHaveRotated { error, .. }) => {
            code_of_api(error.kind())
        }
        // A reader that has seen enough is no failure of ours.
        Failure::BrokenPipe => Exit::Done,
        Failure::Http(http::Error::Connect { .. } | http::Error::Timeout { .. })
        | Failure::Inbox(_)
        | Failure::InboxServer(PostgresInboxError::Unreachable(_))
        | Failure::Unready(_) => Exit::Unreachable,
        Failure::Http(http::Error::Header(_) | http::Error::Url(_)) => Exit::Usage,
        Failure::Interrupted => Exit::Interrupted,
        Failure::No(_) => Exit::No,
        Failure::Refused(_) => Exit::Refused,
        Failure::Sign(SignError::Missing(_) | SignError::InvalidTimestamp) | Failure::Usage { .. } => Exit::Usage,
        Failure::ApiKey(_)
        | Failure::Build(_)
        | Failure::File { .. }
        | Failure::InboxFile(_)
        | Failure::InboxServer(_)
        | Failure::InboxTables { .. }
        | Failure::Keyring(_)
        | Failure::Rotate(_)
        | Failure::Sandbox(_)
        | Failure::Scheme { .. }
        | Failure::Secret { .. }
        | Failure::Settings(_)
        | Failure::Sign(_)
        | Failure::System { .. }
        | Failure::Unusable { .. } => Exit::Unusable,
    }
}

fn code_of_api(kind: &ErrorKind) -> Exit {
    match kind {
        ErrorKind::Api(error) if matches!(error.status, 408 | 429 | 500..) => Exit::Unreachable,
        ErrorKind::Api(_) => Exit::Refused,
        ErrorKind::NotInVersion { .. } => Exit::Usage,
        // That is not the API.
        ErrorKind::Redirected { .. } | ErrorKind::TooLarge { .. } | ErrorKind::Undecodable { .. } => Exit::Unusable,
        _ => Exit::Unreachable,
    }
}
