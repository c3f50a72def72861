//! The management API of KYC Genie, typed: all twelve operations, in v2 and, where the documents show it, in v1.
//!
//! ```no_run
//! use countersign::Keyring;
//! use countersign::kycgenie::client::{ApiKey, Client, NewWebhook};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder(ApiKey::from_env("KYCGENIE_API_KEY")?).build()?;
//!
//! let webhook = NewWebhook::new("screening.completed", "https://api.yourcompany.com/webhooks/screening");
//! let created = client.create(&webhook).await?;
//! let keyring = Keyring::single(created.secret); // shown once
//!
//! for webhook in client.list().await? {
//!     println!("{} {}", webhook.id, webhook.event_type);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | operation | request, behind `/api/v2/webhooks/` | v1 |
//! |---|---|---|
//! | [`create`](Client::create) | `POST` | yes |
//! | [`list`](Client::list) | `GET` | yes |
//! | [`get`](Client::get) | `GET {id}/` | yes |
//! | [`update`](Client::update) | `PATCH {id}/` | yes |
//! | [`delete`](Client::delete) | `DELETE {id}/` | yes |
//! | [`rotate_secret`](Client::rotate_secret), [`rotate_into`](Client::rotate_into) | `POST {id}/rotate-secret/` | yes |
//! | [`config`](Client::config) | `GET config/` | no |
//! | [`update_config`](Client::update_config) | `PUT config/` | no |
//! | [`delete_config`](Client::delete_config) | `DELETE config/` | no |
//! | [`logs`](Client::logs), [`logs_page`](Client::logs_page) | `GET logs/` | yes |
//! | [`retry`](Client::retry), [`redeliver_failed`](Client::redeliver_failed) | `POST logs/{id}/retry/` | yes |
//! | [`test`](Client::test) | `POST test/` | yes |
//!
//! # What every call does
//!
//! - It has one `Idempotency-Key`, a random UUID, where it changes anything, and the same one in all its attempts, so that a
//!   retry does not do it twice. For how long the provider remembers keys is not published.
//! - It is tried again as [`RetryPolicy`] says, within [`ClientBuilder::deadline`]: after 429, 5xx, time-outs and lost
//!   connections, and after no other answer; not after a success that cannot be read, either.
//! - It follows no redirect, reads at most 8 MiB, and fails with one type, [`Error`], whose text says what to do and whose
//!   [`may_have_been_done`](Error::may_have_been_done) tells whether the provider may have acted.
//! - Dropping its future ends it; what was sent may be done all the same.
//!
//! The futures are `Send` and want a tokio runtime with I/O and time.

mod answer;
mod base;
mod builder;
mod call;
mod error;
mod ids;
mod key;
mod lenient;
mod log;
mod redeliver;
mod retry;
mod rotate;
mod stream;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;

pub use self::answer::{ApiError, ErrorCode, FieldError};
pub use self::base::BaseUrlMistake;
pub use self::builder::{ApiVersion, ClientBuilder, SettingsError, SettingsMistake};
pub use self::error::{Error, ErrorKind};
pub use self::ids::{InvalidRef, LogId, WebhookId};
pub use self::key::{ApiKey, ApiKeyError};
pub use self::log::{DeliveryStatus, LogEntry, LogQuery, LogsPage, RetriedDelivery};
pub use self::redeliver::{Redelivered, RedeliveryProgress, RefusedRow, RetriedRow};
pub use self::retry::RetryPolicy;
pub use self::rotate::{RotateError, Rotated, RotationOptions};
pub use self::stream::Logs;
pub use self::webhook::{
    Config, CreatedWebhook, NewWebhook, RotatedSecret, Stats, TestDelivery, UpdatedWebhook, Webhook, WebhookChanges,
};

use self::base::BaseUrl;
use self::call::{Answer, Call};
use self::webhook::{List, Said};

/// A client of the management API. Clones are handles to one client and share its connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    key: ApiKey,
    base: BaseUrl,
    version: ApiVersion,
    timeout: Duration,
    deadline: Duration,
    retry: RetryPolicy,
    http: reqwest::Client,
}

impl Client {
    /// Begins a client for the account and the mode (test or live) of `key`.
    pub fn builder(key: ApiKey) -> ClientBuilder {
        ClientBuilder::new(key)
    }
}

/// Subscriptions.
impl Client {
    /// Subscribes a URL to an event type, or to `all`. The answer holds the secret, this once.
    ///
    /// ```no_run
    /// # use countersign::kycgenie::client::{Client, Error, NewWebhook};
    /// # async fn run(client: Client) -> Result<(), Error> {
    /// let created = client.create(&NewWebhook::new("all", "https://api.yourcompany.com/webhooks/kycgenie")).await?;
    /// println!("{} was made", created.id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the call fails. After one that [may have been done](Error::may_have_been_done), look at [`Client::list`]: a
    /// subscription may exist whose secret was lost; delete it or rotate its secret.
    pub async fn create(&self, webhook: &NewWebhook) -> Result<CreatedWebhook, Error> {
        self.ask(Call::new("create the webhook", Method::POST, self.url([])).json(webhook)).await
    }

