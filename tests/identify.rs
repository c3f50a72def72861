//! A captured request and its secret: the scheme is found, or what was ruled out is told.

#![cfg(feature = "cli")]
#![allow(clippy::panic, clippy::unwrap_used)]

use countersign::identify::{
    Algorithm, Beyond, BodyChange, Captured, Found, Guess, Hints, Holds, Mistake, ReadAs, Report, RequestPart, Search,
    SecretMistake, Spelling, TimeForm, to_rust,
};
use countersign::{
    Keyring, MacEncoding, Message, RequestView, Scheme, Secret, SecretEncoding, SecretFormat, Signer, Source,
    Timestamp, Verifier, kycgenie,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde::Deserialize;

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str =
    r#"{"id":"evt_1","event":"screening.completed","data":{"name":"Jürgen / Zoë","score":1.50,"list":[]}}"#;
const INSTEAD: &str = "SIGNED";

fn secret() -> Secret {
    Secret::new(SECRET).unwrap()
}

type Headers = Vec<(String, String)>;

/// The head of `body`, signed as `scheme` says, among headers that every request has.
fn sign_with(scheme: &Scheme, secret: &Secret, body: &[u8], extra: &[(&str, &str)]) -> Headers {
    let signer = Signer::new(scheme.clone(), Keyring::single(secret.clone())).unwrap();
    let message = Message::new(body, NOW).id("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W").event_type("screening.completed");
    let mut headers: Headers = vec![
        ("Host".into(), "hooks.example.com".into()),
        ("User-Agent".into(), "Acme/1.0".into()),
        ("Content-Type".into(), "application/json".into()),
        ("X-Request-Id".into(), "req-77".into()),
    ];
    headers.extend(signer.sign(&message.headers(extra)).unwrap());
    headers
}

fn sign(scheme: &Scheme, body: &str) -> Headers {
    sign_with(scheme, &secret(), body.as_bytes(), &[])
}

fn search(secret: &Secret, headers: &Headers, body: impl Into<Vec<u8>>) -> Report {
    let captured = Captured::new(headers.clone(), body.into()).request_line("POST", "/hooks?tenant=7");
    Search::new(std::slice::from_ref(secret), captured, NOW).run()
}

#[track_caller]
fn best(report: &Report) -> &Found {
    report.matches.first().unwrap_or_else(|| panic!("{report}"))
}

/// A MAC of `content`, in hex, by a scheme that signs a body and nothing else.
fn mac(key: &[u8], content: &[u8], encoding: MacEncoding) -> String {
    let scheme = Scheme::builder("bare").signature_header("s").encoding(encoding).content("{body}").build().unwrap();
    let signer = Signer::new(scheme, Keyring::single(Secret::from_bytes(key).unwrap())).unwrap();
    signer.sign(&Message::new(content, NOW)).unwrap().remove(0).1
}

/// A request whose header `x-signature` holds `before` and the hex MAC of `content` under the text of the secret.
fn signed(content: &str, headers: &[(&str, &str)]) -> Headers {
    let mac = mac(SECRET.as_bytes(), content.as_bytes(), MacEncoding::Hex);
    let mut all: Headers = headers.iter().map(|(name, value)| ((*name).into(), value.replace(INSTEAD, &mac))).collect();
    if !headers.iter().any(|(_, value)| value.contains(INSTEAD)) {
        all.push(("X-Signature".into(), mac));
    }
    all
}

fn verify(scheme: &Scheme, secret: &Secret, headers: &Headers, body: &[u8]) -> bool {
    let verifier = Verifier::new(scheme.clone(), Keyring::single(secret.clone())).unwrap();
    verifier.verify(&RequestView::new(headers, body.to_vec()), NOW).is_ok()
}

// What is found.

#[test]
fn every_preset_is_found_as_itself_whatever_the_case_of_its_headers() {
    for scheme in Scheme::presets() {
        let mut headers = sign(&scheme, BODY);
        headers.iter_mut().for_each(|(name, _)| *name = name.to_ascii_uppercase());
        let report = search(&secret(), &headers, BODY);
        let found = best(&report);
        assert_eq!(found.scheme.as_ref(), Some(&scheme), "{report}");
        assert_eq!(found.preset, Some(format!("Scheme::{}()", scheme.name().as_str().replace('-', "_"))));
        assert!(found.is_clean() && report.clean().is_some() && found.guesses.is_empty(), "{report}");
        assert_eq!(found.toml.as_deref(), Some(scheme.to_toml().as_str()));
        assert_eq!(found.rust.as_deref(), Some(to_rust(&scheme).as_str()));
    }
}

#[test]
fn the_assumed_scheme_of_kyc_genie_is_confirmed_under_its_name() {
    let captured = Captured::new(sign(&kycgenie::scheme(), BODY), BODY);
    let hints = Hints::new().named(Source::new("kycgenie").unwrap());
    let report = Search::new(&[secret()], captured, NOW).hints(hints).run();
    assert_eq!(best(&report).scheme, Some(kycgenie::scheme()));
    assert_eq!(best(&report).preset.as_deref(), Some("Scheme::standard_webhooks_of(\"kycgenie\")"));
}

#[derive(Deserialize)]
struct Published {
    vector: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret: String,
    body: String,
    id: Option<String>,
    event_type: Option<String>,
    time: Option<i64>,
    signature_header: String,
    signature: String,
}

#[test]
fn published_deliveries_are_identified_years_later() {
    let file: Published = toml::from_str(include_str!("vectors/published.toml")).unwrap();
    for vector in file.vector {
        let mut headers: Headers = vec![(vector.signature_header, vector.signature)];
        headers.extend(vector.id.map(|id| ("webhook-id".to_owned(), id)));
        headers.extend(vector.event_type.map(|event_type| ("x-github-event".to_owned(), event_type)));
        let time_header = if vector.name == "slack" { "x-slack-request-timestamp" } else { "webhook-timestamp" };
        headers.extend(vector.time.map(|time| (time_header.to_owned(), time.to_string())));
        let report = search(&Secret::new(vector.secret).unwrap(), &headers, vector.body);
        let found = best(&report);
        assert_eq!(found.scheme.as_ref().map(|scheme| scheme.name().as_str()), Some(&*vector.name));
        assert_eq!(found.time.map(|time| time.seconds), vector.time);
        assert_eq!(found.time.map(|time| time.within_tolerance), vector.time.map(|_| false), "an old capture");
    }
}

#[test]
fn a_rotation_is_found_with_either_secret() {
    let other = Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    let captured = Captured::new(sign(&Scheme::stripe(), BODY), BODY);
    let report = Search::new(&[other, secret()], captured, NOW).run();
    assert_eq!((best(&report).scheme.clone(), best(&report).secret.secret), (Some(Scheme::stripe()), 1));
}

#[test]
fn a_search_can_be_held_to_one_header() {
    let mut headers = sign(&Scheme::github(), BODY);
    headers.push(("x-other".into(), headers.last().unwrap().1.clone()));
    let captured = Captured::new(headers, BODY);
    let report = Search::new(&[secret()], captured, NOW).hints(Hints::new().signature_header("X-Other")).run();
    assert_eq!(best(&report).header, "x-other");
    assert!(best(&report).toml.as_ref().unwrap().contains("x-other"), "{report}");
    assert_eq!(report.ruled_out.headers.len(), 1);
}

/// Schemes of the space that is searched.
fn schemes() -> impl Strategy<Value = Scheme> {
    let encodings = select(vec![MacEncoding::Base64, MacEncoding::Base64Url, MacEncoding::Hex, MacEncoding::HexUpper]);
    let layouts = select(vec![
        (None, "", false),
        (None, "sha256=", false),
        (None, "v0:", false),
        (Some(' '), "v1,", false),
        (Some(','), "v1:", true),
        (Some(';'), "sig:", true),
        (Some('&'), "h=", true),
    ]);
    let secrets = select(vec![
        SecretFormat::text(),
        SecretFormat::text().strip_prefix("whsec_"),
        SecretFormat::encoded(SecretEncoding::Base64).strip_prefix("whsec_"),
        SecretFormat::encoded(SecretEncoding::Hex),
    ]);
    let contents = select(vec![
        "{body}",
        "{timestamp}@{body}",
        "{timestamp}{body}",
        "{body}@{timestamp}",
        "{id}@{timestamp}@{body}",
        "{timestamp}@{id}@{body}",
        "{id}@{body}",
        "{body}@{id}",
        "{id}@{body}@{timestamp}",
        "{body}@{id}@{timestamp}",
        "v0:{timestamp}:{body}",
        "v1.{timestamp}.{body}",
        "{header:h-kind}@{body}",
        "{timestamp}@{header:h-kind}@{body}",
        "{id}@{timestamp}@{header:h-topic}@{body}",
        "{header:h-kind}@{header:h-part}@{body}",
        "{header:host}@{body}",
        "{id}.{timestamp}:{body}",
    ]);
    let between = select(vec![".", ":", "|", ",", "\n", "-", "_"]);
    (encodings, layouts, secrets, contents, between).prop_filter_map("does not build", |parts| {
        let (encoding, (separator, prefix, element), secret, content, between) = parts;
        let mut builder = Scheme::builder("acme")
            .signature_header("h-signature")
            .prefix(prefix)
            .encoding(encoding)
            .content(&content.replace('@', between))
            .secret(secret);
        builder = if let Some(separator) = separator { builder.separator(separator) } else { builder };
        if content.contains("{timestamp}") {
            builder = if element { builder.timestamp_element("t:") } else { builder.timestamp_header("h-time") };
        }
        if content.contains("{id}") {
            builder = builder.id_header("h-id");
        }
        builder.build().ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_scheme_of_the_space_is_found_and_refuses_another_body(scheme in schemes(), empty in any::<bool>()) {
        let secret = match serde_json::to_value(scheme.secret_format()).unwrap()["encoding"].as_str() {
            Some("hex") => Secret::new("00ff17a2b3c4d5e6f708192a3b4c5d6e").unwrap(),
            _ => secret(),
        };
        let body = if empty { "" } else { BODY };
        // Values that hold nothing that stands between parts.
        let extra = [("H-Kind", "alpha"), ("H-Part", "beta"), ("H-Topic", "gamma"), ("host", "example")];
        let signer = Signer::new(scheme.clone(), Keyring::single(secret.clone())).unwrap();
        let message = Message::new(body.as_bytes(), NOW).id("msg7").event_type("x").headers(&extra);
        let headers = signer.sign(&message).unwrap();
        let report = search(&secret, &headers, body);
        prop_assert!(!report.matches.is_empty(), "{}\n{report}", scheme.to_toml());
        let found = best(&report);
        prop_assert!(found.is_clean(), "{}\n{report}", scheme.to_toml());
        let scheme_found = found.scheme.clone().unwrap();
        prop_assert!(verify(&scheme_found, &secret, &headers, body.as_bytes()));
        prop_assert!(!verify(&scheme_found, &secret, &headers, &[body.as_bytes(), b"x"].concat()));
        prop_assert_eq!(scheme_found.signs_timestamp(), scheme.signs_timestamp(), "{}", report);
        prop_assert_eq!(Scheme::from_toml(found.toml.as_deref().unwrap()), Ok(scheme_found));
    }

    #[test]
    fn a_hostile_head_neither_panics_nor_finds_anything(
        lines in prop::collection::vec(("[!-~]{0,12}", prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            "[0-9a-f]{64}".prop_map(String::into_bytes),
            "(t=[0-9]{1,14}[,;. ])?(v[0-9][,=])?[0-9A-Za-z+/_-]{43}=?".prop_map(String::into_bytes),
        ]), 0..12),
        body in prop::collection::vec(any::<u8>(), 0..64),
        raw in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let captured = Captured::new(lines, body).request_line("\0", "?\n");
        let report = Search::new(&[secret()], captured.clone(), NOW).run();
        prop_assert!(report.matches.is_empty());
        let _ = (report.to_string(), serde_json::to_string(&report).unwrap());
        let _ = Captured::parse(&captured.to_bytes());
        let _ = Captured::parse(&raw);
    }
}

// Beyond the presets: names, guesses, what no scheme can say.

#[test]
fn svix_headers_are_standard_webhooks_in_all_but_name() {
    let mut headers = sign(&Scheme::standard_webhooks(), BODY);
    headers.iter_mut().for_each(|(name, _)| *name = name.replace("webhook-", "svix-"));
    let report = search(&secret(), &headers, BODY);
    let found = best(&report);
    let json: serde_json::Value = serde_json::from_str(&found.scheme.as_ref().unwrap().to_json()).unwrap();
    assert_eq!(json["content"], "{id}.{timestamp}.{body}");
    assert_eq!((&json["signature"]["separator"], &json["signature"]["prefix"]), (&" ".into(), &"v1,".into()));
    assert_eq!(json["timestamp"]["header"], "svix-timestamp");
    assert!(found.guesses.contains(&Guess::Separator { separator: Some(' ') }), "{report}");
}

#[test]
fn an_id_and_a_type_that_are_not_signed_are_guessed_and_said_to_be() {
    let body = r#"{"id":7}"#;
    let headers = signed(body, &[("X-Acme-Delivery", "d-1"), ("X-Acme-Topic", "orders/create"), ("X-Request-Id", "r")]);
    let report = search(&secret(), &headers, body);
    let found = best(&report);
    assert!(found.guesses.contains(&Guess::IdHeader { header: "x-acme-delivery".into() }), "{report}");
    assert!(found.guesses.contains(&Guess::EventTypeHeader { header: "x-acme-topic".into() }), "{report}");
    assert!(found.guesses.contains(&Guess::IdPointer { pointer: "/id".into() }), "{report}");
    assert!(found.guesses.contains(&Guess::NoTime) && found.guesses.contains(&Guess::Defaults), "{report}");
    assert!(found.toml.as_ref().unwrap().contains("x-acme-topic"));
}

#[test]
fn a_value_that_stands_in_two_headers_is_an_ambiguity() {
    let time = NOW.as_secs().to_string();
    let headers = signed(&format!("{time}.{BODY}"), &[("X-Time", &time), ("X-Sent-At", &time)]);
    let report = search(&secret(), &headers, BODY);
    assert_eq!(best(&report).ambiguities.len(), 1, "{report}");
    assert!(best(&report).is_clean());
}

#[test]
fn an_empty_body_leaves_open_where_it_stands_and_what_can_be_said_is_preferred() {
    let time = NOW.as_secs().to_string();
    let report = search(&secret(), &signed(&time, &[("X-Time", &time)]), "");
    let found = best(&report);
    assert_eq!(found.content, "{timestamp}{body}", "{report}");
    assert!(found.is_clean() && found.ambiguities.iter().any(|other| other.contains("{body}{")), "{report}");
}

#[test]
fn times_that_a_scheme_does_not_check_are_told() {
    for (value, form) in [("1790000000123", TimeForm::Milliseconds), ("2026-09-21T14:13:20Z", TimeForm::Rfc3339)] {
        let headers = signed(&format!("{value}|{BODY}"), &[("X-Time", value)]);
        let report = search(&secret(), &headers, BODY);
        let found = best(&report);
        assert!(found.guesses.contains(&Guess::TimeNotChecked { form }), "{report}");
        assert_eq!(found.time.map(|time| (time.form, time.seconds)), Some((form, NOW.as_secs())));
        assert!(found.toml.as_ref().unwrap().contains("{header:x-time}|{body}"));
    }
}

#[test]
fn what_no_scheme_can_say_is_found_and_named() {
    let time = NOW.as_secs().to_string();
    let part = |part| Beyond::RequestLine { part };
    for (content, headers, beyond) in [
        (format!("https://a.example/hooks?tenant=7{BODY}"), vec![("Host", "a.example")], part(RequestPart::Url)),
        (format!("/hooks.{BODY}"), vec![], part(RequestPart::Path)),
        (format!("{time}POST/hooks{BODY}"), vec![("X-Time", time.as_str())], part(RequestPart::Method)),
        (format!("POST\n/hooks?tenant=7\n{time}\n{BODY}"), vec![("X-Time", time.as_str())], part(RequestPart::Method)),
        (format!("k7.{BODY}"), vec![("X-Sig", "kid=k7,v1=SIGNED")], Beyond::Element { prefix: "kid=".into() }),
        (
            "{\"name\":\"J\u{fc}rgen / Zo\u{eb}\",\"score\":1.50,\"list\":[]}".into(),
            vec![],
            Beyond::Body { change: BodyChange::JsonMember { name: "data".into() } },
        ),
        (format!("{time}."), vec![("X-Time", time.as_str())], Beyond::Body { change: BodyChange::Absent }),
    ] {
        let report = search(&secret(), &signed(&content, &headers), BODY);
        let found = best(&report);
        assert!(found.beyond.contains(&beyond) && found.scheme.is_none(), "{content}: {report}");
        assert_eq!(found.algorithm, Algorithm::HmacSha256);
    }
    let id = "msg_1";
    let report = search(&secret(), &signed(&format!("{id}{BODY}"), &[("Webhook-Id", id)]), BODY);
    assert!(
        matches!(&best(&report).beyond[..], [Beyond::Refused { reason }] if reason.contains("run together")),
        "{report}"
    );
    let id = "msg.1";
    let report = search(&secret(), &signed(&format!("{id}.{BODY}"), &[("Webhook-Id", id)]), BODY);
    assert!(
        matches!(&best(&report).beyond[..], [Beyond::Refused { reason }] if reason.contains("invalid_")),
        "{report}"
    );
}

#[test]
fn spellings_and_secrets_that_no_scheme_has_are_found_and_named() {
    let hex = mac(SECRET.as_bytes(), BODY.as_bytes(), MacEncoding::Hex);
    let mixed = format!("{}{}", &hex[..32], hex[32..].to_ascii_uppercase());
    let report = search(&secret(), &vec![("x-sig".into(), mixed)], BODY);
    assert_eq!(best(&report).beyond, [Beyond::Spelling { spelling: Spelling::HexMixed }]);

    let given = Secret::new("__79_-8").unwrap();
    let key = [0xff, 0xfe, 0xfd, 0xff, 0xef];
    let report = search(&given, &vec![("x-sig".into(), mac(&key, BODY.as_bytes(), MacEncoding::Hex))], BODY);
    assert_eq!(best(&report).secret.read_as, ReadAs::Base64Url, "{report}");
    assert!(report.to_string().contains("write it anew as base64"), "{report}");
    // The scheme is for the secret as it is to be written.
    let keyring = Keyring::single(Secret::new("//79/+8").unwrap());
    let verifier = Verifier::new(best(&report).scheme.clone().unwrap(), keyring).unwrap();
    let headers = [("x-sig", mac(&key, BODY.as_bytes(), MacEncoding::Hex))];
    verifier.verify(&RequestView::new(&headers, BODY), NOW).unwrap();
}

#[test]
fn a_time_that_cannot_be_read_beside_its_signature_is_told_in_words() {
    let time = NOW.as_secs();
    let tag = |between: &str| mac(SECRET.as_bytes(), format!("{time}{between}{BODY}").as_bytes(), MacEncoding::Hex);
    for value in [format!("t={time}, s={}", tag(".")), format!("{time}:{}", tag(":"))] {
        let report = search(&secret(), &vec![("x-sig".into(), value.clone())], BODY);
        assert_eq!(best(&report).scheme, None, "{value}");
        let told = report.to_string();
        assert!(told.contains("items that one character parts") && !told.contains("is not known"), "{told}");
    }
}

#[test]
fn a_plain_digest_is_no_signature() {
    // SHA-256 of "secretbody", of "bodysecret" and of "body", by coreutils' sha256sum.
    for (digest, algorithm) in [
        ("62ea2e334a3ca4a272ae4655478e6f6229a1211cc4c4ca203f03068d8fe4cdec", Algorithm::Sha256SecretBefore),
        ("e6b1b0f6bfd1318bb4825bd1723d88de124d15abad8c3731fb956684f2f063b6", Algorithm::Sha256SecretBehind),
        ("230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5", Algorithm::Sha256),
    ] {
        let report = search(&Secret::new("secret").unwrap(), &vec![("x-signature".into(), digest.into())], "body");
        let found = best(&report);
        assert_eq!((found.algorithm, &found.beyond[..]), (algorithm, &[Beyond::Algorithm][..]), "{report}");
        assert!(found.scheme.is_none());
    }
}

// Mistakes.

fn changed(report: &Report) -> Option<&BodyChange> {
    best(report).mistakes.iter().find_map(|mistake| match mistake {
        Mistake::Body { change, .. } => Some(change),
        _ => None,
    })
}

#[test]
fn every_usual_change_of_a_body_is_found_and_named() {
    let rewritten = |report: &Report, word: &str| matches!(changed(report), Some(BodyChange::JsonRewritten { style }) if style.contains(word));
    let compact = r#"{"b":[1.0,2],"a":"J\u00fcrgen/<x>"}"#.replace("\\u00fc", "\u{fc}");
    for (sent, captured, word) in [
        (compact.clone(), "{\n  \"b\": [1.0, 2],\n \"a\": \"J\u{fc}rgen/<x>\"}".to_owned(), "compact"),
        ("{\"b\": [1.0, 2], \"a\": \"J\\u00fcrgen/<x>\"}".into(), compact.clone(), "Python"),
        ("{\"a\": \"J\\u00fcrgen/<x>\", \"b\": [1.0, 2]}".into(), compact.clone(), "sort"),
        ("{\"a\":\"J\u{fc}rgen/<x>\",\"b\":[1.0,2]}".into(), compact.clone(), "sorted"),
        ("{\"b\":[1.0,2],\"a\":\"J\\u00fcrgen\\/<x>\"}".into(), compact.clone(), "PHP"),
        ("{\"b\":[1.0,2],\"a\":\"J\u{fc}rgen/\\u003cx\\u003e\"}".into(), compact.clone(), "Go"),
        ("{\"b\":[1,2],\"a\":\"J\u{fc}rgen/<x>\"}".into(), compact.clone(), "JavaScript"),
        ("{\"b\":[1.0,2],\"a\":\"J\\u00fcrgen/<x>\"}".into(), compact.clone(), "ASCII"),
        ("{\n  \"b\": [\n    1.0,\n    2\n  ],\n  \"a\": \"J\u{fc}rgen/<x>\"\n}".into(), compact.clone(), "two spaces"),
        ("{\n    \"b\": [\n        1.0,\n        2\n    ],\n    \"a\": \"J\u{fc}rgen/<x>\"\n}".into(), compact, "four"),
    ] {
        for scheme in [Scheme::standard_webhooks(), Scheme::stripe()] {
            let report = search(&secret(), &sign(&scheme, &sent), captured.clone());
            assert!(rewritten(&report, word), "{word}: {report}");
            assert_eq!(best(&report).scheme.as_ref(), Some(&scheme), "{report}");
            assert!(report.clean().is_none());
        }
    }
    for (sent, captured, expected) in [
        ("{}", "{}\n", BodyChange::NewlineRemoved),
        ("{}", "{}\r\n", BodyChange::NewlineRemoved),
        ("{}\n", "{}", BodyChange::NewlineAdded { crlf: false }),
        ("{}\r\n", "{}", BodyChange::NewlineAdded { crlf: true }),
        ("{}", " {} \n", BodyChange::Trimmed),
        ("a\r\nb", "a\nb", BodyChange::LineBreaksToCrlf),
        ("a\nb", "a\r\nb", BodyChange::LineBreaksToLf),
        ("{}", "\u{feff}{}", BodyChange::BomRemoved),
        ("\u{feff}{}", "{}", BodyChange::BomAdded),
        ("a=/ x", "a=%2F+x", BodyChange::UrlDecoded { plus: true }),
        ("a=/+x", "a=%2f+x", BodyChange::UrlDecoded { plus: false }),
    ] {
        for scheme in [Scheme::slack(), Scheme::github()] {
            let report = search(&secret(), &sign(&scheme, sent), captured);
            assert_eq!(changed(&report), Some(&expected), "{captured:?} {report}");
            assert_eq!(best(&report).scheme.as_ref(), Some(&scheme));
        }
    }
    let latin1 = sign_with(&Scheme::github(), &secret(), b"J\xfcrgen", &[]);
    assert_eq!(changed(&search(&secret(), &latin1, "J\u{fc}rgen")), Some(&BodyChange::Latin1));
}

#[test]
fn a_difference_is_told_by_offset_and_length() {
    let report = search(&secret(), &sign(&Scheme::github(), "{\"a\":1}"), "{\"a\": 1}");
    let Mistake::Body { difference, .. } = &best(&report).mistakes[0] else { panic!("{report}") };
    assert_eq!((difference.offset, difference.captured_len, difference.signed_len), (5, 8, 7));
    assert!(report.to_string().contains("at offset 5"));
}

#[test]
fn a_body_that_an_editor_or_a_tool_lengthened_is_cut_at_its_content_length() {
    let mut headers = sign(&Scheme::github(), BODY);
    headers.push(("content-length".into(), BODY.len().to_string()));
    for behind in ["\n", "\r\n", "\n\n# end", "garbage"] {
        let file = [Captured::new(headers.clone(), BODY).to_bytes(), behind.into()].concat();
        let report = Search::new(&[secret()], Captured::parse(&file).unwrap(), NOW).run();
        assert_eq!(best(&report).scheme, Some(Scheme::github()), "{behind:?} {report}");
        assert_eq!(report.notes.len(), 1);
        assert_eq!(best(&report).is_clean(), behind.trim().is_empty(), "{report}");
    }
}

#[test]
fn a_secret_that_was_copied_badly_is_found_and_named() {
    for (given, mistake) in [
        (format!("{SECRET}\n"), SecretMistake::WhiteSpace),
        (format!("  {SECRET}"), SecretMistake::WhiteSpace),
        (format!("\"{SECRET}\""), SecretMistake::Quotes),
        (format!("'{SECRET}'\n"), SecretMistake::Quotes),
        (format!("WEBHOOK_SECRET={SECRET}"), SecretMistake::Assignment),
    ] {
        for scheme in [Scheme::standard_webhooks(), Scheme::stripe()] {
            let given = Secret::from_bytes(given.clone()).unwrap();
            let report = search(&given, &sign(&scheme, BODY), BODY);
            let found = best(&report);
            assert!(
                matches!(found.mistakes[..], [Mistake::Secret { mistake: this, .. }] if this == mistake),
                "{report}"
            );
            assert_eq!(found.scheme.as_ref(), Some(&scheme));
        }
    }
    let with_break = Secret::from_bytes(format!("{SECRET}\n")).unwrap();
    let report = search(&secret(), &sign_with(&Scheme::stripe(), &with_break, BODY.as_bytes(), &[]), BODY);
    assert!(matches!(best(&report).mistakes[..], [Mistake::Secret { mistake: SecretMistake::LineBreakLost, .. }]));
}

#[test]
fn the_prefix_of_a_secret_as_text_or_before_base64_is_told_apart() {
    let named = |format: &SecretFormat| {
        let builder = Scheme::builder("acme").signature_header("x-sig").content("{body}");
        let scheme = builder.secret(format.clone()).build().unwrap();
        let report = search(&secret(), &sign(&scheme, BODY), BODY);
        let found = best(&report);
        assert_eq!(found.scheme.as_ref().map(Scheme::secret_format), Some(format), "{report}");
        (found.secret.read_as, found.secret.strip_prefix.clone())
    };
    let base64 = SecretFormat::encoded(SecretEncoding::Base64).strip_prefix("whsec_");
    assert_eq!(named(&SecretFormat::text()), (ReadAs::Text, None));
    assert_eq!(named(&SecretFormat::text().strip_prefix("whsec_")), (ReadAs::Text, Some("whsec_".into())));
    assert_eq!(named(&base64), (ReadAs::Base64, Some("whsec_".into())));
}

#[test]
fn a_clock_that_is_wrong_is_told_by_how_much() {
    let headers = sign(&Scheme::stripe(), BODY);
    for (now, age) in [(400, 400), (-400, -400)] {
        let captured = Captured::new(headers.clone(), BODY);
        let report = Search::new(&[secret()], captured, Timestamp::from_secs(NOW.as_secs() + now)).run();
        let time = best(&report).time.unwrap();
        assert_eq!((time.age_seconds, time.tolerance_seconds, time.within_tolerance), (age, Some(300), false));
        assert!(report.to_string().contains("outside of the tolerance of 300 s"), "{report}");
    }
}

// Nothing.

#[test]
fn when_nothing_matches_what_was_ruled_out_is_told() {
    let wrong = Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    let mut headers = sign(&Scheme::standard_webhooks(), BODY);
    headers.push(("x-hub-signature".into(), format!("sha1={}", "ab".repeat(20))));
    let report = search(&wrong, &headers, BODY);
    assert!(report.matches.is_empty() && report.clean().is_none());
    assert!(report.tried > 5_000, "{}", report.tried);
    assert_eq!(report.ruled_out.candidates, 1);
    let holds = |name: &str| report.ruled_out.headers.iter().find(|header| header.name == name).unwrap().holds;
    assert_eq!(holds("webhook-signature"), Holds::Candidates { count: 1 });
    assert_eq!(holds("x-hub-signature"), Holds::OtherLength { bytes: 20 });
    assert_eq!(holds("webhook-id"), Holds::NoTag);
    assert!(report.ruled_out.values.contains(&"{header:webhook-id}".into()));
    assert!(report.ruled_out.bodies.len() > 15 && report.ruled_out.readings.len() > 3);
    let shown = report.to_string();
    for word in ["Nothing matches", "SHA-1", "signing secret of this very endpoint", "MACs were computed"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["ruled_out"]["candidates"], 1);
    assert_eq!(json["ruled_out"]["headers"][0]["holds"]["kind"], "candidates");
}

#[test]
fn a_signature_of_another_algorithm_or_none_is_told_without_a_search() {
    for (value, word) in [
        ("ab".repeat(20), "SHA-1"),
        ("ab".repeat(64), "SHA-512"),
        ("Ab1/".repeat(86), "asymmetric"),
        ("hello".into(), "no header holds anything"),
    ] {
        let report = search(&secret(), &vec![("x-signature".into(), value)], BODY);
        assert_eq!((report.matches.len(), report.tried), (0, 0));
        assert!(report.next_steps[0].contains(word), "{report}");
    }
}

#[test]
fn an_empty_capture_and_no_secret_are_answered() {
    let report = Search::new(&[secret()], Captured::new([("a", ""); 0], ""), NOW).run();
    assert!(report.matches.is_empty() && !report.next_steps.is_empty());
    let report = Search::new(&[], Captured::new(sign(&Scheme::github(), BODY), BODY), NOW).run();
    assert_eq!((report.tried, report.next_steps.as_slice()), (0, &["give the secret".to_owned()][..]));
}

#[test]
fn hostile_captures_stay_bounded() {
    let tag = mac(b"other", b"", MacEncoding::Hex);
    let thousand: Headers = (0..1000).map(|at| (format!("x-{at}-time-id"), format!("t={at},v1={tag}"))).collect();
    let times: Headers = (0..1000).map(|at| (format!("x-{at}-time"), (1_790_000_000 + at).to_string())).collect();
    let signed: Headers = [times, vec![("x-signature".into(), tag.clone())]].concat();
    let long: Headers = vec![("x-signature".into(), tag.repeat(1 << 14)), ("x-other".into(), tag)];
    for headers in [thousand, signed, long] {
        let report = search(&secret(), &headers, "{}\0\u{1}");
        assert!(report.matches.is_empty());
        assert!(report.tried < 150_000, "{}", report.tried);
    }
    let deep = "[".repeat(100_000);
    let headers = sign(&Scheme::github(), &deep);
    assert!(best(&search(&secret(), &headers, deep)).is_clean());
}

// Rust and secrecy.

#[allow(unreachable_pub, missing_docs, reason = "as it is printed")]
mod generated {
    pub mod acme {
        include!("data/identify/acme.rs");
    }
    pub mod stripe {
        include!("data/identify/stripe.rs");
    }
    pub mod quoted {
        include!("data/identify/quoted.rs");
    }
}

#[test]
fn the_rust_that_is_printed_compiles_to_the_same_scheme() {
    let acme = Scheme::builder("acme")
        .signature_header("x-acme-signature")
        .separator(',')
        .prefix("v1=")
        .timestamp_element("t=")
        .id_header("x-acme-id")
        .event_type_header("x-acme-event")
        .content("{id}.{timestamp}.{body}")
        .secret(SecretFormat::encoded(SecretEncoding::Base64).strip_prefix("whsec_"))
        .build()
        .unwrap();
    let quoted = Scheme::builder("it's\"quoted\"")
        .signature_header("x-sig")
        .separator('\'')
        .prefix("a\"\\{")
        .encoding(MacEncoding::HexUpper)
        .id_pointer("/a\"b")
        .content("{{\n\u{e9}\"{body}")
        .secret(SecretFormat::text().strip_prefix("x_"))
        .build()
        .unwrap();
    for (file, scheme, compiled, source) in [
        ("acme", &acme, generated::acme::scheme(), include_str!("data/identify/acme.rs")),
        ("quoted", &quoted, generated::quoted::scheme(), include_str!("data/identify/quoted.rs")),
        ("stripe", &Scheme::stripe(), Ok(generated::stripe::scheme()), include_str!("data/identify/stripe.rs")),
    ] {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let path = format!("{}/tests/data/identify/{file}.rs", env!("CARGO_MANIFEST_DIR"));
            std::fs::write(path, to_rust(scheme)).unwrap();
            continue;
        }
        assert_eq!(to_rust(scheme), source);
        assert_eq!(compiled.as_ref(), Ok(scheme));
    }
}

#[test]
fn no_secret_body_or_right_mac_is_shown_anywhere() {
    let body = r#"{"planted":"body-marker-9e1c"}"#;
    let wrong = Secret::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    let mut shown = String::new();
    for scheme in Scheme::presets() {
        let headers = sign(&scheme, body);
        for (secret, body) in
            [(secret(), body), (wrong.clone(), body), (secret(), "{\"planted\": \"body-marker-9e1c\"}")]
        {
            let captured = Captured::new(headers.clone(), body).request_line("POST", "/hooks?token=target-marker");
            let search = Search::new(std::slice::from_ref(&secret), captured.clone(), NOW);
            shown += &format!("{captured:?} {captured:#?} {search:?}");
            let report = search.run();
            shown += &format!("{report} {report:?} {}", serde_json::to_string(&report).unwrap());
        }
        let signature = &headers.last().unwrap().1;
        let mac = signature.rsplit([',', '=']).find(|text| text.len() > 40).map_or(signature.as_str(), |text| text);
        assert!(!shown.contains(&mac[..20]), "{}", scheme.name());
    }
    for marker in ["MfKQ9r8G", "C2FVsBQI", "body-marker", "target-marker", "31f290f6", "0b6155b0"] {
        assert!(!shown.contains(marker), "{marker}");
    }
}
