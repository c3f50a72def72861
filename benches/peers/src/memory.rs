//! The peak memory of a receiver that has taken a million deliveries.

use actix_web::rt::System;
use actix_web::web::Bytes;
use countersign::{RequestView, Timestamp};

use crate::deliveries::{SECRET, Sender, now};
use crate::machine::{describe, memory};
use crate::ours;

pub fn run(quick: bool) {
    describe();
    let deliveries = if quick { 50_000 } else { 1_000_000 };
    let mut sender = Sender::new(1024);
    let before = memory("VmRSS:");
    let receiver = ours::pipeline(SECRET, 0, deliveries, ours::All);
    System::new().block_on(async {
        for _ in 0..deliveries {
            let delivery = sender.next();
            let body = Bytes::copy_from_slice(sender.body(&delivery));
            let headers = delivery.headers();
            let at = Timestamp::from_secs(now() as i64);
            let answer = receiver.receive(RequestView::new(&headers, body), at).await;
            assert_eq!(answer.status(), 200);
        }
    });
    let peak = memory("VmHWM:");
    println!("{deliveries} deliveries of 1 KiB through one receiver, all remembered\n");
    println!("| before | peak | peak - before | a delivery |\n|---|---|---|---|");
    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    println!(
        "| {:.1} MiB | {:.1} MiB | {:.1} MiB | {:.0} B |",
        mib(before),
        mib(peak),
        mib(peak - before),
        (peak - before) as f64 / deliveries as f64
    );
}