    /// All subscriptions. There are no pages.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub async fn list(&self) -> Result<Vec<Webhook>, Error> {
        let operation = "list the webhooks";
        let (answer, attempts) = self.send(Call::new(operation, Method::GET, self.url([]))).await?;
        let status = answer.status;
        let list: List = answer.decode(operation, attempts)?;
        list.rows().ok_or_else(|| Answer::misshapen(operation, status, attempts))
    }

    /// One subscription.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub async fn get(&self, id: &WebhookId) -> Result<Webhook, Error> {
        self.ask(Call::new("get the webhook", Method::GET, self.url([id.as_str()]))).await
    }

    /// Changes a subscription.
    ///
    /// ```no_run
    /// # use countersign::kycgenie::client::{Client, Error, WebhookChanges, WebhookId};
    /// # async fn run(client: Client, id: WebhookId) -> Result<(), Error> {
    /// client.update(&id, &WebhookChanges::new().is_active(false)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub async fn update(&self, id: &WebhookId, changes: &WebhookChanges) -> Result<UpdatedWebhook, Error> {
        self.ask(Call::new("update the webhook", Method::PATCH, self.url([id.as_str()])).json(changes)).await
    }

    /// Deletes a subscription for good. Returns the provider's words.
    ///
    /// # Errors
    ///
    /// When the call fails. Where an earlier attempt was lost on its way back, a 404 may say that it was done
    /// ([`Error::may_have_been_done`]).
    pub async fn delete(&self, id: &WebhookId) -> Result<String, Error> {
        self.say(Call::new("delete the webhook", Method::DELETE, self.url([id.as_str()]))).await
    }

    /// Has the provider make a new secret, with which it signs from then on. The answer holds it, this once.
    ///
    /// Whether the provider goes on signing with the old one for a while is not published. Deliveries that come in
    /// before the receiver knows the new secret do not verify: [`Client::rotate_into`] sees to that.
    ///
    /// # Errors
    ///
    /// When the call fails. After one that [may have been done](Error::may_have_been_done), rotate again.
    pub async fn rotate_secret(&self, id: &WebhookId) -> Result<RotatedSecret, Error> {
        let url = self.url([id.as_str(), "rotate-secret"]);
        self.ask(Call::new("rotate the secret", Method::POST, url)).await
    }
}

/// The account's own address. In v2 only: v1 of these is shown nowhere.
impl Client {
    /// The address to which everything goes that no subscription matches.
    ///
    /// # Errors
    ///
    /// When the call fails; [`ErrorKind::NotInVersion`] in v1.
    pub async fn config(&self) -> Result<Config, Error> {
        self.ask(self.config_call("get the configuration", Method::GET)?).await
    }

    /// Sets that address, or with `None` takes it away.
    ///
    /// ```no_run
    /// # use countersign::kycgenie::client::{Client, Error};
    /// # async fn run(client: Client) -> Result<(), Error> {
    /// client.update_config(Some("https://api.yourcompany.com/webhooks/rest")).await?;
    /// client.update_config(None).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the call fails; [`ErrorKind::NotInVersion`] in v1.
    pub async fn update_config(&self, webhook_url: Option<&str>) -> Result<Config, Error> {
        let body = serde_json::json!({ "webhook_url": webhook_url });
        self.ask(self.config_call("update the configuration", Method::PUT)?.json(&body)).await
    }

    /// Takes the configuration away. Returns the provider's words.
    ///
    /// # Errors
    ///
    /// When the call fails; [`ErrorKind::NotInVersion`] in v1.
    pub async fn delete_config(&self) -> Result<String, Error> {
        self.say(self.config_call("delete the configuration", Method::DELETE)?).await
    }

    fn config_call(&self, operation: &'static str, method: Method) -> Result<Call, Error> {
        match self.0.version {
            ApiVersion::V2 => Ok(Call::new(operation, method, self.url(["config"]))),
            version @ ApiVersion::V1 => {
                Err(Error::unsent(operation, ErrorKind::NotInVersion { version, missing: "`config`" }))
            }
        }
    }
}

