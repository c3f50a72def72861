//! Everything that failed since a moment, delivered again.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use futures_util::StreamExt;

use super::Client;
use super::error::{Error, ErrorKind};
use super::ids::LogId;
use super::log::{DeliveryStatus, LogQuery, LogsPage};
use super::stream::pages;
use crate::time::Timestamp;

/// The most rows that a page of the log has ("Webhook Logs").
const PAGE_SIZE: u32 = 100;
/// The most pages in a row without any row that has not been seen yet.
const MAX_STALE_PAGES: u32 = 8;

/// What [`Client::redeliver_failed`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
#[must_use = "it may have stopped early"]
pub struct Redelivered {
    /// How many rows of the log were looked at.
    pub walked: u64,
    /// The rows that are delivered again, the oldest first.
    pub retried: Vec<RetriedRow>,
    /// The rows that the provider refuses to deliver again, each with its reason.
    pub refused: Vec<RefusedRow>,
    /// Rows that failed and do not tell when: they are left alone.
    pub undated: Vec<LogId>,
    /// Rows that failed and were not tried any more, because of `stopped_by`.
    pub left: Vec<LogId>,
    /// What ended it early: a failure that is not about one row, such as a key that was revoked.
    pub stopped_by: Option<Error>,
}

/// How far a redelivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedeliveryProgress {
    /// The log is being read; nothing has been retried.
    Walking {
        /// How many rows have been looked at.
        walked: u64,
    },
    /// What failed is being retried.
    Retrying {
        /// How many rows have been tried.
        tried: u64,
        /// How many there are.
        all: u64,
    },
}

/// A row that is delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetriedRow {
    /// The row that failed.
    pub id: LogId,
    /// The row to look at, as the provider tells; whether it is the same one is not published.
    pub log_id: Option<LogId>,
}

/// A row that is not delivered again.
#[derive(Debug)]
#[non_exhaustive]
pub struct RefusedRow {
    /// The row.
    pub id: LogId,
    /// Why.
    pub error: Error,
}

impl Client {
    /// Has the provider deliver again what failed since `since`, that moment included.
    ///
    /// First it walks the log from its newest row back to `since`; then it retries each row whose status is `failed`, once
    /// and one after the other, the oldest first. Rows that come in meanwhile, those of the new deliveries among them,
    /// are not looked at. A row that the provider refuses (400, 404, 409, …) does not stop the rest. A failure that is not
    /// about the row (401, 402, 403, 429, 5xx after its retries, no connection) does: what was done until then, and what was left,
    /// stands in the answer beside it.
    ///
    /// The log does not tell which row belongs to which delivery, nor which has been retried: a second walk over the same
    /// time retries the same rows again, and a delivery of which two rows are `failed` is sent twice. Receivers recognise
    /// the second one by its id.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// use countersign::{Clock, SystemClock};
    /// # use countersign::kycgenie::client::{Client, Error};
    /// # async fn run(client: Client) -> Result<(), Error> {
    /// let since = SystemClock.now().saturating_sub(Duration::from_hours(6));
    /// let outcome = client.redeliver_failed(since).await?;
    /// println!("{} retried, {} refused", outcome.retried.len(), outcome.refused.len());
    /// if let Some(error) = outcome.stopped_by {
    ///     return Err(error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the log cannot be read back to `since`; nothing has been retried then.
    pub async fn redeliver_failed(&self, since: Timestamp) -> Result<Redelivered, Error> {
        self.redeliver_failed_telling(since, |_| {}).await
    }

    /// The same, and `tell` is told how far it is: after each page of the log, and before each retry and after the last one.
    ///
    /// # Errors
    ///
    /// As [`redeliver_failed`](Self::redeliver_failed).
    pub async fn redeliver_failed_telling(
        &self,
        since: Timestamp,
        mut tell: impl FnMut(RedeliveryProgress),
    ) -> Result<Redelivered, Error> {
        let Walk { walked, mut failed, undated, .. } = self.walk(since, &mut tell).await?;
        let all = failed.len() as u64;
        // The order in which things happened, as far as receivers care.
        failed.reverse();
        let mut outcome = Redelivered { walked, undated, ..Redelivered::default() };
        let mut rows = failed.into_iter();
        while let Some(id) = rows.next() {
            tell(RedeliveryProgress::Retrying { tried: all - rows.len() as u64 - 1, all });
            match self.retry(&id).await {
                Ok(retried) => outcome.retried.push(RetriedRow { id, log_id: retried.log_id }),
                Err(error) if is_about_the_row(&error) => outcome.refused.push(RefusedRow { id, error }),
                Err(error) => {
                    outcome.stopped_by = Some(error);
                    outcome.left.push(id);
                    outcome.left.extend(rows.by_ref());
                    return Ok(outcome);
                }
            }
        }
        tell(RedeliveryProgress::Retrying { tried: all, all });
        Ok(outcome)
    }

    async fn walk(&self, since: Timestamp, tell: &mut impl FnMut(RedeliveryProgress)) -> Result<Walk, Error> {
        let mut walk = Walk::default();
        let mut pages = pages(self.clone(), LogQuery::new().page_size(PAGE_SIZE));
        while let Some(page) = pages.next().await {
            let more = walk.take(page?, since)?;
            tell(RedeliveryProgress::Walking { walked: walk.walked });
            if !more {
                break;
            }
        }
        Ok(walk)
    }
}

/// Whether the provider's answer refuses this row, and would not refuse any other.
fn is_about_the_row(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Api(error) => {
            matches!(error.status, 400..=499) && !matches!(error.status, 401 | 402 | 403 | 407 | 408 | 429)
        }
        _ => false,
    }
}

/// What has been seen of the log.
///
/// Nothing is retried before the walk is over: a retry makes new rows, and in v1 these push the same page on and on.
#[derive(Default)]
struct Walk {
    walked: u64,
    failed: Vec<LogId>,
    undated: Vec<LogId>,
    seen: HashSet<u64>,
    hasher: RandomState,
    stale_pages: u32,
}

impl Walk {
    /// Takes a page. Whether to go on to the next one.
    fn take(&mut self, page: LogsPage, since: Timestamp) -> Result<bool, Error> {
        let mut news = false;
        let oldest = page.entries.iter().rev().find_map(|row| row.created_at);
        for row in page.entries {
            if !self.seen.insert(self.hasher.hash_one(&row.id)) {
                continue;
            }
            news = true;
            self.walked += 1;
            match (row.status, row.created_at) {
                (DeliveryStatus::Failed, Some(at)) if at >= since => self.failed.push(row.id),
                (DeliveryStatus::Failed, None) => self.undated.push(row.id),
                _ => {}
            }
        }
        self.stale_pages = if news { 0 } else { self.stale_pages + 1 };
        if self.stale_pages >= MAX_STALE_PAGES {
            return Err(Error::endless_log());
        }
        Ok(oldest.is_none_or(|oldest| oldest >= since))
    }
}
