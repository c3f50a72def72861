//! The inbox on SQLite: the conformance suite, and what only this engine has.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod inbox_common;

use std::time::Duration;

use countersign::inbox::rusqlite::{Connection, Transaction};
use countersign::inbox::{
    Accepted, CommitError, InboxError, InboxStore, Incoming, Query, SqliteInbox, SqliteInboxError, SqliteInboxMistake,
    State, TransactionalStore, Wanted,
};
use countersign::{
    ClaimKey, Clock, DeliveryId, Fingerprint, HandlerError, Settled, Source, SystemClock, TenantId, Timestamp,
};
use futures_util::future::{FutureExt, join_all};
use inbox_common::{Folder, incoming, what_the_longest_remembers_nobody_forgets};

mod conformance {
    use super::inbox_common::Folder;
    use countersign::SqliteInbox;

    countersign::inbox_conformance!(SqliteInbox::open(Folder::kept().file()).unwrap());
}

const WANTED: Wanted = Wanted { limit: 10, lease: Duration::from_secs(30), max_attempts: 3 };

fn pragma(path: &std::path::Path, name: &str) -> String {
    let connection = Connection::open(path).unwrap();
    connection.pragma_query_value(None, name, |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn the_file_keeps_a_write_ahead_log_and_is_its_owners_alone() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    assert_eq!(inbox.accept(incoming("a"), SystemClock.now()).await.unwrap(), Accepted::New);
    assert_eq!(pragma(&folder.file(), "journal_mode"), "wal");
    #[cfg(unix)]
    for name in ["inbox.sqlite", "inbox.sqlite-wal", "inbox.sqlite-shm"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// What a tool opens by a path that somebody has mistyped.
#[test]
fn what_is_to_be_there_is_neither_made_nor_changed() {
    let folder = Folder::new();
    let existing = |name: &str| SqliteInbox::builder(folder.path().join(name)).existing().open();
    let missing = existing("inbox.sqlite").unwrap_err();
    assert!(matches!(missing, SqliteInboxError::Missing { .. }), "{missing}");
    let nowhere = existing("not/there.sqlite").unwrap_err();
    assert!(matches!(nowhere, SqliteInboxError::Missing { .. }), "{nowhere}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");

    Connection::open(folder.path().join("other.sqlite")).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    std::fs::write(folder.path().join("empty"), "").unwrap();
    std::fs::write(folder.path().join("text"), "not a database, and longer than a header of one: ".repeat(20)).unwrap();
    for name in ["other.sqlite", "empty", "text"] {
        let before = std::fs::read(folder.path().join(name)).unwrap();
        let refused = existing(name).unwrap_err();
        assert!(matches!(refused, SqliteInboxError::NotAnInbox { .. }), "{name}: {refused}");
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), before, "{name}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "no file beside them");

    drop(SqliteInbox::open(folder.file()).unwrap());
    drop(existing("inbox.sqlite").unwrap());
    Connection::open(folder.file()).unwrap().execute("UPDATE countersign_inbox_schema SET version = 9", []).unwrap();
    let newer = existing("inbox.sqlite").unwrap_err();
    assert!(matches!(newer, SqliteInboxError::Version { version: 9, .. }), "{newer}");
}

#[test]
fn what_cannot_keep_its_word_is_refused_at_the_start() {
    let folder = Folder::new();
    let memory = SqliteInbox::open(":memory:");
    assert!(memory.is_err(), "memory is not durable: {memory:?}");
    std::fs::remove_file(":memory:").ok();
    let nowhere = SqliteInbox::open(folder.path().join("not/there.sqlite")).unwrap_err();
    assert!(matches!(nowhere, SqliteInboxError::File { .. }), "{nowhere}");
    let text = folder.path().join("text");
    std::fs::write(&text, "not a database, and longer than a header of one is: ".repeat(10)).unwrap();
    let text = SqliteInbox::open(text).unwrap_err();
    assert!(matches!(text, SqliteInboxError::Sqlite { .. }), "{text}");
}

#[test]
fn every_mistake_in_the_settings_is_reported_at_once_with_a_value_that_works() {
    let folder = Folder::new();
    let builder = || SqliteInbox::builder(folder.file());
    let two = builder().retention(Duration::ZERO).queue(0).open().unwrap_err();
    assert_eq!(
        two.to_string(),
        "the inbox cannot be opened: `retention` is 0; set it to longer than the sender retries, such as 80 hours; \
         `queue` is 0; set it to how many deliveries may wait, such as 4096"
    );
    let others = builder().keep_dead(Duration::from_secs(1)).queue(0).open().unwrap_err();
    let SqliteInboxError::Settings(mistakes) = &others else { panic!("{others}") };
    let given = Duration::from_secs(1);
    assert_eq!(mistakes[..], [SqliteInboxMistake::KeepDead { given }, SqliteInboxMistake::Queue], "{others}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_busy_timeout_that_is_longer_than_sqlite_can_wait_is_a_mistake_and_no_panic() {
    let folder = Folder::new();
    let builder = |timeout| SqliteInbox::builder(folder.file()).busy_timeout(timeout);
    let longest = Duration::from_hours(24 * 24);
    for given in [longest + Duration::from_millis(1), Duration::MAX] {
        let refused = builder(given).open().unwrap_err();
        let SqliteInboxError::Settings(mistakes) = &refused else { panic!("{refused}") };
        assert_eq!(mistakes[..], [SqliteInboxMistake::BusyTimeout { given }], "{refused}");
        let text = format!("`busy_timeout` is {given:?}; set it to 24 days or less, such as 1 s");
        assert!(refused.to_string().ends_with(&text), "{refused}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    builder(longest).open().unwrap();
    builder(Duration::ZERO).open().unwrap();
}

#[test]
fn tables_of_a_newer_program_are_left_alone() {
    let folder = Folder::new();
    drop(SqliteInbox::open(folder.file()).unwrap());
    let connection = Connection::open(folder.file()).unwrap();
    connection.execute("INSERT INTO countersign_inbox_schema VALUES (4)", []).unwrap();
    let newer = SqliteInbox::open(folder.file()).unwrap_err();
    assert!(newer.to_string().contains("has the schema 4; this program knows 3"), "{newer}");
}

/// What `.dump` says of a file of version 1: ids a1 to a3, b1, b2 and free, of one tenant; done, running and waiting.
const VERSION_1: &str = include_str!("data/inbox/sqlite_1.sql");

/// Receivers of the older program may be running on it: they would accept nothing any more.
#[test]
fn a_tool_does_not_bring_up_an_inbox_of_an_older_program() {
    let folder = Folder::new();
    Connection::open(folder.file()).unwrap().execute_batch(VERSION_1).unwrap();
    let before = std::fs::read(folder.file()).unwrap();
    let older = SqliteInbox::builder(folder.file()).existing().open().unwrap_err();
    assert!(matches!(older, SqliteInboxError::Older { version: 1, .. }), "{older}");
    assert!(older.to_string().contains("start the newer receiver first"), "{older}");
    assert_eq!(std::fs::read(folder.file()).unwrap(), before, "it is as it was");
    drop(SqliteInbox::open(folder.file()).unwrap());
    SqliteInbox::builder(folder.file()).existing().open().unwrap();
}

fn of_version_1(id: &str) -> Incoming {
    let (source, tenant) = (Source::new("conformance").unwrap(), TenantId::new("acme").unwrap());
    let raw =
        bytes::Bytes::from(format!("{{\"event\":\"a.b\",\"data\":{{\"id\":\"{id}\",\"text\":\"\u{fffd}\\u0000\"}}}}"));
    let mut incoming = incoming(id);
    incoming.key = ClaimKey::for_id(&source, Some(&tenant), &DeliveryId::new(id).unwrap());
    incoming.fingerprint = Fingerprint::of(&raw);
    incoming.delivery.raw = raw;
    incoming
}

#[tokio::test]
async fn a_file_of_version_1_is_opened_with_all_that_it_holds_and_knows_its_keys() {
    let folder = Folder::new();
    let old = Connection::open(folder.file()).unwrap();
    old.execute_batch(VERSION_1).unwrap();
    // The last row has been forgotten; its number is not given again.
    old.execute_batch("DELETE FROM countersign_inbox WHERE number = 6").unwrap();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.done, stats.running, stats.waiting, stats.pending), (2, 2, 1, 0));
    let now = Timestamp::from_millis(1_795_537_915_400);
    for (id, state) in [("a1", State::Done), ("b1", State::Running), ("b2", State::Waiting)] {
        assert_eq!(inbox.accept(of_version_1(id), now).await.unwrap(), Accepted::Duplicate(state), "{id}");
    }
    let mut other = of_version_1("a2");
    other.fingerprint = Fingerprint::of(b"another body");
    assert_eq!(inbox.accept(other, now).await.unwrap(), Accepted::Conflict);
    assert_eq!(inbox.accept(of_version_1("new"), now).await.unwrap(), Accepted::New);
    let entries = inbox.list(Query::all()).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 7]);
    let (_, delivery) = inbox.show(1).await.unwrap().unwrap();
    assert_eq!(delivery.raw, of_version_1("a1").delivery.raw);
    // A process of the older program has it open still: it fails, and answers no duplicate with "new".
    let accept = old.query_row("SELECT count(*) FROM countersign_inbox WHERE claim_key IS NULL", [], |_| Ok(()));
    assert!(accept.is_err(), "the older program can accept nothing any more");
    drop(inbox);
    assert_eq!(SqliteInbox::open(folder.file()).unwrap().stats().await.unwrap().done, 2, "once, and for good");
}

/// The tables are the same whichever way they came about.
#[test]
fn a_file_of_version_1_and_a_new_one_end_up_with_the_same_tables() {
    let shape = |file: &std::path::Path| {
        drop(SqliteInbox::open(file).unwrap());
        let connection = Connection::open(file).unwrap();
        let columns = "SELECT m.name, c.name, c.type, c.\"notnull\", c.pk, coalesce(i.sql, '') FROM sqlite_schema m \
                       JOIN pragma_table_info(m.name) c LEFT JOIN sqlite_schema i ON i.tbl_name = m.name AND i.type = 'index' \
                       ORDER BY 1, c.cid, 6";
        let mut rows = connection.prepare(columns).unwrap();
        let rows = rows
            .query_map([], |row| Ok(format!("{:?}", (0..6).map(|at| row.get_ref(at).unwrap()).collect::<Vec<_>>())));
        rows.unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let (old, new) = (Folder::new(), Folder::new());
    Connection::open(old.file()).unwrap().execute_batch(VERSION_1).unwrap();
    assert_eq!(shape(&old.file()), shape(&new.file()));
}

/// As a program of version 2 left it.
fn make_version_2(file: &std::path::Path) {
    let undo = "DROP TABLE countersign_inbox_retention; UPDATE countersign_inbox_schema SET version = 2";
    Connection::open(file).unwrap().execute_batch(undo).unwrap();
}

#[tokio::test]
async fn a_file_of_version_2_is_brought_up_and_remembers_for_as_long_as_who_opens_it() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    assert_eq!(inbox.accept(incoming("a"), SystemClock.now()).await.unwrap(), Accepted::New);
    drop(inbox);
    make_version_2(&folder.file());
    let older = SqliteInbox::builder(folder.file()).existing().open().unwrap_err();
    assert!(matches!(older, SqliteInboxError::Older { version: 2, .. }), "{older}");
    for _ in 0..2 {
        let inbox = SqliteInbox::builder(folder.file()).retention(Duration::from_hours(7)).open().unwrap();
        assert_eq!(inbox.longest_retention().await.unwrap(), Duration::from_hours(7));
        assert_eq!(inbox.stats().await.unwrap().pending, 1);
    }
}

#[tokio::test]
async fn what_the_longest_retention_remembers_no_other_process_forgets() {
    let (folder, hours) = (Folder::new(), Duration::from_hours);
    let builder = || SqliteInbox::builder(folder.file());
    let short = builder().keep_dead(hours(80)).open().unwrap();
    let long = builder().retention(hours(11 * 24)).open().unwrap();
    let tool = builder().retention(hours(1)).keep_dead(hours(1)).existing().open().unwrap();
    what_the_longest_remembers_nobody_forgets(short, long, tool).await;
}

#[tokio::test]
async fn a_tool_never_raises_the_retention_and_only_danger_lowers_it() {
    let folder = Folder::new();
    let builder = |hours| SqliteInbox::builder(folder.file()).retention(Duration::from_hours(hours));
    let (first, hours) = (builder(80).open().unwrap(), Duration::from_hours);
    for (opened, longest) in [
        (builder(1_000).existing(), 80),
        (builder(1_000).existing().danger_forget_early(), 80),
        (builder(1), 80),
        (builder(2).existing().danger_forget_early(), 2),
        (builder(3).danger_forget_early(), 3),
        (builder(1).danger_forget_early(), 1),
        (builder(80), 80),
    ] {
        let opened = opened.open().unwrap();
        assert_eq!(opened.longest_retention().await.unwrap(), hours(longest));
        assert_eq!(first.longest_retention().await.unwrap(), hours(longest), "for all");
    }
}

/// Two handles, as two processes have them: each learns of the other's keys, and of no number twice, across the bounds of
/// generations and after one of them was rolled back.
#[tokio::test]
async fn a_key_is_known_to_all_who_have_the_file_open_however_old_it_is() {
    let folder = Folder::new();
    let now = SystemClock.now();
    let (first, second) = (SqliteInbox::open(folder.file()).unwrap(), SqliteInbox::open(folder.file()).unwrap());
    let names: Vec<_> = (0..40).map(|number| format!("msg_{number}")).collect();
    let file = Connection::open(folder.file()).unwrap();
    for (at, name) in names.iter().enumerate() {
        let (one, other) = if at % 2 == 0 { (&first, &second) } else { (&second, &first) };
        assert_eq!(one.accept(incoming(name), now).await.unwrap(), Accepted::New);
        assert_eq!(other.accept(incoming(name), now).await.unwrap(), Accepted::Duplicate(State::Pending));
        // As if there had been 5,000 others.
        file.execute("UPDATE sqlite_sequence SET seq = seq + 5000 WHERE name = 'countersign_inbox'", []).unwrap();
    }
    let third = SqliteInbox::open(folder.file()).unwrap();
    for store in [&first, &second, &third] {
        for name in &names {
            assert_eq!(store.accept(incoming(name), now).await.unwrap(), Accepted::Duplicate(State::Pending), "{name}");
        }
    }
    assert_eq!(first.stats().await.unwrap().pending, 40);
}

/// A second program that writes into the file, or a copy that was mended by hand.
#[tokio::test]
async fn a_row_that_nobody_can_read_is_buried_and_keeps_nothing_else_from_being_worked_on() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let now = SystemClock.now();
    for id in ["source", "fingerprint", "payload", "sound"] {
        assert_eq!(inbox.accept(incoming(id), now).await.unwrap(), Accepted::New);
    }
    let spoil = "UPDATE countersign_inbox SET source = '' WHERE number = 1; \
                 UPDATE countersign_inbox SET fingerprint = x'00' WHERE number = 2; \
                 DELETE FROM countersign_inbox_payload WHERE number = 3";
    Connection::open(folder.file()).unwrap().execute_batch(spoil).unwrap();
    let batch = inbox.claim(WANTED, now).await.unwrap();
    assert_eq!(batch.leased.iter().map(|leased| leased.lease.number).collect::<Vec<_>>(), [4]);
    assert_eq!(batch.buried, 3);
    let (dead, words): (i64, String) = Connection::open(folder.file())
        .unwrap()
        .query_row("SELECT count(*), min(last_error) FROM countersign_inbox WHERE state = 4", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(dead, 3);
    assert!(words.starts_with("what is kept of it cannot be read"), "{words}");
}

/// A copy of last night is played back while a process has the file open. What it has read since then is another file's.
#[tokio::test]
async fn a_file_that_was_restored_beneath_a_process_is_read_anew() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let accept = async |inbox: &SqliteInbox, id| inbox.accept(incoming(id), SystemClock.now()).await.unwrap();
    for id in ["old", "lost"] {
        assert_eq!(accept(&inbox, id).await, Accepted::New);
    }
    // It has read both when it is asked again.
    assert_eq!(accept(&inbox, "lost").await, Accepted::Duplicate(State::Pending));
    let restore = "DELETE FROM countersign_inbox WHERE number > 1; DELETE FROM countersign_inbox_key WHERE number > 1; \
                   DELETE FROM countersign_inbox_payload WHERE number > 1; UPDATE sqlite_sequence SET seq = 1";
    Connection::open(folder.file()).unwrap().execute_batch(restore).unwrap();
    let other = SqliteInbox::open(folder.file()).unwrap();
    for id in ["new", "newer"] {
        assert_eq!(accept(&other, id).await, Accepted::New);
    }
    for id in ["old", "new", "newer"] {
        assert_eq!(accept(&inbox, id).await, Accepted::Duplicate(State::Pending), "{id}");
    }
    assert_eq!(accept(&inbox, "lost").await, Accepted::New);
}

/// Moved, deleted, or on a volume that has been taken away: what is written to a file without a name is lost with it.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_has_gone_takes_nothing_more_until_it_is_back() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let now = SystemClock.now();
    assert_eq!(inbox.accept(incoming("before"), now).await.unwrap(), Accepted::New);
    let aside = folder.path().join("aside");
    std::fs::rename(folder.file(), &aside).unwrap();
    for id in ["before", "meanwhile"] {
        let refused = inbox.accept(incoming(id), now).await.unwrap_err();
        assert!(matches!(refused, InboxError::Unavailable(_)), "{refused}");
    }
    assert!(inbox.ping().await.is_err(), "it could keep nothing");
    assert!(!folder.file().exists(), "nothing is made in its place");
    std::fs::rename(&aside, folder.file()).unwrap();
    assert_eq!(inbox.accept(incoming("before"), now).await.unwrap(), Accepted::Duplicate(State::Pending));
    assert_eq!(inbox.accept(incoming("meanwhile"), now).await.unwrap(), Accepted::New);
    assert_eq!(inbox.stats().await.unwrap().pending, 2);
}

