//! The delivery log: rows, pages, and the way from one page to the next.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::builder::ApiVersion;
use super::ids::LogId;
use super::lenient;
use crate::time::Timestamp;

/// The page size that the provider takes when none is asked for ("Webhook Logs").
const DEFAULT_PAGE_SIZE: u64 = 50;

/// One row of the delivery log.
///
/// A field that is missing, null or not as published is `None`; fields that are not published are ignored. `Debug`
/// shows of the URL only where it leads, and not what the receiver said.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// Its id, for [`Client::retry`](super::Client::retry).
    pub id: LogId,
    /// The event's type. Any text, as it came.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub event_type: String,
    /// Where it was sent.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub webhook_url: String,
    /// What became of it.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub status: DeliveryStatus,
    /// What the receiver answered; `None` when it did not.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub http_status_code: Option<u16>,
    /// Which attempt it is, from 1.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub attempt_number: Option<u32>,
    /// What went wrong.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub error_message: Option<String>,
    /// When the row was made.
    #[serde(default, deserialize_with = "lenient::moment", serialize_with = "lenient::write_moment")]
    pub created_at: Option<Timestamp>,
    /// When the provider will try again by itself; `None` when it will not.
    #[serde(default, deserialize_with = "lenient::moment", serialize_with = "lenient::write_moment")]
    pub next_retry_at: Option<Timestamp>,
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogEntry")
            .field("id", &self.id)
            .field("event_type", &self.event_type)
            .field("webhook_url", &lenient::origin(&self.webhook_url))
            .field("status", &self.status)
            .field("http_status_code", &self.http_status_code)
            .field("attempt_number", &self.attempt_number)
            .field("created_at", &self.created_at)
            .field("next_retry_at", &self.next_retry_at)
            .finish_non_exhaustive()
    }
}

/// What became of a delivery ("Webhook Logs").
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "String")]
#[non_exhaustive]
pub enum DeliveryStatus {
    /// `delivered`: the receiver took it.
    Delivered,
    /// `failed`: the provider will not try again by itself.
    Failed,
    /// `pending`: not tried yet.
    Pending,
    /// `retrying`: failed, and to be tried again.
    Retrying,
    /// A status that is not published, as it came.
    Other(String),
    /// The row does not tell.
    #[default]
    Unstated,
}

impl DeliveryStatus {
    /// The status as the provider writes it; empty for [`DeliveryStatus::Unstated`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Pending => "pending",
            Self::Retrying => "retrying",
            Self::Other(text) => text,
            Self::Unstated => "",
        }
    }
}

impl From<String> for DeliveryStatus {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" => Self::Unstated,
            "delivered" => Self::Delivered,
            "failed" => Self::Failed,
            "pending" => Self::Pending,
            "retrying" => Self::Retrying,
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for DeliveryStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Which part of the log to read.
///
/// ```
/// use countersign::kycgenie::client::LogQuery;
///
/// let first = LogQuery::new().page_size(20);
/// let later = LogQuery::new().page_size(20).after("eyJpZCI6IDEyMzR9");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "nothing is read until it is given to a client"]
pub struct LogQuery {
    pub(super) page_size: Option<u32>,
    pub(super) after: Option<String>,
    pub(super) page: Option<u64>,
}

impl LogQuery {
    /// From the newest row on, in pages of the provider's default size.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows a page has: "default 50, max 100" ("Webhook Logs").
    pub fn page_size(self, rows: u32) -> Self {
        Self { page_size: Some(rows), ..self }
    }

    /// What follows `cursor`, the `next_cursor` of an earlier page. Only v2 has cursors.
    pub fn after(self, cursor: impl Into<String>) -> Self {
        Self { after: Some(cursor.into()), ..self }
    }

    /// Page `number`, from 1. Only v1 has page numbers.
    pub fn page(self, number: u64) -> Self {
        Self { page: Some(number), ..self }
    }

    /// What of it `version` does not have.
    pub(super) fn missing_in(&self, version: ApiVersion) -> Option<&'static str> {
        match version {
            ApiVersion::V1 if self.after.is_some() => Some("cursors in its log (it has page numbers)"),
            ApiVersion::V2 if self.page.is_some() => Some("page numbers in its log (it has cursors)"),
            ApiVersion::V1 | ApiVersion::V2 => None,
        }
    }
}

/// A page of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogsPage {
    /// The rows, the newest first.
    pub entries: Vec<LogEntry>,
    /// Where the next page begins; v2 only.
    pub next_cursor: Option<String>,
    /// Where the page before begins; v2 only.
    pub prev_cursor: Option<String>,
    /// How many rows there are in all; v1 only.
    pub total: Option<u64>,
    /// Which page this is, from 1; v1 only.
    pub page: Option<u64>,
    #[serde(skip)]
    next: Option<LogQuery>,
}

impl LogsPage {
    /// What to ask for next; `None` behind the last page.
    #[must_use]
    pub fn next(&self) -> Option<&LogQuery> {
        self.next.as_ref()
    }

