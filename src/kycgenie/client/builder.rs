//! Puts a client together, and finds every mistake at once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::base::{BaseUrl, BaseUrlMistake};
use super::key::ApiKey;
use super::retry::RetryPolicy;

/// Where the vendor serves its API ("Webhooks API", all samples).
const BASE_URL: &str = "https://api.kycgenie.com";
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_LIMIT: Duration = Duration::from_hours(24);
const MAX_ATTEMPTS: u32 = 100;

/// Which of the two published versions of the API is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ApiVersion {
    /// `/api/v1/`, which the vendor's SDK calls "legacy". It has no `config` operations.
    V1,
    /// `/api/v2/`.
    #[default]
    V2,
}

impl ApiVersion {
    pub(super) fn segment(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.segment())
    }
}

/// Builds a [`Client`]. Only the key must be given; of the rest, decide in this order: where the API is, which version,
/// how long to wait, how often to try.
///
/// ```
/// use std::time::Duration;
/// use countersign::kycgenie::client::{ApiKey, ApiVersion, Client, RetryPolicy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder(ApiKey::new("kycg_0123456789abcdef0123456789abcdef")?)
///     .base_url("http://127.0.0.1:4010")
///     .version(ApiVersion::V1)
///     .timeout(Duration::from_secs(5))
///     .deadline(Duration::from_secs(20))
///     .retry(RetryPolicy { max_attempts: 3, ..RetryPolicy::default() })
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder {
    key: ApiKey,
    base_url: String,
    plain_http: bool,
    version: ApiVersion,
    timeout: Duration,
    deadline: Duration,
    retry: RetryPolicy,
    http: Option<reqwest::Client>,
}

impl ClientBuilder {
    pub(super) fn new(key: ApiKey) -> Self {
        Self {
            key,
            base_url: BASE_URL.to_owned(),
            plain_http: false,
            version: ApiVersion::default(),
            timeout: Duration::from_secs(30),
            deadline: Duration::from_secs(120),
            retry: RetryPolicy::default(),
            http: None,
        }
    }

    /// Where the API is, without `/api/v2`; `https://api.kycgenie.com` unless told. A path in front of `/api/` is kept.
    ///
    /// Plain `http` is accepted to this machine only, and then no proxy is asked.
    pub fn base_url(self, url: impl Into<String>) -> Self {
        Self { base_url: url.into(), ..self }
    }

    /// Accepts plain `http` to any host. Whoever is on the way reads the API key, and with it every secret that the
    /// provider shows.
    pub fn danger_allow_plain_http(self, allow: bool) -> Self {
        Self { plain_http: allow, ..self }
    }

    /// Which version of the API to speak; [`ApiVersion::V2`] unless told.
    pub fn version(self, version: ApiVersion) -> Self {
        Self { version, ..self }
    }

    /// How long one attempt may take, from looking up the host to the last byte of the answer: 1 ms to a day; 30
    /// seconds unless told.
    ///
    /// [`Client::test`] is answered only after the provider has delivered: for how long it waits for the receiver is
    /// not published.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// How long one call may take, all attempts and the waits between them included: 1 ms to a day; 2 minutes unless
    /// told. A longer `Retry-After` than it leaves ends the call at once.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How often and how soon a call is tried again.
    pub fn retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// Sends with a client of your own: its proxies, roots, certificates and connection time limit.
    ///
    /// Build it with `redirect(Policy::none())`: one that follows redirects takes the API key along to wherever they
    /// lead on the same host. An answer that comes from elsewhere than it was asked for is an error here.
    pub fn http(self, client: reqwest::Client) -> Self {
        Self { http: Some(client), ..self }
    }

