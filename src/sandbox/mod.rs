//! A server that plays KYC Genie: its management API, and deliveries that are signed, retried and logged.
//!
//! ```no_run
//! use countersign::sandbox::{Sandbox, Trigger};
//! use std::time::Duration;
//!
//! # async fn story() -> Result<(), countersign::sandbox::SandboxError> {
//! let sandbox = Sandbox::start().await?; // 127.0.0.1, a free port, in memory
//! // Create a subscription at `sandbox.url()` with `sandbox.test_key()`, as with the real provider; then:
//! sandbox.trigger(&Trigger::new("screening.completed").count(10)).await?;
//! sandbox.settled(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It plays both versions of the API with two keys, [`Sandbox::TEST_KEY`] and [`Sandbox::LIVE_KEY`], whose data are
//! apart. What the provider does not publish is a setting whose default is an assumption ([`Assumptions`]). It sends
//! only to loopback unless told otherwise, and its state is in memory unless it is given a file.
//!
//! Beside the provider's API it has one of its own under `/sandbox/` (trigger, faults, clock, status, failures of the
//! API), an OpenAPI document of both at `/openapi.json`, and `/health`.

mod api;
mod assumptions;
mod builder;
mod deliver;
mod error;
mod event_types;
mod store;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use api::ApiFailure;
pub use assumptions::{Assumptions, LogRows, TestFailure, TestSigning};
pub use builder::SandboxBuilder;
pub use deliver::{Attempt, Fault, Faults, Status, Strike, Trigger, Triggered};
pub use error::{SandboxError, StateProblem};

use api::{Failures, Served};
use deliver::Engine;
use store::Store;

/// Which of an account's two worlds a key opens. Their data are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The real one.
    Live,
    /// The one for tests, in which autoflag events are simulated.
    Test,
}

/// A running sandbox. Ends when it is stopped or dropped; it can be used from any runtime.
pub struct Sandbox {
    url: String,
    address: SocketAddr,
    served: Served,
    engine: Engine,
    store: Arc<Store>,
    failures: Arc<Failures>,
}

impl Sandbox {
    /// The test key of the account that every sandbox has. It opens nothing anywhere else.
    pub const TEST_KEY: &'static str = "kycg_7e577e577e577e577e577e577e577e57";
    /// The live key of the same account.
    pub const LIVE_KEY: &'static str = "kycg_11fe11fe11fe11fe11fe11fe11fe11fe";
    /// The slowest speed.
    pub const MIN_SPEED: f64 = 0.001;
    /// The fastest speed.
    pub const MAX_SPEED: f64 = 1_000_000.0;

    /// How long deliveries that are being sent may take to end when the sandbox stops.
    const GRACE: Duration = Duration::from_secs(1);

    /// Starts one in memory, at a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When there is no port or no thread.
    pub async fn start() -> Result<Self, SandboxError> {
        Self::builder().start().await
    }

    /// Sets one up.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// Where the API is, such as `http://127.0.0.1:4010`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same as an address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// [`Sandbox::TEST_KEY`].
    #[must_use]
    pub fn test_key(&self) -> &'static str {
        Self::TEST_KEY
    }

    /// [`Sandbox::LIVE_KEY`].
    #[must_use]
    pub fn live_key(&self) -> &'static str {
        Self::LIVE_KEY
    }

    /// Triggers an event, or many, for whom [`Sandbox::TEST_KEY`] belongs to. Returns when the last one was triggered, not
    /// when it is delivered; dropping the future ends a trigger early.
    ///
    /// # Errors
    ///
    /// When the trigger makes no sense.
    pub async fn trigger(&self, trigger: &Trigger) -> Result<Triggered, SandboxError> {
        self.trigger_for(Self::TEST_KEY, trigger).await
    }

    /// The same for whom `key` belongs to.
    ///
    /// # Errors
    ///
    /// When there is no such key, or the trigger makes no sense.
    pub async fn trigger_for(&self, key: &str, trigger: &Trigger) -> Result<Triggered, SandboxError> {
        let tenant = self.store.tenant_of(key)?;
        let tenant = tenant.ok_or_else(|| SandboxError::Invalid("the sandbox has no such API key".to_owned()))?;
        self.engine.trigger(tenant.id, trigger).await
    }

    /// What goes wrong with deliveries that are triggered from now on.
    ///
    /// # Errors
    ///
    /// When the faults make no sense.
    pub fn set_faults(&self, faults: Faults) -> Result<(), SandboxError> {
        self.engine.set_faults(faults)
    }

    /// What goes wrong now.
    pub fn faults(&self) -> Faults {
        self.engine.faults()
    }

    /// By how much waits are shorter than in life, those that run included.
    ///
    /// # Errors
    ///
    /// When the speed is not from [`Sandbox::MIN_SPEED`] to [`Sandbox::MAX_SPEED`].
    pub fn set_speed(&self, speed: f64) -> Result<(), SandboxError> {
        self.engine.set_speed(speed)
    }

    /// How many deliveries there are of each kind.
    #[must_use]
    pub fn status(&self) -> Status {
        self.engine.status()
    }

    /// What was sent, with what was done wrong on purpose: the newest attempts, those with a number above `after`.
    #[must_use]
    pub fn attempts(&self, after: u64) -> Vec<Attempt> {
        self.engine.attempts(after)
    }

    /// Waits until no delivery is pending or waits for a retry.
    ///
    /// # Errors
    ///
    /// When that has not come about within `timeout`.
    pub async fn settled(&self, timeout: Duration) -> Result<(), SandboxError> {
        if self.engine.settled(timeout).await {
            return Ok(());
        }
        let Status { pending, retrying, in_flight, .. } = self.engine.status();
        Err(SandboxError::NotSettled { waited: timeout, unfinished: pending + retrying + in_flight })
    }

    /// How the next answers of the management API fail.
    ///
    /// # Errors
    ///
    /// When the status is no error's.
    pub fn fail_api(&self, failure: ApiFailure) -> Result<(), SandboxError> {
        self.failures.order(failure)
    }

    /// Ends it: what is being answered or sent may end within a second each. With a state file, what is not finished is
    /// taken up again at the next start.
    pub async fn stop(self) {
        let Self { served, engine, .. } = self;
        served.stop().await;
        engine.shutdown(Self::GRACE).await;
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("url", &self.url).finish_non_exhaustive()
    }
}
