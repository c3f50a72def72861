//! The ring as a whole: changing it, binding it, and following a file.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::ring::keys_of_environment;
use super::watch::Watcher;
use super::*;
use crate::crypto::{MacKey, Tag};
use crate::encoding::{SecretEncoding, SecretFormat};
use crate::ids::KeyId;
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_cannot_serve_is_refused() {
    let refused = |keys: Vec<Key>| Keyring::new(keys).unwrap_err();
    assert!(matches!(refused(vec![]), KeyringError::NoKeys));
    assert!(matches!(refused(vec![key("a"), key("b"), key("a")]), KeyringError::DuplicateId { id } if id == "a"));
    for end in [9, 10] {
        let window = key("a").not_before(at(10)).not_after(at(end));
        assert!(matches!(refused(vec![window]), KeyringError::Window { id, .. } if id == "a"));
    }
    let many = |count: usize| (0..count).map(|n| key(&n.to_string()));
    assert!(matches!(refused(many(17).collect()), KeyringError::TooManyKeys { count: 17 }));
    assert_eq!(Keyring::new(many(16)).unwrap().keys().len(), Keyring::MAX_KEYS);
}

#[test]
fn the_environment_gives_a_primary_and_a_previous_key() {
    let keys = |set: &[(&str, &str)]| {
        let set: Vec<_> = set.iter().map(|(name, value)| (name.to_string(), OsString::from(value))).collect();
        keys_of_environment("HOOK", move |name| set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone()))
    };
    let ids = |set: &[(&str, &str)]| -> Vec<String> {
        let keys = keys(set).unwrap();
        keys.iter().map(|key| key.info.id().to_string()).collect()
    };
    assert_eq!(ids(&[("HOOK", "new")]), ["HOOK"]);
    assert_eq!(ids(&[("HOOK", "new"), ("HOOK_PREVIOUS", "")]), ["HOOK"]);
    assert_eq!(ids(&[("HOOK", "new"), ("HOOK_PREVIOUS", "old")]), ["HOOK", "HOOK_PREVIOUS"]);

    for set in [&[][..], &[("HOOK", "")], &[("HOOK_PREVIOUS", "old")]] {
        let error = keys(set).unwrap_err();
        assert!(matches!(&error, KeyringError::Variable { variable } if variable == "HOOK"), "{error}");
    }
    let error = keys(&[("HOOK", "new"), ("HOOK_PREVIOUS", "planted\n")]).unwrap_err().to_string();
    assert!(error.starts_with("key `HOOK_PREVIOUS`: the secret begins or ends"), "{error}");
    assert!(!error.contains("planted"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_not_shown() {
    use std::os::unix::ffi::OsStringExt as _;

    let error = keys_of_environment("HOOK", |_| Some(OsString::from_vec(b"planted\xff".to_vec()))).unwrap_err();
    assert!(error.to_string().contains("`HOOK` is not UTF-8"), "{error}");
    assert!(!format!("{error:?}").contains("planted"));
}

#[test]
fn rotation_makes_the_new_key_primary_and_ends_the_others() {
    let now = at(1_000_000);
    let ring = Keyring::new([
        key("ended").not_after(now),
        key("old"),
        key("soon over").not_after(now.saturating_add(Duration::from_millis(1))),
        key("later").not_before(now.saturating_add(HOUR)),
    ])
    .unwrap();
    ring.rotate_at(key("new"), HOUR, now).unwrap();

    let ends: Vec<_> = ring.keys().iter().map(|key| (key.id().to_string(), key.not_after())).collect();
    assert_eq!(
        ends,
        [
            ("new".to_owned(), None),
            ("old".to_owned(), Some(now.saturating_add(HOUR))),
            ("soon-over".to_owned(), Some(at(1_000_001))),
        ],
        "the ended key is dropped, and so is the one that would begin when the overlap is over"
    );

    ring.rotate_at(key("newer"), Duration::ZERO, now).unwrap();
    assert_eq!(ids(&ring), ["newer"]);
}

#[test]
fn rotation_saturates_at_the_end_of_time() {
    let ring = Keyring::new([key("old")]).unwrap();
    ring.rotate_at(key("new"), Duration::MAX, Timestamp::MAX.saturating_sub(HOUR)).unwrap();
    assert_eq!(ring.keys()[1].not_after(), Some(Timestamp::MAX));
    ring.rotate_at(key("newer"), Duration::MAX, Timestamp::MAX).unwrap();
    assert_eq!(ids(&ring), ["newer"], "an end at the last moment excludes that moment");
}

#[test]
fn a_refused_change_leaves_the_keys_alone() {
    let now = at(1_000_000);
    let ring = Keyring::new((0..16).map(|n| key(&n.to_string()))).unwrap();
    let before = ring.keys();
    let rotate = |new: Key, overlap| ring.rotate_at(new, overlap, now).unwrap_err();

    assert!(matches!(rotate(key("new"), HOUR), KeyringError::TooManyKeys { count: 17 }));
    assert!(matches!(rotate(key("3"), HOUR), KeyringError::DuplicateId { .. }));
    assert!(matches!(rotate(key("3"), Duration::ZERO), KeyringError::DuplicateId { .. }));
    assert!(matches!(rotate(key("new").not_after(now), HOUR), KeyringError::Ended { .. }));
    let gap = key("new").not_before(now.saturating_add(HOUR));
    assert!(matches!(rotate(gap.clone(), HOUR - Duration::from_millis(1)), KeyringError::Gap { .. }));
    assert!(matches!(ring.replace([]).unwrap_err(), KeyringError::NoKeys));
    assert_eq!(ring.keys(), before);

    ring.replace([key("only")]).unwrap();
    ring.rotate_at(gap, HOUR, now).unwrap();
    assert_eq!(ids(&ring), ["new", "only"]);
}

#[test]
fn rotations_from_several_threads_lose_no_key() {
    let ring = Keyring::single(secret("x"));
    ring.bind(&SecretFormat::text()).unwrap();
    thread::scope(|scope| {
        for n in 0..8 {
            let ring = ring.clone();
            scope.spawn(move || ring.rotate(key(&n.to_string()), HOUR).unwrap());
        }
    });
    let mut ids = ids(&ring);
    ids.sort_unstable();
    assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6", "7", "default"]);
    assert_eq!(ring.keys().iter().filter(|key| key.not_after().is_none()).count(), 1);
}

#[test]
fn only_a_bound_ring_has_keys_and_only_those_that_count() {
    let ring = Keyring::new([key("later").not_before(at(10)), key("now").not_after(at(10))]).unwrap();
    let active = |now| -> Vec<String> { ring.snapshot().active(at(now)).map(|(id, _)| id.to_string()).collect() };
    assert!(active(5).is_empty());
    assert!(ring.snapshot().primary(at(5)).is_none());

    ring.bind(&SecretFormat::text()).unwrap();
    assert_eq!(active(9), ["now"]);
    assert_eq!(active(10), ["later"]);
    assert_eq!(ring.snapshot().primary(at(9)).unwrap().0, &"now");
    assert_eq!(ring.snapshot().primary(at(10)).unwrap().0, &"later");
}

#[test]
fn a_ring_is_bound_once_and_later_keys_follow() {
    let ring = Keyring::single(secret("whsec_aGVsbG8="));
    ring.bind(&standard()).unwrap();
    ring.bind(&standard()).unwrap();
    assert_eq!(primary_tag(&ring), tag_under(b"hello"));
    assert!(matches!(ring.bind(&SecretFormat::text()), Err(KeyringError::FormatConflict { .. })));

    ring.rotate(named("next", "whsec_d29ybGQ"), HOUR).unwrap();
    assert_eq!(primary_tag(&ring), tag_under(b"world"));

    for (text, what) in [("whsec_not base64: planted", "does not decode"), ("whsec_", "holds nothing")] {
        for error in
            [ring.rotate(named("bad", text), HOUR).unwrap_err(), ring.replace([named("bad", text)]).unwrap_err()]
        {
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(what) && shown.contains("`bad`"), "{shown}");
            assert!(shown.contains("base64 after the prefix `whsec_`"), "{shown}");
            assert!(!shown.contains("planted"), "{shown}");
        }
    }
    assert_eq!(ids(&ring), ["next", "default"]);
}

#[test]
fn a_ring_that_cannot_be_bound_stays_unbound() {
    let ring = Keyring::new([named("good", "whsec_aGVsbG8="), named("bad", "whsec_")]).unwrap();
    assert!(matches!(ring.bind(&standard()), Err(KeyringError::EmptySecret { id, .. }) if id == "bad"));
    assert!(ring.snapshot().primary(at(0)).is_none());
    ring.bind(&SecretFormat::text()).unwrap();
    assert_eq!(primary_tag(&ring), tag_under(b"whsec_aGVsbG8="));
}

#[test]
fn a_decoy_does_the_work_under_every_format() {
    let ring = Keyring::decoy();
    ring.bind(&standard()).unwrap();
    ring.bind(&SecretFormat::text()).unwrap();
    assert!(ring.snapshot().is_decoy());
    assert_eq!(ring.snapshot().active(Timestamp::MAX).count(), 1);
    assert!(!Keyring::single(secret("x")).snapshot().is_decoy());
}

#[test]
fn debug_never_shows_a_secret() {
    let ring = Keyring::new([named("visible", "planted"), named("also", "planted too")]).unwrap();
    let unbound = format!("{ring:?} {ring:#?}");
    ring.bind(&SecretFormat::text()).unwrap();
    let bound = format!("{ring:?} {ring:#?} {:?}", ring.keys());
    assert!(unbound.contains("visible") && bound.contains("visible"));
    assert!(!unbound.contains("planted") && !bound.contains("planted"), "{unbound} {bound}");
}

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

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn key(id: &str) -> Key {
    named(&id.replace(' ', "-"), "x")
}

fn named(id: &str, text: &str) -> Key {
    Key::new(KeyId::new(id).unwrap(), secret(text))
}

fn ids(ring: &Keyring) -> Vec<String> {
    ring.keys().iter().map(|key| key.id().to_string()).collect()
}

/// Standard Webhooks.
fn standard() -> SecretFormat {
    SecretFormat::encoded(SecretEncoding::Base64).strip_prefix("whsec_")
}

fn primary_tag(ring: &Keyring) -> Tag {
    ring.snapshot().primary(at(0)).unwrap().1.start().tag()
}

fn tag_under(key: &[u8]) -> Tag {
    MacKey::new(key).unwrap().start().tag()
}

fn toml(ids: &[&str]) -> String {
    ids.iter().map(|id| format!("[[key]]\nid = \"{id}\"\nsecret = \"whsec_aGVsbG8=\"\n")).collect()
}

fn followed() -> (TempDir, PathBuf, Keyring, thread::JoinHandle<()>) {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    fs::write(&path, toml(&["old"])).unwrap();
    let (ring, thread) = Keyring::follow(&path, TICK).unwrap();
    (dir, path, ring, thread)
}

/// Waits until `condition` holds; the deadline is for tests that fail, not for slow machines.
fn until(what: &str, condition: impl Fn() -> bool) {
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
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("countersign-keyring-{}-{next}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
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
