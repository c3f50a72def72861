//! Webhook subscriptions: what is asked for, and what is answered.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::ids::WebhookId;
use super::lenient;
use crate::keyring::Secret;
use crate::time::Timestamp;

/// A subscription as `list` and `get` show it.
///
/// One type for all four shapes: a field that a shape leaves out, or that is null or not as published, is `None`. The
/// list of v1 leaves out `filters` and all times, `updated_at` is in `get` only. Fields that are not published are
/// ignored. `Debug` shows of the URL only where it leads.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Which events it gets: a type such as `screening.completed`, or `all`. Any text, as it came.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub event_type: String,
    /// Where they are sent.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub webhook_url: String,
    /// Whether it gets any.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub is_active: Option<bool>,
    /// Somebody's words about it.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub description: Option<String>,
    /// Filters, which are "for future use" ("Create Webhook").
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub filters: Option<Map<String, Value>>,
    /// When it was made.
    #[serde(default, deserialize_with = "lenient::moment", serialize_with = "lenient::write_moment")]
    pub created_at: Option<Timestamp>,
    /// When it was changed last.
    #[serde(default, deserialize_with = "lenient::moment", serialize_with = "lenient::write_moment")]
    pub updated_at: Option<Timestamp>,
    /// How often it was delivered to.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub stats: Option<Stats>,
    /// When a delivery was last attempted (SDK 1.2); `None` if never.
    #[serde(default, deserialize_with = "lenient::moment", serialize_with = "lenient::write_moment")]
    pub last_triggered_at: Option<Timestamp>,
}

/// How often a subscription was delivered to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Deliveries in all.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub total_deliveries: Option<u64>,
    /// Those that succeeded.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub successful_deliveries: Option<u64>,
    /// Those that failed.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub failed_deliveries: Option<u64>,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("webhook_url", &lenient::origin(&self.webhook_url))
            .field("is_active", &self.is_active)
            .field("created_at", &self.created_at)
            .field("updated_at", &self.updated_at)
            .field("stats", &self.stats)
            .field("last_triggered_at", &self.last_triggered_at)
            .finish_non_exhaustive()
    }
}

/// The answer to `list`: `{count, results}` in v2, `{webhooks}` in v1.
#[derive(Deserialize)]
pub(super) struct List {
    #[serde(default)]
    results: Option<Vec<Webhook>>,
    #[serde(default)]
    webhooks: Option<Vec<Webhook>>,
}

impl List {
    /// `None` when it is no list: an answer that is not the API's must not look like an empty account.
    pub(super) fn rows(self) -> Option<Vec<Webhook>> {
        self.results.or(self.webhooks)
    }
}

/// A subscription to make.
///
/// ```
/// use countersign::kycgenie::client::NewWebhook;
///
/// let webhook = NewWebhook::new("screening.completed", "https://api.yourcompany.com/webhooks/screening")
///     .description("Production screening webhook");
/// ```
#[derive(Clone, PartialEq, Serialize)]
#[must_use = "nothing is made until it is given to `Client::create`"]
pub struct NewWebhook {
    event_type: String,
    webhook_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<Map<String, Value>>,
}

impl NewWebhook {
    /// Events of `event_type`, or `all`, are to be sent to `webhook_url`, which "must be HTTPS" ("Create Webhook").
    ///
    /// Neither is checked here: what is allowed is for the provider to say.
    pub fn new(event_type: impl Into<String>, webhook_url: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), webhook_url: webhook_url.into(), description: None, filters: None }
    }

    /// Words for people.
    pub fn description(self, description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..self }
    }

    /// Filters, which are "for future use" ("Create Webhook").
    pub fn filters(self, filters: Map<String, Value>) -> Self {
        Self { filters: Some(filters), ..self }
    }
}

impl fmt::Debug for NewWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewWebhook")
            .field("event_type", &self.event_type)
            .field("webhook_url", &lenient::origin(&self.webhook_url))
            .finish_non_exhaustive()
    }
}

