//! Accounts, their API keys, and the URL that each tenant has for everything else.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::sandbox::Mode;
use crate::sandbox::store::{Store, StoreError};

/// What one account sees in one mode.
#[derive(Clone)]
pub(in crate::sandbox) struct Tenant {
    pub(in crate::sandbox) id: i64,
    pub(in crate::sandbox) account: String,
    pub(in crate::sandbox) mode: Mode,
    pub(in crate::sandbox) webhook_url: Option<String>,
    pub(in crate::sandbox) secret: String,
}

impl Store {
    /// Makes `key` a key of `account` in `mode`, and the tenant that it opens if there is none, with `secret` for what
    /// goes to its own URL. A key that is known already stays as it is.
    pub(in crate::sandbox) fn add_key(
        &self,
        key: &str,
        account: &str,
        mode: Mode,
        secret: &str,
    ) -> Result<(), StoreError> {
        self.transact(|transaction| {
            if transaction.prepare_cached("SELECT 1 FROM api_key WHERE key = ?")?.exists([key])? {
                return Ok(());
            }
            let live = mode == Mode::Live;
            transaction.execute(
                "INSERT INTO tenant (account, live, secret) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                params![account, live, secret],
            )?;
            transaction.execute(
                "INSERT INTO api_key (key, tenant) SELECT ?, id FROM tenant WHERE account = ? AND live = ?",
                params![key, account, live],
            )?;
            Ok(())
        })
    }

    /// Whose key it is.
    pub(in crate::sandbox) fn tenant_of(&self, key: &str) -> Result<Option<Tenant>, StoreError> {
        self.transact(|transaction| {
            transaction
                .prepare_cached("SELECT tenant.* FROM api_key JOIN tenant ON tenant.id = api_key.tenant WHERE key = ?")?
                .query_row([key], read)
                .optional()
        })
    }

    /// The URL that gets every event for which there is no subscription.
    pub(in crate::sandbox) fn set_tenant_url(&self, tenant: i64, url: Option<&str>) -> Result<(), StoreError> {
        self.transact(|transaction: &Transaction<'_>| {
            transaction.execute("UPDATE tenant SET webhook_url = ? WHERE id = ?", params![url, tenant])?;
            Ok(())
        })
    }
}

fn read(row: &Row<'_>) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        id: row.get("id")?,
        account: row.get("account")?,
        mode: if row.get("live")? { Mode::Live } else { Mode::Test },
        webhook_url: row.get("webhook_url")?,
        secret: row.get("secret")?,
    })
}
