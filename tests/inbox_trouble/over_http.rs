//! Whole receivers whose inbox can keep nothing for a while: what their senders see, and what is kept in the end.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use countersign::inbox::{InboxStore, Query, SqliteInbox, State};
use countersign::{Clock, Inbox, Receiver, SystemClock};
use tokio::runtime::Runtime;

use crate::common::{self, Event, Post, Probe, Server, Setup, wait_for};
use crate::inbox_common::Folder;
use crate::{Disk, again_under, namespace, place};

#[test]
fn a_receiver_on_sqlite_answers_503_while_the_disk_is_full_and_200_afterwards() {
    const NAME: &str = "over_http::a_receiver_on_sqlite_answers_503_while_the_disk_is_full_and_200_afterwards";
    let Some(place) = place() else {
        let folder = Folder::new();
        return again_under(namespace::wrapper(), NAME, folder.path());
    };
    let disk = Disk::of(&place, 8);
    // What is in the log has to have room in the database as well.
    disk.burden(5 << 20);
    let mut receiving = Receiving::over(runtime(), SqliteInbox::open(place.join("inbox.sqlite")).unwrap());
    receiving.send_until_refused();
    for number in 0..5 {
        assert!(!receiving.send(long(&format!("full_{number}"))), "there is room for it");
    }
    receiving.check_that_nothing_else_is_kept();
    disk.relieve();
    receiving.send_all_again();
    receiving.check();
}

#[test]
fn a_receiver_on_sqlite_answers_503_while_the_file_system_is_read_only_and_200_afterwards() {
    const NAME: &str =
        "over_http::a_receiver_on_sqlite_answers_503_while_the_file_system_is_read_only_and_200_afterwards";
    let Some(place) = place() else {
        let folder = Folder::new();
        return again_under(namespace::wrapper(), NAME, folder.path());
    };
    let disk = Disk::of(&place, 8);
    let mut receiving = Receiving::over(runtime(), SqliteInbox::open(place.join("inbox.sqlite")).unwrap());
    assert!(receiving.send(long("before")));
    // The kernel makes nothing read-only in which a file is open for writing. After a failure none is.
    disk.fill();
    receiving.send_until_refused();
    disk.remount("ro");
    for number in 0..5 {
        assert!(!receiving.send(long(&format!("read_only_{number}"))), "nothing can be written");
    }
    receiving.check_that_nothing_else_is_kept();
    disk.remount("rw");
    disk.relieve();
    receiving.send_all_again();
    receiving.check();
}

/// A receiver on a real socket, and all that was sent to it.
pub(crate) struct Receiving<S: InboxStore> {
    runtime: Runtime,
    inbox: Inbox<Event, S>,
    http: Server,
    sent: Vec<Post>,
    acknowledged: HashSet<String>,
    slowest_refusal: Duration,
}

impl<S: InboxStore> Receiving<S> {
    pub(crate) fn over(runtime: Runtime, store: S) -> Self {
        let inbox = Inbox::<Event, _>::new(store);
        let receiver = Receiver::builder(common::scheme(), common::keyring()).inbox(inbox.clone()).build().unwrap();
        let http = Server::configured(Setup::default(), &Probe::default(), move |config| {
            config.service(receiver.at(common::PATH));
        });
        let (sent, acknowledged) = Default::default();
        Self { runtime, inbox, http, sent, acknowledged, slowest_refusal: Duration::ZERO }
    }

    /// Sends it once, and tells whether it was acknowledged. If not, it was a 503 that says when to come back.
    pub(crate) fn send(&mut self, post: Post) -> bool {
        let started = Instant::now();
        let response = self.http.post(&post);
        let id = post.header("webhook-id").to_owned();
        if !self.sent.iter().any(|sent| sent.header("webhook-id") == id) {
            self.sent.push(post);
        }
        match response.status {
            200 => {
                self.acknowledged.insert(id);
                true
            }
            503 => {
                let pause = response.header("retry-after").expect("when to come back");
                assert!(pause.parse::<u64>().unwrap() > 0, "{pause}");
                self.slowest_refusal = self.slowest_refusal.max(started.elapsed());
                false
            }
            other => panic!("an answer that no sender may see: {other} for {id}"),
        }
    }

    /// Sends long deliveries until there is no room for one.
    pub(crate) fn send_until_refused(&mut self) {
        let first = self.sent.len();
        while self.send(long(&format!("msg_{}", self.sent.len()))) {
            assert!(self.sent.len() - first < 2_000, "it is never refused");
        }
    }

    /// Does as a sender does that was told to come back, until everything is acknowledged: at once, or a little later.
    pub(crate) fn send_all_again(&mut self) {
        let started = Instant::now();
        for post in self.sent.clone() {
            wait_for("an acknowledgement", || self.send(post.clone()).then_some(()));
        }
        println!(
            "{} deliveries, acknowledged within {:?} of the end of the trouble; the slowest 503 took {:?}",
            self.sent.len(),
            started.elapsed(),
            self.slowest_refusal
        );
    }

    /// What was acknowledged is kept to the last byte, and each delivery once.
    pub(crate) fn check(&self) {
        let kept = self.kept();
        for post in &self.sent {
            let id = post.header("webhook-id");
            assert!(kept.get(id) == Some(&post.body) || !self.acknowledged.contains(id), "{id} is not kept as it came");
        }
        assert!(kept.keys().all(|id| self.sent.iter().any(|post| post.header("webhook-id") == id)));
    }

    /// The same, and of what was refused there is no trace.
    pub(crate) fn check_that_nothing_else_is_kept(&self) {
        self.check();
        let kept: HashSet<String> = self.kept().into_keys().collect();
        assert_eq!(kept, self.acknowledged);
    }

    /// The bodies that are kept, by their ids.
    fn kept(&self) -> HashMap<String, Vec<u8>> {
        self.runtime.block_on(async {
            let mut kept = HashMap::new();
            for entry in self.inbox.store().list(Query::of(State::Pending).limit(10_000)).await.unwrap() {
                let (_, delivery) = self.inbox.store().show(entry.number).await.unwrap().expect("a whole record");
                let id = delivery.id.expect("an id").to_string();
                assert!(kept.insert(id, delivery.raw.to_vec()).is_none(), "one is kept twice");
            }
            kept
        })
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A delivery of 64 KiB that cannot be compressed to much less.
pub(crate) fn long(id: &str) -> Post {
    let mut noise = [0; 32 << 10];
    getrandom::fill(&mut noise).unwrap();
    let noise = noise.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let body = format!(r#"{{"event":"job","data":{{"run":"ok","noise":"{noise}"}}}}"#);
    common::signed_with(&common::scheme(), &common::keyring(), id, SystemClock.now(), body)
}
