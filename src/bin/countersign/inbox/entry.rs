//! An entry, for people and for machines.

use countersign::Timestamp;
use countersign::inbox::{Entry, State};
use serde::Serialize;

use crate::output::{self, BAD, FAINT, GOOD, ODD};

/// `{"number": n, "state": …, "source": …, …}`; what an entry does not have is null.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    number: i64,
    state: &'static str,
    source: &'a str,
    tenant: Option<&'a str>,
    delivery_id: Option<&'a str>,
    event_type: Option<&'a str>,
    entity: Option<&'a str>,
    received_at: String,
    due_at: Option<String>,
    finished_at: Option<String>,
    attempts: u32,
    last_error: Option<&'a str>,
}

impl<'a> Shown<'a> {
    pub(super) fn of(entry: &'a Entry) -> Self {
        Self {
            number: entry.number,
            state: entry.state.as_str(),
            source: entry.source.as_str(),
            tenant: entry.tenant.as_ref().map(AsRef::as_ref),
            delivery_id: entry.delivery_id.as_ref().map(AsRef::as_ref),
            event_type: entry.event_type.as_ref().map(AsRef::as_ref),
            entity: entry.entity.as_deref(),
            received_at: entry.received_at.to_string(),
            due_at: entry.due_at.map(|due| due.to_string()),
            finished_at: entry.finished_at.map(|finished| finished.to_string()),
            attempts: entry.attempts,
            last_error: entry.last_error.as_deref(),
        }
    }
}

pub(super) fn or_dash(text: Option<impl AsRef<str>>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.as_ref().to_owned())
}

/// `4 min 3 s ago`; a clock that is behind is not worth a word.
pub(super) fn ago(moment: Timestamp, now: Timestamp) -> String {
    match now.since(moment) {
        short if short.as_secs() == 0 => "now".to_owned(),
        age => format!("{} ago", output::length(age)),
    }
}

/// What happens to it next, or what has happened last.
pub(super) fn fate(entry: &Entry, now: Timestamp) -> String {
    let ahead = |moment: Timestamp| moment.since(now);
    match (entry.state, entry.due_at, entry.finished_at) {
        (State::Pending, Some(due), _) if due > now => format!("due in {}", output::length(ahead(due))),
        (State::Pending, Some(due), _) => match now.since(due) {
            short if short.as_secs() == 0 => "due now".to_owned(),
            late => format!("due for {}", output::length(late)),
        },
        (State::Running, Some(end), _) if end > now => format!("leased for {}", output::length(ahead(end))),
        (State::Running, ..) => "lease has run out".to_owned(),
        (State::Waiting, ..) => "behind its entity".to_owned(),
        (State::Done, _, Some(at)) => format!("done {}", ago(at, now)),
        (State::Dead, _, Some(at)) => format!("given up {}", ago(at, now)),
        _ => "-".to_owned(),
    }
}

/// How a state looks.
pub(super) fn style(state: State) -> anstyle::Style {
    match state {
        State::Dead => BAD,
        State::Done => GOOD,
        State::Running => ODD,
        _ => FAINT,
    }
}
