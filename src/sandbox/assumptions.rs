//! What KYC Genie does not publish, each as a setting whose default is an assumption.

mod duration;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sandbox::SandboxError;
use crate::scheme::Mistakes;

/// What the provider's documents do not say, as settings of the sandbox. Every default is **an assumption**: where it
/// turns out to be different, set it and tell us.
///
/// As TOML ([`Assumptions::from_toml`]; [`Assumptions::to_toml`] prints all of them), durations are whole seconds or a
/// text such as `"10s"`, `"250ms"` or `"1h 30m"`. A setting that does not exist is refused; one that is missing keeps
/// its default.
///
/// ```
/// use countersign::sandbox::Assumptions;
///
/// let assumptions = Assumptions::from_toml("max_attempts = 5\ntimeout = \"2s\"")?;
/// assert_eq!(assumptions.max_attempts, 5);
/// assert_eq!(Assumptions::from_toml(&assumptions.to_toml())?, assumptions);
/// # Ok::<(), countersign::sandbox::SandboxError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Assumptions {
    /// How many times a delivery is tried, the first time included: 3. The one log entry that is published has failed for
    /// good at attempt 3, which is a weak hint.
    pub max_attempts: u32,
    /// How many times a delivery is tried that was retried by hand: 1, so that it is not retried by itself again.
    pub manual_retry_attempts: u32,
    /// The longest wait before the second attempt: 1 minute. It doubles with each further one.
    #[serde(with = "duration")]
    pub backoff_base: Duration,
    /// The longest wait before any attempt: 1 hour.
    #[serde(with = "duration")]
    pub backoff_cap: Duration,
    /// Whether a wait is drawn between zero and the longest (full jitter), or is the longest: true.
    pub backoff_jitter: bool,
    /// How long the receiver may take, from connecting on: 10 seconds. Its answer counts once its status is there; what
    /// follows is waited for no longer than that, and not judged.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Whether an answer of 4xx is retried as one of 5xx is: true.
    pub retry_client_errors: bool,
    /// Whether a receiver's `Retry-After` is waited for at least: true.
    pub honour_retry_after: bool,
    /// How many rows the delivery log has for a delivery of several attempts.
    pub log_rows: LogRows,
    /// Whether a delivery that waits for a retry is given up when its subscription is switched off meanwhile: true, as
    /// "disable" says.
    pub inactive_stops_retries: bool,
    /// For how long after a rotation the old secret signs as well, newest first in one header: not at all. Schemes that
    /// cannot list signatures are signed with the new secret only.
    #[serde(with = "duration")]
    pub rotation_overlap: Duration,
    /// Which secret signs what the test endpoint sends. Its request names a URL and no subscription, so that it may be
    /// unsigned in truth.
    pub test_signing: TestSigning,
    /// What the test endpoint answers when the delivery fails.
    pub test_failure: TestFailure,
    /// What a delivery's id begins with: `msg_`, in front of a UUID without dashes.
    pub id_prefix: String,
    /// The `user-agent` of deliveries: `countersign-sandbox/<version>`.
    pub user_agent: String,

    /// Whether `onboarding.*` is a type to subscribe to: false. The documents show such groups and no operation that takes
    /// them.
    pub event_groups: bool,
    /// Whether any other text is a type to subscribe to: false.
    pub unknown_event_types: bool,
    /// Whether a second subscription of the same type to the same URL is answered 409 `conflict`: false.
    pub refuse_duplicates: bool,
    /// The longest `webhook_url` in bytes: 2048.
    pub max_url_length: usize,
    /// The longest `description` in characters: 1000.
    pub max_description_length: usize,
    /// The longest `filters` in bytes, written without white space: 65,536.
    pub max_filters_size: usize,
    /// The longest request body of the API in bytes: 1,048,576.
    pub max_body: usize,
    /// For how long an `Idempotency-Key` gets the same answer: 24 hours.
    #[serde(with = "duration")]
    pub idempotency_retention: Duration,
    /// How many requests each API key may make in a minute, counted from its first: without limit. 429 is published, its
    /// limits are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<u32>,
}

/// How many rows the delivery log has for a delivery of several attempts. Not published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LogRows {
    /// One for each attempt, which keeps what that attempt came to.
    #[default]
    PerAttempt,
    /// One, whose `attempt_number` grows.
    PerDelivery,
}

/// What the test endpoint answers with 502. Two published sources contradict each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TestFailure {
    /// What the API reference shows: `error` holds a code, and `message` the text.
    #[default]
    AsSampled,
    /// The envelope of every other error, with the code `upstream_error`.
    Envelope,
}

