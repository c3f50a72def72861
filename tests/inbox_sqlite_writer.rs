//! What shares a commit of the inbox on SQLite, and what does not.

#![cfg(feature = "sqlite")]
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod inbox_common;

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use countersign::inbox::rusqlite::Connection;
use countersign::inbox::{
    Accepted, CommitError, InboxError, InboxStore, Incoming, Lease, Replay, SqliteInbox, TransactionalStore, Wanted,
};
use countersign::{Clock, Settled, SystemClock};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use inbox_common::{Folder, incoming, until};
use tokio::sync::{MutexGuard, oneshot};

const MIB: usize = 1024 * 1024;
const WANTED: Wanted = Wanted { limit: 10, lease: Duration::from_secs(30), max_attempts: 3 };

/// How many writes each commit of this process has had. The hook is one for all tests, so they run one after another.
static COMMITS: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// Of which step each of them was.
static WRITTEN: Mutex<Vec<&str>> = Mutex::new(Vec::new());
static HELD: Mutex<Option<Hold>> = Mutex::new(None);
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn count_commits() -> MutexGuard<'static, ()> {
    static FILLING: Mutex<usize> = Mutex::new(0);
    let alone = ALONE.lock().await;
    countersign::testing::inbox::on_step(|of, at| {
        let held = HELD.lock().unwrap().take_if(|hold| at == "committing" && hold.of == of);
        if let Some(hold) = held {
            let _ = hold.reached.send(());
            // A test that has failed holds nothing up.
            let _ = hold.until.recv();
        }
        if at == "committed" {
            WRITTEN.lock().unwrap().push(of);
        }
        let mut filling = FILLING.lock().unwrap();
        match at {
            "committing" => *filling += 1,
            "committed" if *filling > 0 => COMMITS.lock().unwrap().push(std::mem::take(&mut filling)),
            _ => {}
        }
    });
    COMMITS.lock().unwrap().clear();
    alone
}

/// Where the writing thread waits.
struct Hold {
    of: &'static str,
    reached: oneshot::Sender<()>,
    until: mpsc::Receiver<()>,
}

/// Holds up the next commit in which there is a write of this step: tells when it has come that far, and waits to be told.
fn hold_up(of: &'static str) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
    let ((reached, has_reached), (go, until)) = (oneshot::channel(), mpsc::channel());
    *HELD.lock().unwrap() = Some(Hold { of, reached, until });
    (has_reached, go)
}

/// An inbox whose file somebody else has locked until `held` is dropped.
fn held_up(folder: &Folder) -> (SqliteInbox, Connection) {
    let inbox = SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_mins(1)).open().unwrap();
    let blocker = Connection::open(folder.file()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    (inbox, blocker)
}

fn of_size(id: &str, size: usize) -> Incoming {
    let mut incoming = incoming(id);
    incoming.delivery.raw = Bytes::from(vec![b'x'; size]);
    incoming
}

/// Has an accept wait in the queue.
fn waiting(inbox: &SqliteInbox, incoming: Incoming) -> tokio::task::JoinHandle<Result<Accepted, InboxError>> {
    let inbox = inbox.clone();
    tokio::spawn(async move { inbox.accept(incoming, SystemClock.now()).await })
}

/// Until the tasks that were spawned have done what they can.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn sixty_four_at_once_take_a_few_commits() {
    let _alone = count_commits().await;
    let folder = Folder::new();
    let (inbox, blocker) = held_up(&folder);
    let accepts: Vec<_> = (0..64).map(|number| waiting(&inbox, incoming(&format!("msg_{number}")))).collect();
    settle().await;
    blocker.execute_batch("ROLLBACK").unwrap();
    for accepted in join_all(accepts).await {
        assert_eq!(accepted.unwrap().unwrap(), Accepted::New);
    }
    let commits = COMMITS.lock().unwrap().clone();
    assert_eq!(commits.iter().sum::<usize>(), 64);
    assert!(commits.len() <= 3, "{commits:?}");
}

