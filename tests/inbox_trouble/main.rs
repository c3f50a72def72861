//! A disk that is full, a file system that is read-only, and what of it all reaches the disk: with the real thing, in a
//! mount namespace or under `strace` (Debian's `util-linux` and `strace`).
//!
//! Each test that needs one runs itself again in a namespace that anybody may make, in which root is whoever runs it; where
//! there is none, root does without.

#![cfg(all(target_os = "linux", feature = "actix", feature = "postgres", feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../inbox_common/mod.rs"]
mod inbox_common;
mod namespace;
mod over_http;
mod postgres;
#[path = "../common/servers.rs"]
mod servers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use countersign::inbox::{Accepted, InboxError, InboxStore, Incoming, Query, SqliteInbox, SqliteInboxError, State};
use countersign::{Clock, SystemClock};
use inbox_common::{Folder, incoming};
use servers::packages;

const PLACE: &str = "COUNTERSIGN_TROUBLE";

/// Runs the test `name` of this program again, under `wrapper`.
fn again_under(wrapper: &[&str], name: &str, place: &Path) {
    let is_there = || packages::find(wrapper[0], &[]).is_some();
    if !is_there() {
        packages::install(wrapper[0], is_there);
    }
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(PLACE, place).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{} cannot be run: {error}", wrapper[0]));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    print!("{text}");
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(status.success(), "{program} {args:?}");
}

fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}