/// Keys of which the index holds the same 8 bytes are told apart by the rest.
#[tokio::test]
async fn two_keys_that_share_a_hash_are_two_deliveries() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let now = SystemClock.now();
    assert_eq!(inbox.accept(incoming("a"), now).await.unwrap(), Accepted::New);
    // The row of `a` gets a key that differs from its own behind the first 8 bytes.
    let file = Connection::open(folder.file()).unwrap();
    file.execute("UPDATE countersign_inbox SET claim = CAST(substr(claim, 1, 8) || zeroblob(24) AS BLOB)", []).unwrap();
    assert_eq!(inbox.accept(incoming("a"), now).await.unwrap(), Accepted::New, "another key");
    assert_eq!(inbox.accept(incoming("a"), now).await.unwrap(), Accepted::Duplicate(State::Pending));
    assert_eq!(inbox.stats().await.unwrap().pending, 2);
}

#[tokio::test]
async fn what_was_accepted_is_there_after_the_process_that_accepted_it() {
    let folder = Folder::new();
    let now = SystemClock.now();
    let first = SqliteInbox::open(folder.file()).unwrap();
    assert_eq!(first.accept(incoming("a"), now).await.unwrap(), Accepted::New);
    // A second handle on the file, as another process has one.
    let second = SqliteInbox::open(folder.file()).unwrap();
    assert_eq!(second.accept(incoming("a"), now).await.unwrap(), Accepted::Duplicate(State::Pending));
    drop(first);
    let batch = second.claim(WANTED, now).await.unwrap();
    assert_eq!(batch.leased[0].delivery, incoming("a").delivery);
}

