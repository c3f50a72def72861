//! The whole rotation in one call, and every way in which it can stop halfway.

#![cfg(feature = "client")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test ends so")]

mod client_server;

use std::time::Duration;

use client_server::{KEY, Reply, Server, answer, recorded};
use countersign::kycgenie::client::{ApiVersion, RetryPolicy, RotateError, RotationOptions, WebhookId};
use countersign::{
    Clock, Key, KeyFile, KeyId, Keyring, KeyringError, Message, RequestView, Secret, Signer, SystemClock, Verifier,
    kycgenie,
};

const OLD: &str = "whsec_b2xkLXNlY3JldC1vZi10aGUtdGVzdA==";
const NEW: &str = "whsec_bmV3LXNlY3JldC1vZi10aGUtdGVzdA==";
const HOUR: Duration = Duration::from_secs(60 * 60);

fn webhook() -> WebhookId {
    WebhookId::new("f67f165d-0d1e-4eb7-81e6-3494a260dcd4").unwrap()
}

fn keyring() -> Keyring {
    Keyring::single(Secret::new(OLD).unwrap())
}

fn rotated(secret: &str) -> Reply {
    Reply::Bytes(answer(
        200,
        &format!(r#"{{"secret_key": "{secret}", "message": "Webhook secret rotated successfully"}}"#),
    ))
}

fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

#[tokio::test]
async fn the_new_key_is_primary_and_the_old_one_ends_with_the_overlap() {
    let server = Server::script([rotated(NEW)]);
    let keyring = keyring();
    let before = SystemClock.now();
    let rotated = server.client(ApiVersion::V2).rotate_into(&webhook(), &keyring, HOUR).await.unwrap();
    assert_eq!(rotated.message, "Webhook secret rotated successfully");
    let keys = keyring.keys();
    assert_eq!((keys.len(), keys[0].id(), keys[1].id().as_str()), (2, &rotated.key_id, "default"));
    assert_eq!(keys[0].not_after(), None);
    let end = keys[1].not_after().unwrap();
    assert!(end >= before.saturating_add(HOUR) && end <= SystemClock.now().saturating_add(HOUR));
    assert_eq!(keyring.rotating_until(), None);
    let (begin, time) = rotated.key_id.as_str().split_at(9);
    assert_eq!(begin, "f67f165d-");
    assert_eq!((time.len(), time.ends_with('Z')), ("2026-11-24T13:05:07Z".len(), true), "{time}");
    assert_eq!(server.request().line(), format!("POST /api/v2/webhooks/{}/rotate-secret/", webhook()));

    // What the provider signs now verifies, and so does what it signed before.
    let now = SystemClock.now();
    let verifier = Verifier::new(kycgenie::scheme(), keyring).unwrap();
    for (secret, key) in [(NEW, rotated.key_id.as_str()), (OLD, "default")] {
        let signer = Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(secret).unwrap())).unwrap();
        let headers = signer.sign(&Message::new(b"{}", now).id("msg_1")).unwrap();
        let verified = verifier.verify(&RequestView::new(&headers, &b"{}"[..]), now).unwrap();
        assert_eq!(verified.key_id(), &key);
    }
}

#[tokio::test]
async fn a_name_for_the_key_may_be_chosen_and_must_be_free() {
    let server = Server::script([rotated(NEW)]);
    let (client, keyring) = (server.client(ApiVersion::V1), keyring());
    let options = RotationOptions::new(HOUR).key_id(id("default"));
    let error = client.rotate_into_with(&webhook(), &keyring, &options).await.unwrap_err();
    assert!(matches!(error, RotateError::NotBegun { reason: KeyringError::DuplicateId { .. } }), "{error:?}");
    assert!(server.requests().is_empty());
    assert_eq!(keyring.rotating_until(), None);

    let options = RotationOptions::new(HOUR).key_id(id("mine"));
    let rotated = client.rotate_into_with(&webhook(), &keyring, &options).await.unwrap();
    assert_eq!((rotated.key_id.as_str(), keyring.keys()[0].id().as_str()), ("mine", "mine"));
    assert!(server.request().target.starts_with("/api/v1/"));
}

#[tokio::test]
async fn two_rotations_within_a_second_have_two_names() {
    let server = Server::start(|_, _| rotated(NEW));
    let (client, keyring) = (server.client(ApiVersion::V2), keyring());
    for _ in 0..3 {
        let _ = client.rotate_into(&webhook(), &keyring, HOUR).await.unwrap();
    }
    assert_eq!(keyring.keys().len(), 4);
}

#[tokio::test]
async fn the_keyring_is_marked_while_the_provider_is_asked() {
    let keyring = keyring();
    let seen = keyring.clone();
    let server = Server::start(move |_, _| {
        assert!(seen.rotating_until().is_some());
        rotated(NEW)
    });
    let _ = server.client(ApiVersion::V2).rotate_into(&webhook(), &keyring, HOUR).await.unwrap();
    assert_eq!(keyring.rotating_until(), None);
}

