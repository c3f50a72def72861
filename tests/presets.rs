//! What every preset must accept and must refuse: bodies of any bytes, every bit of a MAC, the edges of time, the days of
//! a rotation.

use std::time::Duration;

use base64ct::Encoding as _;
use countersign::{
    Answer, Disposition, HeadError, Key, KeyId, Keyring, Message, Rejection, RejectionKind, RequestView, Scheme,
    Secret, SignError, Signer, Timestamp, Verifier, kycgenie,
};
use proptest::prelude::*;

const NOW: i64 = 1_750_000_000;
const BODY: &[u8] = br#"{"id":"evt_1","event":"screening.completed"}"#;
const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEW: &str = "whsec_9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ";

type Headers = Vec<(String, String)>;

/// A scheme, and how its signatures are written, as its own file says.
struct Preset {
    scheme: Scheme,
    prefix: String,
    separator: Option<String>,
    encoding: String,
}

fn presets() -> Vec<Preset> {
    let schemes = Scheme::presets().into_iter().chain([kycgenie::scheme()]);
    let preset = |scheme: Scheme| {
        let file: serde_json::Value = serde_json::from_str(&scheme.to_json()).expect("JSON");
        let text = |name: &str| file["signature"][name].as_str().map(ToOwned::to_owned);
        Preset {
            prefix: text("prefix").unwrap_or_default(),
            separator: text("separator"),
            encoding: text("encoding").expect("an encoding"),
            scheme,
        }
    };
    schemes.map(preset).collect()
}

fn keyring(secrets: &[&str]) -> Keyring {
    let key = |(at, secret): (usize, &&str)| {
        let id = KeyId::new(&format!("key-{at}")).expect("an id");
        Key::new(id, Secret::new(*secret).expect("a secret"))
    };
    Keyring::new(secrets.iter().enumerate().map(key)).expect("keys")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(seconds)
}

fn answer(rejection: Rejection) -> Answer {
    Disposition::Rejected(rejection).answer(Duration::from_secs(5))
}

impl Preset {
    fn name(&self) -> &str {
        self.scheme.name().as_str()
    }

    fn try_sign(&self, secrets: &[&str], body: &[u8], time: Timestamp) -> Result<Headers, SignError> {
        let signer = Signer::new(self.scheme.clone(), keyring(secrets)).expect("secrets of the scheme");
        signer.sign_with_all(&Message::new(body, time).id("msg_1").event_type("screening.completed"))
    }

    fn sign(&self, body: &[u8]) -> Headers {
        self.try_sign(&[OLD], body, at(NOW)).expect("a signed message")
    }

    fn check(&self, secrets: &[&str], headers: &Headers, body: &[u8], now: Timestamp) -> Result<(), Rejection> {
        let verifier = Verifier::new(self.scheme.clone(), keyring(secrets)).expect("secrets of the scheme");
        let verified = verifier.verify(&RequestView::new(headers, body.to_vec()), now)?;
        assert_eq!(verified.raw(), body, "{}", self.name());
        assert!(verified.authenticated().body);
        Ok(())
    }

    fn verify(&self, headers: &Headers, body: &[u8]) -> Result<(), Rejection> {
        self.check(&[OLD], headers, body, at(NOW))
    }