/// The delivery log, and deliveries by hand.
impl Client {
    /// The whole log, the newest row first. Pages are fetched as the rows are taken.
    ///
    /// ```no_run
    /// # use countersign::kycgenie::client::{Client, Error};
    /// # async fn run(client: Client) -> Result<(), Error> {
    /// let mut logs = client.logs();
    /// while let Some(row) = logs.try_next().await? {
    ///     println!("{} {} {:?}", row.event_type, row.status, row.http_status_code);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn logs(&self) -> Logs {
        self.logs_from(LogQuery::new())
    }

    /// The log from `query` on: its page size, and where to begin.
    pub fn logs_from(&self, query: LogQuery) -> Logs {
        Logs::new(self.clone(), query)
    }

    /// One page of the log.
    ///
    /// # Errors
    ///
    /// When the call fails; [`ErrorKind::NotInVersion`] for a cursor in v1, and for a page number in v2.
    pub async fn logs_page(&self, query: &LogQuery) -> Result<LogsPage, Error> {
        let operation = "read the log";
        let version = self.0.version;
        if let Some(missing) = query.missing_in(version) {
            return Err(Error::unsent(operation, ErrorKind::NotInVersion { version, missing }));
        }
        let mut url = self.url(["logs"]);
        let parameters = [
            ("page", query.page.map(|number| number.to_string())),
            ("after", query.after.clone()),
            ("page_size", query.page_size.map(|size| size.to_string())),
        ];
        if parameters.iter().any(|(_, value)| value.is_some()) {
            let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
            url.query_pairs_mut().extend_pairs(given);
        }
        let (answer, attempts) = self.send(Call::new(operation, Method::GET, url)).await?;
        let status = answer.status;
        let page = LogsPage::new(answer.decode(operation, attempts)?, query);
        page.ok_or_else(|| Answer::misshapen(operation, status, attempts))
    }

    /// Has the provider deliver a row of the log again.
    ///
    /// Only rows that failed can be, as far as the documents tell. Whether the event keeps its id is not published.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub async fn retry(&self, id: &LogId) -> Result<RetriedDelivery, Error> {
        self.ask(Call::new("retry the delivery", Method::POST, self.url(["logs", id.as_str(), "retry"]))).await
    }

    /// Has the provider send the event `test` to `webhook_url`, "which must be HTTPS", and waits for how it went.
    ///
    /// The provider answers 502 when the receiver did not take it or could not be reached ("Failure Example (502)"). That
    /// is the outcome that was asked for, and no error: `success` is `false`, and it is not tried again. A 502 in
    /// neither of the provider's shapes, such as a gateway's page, is an error like any other 5xx.
    ///
    /// ```no_run
    /// # use countersign::kycgenie::client::{Client, Error};
    /// # async fn run(client: Client) -> Result<(), Error> {
    /// let outcome = client.test("https://example.com/webhook-receiver").await?;
    /// println!("{} {:?}: {}", outcome.success, outcome.http_status_code, outcome.message);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub async fn test(&self, webhook_url: &str) -> Result<TestDelivery, Error> {
        let operation = "test the URL";
        let body = serde_json::json!({ "webhook_url": webhook_url });
        let call = Call::new(operation, Method::POST, self.url(["test"]))
            .json(&body)
            .or_outcome(|answer| TestDelivery::failed(answer.status, &answer.body).is_some());
        let (answer, attempts) = self.send(call).await?;
        match TestDelivery::failed(answer.status, &answer.body) {
            Some(outcome) => Ok(outcome),
            None => answer.decode(operation, attempts),
        }
    }
}

impl Client {
    /// The address of `path` below `/api/{version}/webhooks/`.
    fn url<const N: usize>(&self, path: [&str; N]) -> Url {
        let inner = &self.0;
        inner.base.join(["api", inner.version.segment(), "webhooks"].into_iter().chain(path))
    }

    /// Makes a call whose success has nothing to tell but words; it may also have none.
    async fn say(&self, call: Call) -> Result<String, Error> {
        let operation = call.operation();
        let (answer, attempts) = self.send(call).await?;
        if answer.body.is_empty() {
            return Ok(String::new());
        }
        answer.decode(operation, attempts).map(|said: Said| said.message)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.0.base.join([]).as_str())
            .field("version", &self.0.version)
            .finish_non_exhaustive()
    }
}

impl TestDelivery {
    /// The outcome that a 502 in one of the provider's two shapes tells; `None` for anything else.
    fn failed(status: u16, body: &[u8]) -> Option<Self> {
        if status != 502 {
            return None;
        }
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| body.get(name).and_then(Value::as_str);
        let code = text("code").or_else(|| text("message").and(text("error")))?;
        if !matches!(ErrorCode::from(code), ErrorCode::ServerError | ErrorCode::UpstreamError) {
            return None;
        }
        let message = text("message").or_else(|| text("error")).unwrap_or_default();
        let answered = body.get("details").and_then(|details| details.get("http_status_code")).and_then(Value::as_u64);
        Some(Self {
            success: false,
            message: message.to_owned(),
            http_status_code: answered.and_then(|status| u16::try_from(status).ok()),
        })
    }
}
