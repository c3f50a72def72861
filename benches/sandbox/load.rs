//! Events to one receiver, a real one in the same process; state in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use countersign::sandbox::{Sandbox, Trigger};
use countersign::{
    Delivery, Envelope, EventType, Handlers, Keyring, MemoryStore, Outcome, PayloadError, RawPayload, Receiver, Secret,
    Variant, WebhookEvent, WhenFull, kycgenie,
};
use serde_json::{Value, json};

use crate::{Size, cpu_time, resident};

const PATIENCE: Duration = Duration::from_secs(1800);

pub(crate) async fn run(size: Size) {
    let sandbox = Sandbox::start().await.unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    // The port has to be known before there is a secret.
    let keyring = Keyring::single(Secret::new("A".repeat(52)).unwrap());
    let url = serve(&keyring, &handled);
    let (api, subscriptions) = (sandbox.url().to_owned(), size.subscriptions);
    let secret = tokio::task::spawn_blocking(move || subscribe(&api, &url, subscriptions)).await.unwrap();
    let key = countersign::Key::new("key".parse().unwrap(), Secret::new(secret).unwrap());
    keyring.replace([key]).unwrap();
    println!("\n{subscriptions} subscriptions in memory: {} MiB", resident());

    println!(
        "\n| load | events | time | events/s | CPU an event | largest backlog | left at the trigger's end | drained in |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let steady = Trigger::new("case.opened").count(1000 * size.seconds).rate(1000.0);
    measure(&sandbox, "1,000 a second", &steady).await;
    let before = resident();
    let burst = Trigger::new("case.opened").count(size.burst);
    measure(&sandbox, "at full speed", &burst).await;
    let events = 1000 * size.seconds + size.burst;
    assert_eq!(handled.load(Ordering::SeqCst), events, "each is handled once");
    let grown = resident().saturating_sub(before);
    println!(
        "\nmemory with {events} log rows in memory: {} MiB; the burst's {} rows took {} bytes each, with their bodies",
        resident(),
        size.burst,
        (grown << 20) / size.burst
    );
}

async fn measure(sandbox: &Sandbox, name: &str, trigger: &Trigger) {
    let before = sandbox.status().delivered;
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut backlog = 0;
    let triggering = sandbox.trigger(trigger);
    tokio::pin!(triggering);
    let triggered = loop {
        tokio::select! {
            triggered = &mut triggering => break triggered.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                let status = sandbox.status();
                backlog = backlog.max(status.pending + status.in_flight);
            }
        }
    };
    let ended = started.elapsed();
    let status = sandbox.status();
    let left = status.pending + status.in_flight;
    sandbox.settled(PATIENCE).await.unwrap();
    let all = started.elapsed();
    let delivered = sandbox.status().delivered - before;
    assert_eq!((delivered, sandbox.status().failed), (triggered.deliveries, 0));
    println!(
        "| {name} | {delivered} | {all:.2?} | {:.0} | {} µs | {} | {left} | {:.2?} |",
        delivered as f64 / all.as_secs_f64(),
        (cpu_time() - cpu).as_micros() / u128::from(delivered.max(1)),
        backlog.max(left),
        all - ended
    );
}

/// Makes the subscriptions, of which the last one is the receiver's. Its secret.
fn subscribe(api: &str, url: &str, count: u64) -> String {
    let agent = ureq::Agent::new_with_defaults();
    let mut secret = String::new();
    for number in 1..=count {
        let (event_type, url) = if number == count {
            ("case.opened", url.to_owned())
        } else {
            ("screening.completed", format!("https://receiver-{number}.example.com/webhooks/kycgenie"))
        };
        let body = json!({ "event_type": event_type, "webhook_url": url }).to_string();
        let mut answer = agent
            .post(format!("{api}/api/v2/webhooks/"))
            .header("authorization", &format!("Bearer {}", Sandbox::TEST_KEY))
            .header("content-type", "application/json")
            .send(&body)
            .unwrap();
        let created: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        created["secret_key"].as_str().unwrap().clone_into(&mut secret);
    }
    secret
}

/// A receiver with one worker, on threads that end with the process.
fn serve(keyring: &Keyring, handled: &Arc<AtomicU64>) -> String {
    // Small, so that the memory which grows is the sandbox's own.
    let remembered = MemoryStore::builder().capacity(10_000).when_full(WhenFull::ForgetOldest).build().unwrap();
    let receiver = Receiver::builder(kycgenie::scheme(), keyring.clone())
        .dedupe(remembered)
        .handlers(Counting(Arc::clone(handled)))
        .build()
        .unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let app = move || App::new().service(receiver.at("/hooks"));
            let server = HttpServer::new(app).workers(1).disable_signals().bind(("127.0.0.1", 0)).unwrap();
            tell.send(server.addrs()[0]).unwrap();
            server.run().await.unwrap();
        });
    });
    format!("http://{}/hooks", told.recv().unwrap())
}

struct Counting(Arc<AtomicU64>);

impl Handlers for Counting {
    type Event = Any;

    async fn handle(&self, _: Any, _: &Delivery) -> Outcome {
        self.0.fetch_add(1, Ordering::SeqCst);
        Outcome::Handled
    }
}

/// Any event at all.
struct Any;

impl WebhookEvent for Any {
    const ENVELOPE: Envelope = Envelope { tag: Some("event"), content: Some("data") };
    const VARIANTS: &'static [Variant] = &[Variant::unknown("Any")];

    fn decode(_: &EventType, _: RawPayload<'_>) -> Result<Option<Self>, PayloadError> {
        Ok(Some(Self))
    }
}
