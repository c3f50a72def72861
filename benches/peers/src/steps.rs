//! Single steps, a number of times each, to be counted: instructions by callgrind, allocations by the allocator.

use std::hint::black_box;
use std::time::Duration;

use actix_web::dev::{HttpServiceFactory, Service};
use actix_web::rt::System;
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Bytes;
use actix_web::{App, web};
use countersign::{
    ClaimKey, Claimed, DedupeStore, DeliveryId, Fingerprint, MemoryStore, RequestView, Settled, Source, Timestamp,
};

use crate::deliveries::{Delivery, SECRET, Sender, now};
use crate::{ours, server, straightforward};

pub const STEPS: [&str; 11] = [
    "mac",
    "verify",
    "claim",
    "receive",
    "receive-without-dedupe",
    "app-bare",
    "app-floor",
    "app-straightforward",
    "app-verify",
    "app-pipeline",
    "app-unwanted",
];

/// What is counted: nothing outside of this.
#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

pub fn run(step: &str, len: usize, times: usize) {
    let mut sender = Sender::new(len);
    // The same body throughout: bodies are a matter of the cache, which is not counted here.
    let deliveries: Vec<Delivery> = (0..times + 64).map(|_| sender.next_of(0)).collect();
    let (warm_up, deliveries) = deliveries.split_at(64);
    let body = Bytes::copy_from_slice(sender.body(&deliveries[0]));
    let at = Timestamp::from_secs(now() as i64);
    let system = System::new();
    let capacity = 1_000_000;
    match step {
        "mac" => twice(warm_up, deliveries, |_| server::mac_pass(&body)),
        "verify" => {
            let verifier = ours::verifier(SECRET, 0);
            twice(warm_up, deliveries, |delivery| {
                let headers = delivery.headers();
                let request = RequestView::new(&headers, body.clone());
                assert!(black_box(verifier.verify(&request, at)).is_ok());
            });
        }
        "claim" => {
            let store = MemoryStore::builder().capacity(capacity).build().expect("a store");
            let source = Source::new("standard-webhooks").expect("a source");
            let ids: Vec<_> = (0..times + 64)
                .map(|at| DeliveryId::new(&format!("msg_{at:024x}")).expect("an id"))
                .collect();
            let (warm_up, ids) = ids.split_at(64);
            let lease = Duration::from_secs(25);
            twice(warm_up, ids, |id| {
                system.block_on(async {
                    let key = ClaimKey::for_id(&source, None, id);
                    let claimed = store.claim(&key, Fingerprint::of(&body), lease, at).await;
                    let Ok(Claimed::New(token)) = claimed else {
                        panic!("{claimed:?}")
                    };
                    let settled = store.complete(&token, at).await;
                    assert_eq!(settled.expect("completed"), Settled::Current);
                });
            });
        }
        "receive" => {
            let receiver = ours::pipeline(SECRET, 0, capacity, ours::All);
            twice(warm_up, deliveries, |delivery| {
                let headers = delivery.headers();
                let answer = system.block_on(receiver.receive(RequestView::new(&headers, body.clone()), at));
                assert_eq!(answer.status(), 200);
            });
        }
        "receive-without-dedupe" => {
            let receiver = ours::without_dedupe(SECRET, ours::All);
            twice(warm_up, deliveries, |delivery| {
                let headers = delivery.headers();
                let answer = system.block_on(receiver.receive(RequestView::new(&headers, body.clone()), at));
                assert_eq!(answer.status(), 200);
            });
        }
        "app-bare" => app(&system, warm_up, deliveries, &body, server::bare_at_hook()),
        "app-floor" => app(&system, warm_up, deliveries, &body, server::floor_at_hook()),
        "app-straightforward" => {
            let state = web::Data::new(straightforward::State::new(SECRET, capacity as u64));
            let hook = server::straightforward_at_hook(&state);
            app(&system, warm_up, deliveries, &body, hook);
        }
        "app-verify" => {
            let hook = server::verify_at_hook(&ours::verify_only(SECRET));
            app(&system, warm_up, deliveries, &body, hook);
        }
        "app-pipeline" => {
            let hook = ours::pipeline(SECRET, 0, capacity, ours::All).at("/hook");
            app(&system, warm_up, deliveries, &body, hook);
        }
        "app-unwanted" => {
            let hook = ours::pipeline(SECRET, 0, capacity, ours::Other).at("/hook");
            app(&system, warm_up, deliveries, &body, hook);
        }
        _ => panic!("no such step: {step}; there are {STEPS:?}"),
    }
}

/// Through actix-web without a socket: routing, the step itself, and the response's head.
fn app(
    system: &actix_web::rt::SystemRunner,
    warm_up: &[Delivery],
    deliveries: &[Delivery],
    body: &Bytes,
    hook: impl HttpServiceFactory + 'static,
) {
    let app = system.block_on(init_service(App::new().service(hook)));
    let request = |delivery: &Delivery| {
        let mut request = TestRequest::post().uri("/hook").set_payload(body.clone());
        for header in delivery.headers() {
            request = request.insert_header(header);
        }
        request.to_request()
    };
    let serve = |requests: Vec<_>| {
        system.block_on(async {
            for request in requests {
                let response = app.call(request).await.expect("a response");
                assert_eq!(response.status(), 200);
            }
        });
    };
    serve(warm_up.iter().map(request).collect());
    let requests: Vec<_> = deliveries.iter().map(request).collect();
    count(deliveries.len(), || serve(requests));
}

fn twice<T>(warm_up: &[T], items: &[T], mut step: impl FnMut(&T)) {
    warm_up.iter().for_each(&mut step);
    count(items.len(), || items.iter().for_each(&mut step));
}

#[cfg(not(feature = "count-allocations"))]
fn count(_: usize, work: impl FnOnce()) {
    measured(work);
}

#[cfg(feature = "count-allocations")]
#[allow(clippy::cast_precision_loss)]
fn count(times: usize, work: impl FnOnce()) {
    let region = stats_alloc::Region::new(crate::ALLOCATOR);
    measured(work);
    let change = region.change();
    println!(
        "allocations {:.2}, reallocations {:.2}, bytes {:.0}",
        change.allocations as f64 / times as f64,
        change.reallocations as f64 / times as f64,
        change.bytes_allocated as f64 / times as f64
    );
}
