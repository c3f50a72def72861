//! Why the sandbox cannot do as it was asked.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::scheme::Mistakes;

/// Why the sandbox cannot do as it was asked. Never holds a key, a secret or a body.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A file of [assumptions](crate::sandbox::Assumptions) that is not TOML, or has a setting that does not exist.
    #[error("the assumptions cannot be read: {0}")]
    AssumptionsSyntax(String),
    /// The address cannot be listened at.
    #[error("the sandbox cannot listen at {address}: {source}; take another port, or port 0 for any that is free")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A request that makes no sense, and what would.
    #[error("{0}")]
    Invalid(String),
    /// Deliveries are still pending or wait for a retry.
    #[error("deliveries are not settled after {waited:?}: {unfinished} are pending or wait for a retry")]
    NotSettled {
        /// How long was waited.
        waited: Duration,
        /// How many are left.
        unfinished: u64,
    },
    /// Settings that cannot work, all of them at once.
    #[error("the sandbox cannot work with these settings:{0}")]
    Settings(Mistakes),
    /// The state file cannot be used.
    #[error("the state file {} cannot be used: {problem}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: StateProblem,
    },
    /// The sandbox was stopped, or its threads have ended.
    #[error("the sandbox has stopped: start a new one")]
    Stopped,
    /// The state was opened and cannot be read or written now.
    #[error("the sandbox's state cannot be read or written: {0}")]
    Storage(String),
    /// The system gives no thread.
    #[error("the sandbox's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Why a state file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateProblem {
    /// Another sandbox, perhaps in another process, holds it.
    #[error("another sandbox is using it; stop that one, or use another file")]
    InUse,
    /// A newer version of this crate wrote it.
    #[error(
        "it has schema {found}, newer than {known}, which is the newest that this version knows; update, or use another file"
    )]
    Newer {
        /// The file's schema.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// Something else than a sandbox's state.
    #[error("it is not the state of a sandbox; use a new file")]
    NotASandbox,
    /// What SQLite says.
    #[error("{0}")]
    Sqlite(String),
}
