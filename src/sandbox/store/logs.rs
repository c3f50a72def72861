//! Pages of the delivery log, newest first.
//!
//! Rows are numbered 1, 2, 3 … within a tenant, without a gap, so that any page is a range of numbers: neither counted
//! nor skipped through, however long the log is.

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use crate::sandbox::store::deliveries::status_name;
use crate::sandbox::store::{Store, StoreError, uuid};

/// One row of the delivery log.
pub(in crate::sandbox) struct LogRow {
    pub(in crate::sandbox) number: i64,
    pub(in crate::sandbox) id: Uuid,
    pub(in crate::sandbox) event_type: String,
    pub(in crate::sandbox) webhook_url: String,
    /// As the documents call it: `pending`, `delivered`, `failed`, `retrying`.
    pub(in crate::sandbox) status: &'static str,
    pub(in crate::sandbox) http_status_code: Option<u16>,
    pub(in crate::sandbox) attempt_number: u32,
    pub(in crate::sandbox) error_message: Option<String>,
    pub(in crate::sandbox) created_at: i64,
    pub(in crate::sandbox) next_retry_at: Option<i64>,
}

/// Which rows of the log.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) enum Page {
    /// The rows next older than this number.
    After(i64),
    /// The rows next newer than this number.
    Before(i64),
    /// The newest rows, behind so many.
    Skip(i64),
}

impl Store {
    /// How many rows a tenant's log has, and `size` of them, newest first.
    pub(in crate::sandbox) fn log_page(
        &self,
        tenant: i64,
        page: Page,
        size: i64,
    ) -> Result<(i64, Vec<LogRow>), StoreError> {
        self.transact(|transaction| {
            let total = transaction
                .prepare_cached("SELECT log_count FROM tenant WHERE id = ?")?
                .query_row([tenant], |row| row.get::<_, i64>(0))
                .optional()?
                .unwrap_or(0);
            let newest = match page {
                Page::After(number) => number.saturating_sub(1),
                Page::Before(number) => number.saturating_add(size),
                Page::Skip(rows) => total.saturating_sub(rows),
            }
            .min(total);
            let older_than_all = match page {
                Page::Before(number) => number,
                Page::After(_) | Page::Skip(_) => newest.saturating_sub(size),
            };
            let rows = transaction
                .prepare_cached(PAGE)?
                .query_map(params![tenant, older_than_all, newest], read)?
                .collect::<Result<_, _>>()?;
            Ok((total, rows))
        })
    }
}

const PAGE: &str = "
    SELECT log.*, delivery.event_type, delivery.webhook_url FROM log JOIN delivery ON delivery.seq = log.delivery
    WHERE log.tenant = ?1 AND log.number > ?2 AND log.number <= ?3 ORDER BY log.number DESC";

fn read(row: &Row<'_>) -> Result<LogRow, StoreError> {
    Ok(LogRow {
        number: row.get("number")?,
        id: uuid(row, "id")?,
        event_type: row.get("event_type")?,
        webhook_url: row.get("webhook_url")?,
        status: status_name(row.get("status")?),
        http_status_code: row.get("http_status_code")?,
        attempt_number: row.get("attempt_number")?,
        error_message: row.get("error_message")?,
        created_at: row.get("created_at")?,
        next_retry_at: row.get("next_retry_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_its_numbers_and_never_by_reading_the_log() {
        let store = Store::open(None).unwrap();
        let plan: Vec<String> = store
            .transact(|transaction| {
                let mut explain = transaction.prepare(&format!("EXPLAIN QUERY PLAN {PAGE}"))?;
                explain.query_map(params![1, 2, 3], |row| row.get("detail"))?.collect::<Result<_, StoreError>>()
            })
            .unwrap();
        assert_eq!(plan.len(), 2, "{plan:?}");
        assert!(plan[0].starts_with("SEARCH log USING PRIMARY KEY (tenant=? AND number>? AND number<?)"), "{plan:?}");
        assert!(plan[1].starts_with("SEARCH delivery USING INTEGER PRIMARY KEY"), "{plan:?}");
    }
}