#[tokio::test]
async fn what_the_provider_certainly_did_not_do_takes_the_mark_off() {
    for file in ["authentication_failed", "permission_denied", "not_found", "invalid_request", "conflict"] {
        let server = Server::file(&format!("errors/{file}.http"));
        let keyring = keyring();
        let error = server.client(ApiVersion::V2).rotate_into(&webhook(), &keyring, HOUR).await.unwrap_err();
        assert!(matches!(error, RotateError::Refused { .. }), "{file}: {error:?}");
        assert!(error.to_string().contains("the provider has kept its secret"), "{error}");
        assert_eq!((keyring.rotating_until(), keyring.keys().len()), (None, 1), "{file}");
    }
    // Nothing was sent at all.
    let server = Server::file("v2/list.http");
    let builder = server.builder().base_url("http://127.0.0.1:9");
    let client = builder.retry(RetryPolicy::none()).build().unwrap();
    let keyring = keyring();
    let error = client.rotate_into(&webhook(), &keyring, HOUR).await.unwrap_err();
    assert!(matches!(error, RotateError::Refused { .. }), "{error:?}");
    assert_eq!(keyring.rotating_until(), None);
}

#[tokio::test]
async fn what_the_provider_may_have_done_leaves_the_mark_and_says_how_to_recover() {
    let cut = recorded("v2/rotate_secret.http");
    let cut = cut[..cut.len() - 20].to_vec();
    type Make = Box<dyn Fn() -> Reply + Send + Sync>;
    let cases: Vec<(&str, Make)> = vec![
        ("time-out", Box::new(|| Reply::Stall)),
        ("lost", Box::new(|| Reply::Drop)),
        ("lost halfway", Box::new(move || Reply::Bytes(cut.clone()))),
        ("500", Box::new(|| Reply::Bytes(recorded("errors/server_error.http")))),
        ("a page of a gateway", Box::new(|| Reply::Bytes(recorded("errors/html_404.http")))),
        ("408", Box::new(|| Reply::Bytes(answer(408, r#"{"error": "x", "code": "timeout"}"#)))),
        ("no secret", Box::new(|| Reply::Bytes(answer(200, r#"{"message": "planted"}"#)))),
        ("no JSON", Box::new(|| Reply::Bytes(answer(200, "planted")))),
        ("see other", Box::new(|| Reply::Bytes(answer(303, "")))),
    ];
    for (name, reply) in cases {
        let server = Server::start(move |_, _| reply());
        let client = server.builder().timeout(Duration::from_millis(50)).build().unwrap();
        let keyring = keyring();
        let before = SystemClock.now();
        let error = client.rotate_into(&webhook(), &keyring, HOUR).await.unwrap_err();
        let RotateError::MayHaveRotated { until, .. } = &error else { panic!("{name}: {error:?}") };
        let marked = keyring.rotating_until().unwrap_or_else(|| panic!("{name}"));
        assert_eq!(marked, *until, "{name}");
        assert!(marked >= before.saturating_add(Duration::from_secs(15 * 60)), "{name}");
        let text = error.to_string();
        for part in ["nobody holds", "shown once", "rotate again, which recovers", "answered 503"] {
            assert!(text.contains(part), "{name}: {text}");
        }
        assert!(!format!("{error} {error:?}").contains("planted") && !format!("{error:?}").contains(KEY), "{error:?}");

        // A second rotation recovers.
        let server = Server::script([rotated(NEW)]);
        let rotated = server.client(ApiVersion::V2).rotate_into(&webhook(), &keyring, HOUR).await.unwrap();
        assert_eq!((keyring.rotating_until(), keyring.keys()[0].id()), (None, &rotated.key_id), "{name}");
    }
}

#[tokio::test]
async fn a_refusal_after_a_doubtful_rotation_leaves_the_doubt() {
    let keyring = keyring();
    let server = Server::script([Reply::Drop, Reply::Drop]);
    let client = server.builder().retry(RetryPolicy::none()).build().unwrap();
    let error = client.rotate_into(&webhook(), &keyring, HOUR).await.unwrap_err();
    assert!(matches!(error, RotateError::MayHaveRotated { .. }), "{error:?}");
    let server = Server::file("errors/permission_denied.http");
    let error = server.client(ApiVersion::V2).rotate_into(&webhook(), &keyring, HOUR).await.unwrap_err();
    assert!(matches!(error, RotateError::Refused { .. }), "{error:?}");
    assert!(keyring.rotating_until().is_some(), "the first rotation may have been done");
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_the_mark() {
    let server = Server::start(|_, _| Reply::Stall);
    let (client, keyring) = (server.client(ApiVersion::V2), keyring());
    let webhook = webhook();
    {
        let mut call = std::pin::pin!(client.rotate_into(&webhook, &keyring, HOUR));
        while server.requests().is_empty() {
            let poll = tokio::time::timeout(Duration::from_millis(5), &mut call).await;
            assert!(poll.is_err(), "{poll:?}");
        }
    }
    assert!(keyring.rotating_until().is_some());
    assert!(keyring.begin_rotation(HOUR).is_ok(), "a second one may begin");
}

#[tokio::test]
async fn a_secret_that_the_keyring_does_not_take_is_in_the_error() {
    let server = Server::script([rotated("whsec_not base64!")]);
    let keyring = keyring();
    let _verifier = Verifier::new(kycgenie::scheme(), keyring.clone()).unwrap();
    let error = server.client(ApiVersion::V2).rotate_into(&webhook(), &keyring, HOUR).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    let RotateError::NotInstalled { reason, secret, key_id, .. } = error else { panic!("{error:?}") };
    assert!(matches!(reason, KeyringError::Undecodable { .. }), "{reason:?}");
    assert_eq!(secret.expose_secret(), b"whsec_not base64!");
    assert!(!shown.contains("not base64"), "{shown}");
    assert!(shown.contains(key_id.as_str()) && shown.contains("put it there from this error"), "{shown}");
    assert!(keyring.rotating_until().is_some());
    assert_eq!(keyring.keys().len(), 1);
}

#[tokio::test]
async fn a_keyring_that_is_full_being_rotated_or_follows_a_file_is_told_before_the_provider_is_asked() {
    let server = Server::script([rotated(NEW)]);
    let client = server.client(ApiVersion::V2);
    let full = Keyring::new((0..Keyring::MAX_KEYS).map(|n| Key::new(id(&n.to_string()), Secret::new(OLD).unwrap())));
    let busy = keyring();
    let _rotation = busy.begin_rotation(HOUR).unwrap();
    let path = file("followed");
    let followed = Keyring::watch(&path).unwrap();
    for keyring in [full.unwrap(), busy.clone(), followed] {
        let error = client.rotate_into(&webhook(), &keyring, HOUR).await.unwrap_err();
        assert!(matches!(error, RotateError::NotBegun { .. }), "{error:?}");
        assert!(error.to_string().contains("nothing has changed"), "{error}");
    }
    assert!(server.requests().is_empty());
    let _ = std::fs::remove_file(path);
}

/// A key file with the old key.
fn file(name: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("countersign-client-{}-{name}.toml", std::process::id()));
    let _ = std::fs::remove_file(&path);
    KeyFile::create(&path, Key::new(id("old"), Secret::new(OLD).unwrap())).unwrap();
    path
}

fn read(path: &std::path::Path) -> Keyring {
    Keyring::from_toml(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[tokio::test]
async fn a_key_file_is_marked_rotated_and_unmarked() {
    let path = file("rotated");
    let seen = path.clone();
    let server = Server::start(move |_, _| {
        assert!(read(&seen).rotating_until().is_some());
        rotated(NEW)
    });
    let options = RotationOptions::new(HOUR).file_seen_within(Duration::ZERO);
    let rotated = server.client(ApiVersion::V2).rotate_into_file(&webhook(), &path, &options).await.unwrap();
    let keyring = read(&path);
    assert_eq!((keyring.keys().len(), keyring.keys()[0].id(), keyring.rotating_until()), (2, &rotated.key_id, None));

    let server = Server::file("errors/not_found.http");
    let error = server.client(ApiVersion::V2).rotate_into_file(&webhook(), &path, &options).await.unwrap_err();
    assert!(matches!(error, RotateError::Refused { .. }), "{error:?}");
    assert_eq!(read(&path).rotating_until(), None);

    let server = Server::file("errors/server_error.http");
    let error = server.client(ApiVersion::V2).rotate_into_file(&webhook(), &path, &options).await.unwrap_err();
    assert!(matches!(error, RotateError::MayHaveRotated { .. }), "{error:?}");
    assert!(read(&path).rotating_until().is_some());

    let server = Server::file("errors/not_found.http");
    let error = server.client(ApiVersion::V2).rotate_into_file(&webhook(), &path, &options).await.unwrap_err();
    assert!(matches!(error, RotateError::Refused { .. }), "{error:?}");
    assert!(read(&path).rotating_until().is_some(), "the one before is still in doubt");

    std::fs::remove_file(&path).unwrap();
    let error = server.client(ApiVersion::V2).rotate_into_file(&webhook(), &path, &options).await.unwrap_err();
    assert!(matches!(error, RotateError::NotBegun { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 1);
    let _ = std::fs::remove_file(path.with_file_name(format!(".{}.lock", path.file_name().unwrap().display())));
}