/// Which secret signs what the test endpoint sends. Not published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TestSigning {
    /// That of the newest active subscription of the very URL that is tested, so that a receiver which verifies accepts it;
    /// none where there is no such subscription.
    #[default]
    Subscription,
    /// The secret of what goes to the tenant's own URL, which the sandbox shows in its control API.
    TenantSecret,
    /// None.
    Unsigned,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            manual_retry_attempts: 1,
            backoff_base: Duration::from_secs(60),
            backoff_cap: Duration::from_secs(60 * 60),
            backoff_jitter: true,
            timeout: Duration::from_secs(10),
            retry_client_errors: true,
            honour_retry_after: true,
            log_rows: LogRows::default(),
            inactive_stops_retries: true,
            rotation_overlap: Duration::ZERO,
            test_signing: TestSigning::default(),
            test_failure: TestFailure::default(),
            id_prefix: "msg_".to_owned(),
            user_agent: concat!("countersign-sandbox/", env!("CARGO_PKG_VERSION")).to_owned(),
            event_groups: false,
            unknown_event_types: false,
            refuse_duplicates: false,
            max_url_length: 2048,
            max_description_length: 1000,
            max_filters_size: 64 * 1024,
            max_body: 1024 * 1024,
            idempotency_retention: Duration::from_secs(24 * 60 * 60),
            rate_limit: None,
        }
    }
}

impl Assumptions {
    /// Reads settings from TOML; what is missing keeps its default.
    ///
    /// # Errors
    ///
    /// When the text is not TOML, has a setting that does not exist, or values that cannot work; all of these at once.
    pub fn from_toml(text: &str) -> Result<Self, SandboxError> {
        let assumptions: Self =
            toml::from_str(text).map_err(|error| SandboxError::AssumptionsSyntax(error.to_string()))?;
        assumptions.check()?;
        Ok(assumptions)
    }

    /// Every setting as TOML that [`Assumptions::from_toml`] reads back to the same value.
    #[must_use]
    pub fn to_toml(&self) -> String {
        // Strings, numbers and flags only: there is nothing in it that TOML cannot hold.
        toml::to_string(self).unwrap_or_default()
    }

    /// Whether the values can work together.
    ///
    /// # Errors
    ///
    /// Every value that cannot, and what would.
    pub fn check(&self) -> Result<(), SandboxError> {
        let mut mistakes = Mistakes::default();
        self.gather(&mut mistakes);
        if mistakes.is_empty() { Ok(()) } else { Err(SandboxError::Settings(mistakes)) }
    }

    pub(super) fn gather(&self, mistakes: &mut Mistakes) {
        let mut refuse = |wrong: bool, setting: &'static str, mistake: &str| {
            if wrong {
                mistakes.push(setting, mistake);
            }
        };
        let attempts = 1..=MOST_ATTEMPTS;
        refuse(!attempts.contains(&self.max_attempts), "max_attempts", "must be from 1 to 100");
        refuse(!attempts.contains(&self.manual_retry_attempts), "manual_retry_attempts", "must be from 1 to 100");
        refuse(self.backoff_cap < self.backoff_base, "backoff_cap", "must not be shorter than backoff_base");
        for (value, setting) in [
            (self.backoff_base, "backoff_base"),
            (self.backoff_cap, "backoff_cap"),
            (self.rotation_overlap, "rotation_overlap"),
            (self.idempotency_retention, "idempotency_retention"),
        ] {
            refuse(value > LONGEST, setting, "must not be longer than a year");
        }
        let timeout = Duration::from_millis(1)..=Duration::from_secs(60 * 60);
        refuse(!timeout.contains(&self.timeout), "timeout", "must be from 1 millisecond to 1 hour");
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        refuse(
            self.id_prefix.len() > 64 || !visible(&self.id_prefix),
            "id_prefix",
            "must be at most 64 visible ASCII characters, without spaces",
        );
        let header = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        refuse(
            self.user_agent.trim().is_empty() || self.user_agent.len() > 256 || !header(&self.user_agent),
            "user_agent",
            "must be 1 to 256 printable ASCII characters",
        );
        for (value, most, setting) in [
            (self.max_url_length, 64 * 1024, "max_url_length"),
            (self.max_description_length, 1024 * 1024, "max_description_length"),
            (self.max_filters_size, 1024 * 1024, "max_filters_size"),
            (self.max_body, 64 * 1024 * 1024, "max_body"),
        ] {
            refuse(!(1..=most).contains(&value), setting, &format!("must be from 1 to {most}"));
        }
        refuse(self.rate_limit == Some(0), "rate_limit", "must be at least 1; without a limit, leave it out");
    }
}

const MOST_ATTEMPTS: u32 = 100;

/// Longer waits are slips of the pen, and times in microseconds stay far from their end.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);
