//! Deliveries: from an event to signed requests, their attempts and their retries.

mod example;
mod faults;
mod record;
mod target;
mod trigger;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub use faults::{Fault, Faults, Strike};
pub use record::Attempt;
pub(super) use target::{Targets, UrlError, check_url};
pub use trigger::{Trigger, Triggered};

use crate::sandbox::store::{Store, StoreError};
use crate::sandbox::{Assumptions, SandboxError};
use crate::scheme::Scheme;

/// What the engine is told once.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) scheme: Scheme,
    pub(super) assumptions: Assumptions,
    /// By how much waits are shorter than in life; more than 0.
    pub(super) speed: f64,
    /// What the jitter of retries is made of.
    pub(super) seed: u64,
    pub(super) targets: Targets,
}

/// How many deliveries there are of each kind: unfinished ones now, finished ones since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Not yet tried.
    pub pending: u64,
    /// Tried, and waiting for the next attempt.
    pub retrying: u64,
    /// Being sent at this moment.
    pub in_flight: u64,
    /// Delivered since the start.
    pub delivered: u64,
    /// Given up since the start.
    pub failed: u64,
}

/// What an inline test delivery came to. It was delivered when the status is 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestOutcome {
    /// What the receiver answered; `None` when it could not be reached or did not answer in time.
    pub(super) http_status_code: Option<u16>,
    /// Why it failed, as in the log; `None` when it did not.
    pub(super) error: Option<String>,
}

/// Why a delivery cannot be retried by hand.
#[derive(Debug, thiserror::Error)]
pub(super) enum RetryError {
    /// The tenant has no such log row.
    #[error("there is no such log row")]
    NotFound,
    /// The row has not failed for good, or its delivery is on its way again.
    #[error("the delivery's status is {status}")]
    NotFailed {
        /// `pending`, `delivered`, `retrying` or `failed`, as in the log.
        status: &'static str,
    },
    /// The state cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What delivers. Cheap to clone; ends with its last handle.
#[derive(Clone)]
pub(super) struct Engine {
    _shared: Arc<()>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

#[allow(unused_variables, clippy::todo, clippy::panic, clippy::unused_async, clippy::needless_pass_by_value)]
impl Engine {
    /// Starts on threads of its own, and takes up what the state holds unfinished.
    ///
    /// # Errors
    ///
    /// When the scheme needs what the sandbox cannot supply, or there are no threads.
    pub(super) fn start(store: Arc<Store>, settings: Settings) -> Result<Self, SandboxError> {
        todo!()
    }

    /// A new signing secret, written as the scheme says secrets are: `whsec_` and 52 characters of A–Z2–7 where that fits.
    pub(super) fn new_secret(&self) -> String {
        todo!()
    }

    /// Makes the deliveries of one event or many, for the tenant with this row id. Returns when the last event has been
    /// triggered, not when it is delivered. Dropping the future stops a trigger that has not come to its end.
    pub(super) async fn trigger(&self, tenant: i64, trigger: &Trigger) -> Result<Triggered, SandboxError> {
        todo!()
    }

    /// Sends a failed delivery again: the same id and body, signed anew. Returns the id of the log row that it gets.
    pub(super) async fn retry(&self, tenant: i64, log: Uuid) -> Result<Uuid, RetryError> {
        todo!()
    }

    /// Sends a `test` event to `url` at once, and waits for what comes of it. `url` has passed [`check_url`].
    pub(super) async fn test(&self, tenant: i64, url: &str) -> Result<TestOutcome, SandboxError> {
        todo!()
    }

    /// What goes wrong with deliveries that are triggered from now on.
    pub(super) fn set_faults(&self, faults: Faults) -> Result<(), SandboxError> {
        todo!()
    }

    pub(super) fn faults(&self) -> Faults {
        todo!()
    }

    /// Changes by how much waits are shorter than in life, those that run included.
    pub(super) fn set_speed(&self, speed: f64) -> Result<(), SandboxError> {
        todo!()
    }

    pub(super) fn speed(&self) -> f64 {
        todo!()
    }

    pub(super) fn status(&self) -> Status {
        todo!()
    }

    /// Waits until no delivery is unfinished, at most this long. Whether that came about.
    pub(super) async fn settled(&self, timeout: Duration) -> bool {
        todo!()
    }

    /// The newest attempts, those with a number above `after`, at most 10,000.
    pub(super) fn attempts(&self, after: u64) -> Vec<Attempt> {
        todo!()
    }

    /// Starts nothing more, lets what is being sent end within `grace`, and stops. What is not finished is taken up again
    /// at the next start with the same state.
    pub(super) async fn shutdown(&self, grace: Duration) {
        todo!()
    }
}
