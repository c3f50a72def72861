//! A ring that follows a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::keyring::watch::Watcher;

#[test]
fn a_file_that_is_no_use_at_the_start_is_an_error_that_names_it() {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    let refused = |content: Option<&str>| {
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let error = Keyring::watch(&path).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("keys.toml") && !shown.contains("planted"), "{shown}");
        let KeyringError::File { reason, .. } = error else {
            unreachable!("{shown}");
        };
        *reason
    };
    assert!(matches!(refused(None), KeyringError::Unreadable { .. }));
    assert!(matches!(refused(Some("")), KeyringError::NoKeys));
    assert!(matches!(refused(Some("key = 'planted'")), KeyringError::InvalidToml { .. }));
    assert!(matches!(refused(Some(&"#".repeat(70_000))), KeyringError::Unreadable { .. }));
    assert!(matches!(Keyring::watch(dir.path(".")).unwrap_err(), KeyringError::File { .. }));
}

#[test]
fn a_file_replaced_by_rename_is_taken() {
    let (dir, path, ring, _thread) = followed();
    dir.replace(&path, &toml(&["new", "old"]));
    until("the new keys serve", || ids(&ring) == ["new", "old"]);
    assert!(ring.watch_error().is_none());
}

#[test]
fn a_file_written_in_place_is_taken_even_at_the_same_length() {
    let (_dir, path, ring, _thread) = followed();
    for id in ["one", "two", "six", "old"] {
        fs::write(&path, toml(&[id])).unwrap();
        until("the keys serve", || ids(&ring) == [id]);
    }
}

#[cfg(unix)]
#[test]
fn a_swapped_symbolic_link_is_taken() {
    use std::os::unix::fs::symlink;

    // As Kubernetes lays out a mounted secret: the file is a link through a link that is replaced by rename.
    let dir = TempDir::new();
    for (version, id) in [("v1", "old"), ("v2", "new")] {
        fs::create_dir(dir.path(version)).unwrap();
        fs::write(dir.path(version).join("keys.toml"), toml(&[id])).unwrap();
    }
    symlink("v1", dir.path("..data")).unwrap();
    symlink("..data/keys.toml", dir.path("keys.toml")).unwrap();
    let (ring, _thread) = Keyring::follow(&dir.path("keys.toml"), TICK).unwrap();
    assert_eq!(ids(&ring), ["old"]);

    symlink("v2", dir.path("..data_tmp")).unwrap();
    fs::rename(dir.path("..data_tmp"), dir.path("..data")).unwrap();
    until("the new keys serve", || ids(&ring) == ["new"]);
}

#[test]
fn a_broken_file_keeps_the_keys_until_it_is_mended() {
    let (dir, path, ring, _thread) = followed();
    ring.bind(&standard()).unwrap();
    let problem = |part: &str| {
        until(part, || {
            ring.watch_error().is_some_and(|error| {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("planted"), "{shown}");
                shown.contains(part)
            })
        });
        assert_eq!(ids(&ring), ["old"]);
        assert_eq!(primary_tag(&ring), tag_under(b"hello"));
    };

    dir.replace(&path, "[[key]]\nid = 'new'\nsecret = 'planted");
    problem("line 3, column");
    dir.replace(&path, "# no keys");
    problem("there is no key");
    dir.replace(&path, "[[key]]\nid = 'new'\nsecret = 'whsec_not base64: planted'");
    problem("key `new` does not decode");
    fs::remove_file(&path).unwrap();
    problem("cannot be read");
    dir.replace(&path, "[[key]]\nid = 'twin'\nsecret = 'x'\n[[key]]\nid = 'twin'\nsecret = 'x'\n");
    problem("twin");

    dir.replace(&path, &toml(&["new"]));
    until("the mended file serves", || ids(&ring) == ["new"]);
    until("the error is gone", || ring.watch_error().is_none());
    assert_eq!(primary_tag(&ring), tag_under(b"hello"));
}

