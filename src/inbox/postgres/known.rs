//! What the statement that keeps deliveries says of each key.

use std::time::Duration;

use tokio_postgres::Row;

use super::rows::{fingerprint, optional_time, read, state_of};
use crate::dedupe::Fingerprint;
use crate::inbox::{InboxError, State};
use crate::time::Timestamp;

/// What the statement says of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// It is written now, in this state.
    New(State),
    /// It was there.
    Held(Held),
    /// Somebody else has written it at the same moment.
    Unclear,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) number: i64,
    pub(super) fingerprint: Fingerprint,
    pub(super) state: State,
    pub(super) finished_at: Option<Timestamp>,
    /// The accept that wrote it, unless it was leased since.
    pub(super) nonce: Option<[u8; 16]>,
}

impl Held {
    pub(super) fn is_over(&self, retention: Duration, now: Timestamp) -> bool {
        self.state == State::Done && self.finished_at.is_some_and(|at| at.saturating_add(retention) <= now)
    }
}

pub(super) fn known(row: &Row) -> Result<([u8; 32], Known), InboxError> {
    let key: &[u8] = read(row, "claim_key")?;
    let key = key.try_into().map_err(InboxError::unavailable)?;
    if read::<Option<i16>>(row, "new")?.is_some() {
        return Ok((key, Known::New(state_of(row, "new")?)));
    }
    // Nothing where the key was found but its delivery is just being forgotten.
    let (Some(number), Some(_)) = (read(row, "number")?, read::<Option<i16>>(row, "state")?) else {
        return Ok((key, Known::Unclear));
    };
    let held = Held {
        number,
        fingerprint: fingerprint(row)?,
        state: state_of(row, "state")?,
        finished_at: optional_time(row, "finished_at")?,
        nonce: read::<&[u8]>(row, "token")?.try_into().ok(),
    };
    Ok((key, Known::Held(held)))
}
