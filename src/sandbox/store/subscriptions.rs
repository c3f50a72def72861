//! Subscriptions: which URL wants which events.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use crate::sandbox::store::{Store, StoreError, uuid};

/// A subscription without its secret, which is shown when it is made and never again.
#[derive(Clone)]
pub(in crate::sandbox) struct Subscription {
    pub(in crate::sandbox) id: Uuid,
    pub(in crate::sandbox) event_type: String,
    pub(in crate::sandbox) webhook_url: String,
    pub(in crate::sandbox) is_active: bool,
    pub(in crate::sandbox) description: String,
    /// A JSON object.
    pub(in crate::sandbox) filters: String,
    pub(in crate::sandbox) created_at: i64,
    pub(in crate::sandbox) updated_at: i64,
    pub(in crate::sandbox) total: u64,
    pub(in crate::sandbox) successful: u64,
    pub(in crate::sandbox) failed: u64,
    pub(in crate::sandbox) last_triggered_at: Option<i64>,
}

/// What a subscription is made of.
pub(in crate::sandbox) struct NewSubscription<'a> {
    pub(in crate::sandbox) event_type: &'a str,
    pub(in crate::sandbox) webhook_url: &'a str,
    pub(in crate::sandbox) description: &'a str,
    pub(in crate::sandbox) filters: &'a str,
    pub(in crate::sandbox) secret: &'a str,
}

/// What changes; `None` stays.
#[derive(Default)]
pub(in crate::sandbox) struct Changes<'a> {
    pub(in crate::sandbox) event_type: Option<&'a str>,
    pub(in crate::sandbox) webhook_url: Option<&'a str>,
    pub(in crate::sandbox) is_active: Option<bool>,
    pub(in crate::sandbox) description: Option<&'a str>,
    pub(in crate::sandbox) filters: Option<&'a str>,
}

impl Store {
    /// Makes a subscription at `now` (microseconds). `None` when `unique` and there is one of that type and URL.
    pub(in crate::sandbox) fn subscribe(
        &self,
        tenant: i64,
        new: &NewSubscription<'_>,
        unique: bool,
        now: i64,
    ) -> Result<Option<Uuid>, StoreError> {
        let id = Uuid::new_v4();
        self.transact(|transaction| {
            if unique && is_taken(transaction, tenant, new)? {
                return Ok(None);
            }
            transaction
                .prepare_cached(
                    "INSERT INTO subscription
                         (id, tenant, event_type, webhook_url, description, filters, secret, created_at, updated_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
                )?
                .execute(params![
                    id.as_bytes(),
                    tenant,
                    new.event_type,
                    new.webhook_url,
                    new.description,
                    new.filters,
                    new.secret,
                    now
                ])?;
            Ok(Some(id))
        })
    }

    /// All of a tenant's, oldest first, through `each`.
    pub(in crate::sandbox) fn subscriptions(&self, tenant: i64) -> Result<Vec<Subscription>, StoreError> {
        self.transact(|transaction| {
            transaction
                .prepare_cached("SELECT * FROM subscription WHERE tenant = ? ORDER BY seq")?
                .query_map([tenant], read)?
                .collect()
        })
    }

    /// One of a tenant's.
    pub(in crate::sandbox) fn subscription(&self, tenant: i64, id: Uuid) -> Result<Option<Subscription>, StoreError> {
        self.transact(|transaction| {
            transaction
                .prepare_cached("SELECT * FROM subscription WHERE id = ? AND tenant = ?")?
                .query_row(params![id.as_bytes(), tenant], read)
                .optional()
        })
    }

    /// Changes one of a tenant's. Whether there is one.
    pub(in crate::sandbox) fn change_subscription(
        &self,
        tenant: i64,
        id: Uuid,
        changes: &Changes<'_>,
        now: i64,
    ) -> Result<bool, StoreError> {
        self.transact(|transaction| {
            let changed = transaction
                .prepare_cached(
                    "UPDATE subscription SET event_type = coalesce(?3, event_type),
                         webhook_url = coalesce(?4, webhook_url), is_active = coalesce(?5, is_active),
                         description = coalesce(?6, description), filters = coalesce(?7, filters), updated_at = ?8
                     WHERE id = ?1 AND tenant = ?2",
                )?
                .execute(params![
                    id.as_bytes(),
                    tenant,
                    changes.event_type,
                    changes.webhook_url,
                    changes.is_active,
                    changes.description,
                    changes.filters,
                    now
                ])?;
            Ok(changed > 0)
        })
    }

    /// Removes one of a tenant's. Whether there was one.
    pub(in crate::sandbox) fn unsubscribe(&self, tenant: i64, id: Uuid) -> Result<bool, StoreError> {
        self.transact(|transaction| {
            let removed = transaction
                .prepare_cached("DELETE FROM subscription WHERE id = ? AND tenant = ?")?
                .execute(params![id.as_bytes(), tenant])?;
            Ok(removed > 0)
        })
    }

    /// Replaces the secret of one of a tenant's; the old one signs as well until `overlap_until` (microseconds), if at
    /// all. Whether there is one.
    pub(in crate::sandbox) fn rotate_secret(
        &self,
        tenant: i64,
        id: Uuid,
        secret: &str,
        overlap_until: Option<i64>,
        now: i64,
    ) -> Result<bool, StoreError> {
        self.transact(|transaction| {
            let rotated = transaction
                .prepare_cached(
                    "UPDATE subscription SET previous_secret = iif(?4 IS NULL, NULL, secret), previous_until = ?4,
                         secret = ?3, updated_at = ?5
                     WHERE id = ?1 AND tenant = ?2",
                )?
                .execute(params![id.as_bytes(), tenant, secret, overlap_until, now])?;
            Ok(rotated > 0)
        })
    }
}

fn is_taken(transaction: &Transaction<'_>, tenant: i64, new: &NewSubscription<'_>) -> Result<bool, StoreError> {
    transaction
        .prepare_cached("SELECT 1 FROM subscription WHERE tenant = ? AND event_type = ? AND webhook_url = ?")?
        .exists(params![tenant, new.event_type, new.webhook_url])
}

fn read(row: &Row<'_>) -> Result<Subscription, StoreError> {
    Ok(Subscription {
        id: uuid(row, "id")?,
        event_type: row.get("event_type")?,
        webhook_url: row.get("webhook_url")?,
        is_active: row.get("is_active")?,
        description: row.get("description")?,
        filters: row.get("filters")?,
        created_at: row.get("created_at")?,
        updated_at: row.get("updated_at")?,
        total: row.get::<_, i64>("total")?.unsigned_abs(),
        successful: row.get::<_, i64>("successful")?.unsigned_abs(),
        failed: row.get::<_, i64>("failed")?.unsigned_abs(),
        last_triggered_at: row.get("last_triggered_at")?,
    })
}