    /// The text of the one MAC in `headers`.
    fn mac<'h>(&self, headers: &'h Headers) -> &'h str {
        let signature = &headers.last().expect("the signature stands last").1;
        match self.prefix.as_str() {
            "" => signature,
            version => signature.rsplit(version).next().expect("what stands behind the version"),
        }
    }

    /// The same headers with `text` where the MAC stands.
    fn with_mac(&self, headers: &Headers, text: &str) -> Headers {
        let mut changed = headers.clone();
        let line = changed.last_mut().expect("the signature stands last");
        line.1.truncate(line.1.len() - self.mac(headers).len());
        line.1 += text;
        changed
    }

    fn decode(&self, mac: &str) -> Vec<u8> {
        match self.encoding.as_str() {
            "base64" => base64ct::Base64::decode_vec(mac).expect("base64"),
            _ => base16ct::lower::decode_vec(mac).expect("hex"),
        }
    }

    fn encode(&self, mac: &[u8]) -> String {
        match self.encoding.as_str() {
            "base64" => base64ct::Base64::encode_string(mac),
            _ => base16ct::lower::encode_string(mac),
        }
    }

    /// The index of the header that holds the id or the time and is signed.
    fn signed_line(&self, headers: &Headers, name: &str) -> Option<usize> {
        let found = headers.iter().position(|(header, _)| header.ends_with(name));
        found.filter(|_| self.scheme.signs_timestamp())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_preset_signs_it_verifies_whatever_the_body_is(
        body in prop_oneof![any::<Vec<u8>>(), any::<String>().prop_map(String::into_bytes)],
    ) {
        for preset in presets() {
            prop_assert_eq!(preset.verify(&preset.sign(&body), &body), Ok(()), "{}", preset.name());
        }
    }

    #[test]
    fn one_flipped_bit_of_any_body_is_refused(
        mut body in prop::collection::vec(any::<u8>(), 1..512),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let signed: Vec<_> = presets().into_iter().map(|preset| (preset.sign(&body), preset)).collect();
        let at = at.index(body.len());
        body[at] ^= 1_u8 << bit;
        for (headers, preset) in signed {
            let found = preset.verify(&headers, &body).map_err(|rejection| rejection.kind());
            prop_assert_eq!(found, Err(RejectionKind::WrongSignature), "{}", preset.name());
        }
    }
}

#[test]
fn empty_large_and_binary_bodies_verify() {
    let large = vec![b'7'; 3 * 1024 * 1024];
    for preset in presets() {
        for body in [&b""[..], b"\0", b"\xff\xfe", b"\r\n", &large] {
            assert_eq!(preset.verify(&preset.sign(body), body), Ok(()), "{}", preset.name());
        }
        let mut longer = large.clone();
        longer.push(b'7');
        assert!(preset.verify(&preset.sign(&large), &longer).is_err(), "{}", preset.name());
        assert!(preset.verify(&preset.sign(b""), b" ").is_err(), "{}", preset.name());
    }
}

#[test]
fn each_bit_of_the_mac_counts_and_each_wrong_mac_is_answered_alike() {
    for preset in presets() {
        let headers = preset.sign(BODY);
        let text = preset.mac(&headers).to_owned();
        let mac = preset.decode(&text);
        assert_eq!((mac.len(), preset.encode(&mac)), (32, text.clone()));
        let refuse = |text: &str, kind: RejectionKind| {
            let found = preset.verify(&preset.with_mac(&headers, text), BODY);
            let rejection = found.expect_err("a wrong MAC");
            assert_eq!(rejection.kind(), kind, "{}: {text}", preset.name());
            answer(rejection)
        };
        let mut answers = Vec::new();
        for bit in 0..256 {
            let mut flipped = mac.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            answers.push(refuse(&preset.encode(&flipped), RejectionKind::WrongSignature));
        }
        let no_signature = RejectionKind::Head(HeadError::NoSignature);
        for len in 0..text.len() {
            answers.push(refuse(&text[..len], no_signature));
            answers.push(refuse(&text[text.len() - len..], no_signature));
        }
        for len in 0..mac.len() {
            answers.push(refuse(&preset.encode(&mac[..len]), no_signature));
        }
        answers.push(refuse(&format!("{text}{text}"), no_signature));
        answers.push(refuse(&preset.encode(&[&mac[..], &[0]].concat()), no_signature));
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{}", preset.name());
        assert_eq!((answers[0].status(), answers[0].retry_after()), (401, None));
    }
}

