//! Why a request does not verify: every reason, named as exactly as it can be.

#![cfg(feature = "cli")]
#![allow(clippy::panic, clippy::unwrap_used)]

use countersign::identify::{
    BodyChange, Captured, Covers, Diagnosis, PassedOver, Problem, Role, Spelling, SpellingFault, TimeFault, diagnose,
};
use countersign::{
    Key, KeyId, Keyring, MacEncoding, Message, RequestView, Scheme, Secret, Signer, Timestamp, Verifier,
};

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY: &str = r#"{"id":"evt_1","type":"screening.completed"}"#;

type Headers = Vec<(String, String)>;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs() + seconds)
}

fn ring() -> Keyring {
    Keyring::single(Secret::new(OLD).unwrap())
}

fn key(id: &str, secret: &str) -> Key {
    Key::new(KeyId::new(id).unwrap(), Secret::new(secret).unwrap())
}

fn sign(scheme: &Scheme) -> Headers {
    let signer = Signer::new(scheme.clone(), ring()).unwrap();
    let message = Message::new(BODY.as_bytes(), NOW).id("msg_1").event_type("ping").headers(&[("x-kind", "a")]);
    signer.sign(&message).unwrap()
}

fn run(scheme: &Scheme, headers: &Headers, body: &str) -> Diagnosis {
    let captured = Captured::new(headers.clone(), body.to_owned());
    let diagnosis = diagnose(scheme, &ring(), &captured, NOW);
    // The verdict is the verifier's.
    let verifier = Verifier::new(scheme.clone(), ring()).unwrap();
    let verdict = verifier.verify(&RequestView::new(headers, body.to_owned()), NOW);
    assert_eq!(diagnosis.reason, verdict.err().map(|rejection| rejection.as_str()), "{diagnosis}");
    assert_eq!(diagnosis.is_accepted(), diagnosis.problems.is_empty(), "{diagnosis}");
    let shown = format!("{diagnosis} {diagnosis:?} {}", serde_json::to_string(&diagnosis).unwrap());
    for planted in ["MfKQ9r8G", "evt_1\",\"type"] {
        assert!(!shown.contains(planted), "{shown}");
    }
    diagnosis
}

fn edit(scheme: &Scheme, change: impl FnOnce(&mut Headers)) -> Diagnosis {
    let mut headers = sign(scheme);
    change(&mut headers);
    run(scheme, &headers, BODY)
}

fn set(headers: &mut Headers, name: &str, value: &str) {
    headers.iter_mut().find(|(key, _)| key == name).unwrap().1 = value.to_owned();
}

fn name_of(problem: &Problem) -> String {
    serde_json::to_value(problem).unwrap()["kind"].as_str().unwrap().to_owned()
}

#[test]
fn an_accepted_delivery_tells_its_key_its_age_and_what_is_signed() {
    let ring = Keyring::new([key("new", NEW), key("old", OLD)]).unwrap();
    let captured = Captured::new(sign(&Scheme::stripe()), BODY);
    let diagnosis = diagnose(&Scheme::stripe(), &ring, &captured, at(7));
    let accepted = diagnosis.accepted.as_ref().unwrap();
    assert_eq!((accepted.key_id.as_str(), accepted.primary), ("old", false));
    assert_eq!((accepted.id.as_deref(), accepted.event_type.as_deref()), (Some("evt_1"), Some("screening.completed")));
    assert_eq!(diagnosis.time.unwrap().age_seconds, 7);
    assert!(matches!(accepted.covers, Covers { body: true, id: true, timestamp: true, event_type: true, .. }));
    let shown = diagnosis.to_string();
    assert!(shown.contains("key: old (not the primary)") && shown.contains("7 s behind our time"), "{shown}");

    let github = run(&Scheme::github(), &sign(&Scheme::github()), BODY);
    let accepted = github.accepted.unwrap();
    assert_eq!((accepted.id.as_deref(), accepted.event_type.as_deref()), (Some("msg_1"), Some("ping")));
    assert!(accepted.primary && !accepted.covers.id && !accepted.covers.timestamp);
}

