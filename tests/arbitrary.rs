//! Whatever comes in, nothing panics; whatever scheme can be built, it reads back and its signatures verify.

use std::time::Duration;

use base64ct::Encoding as _;
use countersign::{
    Delivery, Envelope, EventType, Handlers, Keyring, MacEncoding, MemoryStore, Message, Outcome, PayloadError,
    RawPayload, Receiver, RequestView, Scheme, SchemeBuilder, Secret, SecretEncoding, SecretFormat, Signer, Timestamp,
    Unknown, Variant, Verifier, WebhookEvent, kycgenie,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn all_presets() -> Vec<Scheme> {
    Scheme::presets().into_iter().chain([kycgenie::scheme()]).collect()
}

// Schemes.

#[derive(Clone, Debug)]
enum Place {
    Header,
    Inside(String),
    Nowhere,
}

fn place(inside: &'static str) -> impl Strategy<Value = Place> {
    prop_oneof![Just(Place::Header), inside.prop_map(Place::Inside), Just(Place::Nowhere)]
}

/// A template that signs what `time` and `id` say, the body once, and perhaps headers and text.
fn template(time: &Place, id: &Place) -> impl Strategy<Value = String> + use<> {
    let mut parts = vec!["{body}".to_owned()];
    parts.extend((!matches!(time, Place::Nowhere)).then(|| "{timestamp}".to_owned()));
    parts.extend(matches!(id, Place::Header).then(|| "{id}".to_owned()));
    let extra = prop_oneof![
        "[ .:/\u{e9}\u{1f512}\n\"'\\\\]{1,4}",
        select(vec!["{{", "}}", "{{}}", "{header:H-One}", "{header:h-two}"]).prop_map(str::to_owned),
    ];
    let parts = vec(extra, 0..5).prop_map(move |extra| [parts.clone(), extra].concat());
    let between = select(vec!["", ".", "|:"]);
    (parts.prop_shuffle(), between).prop_map(|(parts, between)| parts.join(between))
}

fn encoding() -> impl Strategy<Value = MacEncoding> {
    use MacEncoding::{Base64, Base64Url, Hex, HexUpper};
    select(vec![Base64, Base64Url, Hex, HexUpper])
}

fn secret_format() -> impl Strategy<Value = SecretFormat> {
    let encoding = select(vec![SecretEncoding::Base64, SecretEncoding::Hex, SecretEncoding::Text]);
    (encoding, prop::option::of("\\PC{0,8}")).prop_map(|(encoding, prefix)| {
        let format = SecretFormat::encoded(encoding);
        match prefix {
            Some(prefix) => format.strip_prefix(prefix),
            None => format,
        }
    })
}

/// Builders of all kinds; most of them build.
fn builder() -> impl Strategy<Value = SchemeBuilder> {
    let layout = (prop::option::of(select(vec![',', ' ', ';', '|', '.', '=', '-', '"'])), "[!-~]{0,6}", encoding());
    let places = (place("[a-z]{1,4}[=:@]"), place("/[a-z~01/\u{e9}]{0,6}"), any::<bool>());
    let times = (prop::option::of(1_u64..=86_400), prop::option::of(0_u64..=31_622_400));
    let places = places.prop_flat_map(|(time, id, typed)| {
        let template = template(&time, &id);
        (Just(time), Just(id), Just(typed), template)
    });
    (layout, places, times, secret_format(), "[!-~]{1,24}").prop_map(|(layout, places, times, secret, name)| {
        let (separator, prefix, encoding) = layout;
        let (time, id, typed, template) = places;
        let mut builder = Scheme::builder(&name)
            .signature_header("H-Signature")
            .prefix(prefix)
            .encoding(encoding)
            .content(&template)
            .secret(secret);
        if let Some(separator) = separator {
            builder = builder.separator(separator);
        }
        builder = match &time {
            Place::Header => builder.timestamp_header("h-time"),
            Place::Inside(element) => builder.timestamp_element(element),
            Place::Nowhere => builder,
        };
        builder = match &id {
            Place::Header => builder.id_header("h-id"),
            Place::Inside(pointer) => builder.id_pointer(pointer),
            Place::Nowhere => builder,
        };
        if typed {
            builder = builder.event_type_header("h-type");
        }
        if let (Some(tolerance), false) = (times.0, matches!(time, Place::Nowhere)) {
            builder = builder.tolerance(Duration::from_secs(tolerance));
        }
        match times.1 {
            Some(horizon) => builder.retry_horizon(Duration::from_secs(horizon)),
            None => builder,
        }
    })
}

fn scheme() -> impl Strategy<Value = Scheme> {
    builder().prop_filter_map("a builder with a mistake", |builder| builder.build().ok())
}

/// A key as `scheme` writes secrets.
fn secret_of(scheme: &Scheme, key: &[u8]) -> Vec<u8> {
    let format: serde_json::Value = serde_json::to_value(scheme.secret_format()).expect("JSON");
    let text = match format["encoding"].as_str() {
        Some("base64") => base64ct::Base64::encode_string(key).into_bytes(),
        Some("hex") => base16ct::upper::encode_string(key).into_bytes(),
        _ => key.to_vec(),
    };
    let prefix = format["strip_prefix"].as_str().unwrap_or_default();
    [prefix.as_bytes(), &text].concat()
}

fn engine(scheme: &Scheme, key: &[u8]) -> (Signer, Verifier) {
    let keyring = Keyring::single(Secret::from_bytes(secret_of(scheme, key)).expect("a secret"));
    let signer = Signer::new(scheme.clone(), keyring.clone()).expect("a secret of the scheme");
    (signer, Verifier::new(scheme.clone(), keyring).expect("a secret of the scheme"))
}

/// A message with everything that a scheme may ask for.
fn message<'a>(body: &'a [u8], now: Timestamp, id: &'a str, headers: &'a [(&'a str, &'a str)]) -> Message<'a> {
    Message::new(body, now).id(id).event_type("a_b").headers(headers)
}

