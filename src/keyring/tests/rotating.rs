//! A rotation in two steps: the mark, in memory and in a file.

use std::fs;
use std::path::Path;

use super::following::{TempDir, until};
use super::*;
use crate::keyring::file;

#[test]
fn a_ring_is_marked_until_the_new_key_is_there() {
    let ring = Keyring::single(secret("x"));
    let now = at(1_000_000);
    assert_eq!(ring.rotating_until(), None);

    let rotation = ring.begin_rotation_at(HOUR, now).unwrap();
    let end = now.saturating_add(HOUR);
    assert_eq!(ring.rotating_until(), Some(end));
    let is_rotating = |now| ring.snapshot().is_rotating(now);
    assert!(is_rotating(now) && is_rotating(end.saturating_sub(Duration::from_millis(1))) && !is_rotating(end));
    assert!(matches!(ring.begin_rotation(HOUR), Err(KeyringError::RotationUnderWay)));

    rotation.install_at(key("new"), HOUR, now).unwrap();
    assert_eq!((ring.rotating_until(), ids(&ring)), (None, vec!["new".to_owned(), "default".to_owned()]));
}

#[test]
fn an_abandoned_rotation_leaves_nothing_and_a_dropped_one_leaves_its_mark() {
    let ring = Keyring::single(secret("x"));
    ring.begin_rotation(HOUR).unwrap().abandon();
    assert_eq!(ring.rotating_until(), None);

    drop(ring.begin_rotation(HOUR).unwrap());
    assert!(ring.rotating_until().is_some());
    ring.begin_rotation(HOUR).unwrap().install(key("second"), HOUR).unwrap();
    assert_eq!(ring.rotating_until(), None, "a second rotation recovers");
    assert_eq!(ids(&ring), ["second", "default"]);
}

#[test]
fn a_key_that_cannot_be_installed_leaves_the_mark() {
    let ring = Keyring::single(secret("x"));
    let rotation = ring.begin_rotation(HOUR).unwrap();
    assert!(matches!(rotation.install(key("default"), HOUR), Err(KeyringError::DuplicateId { .. })));
    assert!(ring.rotating_until().is_some());
    assert_eq!(ids(&ring), ["default"]);
}

#[test]
fn changes_by_hand_take_a_forgotten_mark_off_and_leave_that_of_a_running_rotation() {
    let ring = Keyring::single(secret("x"));
    let rotation = ring.begin_rotation(HOUR).unwrap();
    ring.rotate(key("by hand"), HOUR).unwrap();
    ring.replace([key("replaced")]).unwrap();
    assert!(ring.rotating_until().is_some(), "the sender's new key is still to come");
    drop(rotation);
    ring.rotate(key("recovered"), HOUR).unwrap();
    assert_eq!(ring.rotating_until(), None);
}

#[test]
fn the_mark_outlasts_binding() {
    let ring = Keyring::single(secret("whsec_aGVsbG8="));
    let rotation = ring.begin_rotation(HOUR).unwrap();
    ring.bind(&standard()).unwrap();
    assert!(ring.rotating_until().is_some());
    assert_eq!(primary_tag(&ring), tag_under(b"hello"));
    rotation.install(named("new", "whsec_d29ybGQ"), HOUR).unwrap();
    assert_eq!(primary_tag(&ring), tag_under(b"world"));
}

#[test]
fn followers_of_a_file_see_the_mark_and_then_the_key() {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    KeyFile::create(&path, named("old", "whsec_aGVsbG8=")).unwrap();
    let ring = Keyring::watch_every(&path, Duration::from_millis(5)).unwrap();
    ring.bind(&standard()).unwrap();
    assert!(matches!(ring.begin_rotation(HOUR), Err(KeyringError::Watched { .. })));

    let rotation = KeyFile::begin_rotation(&path, HOUR).unwrap();
    until("the mark is seen", || ring.rotating_until().is_some());
    let error = KeyFile::begin_rotation(&path, HOUR).unwrap_err();
    assert!(
        matches!(&error, KeyringError::File { reason, .. } if matches!(**reason, KeyringError::FileInUse)),
        "{error}"
    );
    assert_eq!(ids(&ring), ["old"]);

    rotation.install(named("new", "whsec_d29ybGQ="), HOUR).unwrap();
    until("the new key serves", || ids(&ring) == ["new", "old"]);
    assert_eq!(ring.rotating_until(), None);
    assert_eq!(primary_tag(&ring), tag_under(b"world"));
    assert!(ring.keys()[1].not_after().is_some());
}