#[test]
fn every_reason_of_a_head_is_told_by_name() {
    let standard = Scheme::standard_webhooks();
    let typed = Scheme::github();
    let kind = Scheme::builder("k").signature_header("x-sig").content("{header:x-kind}.{body}").build().unwrap();
    let missing = |header: &str, role| vec![Problem::MissingHeader { header: header.into(), role, others: vec![] }];
    let long = "x".repeat(4097);
    let without = |scheme: &Scheme, name: &str| edit(scheme, |headers| headers.retain(|(key, _)| key != name)).problems;
    assert_eq!(without(&standard, "webhook-id"), missing("webhook-id", Role::Id));
    assert_eq!(without(&standard, "webhook-timestamp"), missing("webhook-timestamp", Role::Timestamp));
    assert_eq!(without(&standard, "webhook-signature"), missing("webhook-signature", Role::Signature));
    assert_eq!(without(&typed, "x-github-event"), missing("x-github-event", Role::EventType));
    assert_eq!(without(&kind, "x-kind"), missing("x-kind", Role::Signed));
    for (scheme, name, role) in [
        (&standard, "webhook-id", Role::Id),
        (&standard, "webhook-timestamp", Role::Timestamp),
        (&standard, "webhook-signature", Role::Signature),
        (&typed, "x-github-event", Role::EventType),
        (&kind, "x-kind", Role::Signed),
    ] {
        let twice = edit(scheme, |headers| headers.push((name.to_ascii_uppercase(), "1".into())));
        assert_eq!(twice.problems, [Problem::RepeatedHeader { header: name.into(), role, times: 2 }]);
        let oversize = edit(scheme, |headers| set(headers, name, &long));
        assert_eq!(oversize.problems, [Problem::HeaderTooLong { header: name.into(), role, bytes: 4097 }]);
    }
    // Where the signature is missing, the header that may hold it is named.
    let renamed = edit(&typed, |headers| {
        headers.iter_mut().filter(|(name, _)| name.contains("signature")).for_each(|(name, _)| *name = "X-Sig".into());
    });
    let expected = vec!["x-sig".to_owned()];
    assert!(matches!(&renamed.problems[..], [Problem::MissingHeader { others, .. }] if *others == expected));
}

#[test]
fn every_reason_of_a_value_is_told() {
    let standard = Scheme::standard_webhooks();
    for (value, fault) in [
        ("", TimeFault::Empty),
        ("1790000000000", TimeFault::Milliseconds),
        ("1790000000000000", TimeFault::Milliseconds),
        ("2026-09-21T14:13:20Z", TimeFault::Rfc3339),
        ("+1790000000", TimeFault::NotDigits),
        ("1790000000.5", TimeFault::NotDigits),
    ] {
        let header = "webhook-timestamp".to_owned();
        let diagnosis = edit(&standard, |headers| set(headers, "webhook-timestamp", value));
        assert_eq!(diagnosis.problems, [Problem::InvalidTimestamp { header, fault }], "{value}");
    }
    let header = || "webhook-id".to_owned();
    let id = |value: &str| edit(&standard, |headers| set(headers, "webhook-id", value)).problems;
    assert_eq!(id(""), [Problem::InvalidId { header: header(), bytes: 0 }]);
    assert_eq!(id("a b"), [Problem::InvalidId { header: header(), bytes: 3 }]);
    assert_eq!(id("msg.1"), [Problem::EdgeInValue { header: header() }]);
    let kind = Scheme::builder("k").signature_header("x-sig").content("{header:x-kind}.{body}").build().unwrap();
    let edge = edit(&kind, |headers| set(headers, "x-kind", "a.b"));
    assert_eq!(edge.problems, [Problem::EdgeInValue { header: "x-kind".into() }]);
    let typed = edit(&Scheme::github(), |headers| set(headers, "x-github-event", "a b"));
    assert_eq!(typed.problems, [Problem::InvalidEventType { header: "x-github-event".into(), bytes: 3 }]);
}