    /// Builds the client.
    ///
    /// # Errors
    ///
    /// When a setting is out of its range; all such mistakes are reported at once.
    pub fn build(self) -> Result<Client, SettingsError> {
        let mut mistakes = Vec::new();
        let base = BaseUrl::parse(&self.base_url, self.plain_http)
            .map_err(|mistake| mistakes.push(SettingsMistake::BaseUrl(mistake)))
            .ok();
        for (setting, given) in [("timeout", self.timeout), ("deadline", self.deadline)] {
            if given < Duration::from_millis(1) || given > MAX_LIMIT {
                mistakes.push(SettingsMistake::Limit { setting, given });
            }
        }
        if !(1..=MAX_ATTEMPTS).contains(&self.retry.max_attempts) {
            mistakes.push(SettingsMistake::Attempts { given: self.retry.max_attempts });
        }
        let http = match (&base, self.http) {
            (_, Some(http)) => Some(http),
            (Some(base), None) => own_client(base).map_err(|mistake| mistakes.push(mistake)).ok(),
            (None, None) => None,
        };
        match (base, http) {
            (Some(base), Some(http)) if mistakes.is_empty() => Ok(Client(Arc::new(super::Inner {
                key: self.key,
                base,
                version: self.version,
                timeout: self.timeout,
                deadline: self.deadline,
                retry: self.retry,
                http,
            }))),
            _ => Err(SettingsError { mistakes }),
        }
    }
}

fn own_client(base: &BaseUrl) -> Result<reqwest::Client, SettingsMistake> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
        .no_gzip()
        .no_brotli()
        .no_deflate()
        .no_zstd();
    if base.is_loopback() {
        // A proxy would be another machine's loopback, and would read the key.
        builder = builder.no_proxy();
    }
    builder = match (base.is_plain(), base.is_loopback()) {
        // Nothing here is encrypted: the system's certificates need neither be there nor be read.
        (true, true) => builder.tls_certs_only([]),
        (true, false) => builder,
        (false, _) => builder.https_only(true),
    };
    builder.build().map_err(|error| SettingsMistake::Http { reason: super::error::chain(&error.without_url()) })
}

/// The key redacted, and of the base URL nothing: it has not been checked yet.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Why a client could not be built: every mistake in its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    mistakes: Vec<SettingsMistake>,
}

impl SettingsError {
    /// What is wrong.
    #[must_use]
    pub fn mistakes(&self) -> &[SettingsMistake] {
        &self.mistakes
    }
}

impl std::error::Error for SettingsError {}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client cannot be built: ")?;
        for (at, mistake) in self.mistakes.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// One mistake in the settings of a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsMistake {
    /// A number of attempts that is none, or too many.
    #[error("`retry.max_attempts` is {given}: make it 1 to {MAX_ATTEMPTS}")]
    Attempts {
        /// The number that was given.
        given: u32,
    },
    /// A base URL over which no key may travel.
    #[error("`base_url`: {0}")]
    BaseUrl(BaseUrlMistake),
    /// There is no HTTP client.
    #[error("no HTTP client can be made ({reason}): see to the system's certificates, or give one by `http`")]
    Http {
        /// What it says.
        reason: String,
    },
    /// A time limit out of its range.
    #[error("`{setting}` is {given:?}: make it 1 ms to a day")]
    Limit {
        /// The setting.
        setting: &'static str,
        /// The limit that was given.
        given: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ClientBuilder {
        Client::builder(ApiKey::new("planted").unwrap())
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let error = builder()
            .base_url("http://user:planted@10.0.0.1")
            .timeout(Duration::ZERO)
            .deadline(Duration::from_secs(1_000_000))
            .retry(RetryPolicy { max_attempts: 0, ..RetryPolicy::default() })
            .build()
            .unwrap_err();
        assert_eq!(error.mistakes().len(), 4);
        let shown = format!("{error} {error:?}");
        for part in ["`base_url`: it has a user name", "`timeout` is 0ns", "`deadline` is 1000000s", "is 0: make it 1"]
        {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("planted"), "{shown}");
    }

    #[test]
    fn nothing_of_the_key_is_shown() {
        let shown = format!("{:?} {:?}", builder(), builder().build().unwrap());
        assert!(!shown.contains("planted"), "{shown}");
        assert!(shown.contains("https://api.kycgenie.com"), "{shown}");
    }
}