#[tokio::test]
async fn a_commit_takes_no_more_than_four_megabytes_of_bodies() {
    let _alone = count_commits().await;
    let folder = Folder::new();
    let (inbox, blocker) = held_up(&folder);
    let accepts: Vec<_> = (0..20).map(|number| waiting(&inbox, of_size(&format!("msg_{number}"), MIB))).collect();
    settle().await;
    blocker.execute_batch("ROLLBACK").unwrap();
    for accepted in join_all(accepts).await {
        assert_eq!(accepted.unwrap().unwrap(), Accepted::New);
    }
    let commits = COMMITS.lock().unwrap().clone();
    assert_eq!(commits.iter().sum::<usize>(), 20);
    assert!(commits.iter().all(|writes| *writes <= 4), "{commits:?}");
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes_and_what_nobody_waits_for_makes_room_and_is_not_written() {
    let _alone = count_commits().await;
    let folder = Folder::new();
    let (inbox, blocker) = held_up(&folder);
    // Four have room, headers included, and five have not.
    let large = 15 * MIB;
    let accept = |id: &str| Box::pin(inbox.accept(of_size(id, large), SystemClock.now()));
    let mut first = accept("first");
    assert!((&mut first).now_or_never().is_none());
    // Four more fill the queue, as soon as the first is at the lock.
    let mut given_up = Vec::new();
    until("room for four", async || {
        let mut next = accept(&format!("msg_{}", given_up.len()));
        if (&mut next).now_or_never().is_none() {
            given_up.push(next);
        }
        given_up.len() == 4
    })
    .await;
    let refused = accept("too_much").await.unwrap_err();
    assert!(matches!(refused, InboxError::Full), "{refused}");

    drop(given_up);
    let mut second = accept("second");
    assert!((&mut second).now_or_never().is_none(), "there is room for it again");
    blocker.execute_batch("ROLLBACK").unwrap();
    for accepted in [first, second] {
        assert_eq!(accepted.await.unwrap(), Accepted::New);
    }
    assert_eq!(inbox.stats().await.unwrap().pending, 2);
}

#[tokio::test]
async fn one_that_is_larger_than_all_the_room_is_taken_alone() {
    let _alone = count_commits().await;
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let accepted = inbox.accept(of_size("large", 65 * MIB), SystemClock.now()).await.unwrap();
    assert_eq!(accepted, Accepted::New);
}

async fn leased(inbox: &SqliteInbox, id: &str) -> Lease {
    let now = SystemClock.now();
    assert_eq!(inbox.accept(incoming(id), now).await.unwrap(), Accepted::New);
    inbox.claim(WANTED, now).await.unwrap().leased[0].lease
}

#[tokio::test]
async fn a_write_that_ends_the_transaction_is_a_mistake_for_good_and_costs_its_neighbours_one_try() {
    let _alone = count_commits().await;
    for end in ["ROLLBACK", "COMMIT"] {
        let folder = Folder::new();
        let inbox = SqliteInbox::open(folder.file()).unwrap();
        let ours = Connection::open(folder.file()).unwrap();
        ours.execute_batch("CREATE TABLE effect (id TEXT)").unwrap();
        let now = SystemClock.now();
        let lease = leased(&inbox, "a").await;
        let mut ending = inbox.begin(&lease).await.unwrap();
        ending.write(move |tx| {
            tx.execute("INSERT INTO effect VALUES ('a')", [])?;
            Ok(tx.execute_batch(end)?)
        });
        ours.execute_batch("BEGIN IMMEDIATE").unwrap();
        let neighbour = waiting(&inbox, incoming("b"));
        let committing = {
            let inbox = inbox.clone();
            tokio::spawn(async move { inbox.commit(&lease, ending, now).await })
        };
        settle().await;
        ours.execute_batch("ROLLBACK").unwrap();
        let told = committing.await.unwrap().unwrap_err();
        assert!(matches!(&told, CommitError::Effect(error) if error.is_permanent()), "{end}: {told}");
        // It may have been in a commit of its own; where it was not, it is told that it is not kept, and comes again.
        let neighbour = neighbour.await.unwrap();
        if neighbour.is_err() {
            assert_ne!(inbox.accept(incoming("b"), now).await.unwrap(), Accepted::Conflict);
        }
        // What it has committed by itself is done; what it has rolled back is not.
        let left = if end == "COMMIT" { Settled::Superseded } else { Settled::Current };
        assert_eq!(inbox.dead(&lease, "it ended the transaction", now).await.unwrap(), left, "{end}");
        assert_eq!(inbox.stats().await.unwrap().pending, 1, "{end}");
    }
}

/// What a handler's writes have captured is dropped on the writing thread where they are not run.
#[tokio::test]
async fn a_capture_that_panics_as_it_is_dropped_does_not_end_the_writing() {
    struct Touchy;
    impl Drop for Touchy {
        fn drop(&mut self) {
            panic!("as the test says");
        }
    }
    let _alone = count_commits().await;
    let folder = Folder::new();
    let inbox = SqliteInbox::builder(folder.file()).busy_timeout(Duration::ZERO).open().unwrap();
    let lease = leased(&inbox, "a").await;
    let touchy = Touchy;
    let mut effects = inbox.begin(&lease).await.unwrap();
    effects.write(move |_| {
        let _captured = &touchy;
        Ok(())
    });
    let blocker = Connection::open(folder.file()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let told = inbox.commit(&lease, effects, SystemClock.now()).await.unwrap_err();
    assert!(matches!(told, CommitError::Inbox(InboxError::Unavailable(_))), "{told}");
    blocker.execute_batch("ROLLBACK").unwrap();
    let accepted = inbox.accept(incoming("b"), SystemClock.now());
    let accepted = tokio::time::timeout(Duration::from_secs(20), accepted).await.expect("an answer");
    assert_eq!(accepted.unwrap(), Accepted::New);
}

/// Answered by `answer_within`, hung up, or aborted: what is on the disk is there to be worked on.
#[tokio::test]
async fn what_was_committed_wakes_the_workers_though_its_caller_has_gone() {
    let _alone = count_commits().await;
    for (step, how) in [("accept", "accept"), ("release", "release"), ("complete", "complete"), ("complete", "commit")]
    {
        let folder = Folder::new();
        let inbox = SqliteInbox::open(folder.file()).unwrap();
        let now = SystemClock.now();
        let of_entity = |id| Incoming { entity: Some("e".to_owned()), ..incoming(id) };
        assert_eq!(inbox.accept(of_entity("first"), now).await.unwrap(), Accepted::New);
        let lease = inbox.claim(WANTED, now).await.unwrap().leased[0].lease;
        assert_eq!(inbox.accept(of_entity("next"), now).await.unwrap(), Accepted::New);

        let mut listener = inbox.bell().listen();
        let (reached, go) = hold_up(step);
        let caller = {
            let inbox = inbox.clone();
            let asking: BoxFuture<'static, ()> = match how {
                "accept" => async move { drop(inbox.accept(incoming("other"), now).await) }.boxed(),
                "release" => async move { drop(inbox.release(&lease, now).await) }.boxed(),
                "complete" => async move { drop(inbox.complete(&lease, now).await) }.boxed(),
                _ => async move {
                    let effects = inbox.begin(&lease).await.unwrap();
                    drop(inbox.commit(&lease, effects, now).await);
                }
                .boxed(),
            };
            tokio::spawn(asking)
        };
        reached.await.unwrap();
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled(), "{how}");
        go.send(()).unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(20), listener.heard()).await;
        assert!(heard.is_ok(), "{how}: the bell did not ring");
    }
}

