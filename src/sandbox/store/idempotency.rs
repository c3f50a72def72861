//! What was answered under an idempotency key.

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use crate::sandbox::store::{Store, StoreError, uuid};

/// An answer that was given already.
pub(in crate::sandbox) struct Answered {
    pub(in crate::sandbox) status: u16,
    pub(in crate::sandbox) body: Vec<u8>,
    pub(in crate::sandbox) request_id: Uuid,
}

/// What a key is at the moment a request comes with it.
pub(in crate::sandbox) enum Claim {
    /// It is this request's: settle it or release it.
    Ours,
    /// The same request was answered already.
    Answered(Answered),
    /// The same request is being worked on.
    Running,
    /// It belongs to another request.
    Taken,
}

impl Store {
    /// Takes `key` for a request at `now`, unless there is one from after `horizon` (both in microseconds).
    pub(in crate::sandbox) fn claim_key(
        &self,
        tenant: i64,
        key: &str,
        fingerprint: &[u8],
        now: i64,
        horizon: i64,
    ) -> Result<Claim, StoreError> {
        self.transact(|transaction| {
            transaction.prepare_cached("DELETE FROM idempotency WHERE created_at <= ?")?.execute([horizon])?;
            let found = transaction
                .prepare_cached("SELECT * FROM idempotency WHERE tenant = ? AND key = ?")?
                .query_row(params![tenant, key], |row| {
                    if row.get::<_, Vec<u8>>("fingerprint")? != fingerprint {
                        return Ok(Claim::Taken);
                    }
                    let Some(status) = row.get("status")? else { return Ok(Claim::Running) };
                    Ok(Claim::Answered(Answered {
                        status,
                        body: row.get("answer")?,
                        request_id: uuid(row, "request_id")?,
                    }))
                })
                .optional()?;
            if let Some(claim) = found {
                return Ok(claim);
            }
            transaction
                .prepare_cached("INSERT INTO idempotency (tenant, key, fingerprint, created_at) VALUES (?, ?, ?, ?)")?
                .execute(params![tenant, key, fingerprint, now])?;
            Ok(Claim::Ours)
        })
    }

    /// Keeps the answer of a request that holds `key`.
    pub(in crate::sandbox) fn settle_key(&self, tenant: i64, key: &str, answer: &Answered) -> Result<(), StoreError> {
        self.transact(|transaction| {
            transaction
                .prepare_cached(
                    "UPDATE idempotency SET status = ?, answer = ?, request_id = ? WHERE tenant = ? AND key = ?",
                )?
                .execute(params![answer.status, answer.body, answer.request_id.as_bytes(), tenant, key])?;
            Ok(())
        })
    }

    /// Lets go of `key`, whose request got no answer worth keeping.
    pub(in crate::sandbox) fn release_key(&self, tenant: i64, key: &str) -> Result<(), StoreError> {
        self.transact(|transaction| {
            transaction
                .prepare_cached("DELETE FROM idempotency WHERE tenant = ? AND key = ? AND status IS NULL")?
                .execute(params![tenant, key])?;
            Ok(())
        })
    }
}