#[test]
fn a_mac_has_one_spelling() {
    for preset in presets() {
        let headers = preset.sign(BODY);
        let text = preset.mac(&headers).to_owned();
        let verifier = Verifier::new(preset.scheme.clone(), keyring(&[OLD])).expect("a secret of the scheme");
        let (signature, others) = headers.split_last().expect("the signature stands last");
        let start = signature.1.len() - text.len();
        for at in start..signature.1.len() {
            for byte in 0..=u8::MAX {
                let mut value = signature.1.clone().into_bytes();
                let same = std::mem::replace(&mut value[at], byte) == byte;
                let mut lines: Vec<(&str, &[u8])> = Vec::new();
                lines.extend(others.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
                lines.push((&signature.0, &value));
                let found = verifier.verify(&RequestView::new(&lines, BODY), self::at(NOW));
                assert_eq!(found.is_ok(), same, "{}: {byte} at {at}", preset.name());
            }
        }
    }
}

#[test]
fn one_flipped_bit_of_a_signed_id_or_time_is_refused() {
    for preset in presets() {
        let headers = preset.sign(BODY);
        let lines = ["-id", "-timestamp"].map(|name| preset.signed_line(&headers, name));
        for line in lines.into_iter().flatten() {
            for bit in 0..headers[line].1.len() * 8 {
                let mut value = headers[line].1.clone().into_bytes();
                value[bit / 8] ^= 1 << (bit % 8);
                let mut changed: Vec<(&str, &[u8])> = Vec::new();
                changed.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
                changed[line].1 = &value;
                let verifier = Verifier::new(preset.scheme.clone(), keyring(&[OLD])).expect("a secret");
                let found = verifier.verify(&RequestView::new(&changed, BODY), at(NOW));
                assert!(found.is_err(), "{}: bit {bit} of {}", preset.name(), headers[line].0);
            }
        }
    }
    // Stripe's time stands in the signature's header.
    let stripe = presets().into_iter().find(|preset| preset.name() == "stripe").expect("stripe");
    let headers = stripe.sign(BODY);
    for digit in "t=".len().."t=1750000000".len() {
        let mut changed = headers.clone();
        let value = &mut changed[0].1;
        let other = if value.as_bytes()[digit] == b'9' { "8" } else { "9" };
        value.replace_range(digit..=digit, other);
        assert!(stripe.verify(&changed, BODY).is_err(), "{changed:?}");
    }
}

#[test]
fn an_id_that_is_not_signed_is_a_label_and_says_so() {
    let github = presets().remove(0);
    let mut headers = github.sign(BODY);
    let line = headers.iter_mut().find(|(name, _)| name == "x-github-delivery").expect("the id");
    line.1 = "another".to_owned();
    let verifier = Verifier::new(github.scheme.clone(), keyring(&[OLD])).expect("a secret");
    let verified = verifier.verify(&RequestView::new(&headers, BODY), at(NOW)).expect("verified");
    let covered = verified.authenticated();
    assert!(covered.body && !covered.id && !covered.timestamp && !covered.event_type);
}

#[test]
fn the_tolerance_ends_at_300_seconds_on_both_sides() {
    for preset in presets() {
        let headers = preset.sign(BODY);
        let found = |now: Timestamp| {
            let found = preset.check(&[OLD], &headers, BODY, now);
            found.map_err(|rejection| (rejection.kind(), answer(rejection).status()))
        };
        let moments = [-301, -300, -1, 0, 1, 300, 301].map(|seconds| found(at(NOW + seconds)));
        if !preset.scheme.signs_timestamp() {
            assert_eq!(moments, [Ok(()); 7], "{}", preset.name());
            continue;
        }
        let (old, new) = (Err((RejectionKind::TooOld, 401)), Err((RejectionKind::TooNew, 401)));
        assert_eq!(moments, [new, Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), old], "{}", preset.name());
        // Senders write whole seconds, so the second counts as a whole.
        assert_eq!(found(Timestamp::from_millis((NOW + 300) * 1000 + 999)), Ok(()));
        assert_eq!(found(Timestamp::from_millis((NOW - 300) * 1000 - 1)), new);
    }
}