/// How many commits they share is looked at in `inbox_sqlite_writer.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_accepts_at_once_none_is_told_before_its_commit() {
    let folder = Folder::new();
    let inbox = SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_mins(1)).open().unwrap();
    let now = SystemClock.now();
    // While another connection holds the lock nothing is written.
    let blocker = Connection::open(folder.file()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut accepts: Vec<_> =
        (0..64).map(|number| inbox.accept(incoming(&format!("msg_{number}")), now).boxed()).collect();
    for pause in [Duration::ZERO, Duration::from_millis(100)] {
        tokio::time::sleep(pause).await;
        for accept in &mut accepts {
            assert!(accept.now_or_never().is_none(), "it waits");
        }
    }
    blocker.execute_batch("ROLLBACK").unwrap();
    for accepted in join_all(accepts).await {
        assert_eq!(accepted.unwrap(), Accepted::New);
    }
    assert_eq!(inbox.stats().await.unwrap().pending, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_too_long_is_an_error_and_the_next_try_is_well() {
    let folder = Folder::new();
    let inbox = SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_millis(50)).queue(2).open().unwrap();
    let now = SystemClock.now();
    let blocker = Connection::open(folder.file()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = inbox.accept(incoming("a"), now).await.unwrap_err();
    assert!(matches!(refused, InboxError::Unavailable(_)), "{refused}");
    // More than the queue has room for is refused at once.
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let inbox = inbox.clone();
            tokio::spawn(async move { inbox.accept(incoming(&format!("msg_{number}")), now).await })
        })
        .collect();
    let mut full = 0;
    for waiting in waiting {
        full += usize::from(matches!(waiting.await.unwrap(), Err(InboxError::Full)));
    }
    assert!(full > 0, "the queue is bounded");
    blocker.execute_batch("ROLLBACK").unwrap();
    assert_eq!(inbox.list(Query::all()).await.unwrap(), [], "no part of a record");
    assert_eq!(inbox.accept(incoming("a"), now).await.unwrap(), Accepted::New);
}