/// What to change of a subscription; everything else stays as it is.
///
/// ```
/// use countersign::kycgenie::client::WebhookChanges;
///
/// let pause = WebhookChanges::new().is_active(false);
/// ```
#[derive(Clone, Default, PartialEq, Serialize)]
#[must_use = "nothing is changed until it is given to `Client::update`"]
pub struct WebhookChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<Map<String, Value>>,
}

impl WebhookChanges {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which events it gets. The reference does not list this field; the vendor's SDK sends it since 1.1.
    pub fn event_type(self, event_type: impl Into<String>) -> Self {
        Self { event_type: Some(event_type.into()), ..self }
    }

    /// Where they are sent.
    pub fn webhook_url(self, url: impl Into<String>) -> Self {
        Self { webhook_url: Some(url.into()), ..self }
    }

    /// Whether it gets any.
    pub fn is_active(self, active: bool) -> Self {
        Self { is_active: Some(active), ..self }
    }

    /// Words for people; an empty text takes them away.
    pub fn description(self, description: impl Into<String>) -> Self {
        Self { description: Some(description.into()), ..self }
    }

    /// Filters, which are "for future use".
    pub fn filters(self, filters: Map<String, Value>) -> Self {
        Self { filters: Some(filters), ..self }
    }
}

impl fmt::Debug for WebhookChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookChanges")
            .field("event_type", &self.event_type)
            .field("webhook_url", &self.webhook_url.as_deref().map(lenient::origin))
            .field("is_active", &self.is_active)
            .finish_non_exhaustive()
    }
}

/// A subscription that was made, with the secret that is shown this once.
#[derive(Clone, Deserialize)]
#[non_exhaustive]
#[must_use = "the secret is shown once"]
pub struct CreatedWebhook {
    /// Its id, which only this answer calls `webhook_id`.
    #[serde(rename = "webhook_id")]
    pub id: WebhookId,
    /// Which events it gets.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub event_type: String,
    /// Where they are sent.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub webhook_url: String,
    /// What its deliveries are signed with. Put it into the receiver's keyring now: it cannot be asked for again.
    #[serde(rename = "secret_key", deserialize_with = "lenient::secret")]
    pub secret: Secret,
    /// The provider's words.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub message: String,
}

impl fmt::Debug for CreatedWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedWebhook")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("webhook_url", &lenient::origin(&self.webhook_url))
            .finish_non_exhaustive()
    }
}

/// A subscription that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct UpdatedWebhook {
    /// Its id.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub id: Option<WebhookId>,
    /// The provider's words.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub message: String,
}

/// A secret that has taken the place of another, shown this once.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
#[must_use = "the secret is shown once"]
pub struct RotatedSecret {
    /// The new secret. Put it into the receiver's keyring now: it cannot be asked for again.
    #[serde(rename = "secret_key", deserialize_with = "lenient::secret")]
    pub secret: Secret,
    /// The provider's words.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub message: String,
}

/// The account's own address, "fallback for all events" (SDK 1.2): what no subscription matches is sent there.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct Config {
    /// The address; `None` when there is none.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub webhook_url: Option<String>,
    /// Whether it is in use; `None` in the answer to a change, which does not tell.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub enabled: Option<bool>,
    /// The provider's words; in the answer to a change only.
    #[serde(default, deserialize_with = "lenient::maybe", skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("webhook_url", &self.webhook_url.as_deref().map(lenient::origin))
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}

/// How a delivery of the event `test` went.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct TestDelivery {
    /// Whether the receiver answered 2xx.
    pub success: bool,
    /// The provider's words.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub message: String,
    /// What the receiver answered; `None` when it could not be reached.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub http_status_code: Option<u16>,
}

/// What an operation says that has nothing else to say.
#[derive(Default, Deserialize)]
pub(super) struct Said {
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(super) message: String,
}
