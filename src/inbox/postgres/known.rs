//! What the statement that keeps deliveries says of each key.

use std::time::Duration;

use tokio_postgres::Row;

use super::retention::length;
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
    /// For how long the inbox remembers it, if it is done.
    pub(super) remembered: Duration,
}

impl Held {
    /// One that was written by the statement itself.
    pub(super) const fn just_now(fingerprint: Fingerprint, state: State) -> Self {
        Self { number: 0, fingerprint, state, finished_at: None, nonce: None, remembered: Duration::ZERO }
    }

    /// For a process with this retention, which another may have outdone.
    pub(super) fn is_over(&self, retention: Duration, now: Timestamp) -> bool {
        let retention = retention.max(self.remembered);
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
        remembered: length(read::<Option<i64>>(row, "remembered")?.unwrap_or(0)),
    };
    Ok((key, Known::Held(held)))
}
