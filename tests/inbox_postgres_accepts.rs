//! Accepts on PostgreSQL that share a statement, where one of them is held up: what it costs the others.

#![cfg(all(feature = "postgres", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/servers.rs"]
mod servers;

mod inbox_common;
#[path = "inbox_common/postgres.rs"]
mod postgres;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::inbox::tokio_postgres::Client;
use countersign::inbox::{Accepted, InboxStore, Wanted};
use countersign::{PostgresInbox, Settled};
use futures_util::future::join_all;
use inbox_common::{incoming, until};
use postgres::{admin, now, number, of_entity, schema, shared};

/// Counts the statements that write deliveries, those that fail included, and the locks of entities that each holds.
async fn counted(admin: &Client, schema: &str) {
    let count = format!(
        "CREATE SEQUENCE {schema}.statements; CREATE TABLE {schema}.locks (held bigint);
        CREATE FUNCTION {schema}.count() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM nextval('{schema}.statements');
            INSERT INTO {schema}.locks SELECT count(*) FROM pg_locks
                WHERE locktype = 'advisory' AND pid = pg_backend_pid();
            RETURN NULL;
        END $$;
        CREATE TRIGGER count BEFORE INSERT ON {schema}.inbox_delivery FOR EACH STATEMENT
            EXECUTE FUNCTION {schema}.count()"
    );
    admin.batch_execute(&count).await.unwrap();
}

/// Somebody else is about to accept the same delivery, and does not come to an end.
#[tokio::test]
async fn of_many_accepts_a_key_that_somebody_holds_is_found_by_a_few_statements() {
    let (url, schema) = (shared(), schema());
    let builder = PostgresInbox::builder(&url).schema(&schema).response_timeout(Duration::from_secs(10));
    let (inbox, admin) = (builder.build().await.unwrap(), admin(&url).await);
    counted(&admin, &schema).await;
    assert_eq!(inbox.accept(incoming("pattern"), now()).await.unwrap(), Accepted::New);
    let hold = format!(
        "BEGIN; INSERT INTO {schema}.inbox_delivery SELECT -1, '\\x{key}', fingerprint, received_at, signed_at, source,
         tenant, delivery_id, event_type, key_id, entity, authenticated, content_digest, headers, body
         FROM {schema}.inbox_delivery",
        key = incoming("msg_17").key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    );
    admin.batch_execute(&hold).await.unwrap();
    let statements = format!("SELECT last_value FROM {schema}.statements");
    let before = number(&admin, &statements).await;
    // The first to come starts a statement at once; all that come in the same moment are in it.
    let all = join_all((0..64).map(|number| inbox.accept(incoming(&format!("msg_{number}")), now()))).await;
    let refused: Vec<_> = (0..64).filter(|number| all[*number].is_err()).collect();
    assert_eq!(refused, [17], "{all:?}");
    assert!(all.iter().flatten().all(|accepted| *accepted == Accepted::New), "{all:?}");
    let statements = number(&admin, &statements).await - before;
    assert!((2..=13).contains(&statements), "{statements} statements for one that is held");
    admin.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(inbox.accept(incoming("msg_17"), now()).await.unwrap(), Accepted::New);
}

/// An entity's lock is waited for once in the batch and a few times on the way to it, and not by each delivery of it.
#[tokio::test]
async fn of_an_entity_that_somebody_holds_all_are_refused_at_once_and_no_others() {
    let (url, schema) = (shared(), schema());
    let builder = PostgresInbox::builder(&url).schema(&schema).response_timeout(Duration::from_secs(10));
    let (inbox, admin) = (builder.build().await.unwrap(), admin(&url).await);
    // While a delivery of it is accepted the number of its lock can be seen.
    let show = format!(
        "CREATE TABLE {schema}.seen (number bigint);
        CREATE FUNCTION {schema}.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO {schema}.seen SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks
                WHERE locktype = 'advisory' AND pid = pg_backend_pid();
            RETURN NULL;
        END $$;
        CREATE TRIGGER see BEFORE INSERT ON {schema}.inbox_delivery FOR EACH STATEMENT EXECUTE FUNCTION {schema}.see()"
    );
    admin.batch_execute(&show).await.unwrap();
    assert_eq!(inbox.accept(of_entity("first", "held"), now()).await.unwrap(), Accepted::New);
    let lock = number(&admin, &format!("SELECT number FROM {schema}.seen")).await;
    admin.batch_execute(&format!("DROP TRIGGER see ON {schema}.inbox_delivery")).await.unwrap();
    admin.batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({lock})")).await.unwrap();
    let is_held = |number: usize| number.is_multiple_of(2);
    let of = |number| if is_held(number) { "held".to_owned() } else { format!("free_{number}") };
    let accepts =
        (0..64).map(|number| (number, of(number))).map(|(number, entity)| of_entity(&format!("msg_{number}"), &entity));
    let all = join_all(accepts.map(|incoming| inbox.accept(incoming, now()))).await;
    for (number, accepted) in all.iter().enumerate() {
        assert_eq!(accepted.is_err(), is_held(number), "{number}: {accepted:?}");
    }
    admin.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(inbox.accept(of_entity("msg_0", "held"), now()).await.unwrap(), Accepted::New);
}

