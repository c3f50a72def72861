//! `#[handlers(Event, effects = T)]`: handlers that write in the transaction which completes their delivery.

#![cfg(all(feature = "macros", feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod inbox_common;
#[path = "common/scripted.rs"]
mod scripted;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::inbox::rusqlite::Connection;
use countersign::inbox::{
    Accepted, Backoff, Inbox, InboxStore, Incoming, Query, SqliteEffects, SqliteInbox, State, TransactionalHandlers,
};
use countersign::{
    Clock, Delivery, EventType, Fingerprint, HandlerError, Interest, Outcome, SystemClock, Unknown, WebhookEvent,
    handlers,
};
use inbox_common::{Folder, incoming, until};
use scripted::Scripted;

#[derive(Debug, WebhookEvent)]
#[event(tag = "event", content = "data")]
enum Event {
    #[event("paid")]
    Paid(Payment),
    #[event("refunded")]
    Refunded(Payment),
    #[event("closed")]
    #[allow(dead_code, reason = "nobody takes it")]
    Closed(Payment),
    #[event(group)]
    Audit(Audit),
    #[event(unknown)]
    Unknown(Unknown),
}

#[derive(Debug, WebhookEvent)]
enum Audit {
    #[event("audit.begun")]
    Begun,
    #[event("audit.ended")]
    Ended,
}

#[derive(Debug, serde::Deserialize)]
struct Payment {
    amount: i64,
}

#[derive(Clone, Default)]
struct Ledger {
    tries: Arc<AtomicUsize>,
}

/// Every kind of argument, in every place, and every kind of result.
#[handlers(Event, effects = SqliteEffects)]
impl Ledger {
    #[on(Paid)]
    async fn paid(
        &self,
        payment: Payment,
        delivery: &Delivery,
        effects: &mut SqliteEffects,
    ) -> Result<(), HandlerError> {
        let id = delivery.id().map(ToString::to_string).ok_or("a payment without an id")?;
        tokio::task::yield_now().await;
        book(effects, "paid", payment.amount, id);
        if self.tries.fetch_add(1, Ordering::SeqCst) == 0 {
            // What it has handed over is thrown away.
            return Err("the first try fails".into());
        }
        Ok(())
    }

    #[on(Refunded)]
    async fn refunded(&self, effects: &mut SqliteEffects, payment: Payment) {
        book(effects, "refunded", payment.amount, String::new());
    }

    #[on(Closed)]
    async fn closed(&self, delivery: &Delivery, effects: &mut SqliteEffects) -> Outcome {
        book(effects, "closed", 0, delivery.event_type().unwrap().to_string());
        Outcome::Handled
    }

    #[on(Audit::Begun)]
    async fn begun(&self, event: &mut SqliteEffects) {
        book(event, "begun", 0, String::new());
    }

    #[on(Audit::Ended)]
    async fn ended(&self) -> Result<(), HandlerError> {
        Err(HandlerError::permanent("audits have no end"))
    }

    #[otherwise]
    async fn rest(&self, event: Event, effects: &mut SqliteEffects, delivery: &Delivery) {
        assert!(matches!(event, Event::Unknown(unknown) if Some(unknown.event_type()) == delivery.event_type()));
        book(effects, "rest", 0, delivery.event_type().unwrap().to_string());
    }
}

fn book(effects: &mut SqliteEffects, kind: &'static str, amount: i64, note: String) {
    effects.write(move |transaction| {
        transaction.execute("INSERT INTO booking VALUES (?1, ?2, ?3)", (kind, amount, note))?;
        Ok(())
    });
}