proptest! {
    #![proptest_config(config(192))]

    #[test]
    fn every_scheme_that_builds_reads_back_from_toml_and_json(scheme in scheme()) {
        prop_assert_eq!(Scheme::from_toml(&scheme.to_toml()), Ok(scheme.clone()), "{}", scheme.to_toml());
        prop_assert_eq!(Scheme::from_json(&scheme.to_json()), Ok(scheme.clone()), "{}", scheme.to_json());
    }

    #[test]
    fn every_scheme_that_builds_verifies_what_it_signs_and_nothing_else(
        scheme in scheme(),
        key in vec(any::<u8>(), 1..100),
        body in vec(any::<u8>(), 0..200),
        seconds in 0..=999_999_999_999_i64,
        id in "[a-z0-9_]{1,32}",
        // Without what templates hold between their parts: such a delivery is refused.
        one in "[!#-&(-\\-0-9;-\\[\\]-z~]{1,32}",
        flip in any::<prop::sample::Index>(),
    ) {
        let now = Timestamp::from_secs(seconds);
        let (signer, verifier) = engine(&scheme, &key);
        let extra = [("H-One", one.as_str()), ("h-two", "2")];
        let headers = signer.sign(&message(&body, now, &id, &extra)).expect("a signed message");
        let verified = verifier.verify(&RequestView::new(&headers, body.clone()), now);
        prop_assert!(verified.is_ok(), "{verified:?}: {headers:?}");
        let reread = Scheme::from_toml(&scheme.to_toml()).expect("its own file");
        prop_assert!(engine(&reread, &key).1.verify(&RequestView::new(&headers, body.clone()), now).is_ok());

        let other = [&key[..], b"x"].concat();
        prop_assert!(engine(&scheme, &other).1.verify(&RequestView::new(&headers, body.clone()), now).is_err());
        let mut changed = body;
        if changed.is_empty() {
            changed.push(0);
        } else {
            let at = flip.index(changed.len());
            changed[at] ^= 0x10;
        }
        prop_assert!(verifier.verify(&RequestView::new(&headers, changed), now).is_err());
    }

    #[test]
    fn any_header_lines_at_any_moment_are_read_without_a_panic(
        scheme in prop_oneof![scheme(), select(all_presets())],
        lines in vec((any::<prop::sample::Index>(), prop_oneof![
            vec(any::<u8>(), 0..80),
            vec(any::<u8>(), 4090..4100),
            "[0-9]{0,14}".prop_map(String::into_bytes),
            "([a-z]{0,2}[0-9a]?[=,:]?[0-9a-zA-Z+/=]{0,64}[ ,;]?){0,40}".prop_map(String::into_bytes),
        ], any::<bool>()), 0..8),
        now in any::<i64>(),
    ) {
        let (signer, verifier) = engine(&scheme, b"\x07key");
        let extra = [("h-one", "1"), ("h-two", "2")];
        let signed = signer.sign(&message(b"{}", Timestamp::from_secs(7), "id", &extra)).expect("a signed message");
        let mut headers: Vec<(String, Vec<u8>)> =
            signed.into_iter().map(|(name, value)| (name, value.into_bytes())).collect();
        for (at, value, twice) in lines {
            let at = at.index(headers.len());
            if twice {
                headers.push((headers[at].0.clone(), value));
            } else {
                headers[at].1 = value;
            }
        }
        // Another body than the one that was signed, so that nothing may verify.
        let found = verifier.verify(&RequestView::new(&headers, b"[]".to_vec()), Timestamp::from_millis(now));
        prop_assert!(found.is_err());
    }

    #[test]
    fn any_text_is_read_as_a_scheme_or_refused(
        text in any::<String>(),
        scheme in scheme(),
        cut in any::<prop::sample::Index>(),
        insert in "[\\[\\]{}\"'=,:.0-9a-z\n]{0,3}",
    ) {
        let read = [Scheme::from_toml(&text), Scheme::from_json(&text)];
        prop_assert!(read.iter().all(Result::is_err));
        for (whole, read) in [
            (scheme.to_toml(), Scheme::from_toml as fn(&str) -> Result<Scheme, _>),
            (scheme.to_json(), Scheme::from_json),
        ] {
            let at = cut.index(whole.len());
            let before = whole.floor_char_boundary(at);
            let after = whole.ceil_char_boundary(at + 1);
            let edited = format!("{}{insert}{}", &whole[..before], &whole[after..]);
            if let Ok(scheme) = read(&edited) {
                prop_assert_eq!(Scheme::from_toml(&scheme.to_toml()), Ok(scheme), "{}", edited);
            }
        }
    }

    #[test]
    fn settings_of_any_kind_build_a_scheme_or_name_the_mistake(
        texts in vec(any::<String>(), 8),
        separator in prop::option::of(any::<char>()),
        seconds in any::<[u64; 2]>(),
    ) {
        let mut builder = Scheme::builder(&texts[0])
            .signature_header(&texts[1])
            .prefix(texts[2].clone())
            .timestamp_element(&texts[3])
            .id_pointer(&texts[4])
            .event_type_header(&texts[5])
            .content(&texts[6])
            .secret(SecretFormat::text().strip_prefix(texts[7].clone()))
            .tolerance(Duration::from_secs(seconds[0]))
            .retry_horizon(Duration::from_secs(seconds[1]));
        if let Some(separator) = separator {
            builder = builder.separator(separator);
        }
        match builder.build() {
            Ok(scheme) => prop_assert_eq!(Scheme::from_toml(&scheme.to_toml()), Ok(scheme)),
            Err(error) => prop_assert!(error.to_string().contains(": "), "{}", error),
        }
    }
}