/// What has expired and is locked by somebody has to go before its key is free. Nobody else waits for that.
#[tokio::test]
async fn the_answers_of_others_do_not_wait_until_one_that_has_expired_is_forgotten() {
    let (url, schema) = (shared(), schema());
    let builder = PostgresInbox::builder(&url).schema(&schema).retention(Duration::from_millis(1));
    let inbox = builder.response_timeout(Duration::from_secs(10)).build().await.unwrap();
    let start = now();
    assert_eq!(inbox.accept(incoming("old"), start).await.unwrap(), Accepted::New);
    let wanted = Wanted { limit: 1, lease: Duration::from_secs(30), max_attempts: 5 };
    let lease = inbox.claim(wanted, start).await.unwrap().leased[0].lease;
    assert_eq!(inbox.complete(&lease, start).await.unwrap(), Settled::Current);
    let (holder, admin) = (admin(&url).await, admin(&url).await);
    let lock = format!("BEGIN; SELECT FROM {schema}.inbox WHERE number = {} FOR UPDATE", lease.number);
    holder.batch_execute(&lock).await.unwrap();
    let later = start.saturating_add(Duration::from_hours(1));
    // In the same moment, so in the same statement.
    let accept = |id: &'static str| {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.accept(incoming(id), later).await.unwrap() })
    };
    let (old, new) = (accept("old"), accept("new"));
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%DELETE%'";
    until("the lock to be waited for", async || number(&admin, waiting).await == 1).await;
    assert!(new.is_finished(), "it waits for what it has nothing to do with");
    assert_eq!(new.await.unwrap(), Accepted::New);
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(old.await.unwrap(), Accepted::New, "the old one is forgotten");
}

/// The server has room for some thousands of locks, for all that it does.
#[tokio::test]
async fn accepts_of_many_entities_hold_no_more_than_64_locks_at_once() {
    let (url, schema) = (shared(), schema());
    let builder = PostgresInbox::builder(&url).schema(&schema).response_timeout(Duration::from_secs(10));
    let (inbox, admin) = (builder.build().await.unwrap(), admin(&url).await);
    counted(&admin, &schema).await;
    let accepts = (0..200).map(|number| of_entity(&format!("msg_{number}"), &format!("entity_{number}")));
    let all = join_all(accepts.map(|incoming| inbox.accept(incoming, now()))).await;
    assert!(all.into_iter().all(|accepted| accepted.unwrap() == Accepted::New));
    let most = number(&admin, &format!("SELECT max(held) FROM {schema}.locks")).await;
    assert_eq!(most, 64);
}

/// Senders are not concerned by what an operator asks.
#[tokio::test]
async fn an_operators_question_that_fails_is_not_told_as_an_inbox_that_is_away() {
    let (url, schema) = (shared(), schema());
    let (inbox, admin) = (PostgresInbox::builder(&url).schema(&schema).build().await.unwrap(), admin(&url).await);
    let log = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || Lines(Arc::clone(&writer))).finish();
    // While there is only one, whichever test's thread comes first decides for all whether a message is wanted.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    // Everything runs on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);
    let told = || String::from_utf8_lossy(&log.lock().unwrap()).into_owned();
    admin.batch_execute(&format!("ALTER TABLE {schema}.inbox_delivery RENAME received_at TO gone")).await.unwrap();
    inbox.stats().await.expect_err("it asks for a column that is gone");
    assert_eq!(told(), "");
    inbox.accept(incoming("a"), now()).await.expect_err("it writes the column");
    assert!(told().contains("the inbox is away: deliveries are answered 503"), "{}", told());
    admin.batch_execute(&format!("ALTER TABLE {schema}.inbox_delivery RENAME gone TO received_at")).await.unwrap();
    inbox.stats().await.unwrap();
    assert!(!told().contains("answers again"), "{}", told());
    assert_eq!(inbox.accept(incoming("a"), now()).await.unwrap(), Accepted::New);
    assert!(told().contains("the inbox answers again"), "{}", told());
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
