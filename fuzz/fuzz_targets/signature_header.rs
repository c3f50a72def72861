//! A signature header of any bytes, for every preset. A zero byte stands for the right MAC, so that what verifies is
//! within reach; whatever verifies must hold the right MAC as a whole item of a version that the scheme knows.
#![no_main]

use std::sync::LazyLock;

use countersign::{Keyring, Message, RequestView, Scheme, Secret, Signer, Timestamp, Verifier, kycgenie};
use libfuzzer_sys::fuzz_target;

const BODY: &[u8] = br#"{"event":"ping"}"#;
const NOW: Timestamp = Timestamp::from_secs(1_750_000_000);

struct Preset {
    verifier: Verifier,
    /// The headers of a genuine delivery, the signature's last.
    headers: Vec<(String, String)>,
    item: Vec<u8>,
    mac: Vec<u8>,
    separator: Option<u8>,
}

static PRESETS: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let schemes = Scheme::presets().into_iter().chain([kycgenie::scheme()]);
    schemes.map(preset).collect()
});

fn preset(scheme: Scheme) -> Preset {
    let keyring = Keyring::single(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
    let signer = Signer::new(scheme.clone(), keyring.clone()).unwrap();
    let message = Message::new(BODY, NOW).id("msg_1").event_type("ping");
    let headers = signer.sign(&message).unwrap();
    let separator = match scheme.name().as_str() {
        "github" | "shopify" | "slack" => None,
        "stripe" => Some(b','),
        _ => Some(b' '),
    };
    let signature = headers.last().unwrap().1.clone();
    let item = signature.rsplit(',').next().unwrap();
    let item = if separator == Some(b' ') { signature.as_str() } else { item };
    let mac = item.trim_start_matches("sha256=").trim_start_matches("v0=").trim_start_matches("v1=");
    let mac = mac.trim_start_matches("v1,");
    Preset {
        verifier: Verifier::new(scheme, keyring).unwrap(),
        item: item.as_bytes().to_vec(),
        mac: mac.as_bytes().to_vec(),
        headers,
        separator,
    }
}

fuzz_target!(|data: &[u8]| {
    for preset in PRESETS.iter() {
        let mut value = Vec::new();
        for byte in data {
            match byte {
                0 => value.extend_from_slice(&preset.mac),
                byte => value.push(*byte),
            }
        }
        let (last, others) = preset.headers.split_last().unwrap();
        let mut headers: Vec<(&str, &[u8])> = Vec::new();
        headers.extend(others.iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        headers.push((&last.0, &value));
        let verified = preset.verifier.verify(&RequestView::new(&headers, BODY), NOW).is_ok();
        let holds = value
            .split(|byte| Some(*byte) == preset.separator)
            .any(|item| item == preset.item);
        assert!(holds || !verified, "{}", preset.verifier.scheme().name());
    }
});
