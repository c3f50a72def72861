//! What the provider's log says, held against the inbox and the books.

use std::collections::{HashMap, HashSet};

use countersign::inbox::tokio_postgres::Client;
use countersign::inbox::{InboxStore, Query, State, Stats};
use countersign::sandbox::Sandbox;

use crate::common::Failure;

pub(crate) fn unfinished(stats: &Stats) -> u64 {
    stats.pending + stats.running + stats.waiting
}

/// Prints a table and tells whether everything is as promised: all `events` were acknowledged in the end, and what was not was
/// asked to come back; what was acknowledged is in the inbox, and was booked once when it is done, and not otherwise.
pub(crate) async fn give(
    events: u64,
    sandbox: &Sandbox,
    inbox: &impl InboxStore,
    books: &Client,
    schema: &str,
) -> Result<bool, Failure> {
    let attempts = sandbox.attempts(0);
    let with = |status: Option<u16>| attempts.iter().filter(move |attempt| attempt.status == status);
    let acknowledged: HashSet<String> = with(Some(200)).map(|attempt| attempt.delivery_id.clone()).collect();
    let (refused, broken) = (with(Some(503)).count(), with(None).count());
    let other = attempts.len() - with(Some(200)).count() - refused - broken;

    let mut states = HashMap::new();
    for state in [State::Pending, State::Running, State::Waiting, State::Done, State::Dead] {
        let mut page = inbox.list(Query::of(state).limit(1_000)).await?;
        while let Some(last) = page.last().map(|entry| entry.number) {
            states.extend(page.iter().filter_map(|entry| Some((entry.delivery_id.as_ref()?.to_string(), state))));
            page = inbox.list(Query::of(state).limit(1_000).after(last)).await?;
        }
    }
    let mut booked = HashMap::new();
    for row in books.query(&format!("SELECT delivery, count(*) FROM {schema}.booking GROUP BY delivery"), &[]).await? {
        booked.insert(row.try_get::<_, String>(0)?, row.try_get::<_, i64>(1)?);
    }

    let count = |state| states.values().filter(|found| **found == state).count();
    let lost = acknowledged.iter().filter(|id| !states.contains_key(*id)).count();
    let times = |id: &String| booked.get(id).copied().unwrap_or(0);
    let done: Vec<_> = states.iter().filter(|(_, state)| **state == State::Done).map(|(id, _)| id).collect();
    let once = done.iter().filter(|id| times(id) == 1).count();
    let doubled = booked.values().filter(|times| **times > 1).count();
    let stray = booked.keys().filter(|id| states.get(*id) != Some(&State::Done)).count();

    println!();
    println!("the provider's log     acknowledged {:>5}   of {events}", acknowledged.len());
    println!("                       attempts {:>9}", attempts.len());
    println!("                       of these 503 {refused:>5}   no answer {broken}   other {other}");
    let pending = count(State::Pending) + count(State::Running) + count(State::Waiting);
    println!(
        "the inbox              done {:>13}   pending {pending}   dead {}",
        count(State::Done),
        count(State::Dead)
    );
    println!("                       lost {lost:>13}");
    println!(
        "effects                once {once:>13}   missing {}   doubled {doubled}   of nothing {stray}",
        done.len() - once
    );
    println!();
    let say = |holds: bool, what: &str| {
        println!("{}: {what}", if holds { "HOLDS" } else { "DOES NOT HOLD" });
        holds
    };
    // The provider comes back until it is told 2xx, so in the end it has been told so of every event.
    let answered = acknowledged.len() as u64 == events && other == 0;
    let kept = lost == 0 && doubled == 0 && stray == 0 && once == done.len();
    let answered = say(answered, "every event was acknowledged, and no answer was other than 200 or 503");
    let kept = say(kept, "acknowledged ⊆ handled ∪ pending ∪ dead, and one effect for each that was handled");
    Ok(answered && kept)
}