/// A file system of a few megabytes.
pub(crate) struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    pub(crate) fn of(place: &'a Path, megabytes: u32) -> Self {
        let disk = Self(place);
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]);
        disk
    }

    fn mount(&self, args: &[&str]) {
        run("mount", &[args, &[self.0.to_str().expect("a name in UTF-8")]].concat());
    }

    pub(crate) fn remount(&self, how: &str) {
        // With its source, so that no option is looked up: the owner has no such number in here.
        self.mount(&["-o", &format!("remount,{how}"), "tmpfs"]);
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes so many bytes of it.
    pub(crate) fn burden(&self, bytes: usize) {
        std::fs::write(self.ballast(), vec![0; bytes]).unwrap();
    }

    /// Leaves nothing of it.
    pub(crate) fn fill(&self) {
        std::fs::write(self.ballast(), vec![0; 64 << 20]).expect_err("more than there is room for");
    }

    /// Gives back what was taken.
    pub(crate) fn relieve(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

fn big(id: &str) -> Incoming {
    let mut incoming = incoming(id);
    incoming.delivery.raw = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
    incoming
}

async fn pending(inbox: &SqliteInbox) -> usize {
    let entries = inbox.list(Query::of(State::Pending).limit(10_000)).await.unwrap();
    for entry in &entries {
        let (_, delivery) = inbox.show(entry.number).await.unwrap().expect("a whole record");
        assert!(!delivery.raw.is_empty());
    }
    entries.len()
}

/// A file system of its own, in a namespace where one may mount one.
#[tokio::test]
async fn a_full_disk_is_an_error_leaves_no_part_of_a_record_and_is_over_by_itself() {
    const NAME: &str = "a_full_disk_is_an_error_leaves_no_part_of_a_record_and_is_over_by_itself";
    let Some(place) = place() else {
        let folder = Folder::new();
        return again_under(namespace::wrapper(), NAME, folder.path());
    };
    let disk = Disk::of(&place, 8);
    // What is in the log has to have room in the database as well.
    disk.burden(5 << 20);
    let inbox = SqliteInbox::open(place.join("inbox.sqlite")).unwrap();
    let now = SystemClock.now();
    let mut kept = 0;
    let refused = loop {
        match inbox.accept(big(&format!("msg_{kept}")), now).await {
            Ok(accepted) => assert_eq!(accepted, Accepted::New),
            Err(error) => break error,
        }
        kept += 1;
        assert!(kept < 200, "the disk is never full");
    };
    assert!(matches!(refused, InboxError::Unavailable(_)), "{refused}");
    for _ in 0..5 {
        assert!(inbox.accept(big("still_full"), now).await.is_err());
    }
    disk.relieve();
    assert_eq!(pending(&inbox).await, kept, "what was acknowledged, and nothing else");
    assert_eq!(inbox.accept(big("room_again"), now).await.unwrap(), Accepted::New);
    assert_eq!(pending(&inbox).await, kept + 1);
}

#[tokio::test]
async fn a_read_only_file_system_is_an_error_and_is_over_by_itself() {
    const NAME: &str = "a_read_only_file_system_is_an_error_and_is_over_by_itself";
    let Some(place) = place() else {
        let folder = Folder::new();
        return again_under(namespace::wrapper(), NAME, folder.path());
    };
    let disk = Disk::of(&place, 8);
    let file = place.join("inbox.sqlite");
    let inbox = SqliteInbox::open(&file).unwrap();
    let now = SystemClock.now();
    assert_eq!(inbox.accept(incoming("before"), now).await.unwrap(), Accepted::New);
    // The kernel makes nothing read-only in which a file is open for writing. After a failure none is: the next write
    // opens the file anew.
    disk.fill();
    assert!(inbox.accept(big("no_room"), now).await.is_err());
    disk.remount("ro");
    for _ in 0..5 {
        let refused = inbox.accept(incoming("read-only"), now).await.unwrap_err();
        assert!(matches!(refused, InboxError::Unavailable(_)), "{refused}");
        assert!(matches!(inbox.ping().await, Err(InboxError::Unavailable(_))), "it could keep nothing");
    }
    for second in [SqliteInbox::builder(&file), SqliteInbox::builder(&file).existing()] {
        let refused = second.open().expect_err("an inbox that cannot write does not start");
        assert!(matches!(refused, SqliteInboxError::ReadOnly { .. }), "{refused:?}");
        assert!(refused.to_string().contains("let its user write the file and its folder"), "{refused}");
    }
    disk.remount("rw");
    disk.relieve();
    inbox.ping().await.unwrap();
    assert_eq!(pending(&inbox).await, 1);
    assert_eq!(inbox.accept(incoming("before"), now).await.unwrap(), Accepted::Duplicate(State::Pending));
    assert_eq!(inbox.accept(incoming("after"), now).await.unwrap(), Accepted::New);
    assert_eq!(pending(&inbox).await, 2);
}

/// The name of the file leads elsewhere, as after a change of the working directory, or nowhere, as without the volume
/// that it is on. After a failure the next write opens the file anew.
#[tokio::test]
async fn after_a_failure_no_new_inbox_is_made_where_the_old_one_was() {
    const NAME: &str = "after_a_failure_no_new_inbox_is_made_where_the_old_one_was";
    let Some(place) = place() else {
        let folder = Folder::new();
        return again_under(namespace::wrapper(), NAME, folder.path());
    };
    let [volume, mount] = ["volume", "mount"].map(|name| place.join(name));
    for folder in [&volume, &mount] {
        std::fs::create_dir(folder).unwrap();
    }
    let (volume, mounted) = (volume.to_str().unwrap(), mount.to_str().unwrap());
    run("mount", &["-t", "tmpfs", "-o", "size=8m", "tmpfs", volume]);
    run("mount", &["--bind", volume, mounted]);
    std::env::set_current_dir(&mount).unwrap();
    let inbox = SqliteInbox::open("inbox.sqlite").unwrap();
    std::env::set_current_dir(&place).unwrap();
    let now = SystemClock.now();
    let before = incoming("before");
    assert_eq!(inbox.accept(before.clone(), now).await.unwrap(), Accepted::New);
    let fail = async || {
        let ballast = mount.join("ballast");
        std::fs::write(&ballast, vec![0; 16 * 1024 * 1024]).expect_err("more than there is room for");
        assert!(inbox.accept(big("no_room"), now).await.is_err());
        std::fs::remove_file(&ballast).unwrap();
    };

    fail().await;
    assert_eq!(inbox.accept(before.clone(), now).await.unwrap(), Accepted::Duplicate(State::Pending));
    assert!(!place.join("inbox.sqlite").exists(), "another file of the same relative name");
    assert_eq!(pending(&inbox).await, 1);

    fail().await;
    run("umount", &[mounted]);
    for id in ["before", "new"] {
        let refused = inbox.accept(incoming(id), now).await.unwrap_err();
        assert!(matches!(refused, InboxError::Unavailable(_)), "{refused}");
    }
    assert_eq!(std::fs::read_dir(&mount).unwrap().count(), 0, "nothing is made beneath the volume");
    run("mount", &["--bind", volume, mounted]);
    assert_eq!(inbox.accept(before, now).await.unwrap(), Accepted::Duplicate(State::Pending));
    assert_eq!(inbox.accept(incoming("new"), now).await.unwrap(), Accepted::New);
    assert_eq!(pending(&inbox).await, 2);
}

/// Every commit waits for the disk: the calls are counted.
#[tokio::test]
async fn each_accept_is_followed_by_an_fsync_before_it_is_told() {
    const NAME: &str = "each_accept_is_followed_by_an_fsync_before_it_is_told";
    const ACCEPTS: usize = 25;
    let Some(place) = place() else {
        let folder = Folder::new();
        let trace = folder.path().join("trace");
        let wrapper = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", trace.to_str().unwrap()];
        again_under(&wrapper, NAME, folder.path());
        let trace = std::fs::read_to_string(trace).unwrap();
        let of_log = trace.lines().filter(|line| line.contains("sync(") && line.contains("inbox.sqlite-wal"));
        let count = of_log.count();
        // One for each accept that came alone; a few more when the log and its file are made.
        assert!((ACCEPTS..ACCEPTS + 20).contains(&count), "{count} calls for {ACCEPTS} accepts:\n{trace}");
        return;
    };
    let inbox = SqliteInbox::open(place.join("inbox.sqlite")).unwrap();
    for number in 0..ACCEPTS {
        let accepted = inbox.accept(incoming(&format!("msg_{number}")), SystemClock.now()).await.unwrap();
        assert_eq!(accepted, Accepted::New);
    }
}