#[test]
fn what_a_signature_header_lists_is_counted() {
    let stripe = Scheme::stripe();
    let mac = sign(&stripe).last().unwrap().1.rsplit_once('=').unwrap().1.to_owned();
    let listed = |value: &str| edit(&stripe, |headers| set(headers, "stripe-signature", value));
    let time = NOW.as_secs();
    let element = || "t=".to_owned();
    let header = || "stripe-signature".to_owned();
    let fine = listed(&format!("t={time},v0=abc,v1={mac},scheme,v1={}", &mac[..62]));
    let signatures = fine.signatures.as_ref().unwrap();
    assert!(fine.is_accepted());
    assert_eq!((signatures.items, signatures.usable), (5, 1));
    assert_eq!(
        signatures.passed_over,
        [
            PassedOver::OtherVersion { begins: Some("v0=".into()) },
            PassedOver::OtherVersion { begins: None },
            PassedOver::Misspelt { fault: SpellingFault::WrongLength { found: 62, expected: 64 } },
        ]
    );
    assert_eq!(
        listed(&format!("v1={mac}")).problems,
        [Problem::MissingTimestampItem { header: header(), element: element() }]
    );
    assert_eq!(
        listed(&format!("t={time},t={time},v1={mac}")).problems,
        [Problem::RepeatedTimestampItem { header: header(), element: element(), times: 2 }]
    );
    let many = format!("t={time}{}", format!(",v1={mac}").repeat(33));
    assert_eq!(listed(&many).problems, [Problem::TooManySignatures { count: 33, limit: 32 }]);
    assert_eq!(
        listed(&format!("t={time},v0={mac}")).problems,
        [Problem::NoSignature { header: header(), prefix: "v1=".into() }]
    );
}

#[test]
fn a_signature_in_another_spelling_is_told_and_whether_it_is_right() {
    let fault = |diagnosis: &Diagnosis| match diagnosis.signatures.as_ref().unwrap().passed_over[..] {
        [PassedOver::Misspelt { fault }] => fault,
        _ => panic!("{diagnosis}"),
    };
    let github = Scheme::github();
    let name = "x-hub-signature-256";
    let mac = sign(&github).last().unwrap().1.strip_prefix("sha256=").unwrap().to_owned();
    let with = |text: &str| edit(&github, |headers| set(headers, name, &format!("sha256={text}")));
    let upper = with(&mac.to_ascii_uppercase());
    let spelling = |found, expected| SpellingFault::OtherSpelling { found, expected };
    assert_eq!(fault(&upper), spelling(Spelling::HexUpper, MacEncoding::Hex));
    let right = Problem::RightInAnotherSpelling { found: Spelling::HexUpper, expected: MacEncoding::Hex };
    assert!(upper.problems.contains(&right), "{upper}");
    let wrong = with(&"AB".repeat(32));
    assert!(!wrong.problems.contains(&right), "{wrong}");
    assert_eq!(fault(&with("")), SpellingFault::Empty);
    assert_eq!(fault(&with(&mac[2..])), SpellingFault::WrongLength { found: 62, expected: 64 });
    assert_eq!(fault(&with(&format!("{}zz", &mac[2..]))), SpellingFault::NotInAlphabet);
    assert_eq!(fault(&with(&format!(" {mac}"))), SpellingFault::WhiteSpace);

    let shopify = Scheme::shopify();
    let value = sign(&shopify).last().unwrap().1.clone();
    let unpadded = edit(&shopify, |headers| set(headers, "x-shopify-hmac-sha256", value.trim_end_matches('=')));
    let found = match fault(&unpadded) {
        SpellingFault::OtherSpelling { found, expected: MacEncoding::Base64 } => found,
        other => panic!("{other:?}"),
    };
    assert!(matches!(found, Spelling::Base64Unpadded | Spelling::Base64Url));
    assert!(matches!(unpadded.problems[..], [Problem::NoSignature { .. }, Problem::RightInAnotherSpelling { .. }]));
}

#[test]
fn a_time_outside_of_the_tolerance_is_told_in_seconds_and_by_its_side() {
    let stripe = Scheme::stripe();
    let captured = Captured::new(sign(&stripe), BODY);
    for (now, problem) in [
        (301, Problem::TooOld { seconds: 301, tolerance: 300 }),
        (-301, Problem::TooNew { seconds: 301, tolerance: 300 }),
    ] {
        let diagnosis = diagnose(&stripe, &ring(), &captured, at(now));
        assert_eq!(diagnosis.problems, [problem]);
        assert!(diagnosis.to_string().contains("1 s more than the tolerance of 300 s"), "{diagnosis}");
    }
    assert!(diagnose(&stripe, &ring(), &captured, at(300)).is_accepted());
}