fn delivery(id: &str, event_type: &str, data: &str) -> Incoming {
    let mut incoming = incoming(id);
    incoming.delivery.raw = format!(r#"{{"event":"{event_type}","data":{data}}}"#).into();
    incoming.fingerprint = Fingerprint::of(&incoming.delivery.raw);
    incoming.delivery.event_type = Some(EventType::new(event_type).unwrap());
    incoming
}

const PROMPT: Backoff = Backoff { shortest: Duration::from_millis(1), longest: Duration::from_millis(20) };

#[tokio::test]
async fn what_handlers_write_is_there_once_and_by_those_that_want_it() {
    let folder = Folder::new();
    let store = SqliteInbox::open(folder.file()).unwrap();
    let ledger = Connection::open(folder.file()).unwrap();
    ledger.execute_batch("CREATE TABLE booking (kind TEXT, amount INTEGER, note TEXT)").unwrap();
    for (id, event_type, data) in [
        ("msg_1", "paid", r#"{"amount":7}"#),
        ("msg_2", "refunded", r#"{"amount":3}"#),
        // Nobody takes its payload, so that it cannot be decoded is nobody's trouble.
        ("msg_3", "closed", "[]"),
        ("msg_4", "audit.begun", "1"),
        ("msg_5", "audit.ended", "{}"),
        ("msg_6", "unheard.of", "{}"),
    ] {
        assert_eq!(store.accept(delivery(id, event_type, data), SystemClock.now()).await.unwrap(), Accepted::New);
    }
    let handlers = Ledger::default();
    let inbox = Inbox::new(store);
    let workers = inbox.transactional_workers(handlers.clone()).backoff(PROMPT).start().unwrap();
    until("all are done, or dead", async || {
        let stats = inbox.store().stats().await.unwrap();
        (stats.done, stats.dead) == (5, 1)
    })
    .await;
    workers.drain(Duration::from_secs(5)).await;
    let mut rows = ledger.prepare("SELECT kind, amount, note FROM booking ORDER BY kind").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(String, i64, String)> = rows.map(Result::unwrap).collect();
    let rows: Vec<_> = rows.iter().map(|(kind, amount, note)| (kind.as_str(), *amount, note.as_str())).collect();
    let expected = [
        ("begun", 0, ""),
        ("closed", 0, "closed"),
        ("paid", 7, "msg_1"),
        ("refunded", 3, ""),
        ("rest", 0, "unheard.of"),
    ];
    assert_eq!(rows, expected);
    assert_eq!(handlers.tries.load(Ordering::SeqCst), 2, "it failed once, and left nothing behind");
    let dead = inbox.store().list(Query::of(State::Dead)).await.unwrap();
    assert_eq!(dead[0].last_error.as_deref(), Some("audits have no end"));
}

#[test]
fn handlers_with_effects_are_ordinary_methods_and_tell_what_they_take() {
    let handlers = Ledger::default();
    let interest = |event_type| TransactionalHandlers::interest(&handlers, &EventType::new(event_type).unwrap());
    for (event_type, expected) in [
        ("paid", Interest::Payload),
        ("refunded", Interest::Payload),
        ("closed", Interest::Delivery),
        ("audit.begun", Interest::Delivery),
        ("audit.ended", Interest::Delivery),
        ("unheard.of", Interest::Payload),
    ] {
        assert_eq!(interest(event_type), expected, "{event_type}");
    }
    let mut effects = SqliteEffects::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(handlers.begun(&mut effects));
    assert_eq!(format!("{effects:?}"), "SqliteEffects { writes: 1 }");
}

/// Wants nothing but payments.
struct Picky;

impl TransactionalHandlers<SqliteEffects> for Picky {
    type Event = Event;

    fn interest(&self, event_type: &EventType) -> Interest {
        if event_type.as_str() == "paid" { Interest::Payload } else { Interest::Nothing }
    }

    async fn handle(&self, _event: Event, _delivery: &Delivery, _effects: &mut SqliteEffects) -> Outcome {
        Outcome::Handled
    }
}

#[tokio::test]
async fn for_an_event_that_nobody_wants_no_transaction_is_begun_and_nothing_decoded() {
    let folder = Folder::new();
    let (store, begun) = Scripted::counting(SqliteInbox::open(folder.file()).unwrap(), "begin");
    for (id, event_type, data) in
        [("msg_1", "refunded", r#""no payment""#), ("msg_2", "paid", r#"{"amount":1}"#), ("msg_3", "closed", "[]")]
    {
        assert_eq!(store.accept(delivery(id, event_type, data), SystemClock.now()).await.unwrap(), Accepted::New);
    }
    let inbox = Inbox::new(store);
    let workers = inbox.transactional_workers(Picky).backoff(PROMPT).start().unwrap();
    until("all are done", async || inbox.store().stats().await.unwrap().done == 3).await;
    workers.drain(Duration::from_secs(5)).await;
    assert_eq!(begun.load(Ordering::SeqCst), 1, "for the payment alone");
}