// Times.

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn a_time_verifies_where_another_reader_says_so(
        text in prop_oneof![
            "[0-9]{0,14}",
            "[+-]?[0-9]{1,11}[ .e]?[0-9]?",
            (1_749_999_600_i64..1_750_000_400).prop_map(|time| time.to_string()),
            any::<String>(),
        ],
        now in prop_oneof![Just(1_750_000_000_000_i64), any::<i64>()],
    ) {
        let base = || Scheme::builder("acme").signature_header("x-signature");
        // As a header like any other, so that whatever text is signed.
        let signing = base().content("{header:x-time}.{body}").build().expect("a scheme");
        let reading = base().content("{timestamp}.{body}").timestamp_header("x-time").build().expect("a scheme");
        let signed = [("x-time", text.as_str())];
        let headers = engine(&signing, b"key").0.sign(&message(b"{}", Timestamp::UNIX_EPOCH, "id", &signed));
        let headers = headers.expect("a signed message");
        let now = Timestamp::from_millis(now);
        let found = engine(&reading, b"key").1.verify(&RequestView::new(&headers, b"{}".to_vec()), now);
        let is_time = (1..=12).contains(&text.len()) && text.chars().all(|digit| digit.is_ascii_digit());
        let is_near = text.parse::<i128>().is_ok_and(|time| (i128::from(now.as_secs()) - time).abs() <= 300);
        prop_assert_eq!(found.is_ok(), is_time && is_near, "{:?}: {:?}", text, found);
    }
}