#[test]
fn a_signature_that_is_right_under_a_key_that_does_not_count_names_the_key() {
    let stripe = Scheme::stripe();
    let captured = Captured::new(sign(&stripe), BODY);
    let with = |old: Key| {
        let ring = Keyring::new([key("new", NEW), old]).unwrap();
        diagnose(&stripe, &ring, &captured, NOW)
    };
    let id = || KeyId::new("old").unwrap();
    let ended = with(key("old", OLD).not_after(at(-60)));
    assert_eq!(
        (ended.reason, &ended.problems[..]),
        (Some("wrong_signature"), &[Problem::KeyEnded { id: id(), seconds_ago: 60 }][..])
    );
    assert!(ended.keys[0].active && !ended.keys[1].active);
    let early = with(key("old", OLD).not_before(at(90)));
    assert_eq!(early.problems, [Problem::KeyNotYetActive { id: id(), in_seconds: 90 }]);
    assert!(early.to_string().contains("begins to count in 90 s"));

    let none = Keyring::new([key("old", OLD).not_after(at(-60))]).unwrap();
    let none = diagnose(&stripe, &none, &captured, NOW);
    assert_eq!(none.reason, Some("no_active_key"));
    assert_eq!(none.problems, [Problem::NoActiveKey, Problem::KeyEnded { id: id(), seconds_ago: 60 }]);
}

#[test]
fn keys_that_do_not_fit_the_scheme_are_told_without_the_secret() {
    let ring = Keyring::single(Secret::new("not base64!").unwrap());
    let scheme = Scheme::standard_webhooks();
    let diagnosis = diagnose(&scheme, &ring, &Captured::new(sign(&scheme), BODY), NOW);
    assert_eq!(diagnosis.reason, Some("unusable_keys"));
    assert_eq!(diagnosis.problems.iter().map(name_of).collect::<Vec<_>>(), ["unusable_keys"]);
    assert!(
        diagnosis.to_string().contains("base64 after the prefix") && !diagnosis.to_string().contains("not base64!")
    );
}

#[test]
fn a_body_that_was_altered_by_a_usual_mistake_is_told() {
    for (captured, change) in [
        (format!("{BODY}\n"), Some(BodyChange::NewlineRemoved)),
        (BODY.replace(',', ", ").replace(':', ": "), None),
        (format!("\u{feff}{BODY}"), Some(BodyChange::BomRemoved)),
    ] {
        for scheme in [Scheme::stripe(), Scheme::standard_webhooks(), Scheme::slack(), Scheme::shopify()] {
            let diagnosis = run(&scheme, &sign(&scheme), &captured);
            assert_eq!(diagnosis.reason, Some("wrong_signature"));
            let [Problem::AlteredBody { change: found, .. }] = &diagnosis.problems[..] else { panic!("{diagnosis}") };
            match &change {
                Some(change) => assert_eq!(found, change),
                None => assert!(matches!(found, BodyChange::JsonRewritten { style } if style.contains("compact"))),
            }
        }
    }
}

#[test]
fn a_signature_that_nothing_explains_says_what_was_compared() {
    let stripe = Scheme::stripe();
    let diagnosis = run(&stripe, &sign(&stripe), &BODY.replace("evt_1", "evt_2"));
    assert_eq!(diagnosis.problems, [Problem::WrongSignature { signatures: 1, keys: 1 }]);
    assert!(diagnosis.to_string().contains("countersign identify"));
}

#[test]
fn the_json_has_stable_names() {
    let stripe = Scheme::stripe();
    let json = serde_json::to_value(run(&stripe, &sign(&stripe), "{}")).unwrap();
    assert_eq!(json["accepted"], serde_json::Value::Null);
    assert_eq!(json["reason"], "wrong_signature");
    assert_eq!(json["problems"][0]["kind"], "wrong_signature");
    assert_eq!(json["signatures"]["usable"], 1);
    assert_eq!(json["time"]["age_seconds"], 0);
    assert_eq!(json["keys"][0]["id"], "default");
    let json = serde_json::to_value(run(&stripe, &sign(&stripe), BODY)).unwrap();
    assert_eq!(json["accepted"]["key_id"], "default");
    assert_eq!(json["accepted"]["covers"]["timestamp"], true);
}