#[test]
fn the_widest_times_neither_overflow_nor_pass() {
    const WIDEST: i64 = 999_999_999_999;
    let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    for preset in presets().into_iter().filter(|preset| preset.scheme.signs_timestamp()) {
        for signed in [0, 1, WIDEST - 1, WIDEST] {
            let headers = preset.try_sign(&[OLD], BODY, at(signed)).expect("a signed message");
            assert_eq!(preset.check(&[OLD], &headers, BODY, at(signed)), Ok(()));
            for now in extremes.into_iter().flat_map(|now| [Timestamp::from_millis(now), at(now)]) {
                let near = now.as_secs().abs_diff(signed) <= 300;
                let found = preset.check(&[OLD], &headers, BODY, now);
                assert_eq!(found.is_ok(), near, "{}: {signed} at {now}", preset.name());
            }
        }
        for unsignable in [-1, WIDEST + 1, i64::MIN, i64::MAX] {
            let found = preset.try_sign(&[OLD], BODY, at(unsignable));
            assert_eq!(found, Err(SignError::InvalidTimestamp), "{}", preset.name());
        }
    }
}

#[test]
fn in_a_rotation_any_listed_signature_will_do() {
    for preset in presets() {
        let Some(separator) = &preset.separator else { continue };
        let items = |secret: &str| {
            let headers = preset.try_sign(&[secret], BODY, at(NOW)).expect("a signed message");
            format!("{}{}", preset.prefix, preset.mac(&headers))
        };
        let (old, new) = (items(OLD), items(NEW));
        let wrong = format!("{}{}", preset.prefix, preset.encode(&[0; 32]));
        let empty = preset.prefix.clone();
        let unknown = old.replace("v1", "v1a");
        let list = |listed: &[&str]| {
            let mut headers = preset.sign(BODY);
            let value = &mut headers.last_mut().expect("the signature stands last").1;
            let time = value.strip_suffix(&old).expect("one signature").to_owned();
            *value = format!("{time}{}", listed.join(separator));
            headers
        };
        let found = |secrets: &[&str], listed: &[&str]| {
            let found = preset.check(secrets, &list(listed), BODY, at(NOW));
            found.map_err(|rejection| rejection.as_str())
        };
        for listed in [
            &[&*old, &*new][..],
            &[&*new, &*old],
            &[&*old, &*empty, "", "garbage", &*new],
            &[&*new, &*wrong, &*unknown, &*old],
            &[&*unknown, &*wrong, &*old, &*new, &*wrong],
        ] {
            for secrets in [&[OLD][..], &[NEW], &[OLD, NEW], &[NEW, OLD]] {
                assert_eq!(found(secrets, listed), Ok(()), "{}: {listed:?}", preset.name());
            }
        }
        assert_eq!(found(&[NEW], &[&old]), Err("wrong_signature"));
        assert_eq!(found(&[OLD], &[&wrong, &new]), Err("wrong_signature"));
        for listed in [&[&*unknown][..], &[&*empty], &["garbage", ""], &[&*unknown, &*unknown, &*empty]] {
            assert_eq!(found(&[OLD, NEW], listed), Err("no_signature"), "{}: {listed:?}", preset.name());
        }
        let both = preset.try_sign(&[NEW, OLD], BODY, at(NOW)).expect("two signatures");
        assert_eq!(both, list(&[&new, &old]), "{}", preset.name());
    }
}

#[test]
fn each_header_that_a_preset_reads_stands_there_once() {
    for preset in presets() {
        let headers = preset.sign(BODY);
        for at in 0..headers.len() {
            let mut twice = headers.clone();
            twice.push((headers[at].0.to_uppercase(), headers[at].1.clone()));
            let found = preset.verify(&twice, BODY).map_err(|rejection| rejection.kind());
            let repeated = RejectionKind::Head(HeadError::RepeatedHeader);
            assert_eq!(found, Err(repeated), "{}: {}", preset.name(), headers[at].0);
        }
    }
}