    /// The page that answered `query`; `None` when it is none, which must not look like an empty log.
    pub(super) fn new(answer: Answer, query: &LogQuery) -> Option<Self> {
        let Answer { has_more, next_cursor, prev_cursor, total, page, page_size, results, logs } = answer;
        let entries = results.or(logs)?;
        let next = match (has_more, &next_cursor) {
            // A cursor without `has_more` is where later rows would come; v1 has neither.
            (Some(true), Some(cursor)) => Some(LogQuery { after: Some(cursor.clone()), page: None, ..query.clone() }),
            (Some(_), _) | (None, Some(_)) => None,
            (None, None) if entries.is_empty() => None,
            (None, None) => {
                let this = page.or(query.page).unwrap_or(1);
                let size = page_size.filter(|size| *size > 0).or(query.page_size.map(u64::from));
                let size = size.unwrap_or(DEFAULT_PAGE_SIZE);
                let more = match total {
                    Some(total) => this.saturating_mul(size) < total,
                    // v2 always says `has_more`, so that a page of it without is the last.
                    None => page.is_some() && entries.len() as u64 >= size,
                };
                more.then(|| LogQuery { page: Some(this.saturating_add(1)), after: None, ..query.clone() })
            }
        };
        Some(Self { entries, next_cursor, prev_cursor, total, page, next })
    }
}

/// The answer to `logs`: `{has_more, next_cursor, prev_cursor, results}` in v2, `{total, page, page_size, logs}` in v1.
#[derive(Deserialize)]
pub(super) struct Answer {
    #[serde(default, deserialize_with = "lenient::maybe")]
    has_more: Option<bool>,
    #[serde(default, deserialize_with = "lenient::maybe")]
    next_cursor: Option<String>,
    #[serde(default, deserialize_with = "lenient::maybe")]
    prev_cursor: Option<String>,
    #[serde(default, deserialize_with = "lenient::maybe")]
    total: Option<u64>,
    #[serde(default, deserialize_with = "lenient::maybe")]
    page: Option<u64>,
    #[serde(default, deserialize_with = "lenient::maybe")]
    page_size: Option<u64>,
    #[serde(default)]
    results: Option<Vec<LogEntry>>,
    #[serde(default)]
    logs: Option<Vec<LogEntry>>,
}

/// A delivery that is to be made again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[non_exhaustive]
pub struct RetriedDelivery {
    /// The row to look at; whether it is the old one or a new one is not published.
    #[serde(default, deserialize_with = "lenient::maybe")]
    pub log_id: Option<LogId>,
    /// The provider's words.
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page that `json` is in answer to `query`, and what comes next, by cursor or by number.
    fn next(query: &LogQuery, json: &str) -> Option<String> {
        let row = r#"{"id":"row"}"#;
        let answer = serde_json::from_str(&json.replace("ROW", row)).unwrap();
        let page = LogsPage::new(answer, query).unwrap();
        page.next().map(|next| {
            assert_eq!(next.page_size, query.page_size);
            next.after.clone().or(next.page.map(|page| page.to_string())).unwrap()
        })
    }

    #[test]
    fn the_next_page_is_found_in_both_envelopes() {
        let first = LogQuery::new().page_size(2);
        for (json, expected) in [
            (r#"{"has_more":true,"next_cursor":"c","results":[ROW]}"#, Some("c")),
            (r#"{"has_more":true,"next_cursor":"c","results":[]}"#, Some("c")),
            (r#"{"has_more":false,"next_cursor":"c","results":[ROW]}"#, None),
            (r#"{"has_more":true,"next_cursor":null,"results":[ROW]}"#, None),
            (r#"{"results":[ROW,ROW]}"#, None),
            (r#"{"total":5,"page":1,"page_size":2,"logs":[ROW,ROW]}"#, Some("2")),
            (r#"{"total":5,"page":2,"page_size":2,"logs":[ROW,ROW]}"#, Some("3")),
            (r#"{"total":5,"page":3,"page_size":2,"logs":[ROW]}"#, None),
            (r#"{"total":4,"page":2,"page_size":2,"logs":[ROW,ROW]}"#, None),
            (r#"{"total":5,"page":2,"page_size":2,"logs":[]}"#, None),
            (r#"{"total":5,"page":1,"page_size":0,"logs":[ROW]}"#, Some("2")),
            (r#"{"total":null,"page":1,"logs":[ROW,ROW]}"#, Some("2")),
            (r#"{"total":null,"page":1,"logs":[ROW]}"#, None),
            (r#"{"total":18446744073709551615,"page":18446744073709551615,"logs":[ROW]}"#, None),
        ] {
            assert_eq!(next(&first, json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn statuses_that_are_not_published_are_kept() {
        for (json, expected) in [
            ("\"delivered\"", DeliveryStatus::Delivered),
            ("\"parked\"", DeliveryStatus::Other("parked".to_owned())),
            ("null", DeliveryStatus::Unstated),
            ("7", DeliveryStatus::Unstated),
        ] {
            let row: LogEntry = serde_json::from_str(&format!(r#"{{"id":"a","status":{json}}}"#)).unwrap();
            assert_eq!(row.status, expected);
        }
    }
}