#[tokio::test]
async fn effects_and_completion_are_committed_together_or_not_at_all() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let ours = Connection::open(folder.file()).unwrap();
    ours.execute_batch("CREATE TABLE effect (id TEXT)").unwrap();
    let effects = || ours.query_row("SELECT count(*) FROM effect", [], |row| row.get::<_, i64>(0)).unwrap();
    let now = SystemClock.now();
    let accepted = inbox.accept(incoming("a"), now).await.unwrap();
    assert_eq!(accepted, Accepted::New);
    let lease = inbox.claim(WANTED, now).await.unwrap().leased[0].lease;
    let insert = |fail: bool| {
        move |tx: &Transaction<'_>| {
            tx.execute("INSERT INTO effect VALUES ('a')", [])?;
            if fail { Err(HandlerError::permanent("no such account")) } else { Ok(()) }
        }
    };

    let mut failing = inbox.begin(&lease).await.unwrap();
    failing.write(insert(false));
    failing.write(insert(true));
    let failed = inbox.commit(&lease, failing, now).await.unwrap_err();
    assert!(matches!(&failed, CommitError::Effect(error) if error.is_permanent()), "{failed}");
    let mut panicking = inbox.begin(&lease).await.unwrap();
    panicking.write(insert(false));
    panicking.write(|_| panic!("as the test says"));
    assert!(matches!(inbox.commit(&lease, panicking, now).await, Err(CommitError::Effect(_))));
    let mut ending = inbox.begin(&lease).await.unwrap();
    ending.write(insert(false));
    ending.write(|tx| Ok(tx.execute_batch("ROLLBACK")?));
    assert!(inbox.commit(&lease, ending, now).await.is_err());
    assert_eq!(effects(), 0);
    assert_eq!(inbox.stats().await.unwrap().running, 1);

    // Taken over in between: neither the effects nor the completion of the first are there.
    let later = now.saturating_add(WANTED.lease);
    let second = inbox.claim(WANTED, later).await.unwrap().leased[0].lease;
    let mut late = inbox.begin(&lease).await.unwrap();
    late.write(insert(false));
    assert_eq!(inbox.commit(&lease, late, later).await.unwrap(), Settled::Superseded);
    assert_eq!(effects(), 0);

    let mut good = inbox.begin(&second).await.unwrap();
    good.write(insert(false));
    assert_eq!(inbox.commit(&second, good, later).await.unwrap(), Settled::Current);
    assert_eq!(effects(), 1);
    assert_eq!(inbox.stats().await.unwrap().done, 1);
}

