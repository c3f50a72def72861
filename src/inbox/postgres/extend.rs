//! How a lease is renewed.

use std::collections::HashSet;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::Inner;
use super::rows::read;
use crate::dedupe::Settled;
use crate::inbox::step;
use crate::inbox::{InboxError, Lease};
use crate::remote::postgres::{Impatient, Statement};
use crate::time::Timestamp;

/// A lease as the statements know it. A process that lost a delivery may have it again, and ask for both leases at once.
type Known = (i64, Vec<u8>);

impl Inner {
    /// Those whose rows are free first, so that one that is held keeps no other from being renewed. A claim that came too
    /// late to lease a row holds it until it has committed, and that is waited for.
    pub(super) async fn extend(
        &self,
        leases: &[Lease],
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Settled>, InboxError> {
        let all: Vec<Known> = leases.iter().map(|lease| (lease.number, lease.token.to_be_bytes().to_vec())).collect();
        let deadline = self.link.deadline();
        let ask = async |text: &str, leases: &[Known]| {
            let (numbers, tokens): (Vec<i64>, Vec<&[u8]>) =
                leases.iter().map(|(number, token)| (*number, token.as_slice())).unzip();
            let params: [&(dyn ToSql + Sync); 4] = [&numbers, &tokens, &until.as_millis(), &now.as_millis()];
            self.link.ask(&Impatient(Statement { text, params: &params }), deadline).await
        };
        step::reached("extend", "committing");
        let (rows, _) = ask(&self.statements.extend, &all).await?;
        let (mut good, mut held_up) = (HashSet::new(), Vec::new());
        for row in &rows {
            let lease: Known = (read(row, "number")?, read(row, "token")?);
            if read(row, "extended")? {
                good.insert(lease);
            } else {
                held_up.push(lease);
            }
        }
        if !held_up.is_empty() {
            match ask(&self.statements.extend_held_up, &held_up).await {
                Ok((rows, _)) => {
                    for row in rows {
                        if read(&row, "extended")? {
                            good.insert((read(&row, "number")?, read(&row, "token")?));
                        }
                    }
                }
                // Nobody else can lease them either, for as long as they are held.
                Err(failure) if failure.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => good.extend(held_up),
                Err(failure) => return Err(failure.into()),
            }
        }
        step::reached("extend", "committed");
        let settled = |lease| if good.contains(lease) { Settled::Current } else { Settled::Superseded };
        Ok(all.iter().map(settled).collect())
    }
}
