//! One verify call of the library and of two crates for the same scheme, on the same message.

use std::hint::black_box;
use std::time::{Duration, Instant};

use countersign::{Clock, RequestView, SystemClock, Verifier};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue};
use sha2::Sha256;

use crate::deliveries::{SECRET, Sender};
use crate::machine::{describe, median, pin};
use crate::ours;

pub fn run(quick: bool) {
    describe();
    pin(0);
    let (rounds, slice) = if quick {
        (5, Duration::from_millis(5))
    } else {
        (31, Duration::from_millis(40))
    };
    for len in [1024, 65536] {
        size(len, rounds, slice);
    }
}

fn size(len: usize, rounds: usize, slice: Duration) {
    let mut sender = Sender::new(len);
    let delivery = sender.next();
    let body = sender.body(&delivery).to_vec();
    let bytes = actix_web::web::Bytes::from(body.clone());
    let headers = delivery.headers();
    let value = |text: &str| HeaderValue::from_str(text).expect("a value");
    let map: HeaderMap = headers
        .iter()
        .map(|(name, text)| (name.parse().expect("a name"), value(text)))
        .collect();
    let one = ours::verifier(SECRET, 0);
    let two = ours::verifier(SECRET, 1);
    let standard = standardwebhooks::Webhook::new(SECRET).expect("a secret");
    let svix = svix::webhooks::Webhook::new(SECRET).expect("a secret");
    let key = Hmac::<Sha256>::new_from_slice(b"a key that is set up once").expect("any length");
    // What is signed before the body; one MAC pass is one over all that is signed.
    let prefix: String = headers[..2].iter().map(|(_, text)| format!("{text}.")).collect();

    // The peers ask for the time themselves; so do we, to be fair.
    let ours = |verifier: &Verifier| {
        let request = RequestView::new(&headers, bytes.clone());
        assert!(black_box(verifier.verify(black_box(&request), SystemClock.now())).is_ok());
    };
    let mut contenders: [(&str, Box<dyn FnMut() + '_>); 5] = [
        ("countersign, 1 key", Box::new(|| ours(&one))),
        ("countersign, 2 keys", Box::new(|| ours(&two))),
        (
            "standardwebhooks",
            Box::new(|| assert!(black_box(standard.verify(black_box(&body), &map)).is_ok())),
        ),
        (
            "svix",
            Box::new(|| assert!(black_box(svix.verify(black_box(&body), &map)).is_ok())),
        ),
        (
            "one MAC pass",
            Box::new(|| {
                let mut mac = key.clone();
                mac.update(black_box(prefix.as_bytes()));
                mac.update(black_box(&body));
                black_box(mac.finalize().into_bytes());
            }),
        ),
    ];
    let mut times = vec![Vec::new(); contenders.len()];
    for _ in 0..rounds {
        for (at, (_, call)) in contenders.iter_mut().enumerate() {
            times[at].push(nanos(slice, call));
        }
    }
    drop(contenders);
    let over = |at: usize, other: usize| median(times[at].iter().zip(&times[other]).map(|(a, b)| a / b).collect());
    let names = [
        "countersign, 1 key",
        "countersign, 2 keys",
        "standardwebhooks",
        "svix",
        "one MAC pass",
    ];
    println!("{} KiB, {rounds} rounds, medians\n", len / 1024);
    println!("| one call | ns | ÷ countersign |\n|---|---|---|");
    for (at, name) in names.iter().enumerate() {
        println!("| {name} | {:.0} | {:.2} |", median(times[at].clone()), over(at, 0));
    }
    let extra = times[1]
        .iter()
        .zip(&times[0])
        .zip(&times[4])
        .map(|((two, one), mac)| (two - one) / mac);
    println!("\n| required | | measured | |\n|---|---|---|---|");
    let word = |reached: bool| if reached { "reached" } else { "NOT REACHED" };
    if len == 1024 {
        println!(
            "| standardwebhooks ÷ countersign | ≥ 8 | {:.2} | {} |",
            over(2, 0),
            word(over(2, 0) >= 8.0)
        );
        println!(
            "| svix ÷ countersign | ≥ 8 | {:.2} | {} |",
            over(3, 0),
            word(over(3, 0) >= 8.0)
        );
    }
    let extra = median(extra.collect());
    println!(
        "| second active key ÷ one MAC pass | ≤ 1 | {extra:.2} | {} |\n",
        word(extra <= 1.0)
    );
}

fn nanos(slice: Duration, call: &mut dyn FnMut()) -> f64 {
    let started = Instant::now();
    let mut calls = 0_u32;
    loop {
        for _ in 0..16 {
            call();
        }
        calls += 16;
        let took = started.elapsed();
        if took >= slice {
            return took.as_nanos() as f64 / f64::from(calls);
        }
    }
}