#[tokio::test]
async fn the_dead_are_forgotten_only_where_that_was_asked_for() {
    let folder = Folder::new();
    let keep = Duration::from_hours(100);
    let inbox = SqliteInbox::builder(folder.file()).keep_dead(keep).open().unwrap();
    let now = SystemClock.now();
    let accepted = inbox.accept(incoming("a"), now).await.unwrap();
    assert_eq!(accepted, Accepted::New);
    let lease = inbox.claim(WANTED, now).await.unwrap().leased[0].lease;
    assert_eq!(inbox.dead(&lease, "x", now).await.unwrap(), Settled::Current);
    let end = now.saturating_add(keep);
    assert_eq!(inbox.prune(10, end.saturating_sub(Duration::from_millis(1))).await.unwrap(), 0);
    assert_eq!(inbox.prune(10, end).await.unwrap(), 1);
}

#[tokio::test]
async fn neither_body_nor_signature_nor_token_is_in_any_debug() {
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let now = SystemClock.now();
    let accepted = inbox.accept(incoming("a"), now).await.unwrap();
    assert_eq!(accepted, Accepted::New);
    let leased = inbox.claim(WANTED, now).await.unwrap().leased.remove(0);
    let shown = format!("{leased:?} {:?} {inbox:?}", incoming("a"));
    for secret in ["v1,", r#""entity""#, r#"\"entity"#, &leased.lease.token.to_string()] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
