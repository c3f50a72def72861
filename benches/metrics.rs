//! What measuring costs a request: `receive` over the memory store, 1 KiB, one thread.
//!
//! Run it twice: `cargo bench --bench metrics`, and with `--features metrics`.

use std::time::{Duration, Instant};

use countersign::testing::FakeClock;
use countersign::{
    Delivery, Envelope, EventType, Handlers, Keyring, MemoryStore, Message, Outcome, PayloadError, RawPayload,
    Receiver, RequestView, Scheme, Secret, Signer, Timestamp, Unknown, Variant, WebhookEvent,
};

const ROUNDS: usize = 15;
const REQUESTS: usize = 10_000;
const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

#[derive(Debug)]
enum Event {
    Unknown(Unknown),
}

impl WebhookEvent for Event {
    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };
    const VARIANTS: &'static [Variant] = &[Variant::unknown("Unknown")];

    fn decode(event_type: &EventType, payload: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(Some(Self::Unknown(Unknown::new(event_type.clone(), payload))))
    }
}

struct Nothing;

impl Handlers for Nothing {
    type Event = Event;

    async fn handle(&self, event: Event, _delivery: &Delivery) -> Outcome {
        let Event::Unknown(unknown) = event;
        std::hint::black_box(&unknown);
        Outcome::Handled
    }
}

fn main() {
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let keyring = Keyring::single(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret"));
    let signer = Signer::new(Scheme::standard_webhooks(), keyring.clone()).expect("a signer");
    let body = format!(r#"{{"event":"job","data":"{}"}}"#, "x".repeat(1_000));
    let signed: Vec<Vec<(String, String)>> = (0..REQUESTS)
        .map(|number| {
            let id = format!("msg_{number}");
            signer.sign(&Message::new(body.as_bytes(), NOW).id(&id)).expect("signed")
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let body = bytes::Bytes::from(body);
    let round = || {
        let store = MemoryStore::builder().build().expect("a store");
        let receiver = Receiver::builder(Scheme::standard_webhooks(), keyring.clone()).handlers(Nothing).dedupe(store);
        let receiver = receiver.clock(FakeClock::at(NOW)).build().expect("a receiver");
        let started = Instant::now();
        runtime.block_on(async {
            for headers in &signed {
                let answer = receiver.receive(RequestView::new(headers, body.clone()), NOW).await;
                assert_eq!(answer.status(), 200);
            }
        });
        started.elapsed()
    };
    let best = |what: &str| {
        let fastest = (0..ROUNDS).map(|_| round()).min().unwrap_or(Duration::MAX);
        println!("{what:28} {:>6} ns a request, the fastest of {ROUNDS} rounds", fastest.as_nanos() / REQUESTS as u128);
    };
    if cfg!(feature = "metrics") {
        best("with the feature, no recorder");
        let handle = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().expect("a recorder");
        round();
        handle.run_upkeep();
        best("with an exporter");
        println!("{} series", handle.render().lines().filter(|line| !line.starts_with('#')).count());
    } else {
        best("without the feature");
    }
}