#[test]
fn a_file_rotation_that_was_given_up_or_interrupted_can_be_begun_again() {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    KeyFile::create(&path, key("old")).unwrap();
    drop(KeyFile::begin_rotation(&path, HOUR).unwrap());
    assert!(Keyring::from_toml(&fs::read_to_string(&path).unwrap()).unwrap().rotating_until().is_some());
    // What a process that was killed while it wrote has left behind.
    fs::write(dir.path(".keys.toml.next"), "[[key").unwrap();
    KeyFile::begin_rotation(&path, HOUR).unwrap().abandon().unwrap();
    let ring = Keyring::from_toml(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((ring.rotating_until(), ids(&ring)), (None, vec!["old".to_owned()]));
    assert_eq!(leftovers(dir.path(".").as_path()), [".keys.toml.lock", "keys.toml"]);
}

#[test]
fn whatever_a_key_holds_reads_back_from_the_file() {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    let texts = ["a\"b\\c", "tab\there", "line\nbreak", "\u{1}\u{7f}", "sch\u{f6}n \u{1f511}", "'''", "# no comment"];
    KeyFile::create(&path, named("first", "x").not_before(at(1_500)).not_after(Timestamp::MAX)).unwrap();
    for (at, text) in texts.iter().enumerate() {
        KeyFile::begin_rotation(&path, HOUR).unwrap().install(named(&at.to_string(), text), HOUR).unwrap();
    }
    let content = file::parse(&fs::read_to_string(&path).unwrap()).unwrap();
    let read: Vec<_> = content.keys.iter().rev().skip(1).map(|key| key.secret.expose_secret().to_vec()).collect();
    assert_eq!(read, texts.map(|text| text.as_bytes().to_vec()));
    assert_eq!(content.keys.last().unwrap().info.not_before(), Some(at(1_500)));
}

#[test]
fn what_cannot_be_written_changes_nothing() {
    let dir = TempDir::new();
    let path = dir.path("keys.toml");
    let refused = |result: Result<(), KeyringError>| {
        let shown = format!("{0} {0:?}", result.unwrap_err());
        assert!(shown.contains("keys.toml") && !shown.contains("planted"), "{shown}");
        shown
    };
    let create = |secret| KeyFile::create(&path, Key::new(KeyId::new("a").unwrap(), secret));
    assert!(refused(create(Secret::from_bytes(*b"planted\n").unwrap())).contains("white space"));
    assert!(refused(create(Secret::from_bytes(*b"planted\xff").unwrap())).contains("UTF-8"));
    assert!(!path.exists());
    create(secret("x")).unwrap();
    assert!(
        refused(create(secret("planted"))).contains("cannot be written"),
        "a file that is there is not overwritten"
    );

    let before = fs::read(&path).unwrap();
    fs::write(&path, "[[key]]\nid = 'a'\nsecret = planted\n").unwrap();
    assert!(refused(KeyFile::begin_rotation(&path, HOUR).map(drop)).contains("line 3"));
    fs::write(&path, &before).unwrap();
    let rotation = KeyFile::begin_rotation(&path, HOUR).unwrap();
    assert!(refused(rotation.install(key("a"), HOUR)).contains("two keys"));
    assert!(fs::read_to_string(&path).unwrap().contains("rotating_until"), "the mark stays");
    fs::remove_file(&path).unwrap();
    assert!(refused(KeyFile::begin_rotation(&path, HOUR).map(drop)).contains("cannot be read"));
}

#[test]
fn a_mark_that_is_no_date_is_refused() {
    for date in ["7", "'planted'", "2026-11-24"] {
        let error = Keyring::from_toml(&format!("rotating_until = {date}\n{}", toml(&["a"]))).unwrap_err();
        assert!(matches!(error, KeyringError::InvalidRotatingUntil) && !error.to_string().contains("planted"));
    }
}

#[cfg(unix)]
#[test]
fn a_file_keeps_its_mode_and_the_link_that_leads_to_it() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let dir = TempDir::new();
    let (real, link) = (dir.path("real.toml"), dir.path("keys.toml"));
    let mode = || fs::metadata(&real).unwrap().permissions().mode() & 0o777;
    KeyFile::create(&real, key("old")).unwrap();
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, &link).unwrap();
    KeyFile::begin_rotation(&link, HOUR).unwrap().install(key("new"), HOUR).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(mode(), 0o640);
    assert!(fs::read_to_string(&real).unwrap().contains("\"new\""));
}

fn leftovers(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