// Envelopes.

enum Event {
    Counted,
    Unknown,
}

impl WebhookEvent for Event {
    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };
    const VARIANTS: &'static [Variant] = &[Variant::event("Counted", "counted"), Variant::unknown("Unknown")];

    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(Some(if *event_type == "counted" {
            payload.decode::<Vec<u64>>()?;
            Self::Counted
        } else {
            let unknown = Unknown::new(event_type.clone(), payload);
            assert_eq!(unknown.payload(), payload.json().as_bytes());
            Self::Unknown
        }))
    }
}

struct Handler;

impl Handlers for Handler {
    type Event = Event;

    async fn handle(&self, event: Event, delivery: &Delivery) -> Outcome {
        let counted = delivery.event_type().is_some_and(|event_type| *event_type == "counted");
        assert_eq!(counted, matches!(event, Event::Counted));
        Outcome::Handled
    }
}

fn json() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::Value::from(text).to_string()),
        select(vec!["\"counted\"", "\"\\u0063ounted\"", "\"\\ud800\"", "[1,2]", "[-1]", "1e999", "{", "\u{1}"])
            .prop_map(str::to_owned),
    ];
    let member = (select(vec!["\"event\"", "\"data\"", "\"ev\\u0065nt\"", "\"id\"", "\"\""]), leaf);
    vec(member, 0..5).prop_map(|members| {
        let members: Vec<String> = members.into_iter().map(|(name, value)| format!("{name}:{value}")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    })
}

proptest! {
    #![proptest_config(config(128))]

    #[test]
    fn a_signed_body_of_any_bytes_ends_in_an_answer(
        body in prop_oneof![json(), json(), vec(any::<u8>(), 0..100)],
        cut in any::<prop::sample::Index>(),
        byte in prop::option::of(any::<u8>()),
    ) {
        let mut body = body;
        if let (Some(byte), false) = (byte, body.is_empty()) {
            let at = cut.index(body.len());
            body[at] = byte;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let now = Timestamp::from_secs(1_750_000_000);
        for scheme in [Scheme::stripe(), kycgenie::scheme()] {
            let (signer, _) = engine(&scheme, b"key");
            let headers = signer.sign(&message(&body, now, "msg_1", &[])).expect("a signed message");
            let secret = Secret::from_bytes(secret_of(&scheme, b"key")).expect("a secret");
            let store = MemoryStore::builder().capacity(64).build().expect("a store");
            let receiver = Receiver::builder(scheme, Keyring::single(secret)).dedupe(store).handlers(Handler).build();
            let receiver = receiver.expect("a receiver");
            let request = RequestView::new(&headers, body.clone());
            let answer = runtime.block_on(receiver.receive(request, now));
            prop_assert!(matches!(answer.status(), 200 | 400 | 500), "{answer:?}");
        }
    }
}