#[test]
fn a_ring_that_follows_a_file_is_changed_only_there() {
    let (_dir, path, ring, _thread) = followed();
    let watched = |result| matches!(result, Err(KeyringError::Watched { path: named }) if named == path);
    assert!(watched(ring.rotate(key("new"), HOUR)));
    assert!(watched(ring.replace([key("new")])));
    assert_eq!(ids(&ring), ["old"]);
}

#[test]
fn the_thread_ends_with_the_last_handle() {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    fs::write(&path, toml(&["old"])).unwrap();
    // An interval that no test waits for: the thread is told, it does not find out.
    let (ring, thread) = Keyring::follow(&path, HOUR).unwrap();
    let other = ring.clone();
    drop(ring);
    assert!(!thread.is_finished());
    drop(other);
    until("the thread has ended", || thread.is_finished());
}

#[test]
fn a_change_is_taken_once_it_has_held_still_and_told_once() {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    fs::write(&path, toml(&["old"])).unwrap();
    set_mode(&path, 0o644);
    let log = Log::default();
    log.during(|| {
        // Its own thread never looks, so that each look here is one step.
        let (ring, _thread) = Keyring::follow(&path, HOUR).unwrap();
        let (mut watcher, _) = Watcher::begin(&path, HOUR).unwrap();
        let mut polls = |count: usize| (0..count).for_each(|_| watcher.poll(ring.shared()));
        polls(3);
        assert_eq!(log.count("INFO"), 0, "nothing has changed");

        dir.replace(&path, "planted");
        polls(1);
        assert!(ring.watch_error().is_none(), "someone may still be writing");
        polls(1);
        assert!(ring.watch_error().is_some());
        polls(5);
        assert_eq!(log.count("ERROR"), 1);

        fs::remove_file(&path).unwrap();
        polls(7);
        assert_eq!(log.count("ERROR"), 2);

        dir.replace(&path, &toml(&["old"]));
        polls(7);
        assert!(ring.watch_error().is_none(), "the same content as before is good again");
        assert_eq!(log.count("INFO"), 1);

        let ended = toml(&["new"]) + "not_after = 1999-01-01T00:00:00Z\n";
        dir.replace(&path, &ended);
        polls(7);
        assert_eq!(ids(&ring), ["new"]);
        assert_eq!(log.count("no key in the key file counts now"), 1);
    });
    if cfg!(unix) {
        // Two first readings, and the watcher that polls stays silent afterwards.
        assert_eq!(log.count("every user of this machine"), 2);
    }
    assert_eq!(log.count("planted"), 0);
    assert_eq!(log.count("aGVsbG8"), 0);
    assert_eq!(log.count("\"new\""), 1, "the keys are named");
}

const TICK: Duration = Duration::from_millis(5);

fn followed() -> (TempDir, PathBuf, Keyring, thread::JoinHandle<()>) {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    fs::write(&path, toml(&["old"])).unwrap();
    let (ring, thread) = Keyring::follow(&path, TICK).unwrap();
    (dir, path, ring, thread)
}

/// Waits until `condition` holds; the deadline is for tests that fail, not for slow machines.
pub(super) fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(TICK);
    }
}

fn set_mode(path: &Path, mode: u32) {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    #[cfg(not(unix))]
    let _ = (path, mode);
}

/// A directory of one's own that goes with the test.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("countersign-keyring-{}-{next}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// As one should: written beside, then renamed into place.
    fn replace(&self, path: &Path, content: &str) {
        let beside = self.path("beside");
        fs::write(&beside, content).unwrap();
        fs::rename(beside, path).unwrap();
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn during(&self, work: impl FnOnce()) {
        let subscriber = || {
            let log = self.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish()
        };
        // While there is only one, whichever test's thread comes first decides for all whether a message is wanted.
        let _second = tracing::Dispatch::new(subscriber());
        tracing::subscriber::with_default(subscriber(), work);
    }

    fn count(&self, part: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().unwrap()).matches(part).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