#[tokio::test]
async fn all_the_dead_are_replayed_a_page_at_a_time_and_those_alone_that_were_dead_when_it_was_asked_for() {
    let _alone = count_commits().await;
    let folder = Folder::new();
    let inbox = SqliteInbox::open(folder.file()).unwrap();
    let now = SystemClock.now();
    let many = 1100;
    let of_one_entity = |number| Incoming { entity: Some("e".to_owned()), ..incoming(&format!("msg_{number}")) };
    for accepted in join_all((0..many).map(|number| inbox.accept(of_one_entity(number), now))).await {
        assert_eq!(accepted.unwrap(), Accepted::New);
    }
    let file = Connection::open(folder.file()).unwrap();
    file.execute("UPDATE countersign_inbox SET state = 4, finished_at = ?1", [now.as_millis()]).unwrap();
    let lease = leased(&inbox, "late").await;

    WRITTEN.lock().unwrap().clear();
    let (reached, go) = hold_up("replay");
    let replaying = {
        let inbox = inbox.clone();
        tokio::spawn(async move { inbox.replay(Replay::AllDead, now).await })
    };
    reached.await.unwrap();
    let (mut beside, mut dying) =
        (Box::pin(inbox.accept(incoming("beside"), now)), Box::pin(inbox.dead(&lease, "x", now)));
    assert!(beside.as_mut().now_or_never().is_none(), "it waits");
    assert!(dying.as_mut().now_or_never().is_none(), "it waits");
    go.send(()).unwrap();
    assert_eq!(beside.await.unwrap(), Accepted::New);
    assert_eq!(dying.await.unwrap(), Settled::Current);
    assert_eq!(replaying.await.unwrap().unwrap(), many);

    let written = WRITTEN.lock().unwrap().clone();
    let last = |of| written.iter().rposition(|written| *written == of).unwrap();
    assert!(last("accept") < last("replay"), "it has waited for all of them: {written:?}");
    // Of the entity the first may run, and the others wait for it.
    let stats = inbox.stats().await.unwrap();
    assert_eq!((stats.pending, stats.waiting, stats.dead), (2, many - 1, 1));
    let first = inbox.claim(WANTED, now).await.unwrap().leased;
    assert!(first.iter().any(|leased| leased.lease.number == 1), "in order, across the pages");
}
