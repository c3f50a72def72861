//! A time of any bytes, rightly signed, at any moment: eight bytes of `now` in milliseconds, then the time's text.
//! Another reader of the same text says what must come of it.
#![no_main]

use std::sync::LazyLock;

use countersign::{Keyring, Message, RequestView, Scheme, SchemeBuilder, Secret, Signer, Timestamp, Verifier};
use libfuzzer_sys::fuzz_target;

const BODY: &[u8] = b"{}";
const TOLERANCE: i128 = 300;

fn keyring() -> Keyring {
    Keyring::single(Secret::new("secret").unwrap())
}

fn base() -> SchemeBuilder {
    Scheme::builder("acme").signature_header("x-signature")
}

/// Signs the time as a header like any other, whatever it holds.
static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    Signer::new(base().content("{header:x-time}.{body}").build().unwrap(), keyring()).unwrap()
});

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let scheme = base().timestamp_header("x-time").content("{timestamp}.{body}");
    Verifier::new(scheme.build().unwrap(), keyring()).unwrap()
});

/// The time as an item of the signature header.
static LISTED: LazyLock<Verifier> = LazyLock::new(|| {
    let scheme = base().separator(',').prefix("v1=").timestamp_element("t=");
    Verifier::new(scheme.content("{timestamp}.{body}").build().unwrap(), keyring()).unwrap()
});

fuzz_target!(|data: &[u8]| {
    let Some((now, text)) = data.split_first_chunk::<8>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let now = Timestamp::from_millis(i64::from_le_bytes(*now));
    let headers = SIGNER
        .sign(&Message::new(BODY, Timestamp::UNIX_EPOCH).headers(&[("x-time", text)]))
        .unwrap();
    let is_time = (1..=12).contains(&text.len()) && text.chars().all(|digit| ('0'..='9').contains(&digit));
    let is_near = text
        .parse::<i128>()
        .is_ok_and(|time| (i128::from(now.as_millis()).div_euclid(1000) - time).abs() <= TOLERANCE);
    let verified = VERIFIER.verify(&RequestView::new(&headers, BODY), now);
    assert_eq!(verified.is_ok(), is_time && is_near, "{text:?} at {now}: {verified:?}");

    let mac = &headers.last().unwrap().1;
    let listed = [("x-signature", format!("t={text},v1={mac}"))];
    let verified = LISTED.verify(&RequestView::new(&listed, BODY), now);
    assert_eq!(verified.is_ok(), is_time && is_near, "{text:?} at {now}: {verified:?}");
});
