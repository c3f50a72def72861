//! The ring as a whole: building it, changing it, binding it.

mod following;
mod rotating;

use std::ffi::OsString;
use std::thread;
use std::time::Duration;

use super::ring::keys_of_environment;
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
