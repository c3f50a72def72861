//! What the rows of every engine have in common.

use std::time::Duration;

use super::entry::State;
use super::store::InboxError;
use crate::causes::Causes;

pub(super) const PENDING: u8 = 0;
pub(super) const RUNNING: u8 = 1;
pub(super) const WAITING: u8 = 2;
pub(super) const DONE: u8 = 3;
pub(super) const DEAD: u8 = 4;

/// What is said of a delivery whose last attempt began and never ended.
pub(super) const SILENT: &str =
    "the last attempt ended without a word: the process died in it, or the handler froze past its lease";

/// The longest text of an error that is kept, in bytes.
const MAX_ERROR: usize = 4096;

pub(super) fn state(number: u8) -> State {
    match number {
        PENDING => State::Pending,
        RUNNING => State::Running,
        WAITING => State::Waiting,
        DONE => State::Done,
        _ => State::Dead,
    }
}

pub(super) fn number_of(state: State) -> u8 {
    match state {
        State::Pending => PENDING,
        State::Running => RUNNING,
        State::Waiting => WAITING,
        State::Done => DONE,
        State::Dead => DEAD,
    }
}

/// Header values may be any bytes, so they stand in hexadecimal.
pub(super) fn write_headers(headers: &[(String, Vec<u8>)]) -> String {
    let pairs: Vec<_> = headers.iter().map(|(name, value)| (name, base16ct::lower::encode_string(value))).collect();
    serde_json::to_string(&pairs).unwrap_or_else(|_| "[]".to_owned())
}

pub(super) fn read_headers(text: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let pairs: Vec<(String, String)> = serde_json::from_str(text).ok()?;
    pairs.into_iter().map(|(name, value)| Some((name, base16ct::lower::decode_vec(value).ok()?))).collect()
}

/// One token for each of `count` leases. Without randomness there is no fencing, so nothing is leased.
pub(super) fn tokens(count: usize) -> Result<Vec<u128>, InboxError> {
    let mut bytes = vec![0; count * size_of::<u128>()];
    getrandom::fill(&mut bytes).map_err(|error| InboxError::unavailable(error.to_string()))?;
    Ok(bytes.as_chunks().0.iter().map(|chunk| u128::from_le_bytes(*chunk)).collect())
}

/// As much of an error's text as is kept.
pub(super) fn bounded(error: &str) -> String {
    error[..error.floor_char_boundary(MAX_ERROR)].to_owned()
}

/// What is said of a delivery that is due and has had all its attempts, after what was said of it before. Where it is
/// `running`, the last of them has ended without a word; otherwise fewer are allowed now than were then.
pub(super) fn last_words(running: bool, attempts: u32, most: u32, last_error: Option<String>) -> String {
    let why = if running {
        SILENT.to_owned()
    } else {
        format!("attempt {attempts} was its last, since `max_attempts` is {most} now")
    };
    match last_error {
        Some(last) => format!("{why}; before that: {last}"),
        None => why,
    }
}

/// Tells which retention counts where another process has opened the inbox with a longer one.
pub(super) fn warn_of_shorter(own: Duration, recorded: Duration) {
    if own < recorded {
        tracing::warn!(
            retention_s = own.as_secs(),
            inbox_retention_s = recorded.as_secs(),
            "the inbox was opened with a longer retention before, which is the one that counts: set the same in every \
             process"
        );
    }
}

/// What is said of a delivery that cannot be read. The error names a column, and never what is in it.
pub(super) fn malformed_words(error: &(dyn std::error::Error + 'static)) -> String {
    format!("what is kept of it cannot be read, so something else has written to the inbox: {}", Causes(error))
}
