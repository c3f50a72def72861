//! What an operator sees: metrics for Prometheus, liveness, readiness, and a graceful end.
//!
//! Run it: `cargo run --example metrics --features metrics`
//!
//! It sends itself good, forged, stale and repeated deliveries, prints what a scrape says, and ends. With `--serve` it stays
//! up on port 9464, for the Prometheus and the dashboard in `examples/monitoring`:
//! `cargo run --example metrics --features metrics -- --serve`

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use common::{Failure, now, now_minus, post};
use countersign::actix::liveness_at;
use countersign::inbox::InboxStore;
use countersign::kycgenie::{self, Event};
use countersign::metrics::{METRICS, MetricKind};
use countersign::{
    Delivery, HandlerError, Inbox, Keyring, Message, Readiness, Receiver, Secret, Signer, SqliteInbox, handlers,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const PATH: &str = "/webhooks/kycgenie";
const PORT: u16 = 9464;
const SECRET: &str = "whsec_bWV0cmljcy1leGFtcGxlLXNlY3JldA=="; // "metrics-example-secret"
const FORGED: &str = "whsec_YS1ndWVzc2VkLWV4YW1wbGUtc2VjcmV0"; // "a-guessed-example-secret"

struct Compliance;

#[handlers(Event)]
impl Compliance {
    #[otherwise]
    async fn any(&self, _event: Event, delivery: &Delivery) -> Result<(), HandlerError> {
        match delivery.id().map(AsRef::<str>::as_ref) {
            Some("msg_hopeless") => Err(HandlerError::permanent("there is no such customer")),
            _ => Ok(()),
        }
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let serve = std::env::args().any(|arg| arg == "--serve");
    // First the recorder, then what is recorded.
    let scrapes = exporter()?;

    let file = std::env::temp_dir().join(format!("countersign-metrics-{}.sqlite", std::process::id()));
    let inbox = Inbox::new(SqliteInbox::open(&file)?);
    let workers = inbox.workers(Compliance).sample_every(Duration::from_secs(if serve { 15 } else { 1 })).start()?;
    let keyring = Keyring::single(Secret::new(SECRET)?);
    let receiver = Receiver::builder(kycgenie::scheme(), keyring).inbox(inbox.clone()).build()?;
    let readiness = Readiness::builder().receiver(&receiver).build();

    let ready = readiness.clone();
    let app = move || {
        let scrapes = scrapes.clone();
        App::new()
            .service(receiver.at(PATH))
            .service(liveness_at("/healthz"))
            .service(ready.at("/readyz"))
            // In a real deployment on a port of its own, which only Prometheus reaches.
            .route("/metrics", web::get().to(move || std::future::ready(scrape(&scrapes))))
    };
    let server = HttpServer::new(app).workers(1).disable_signals();
    let server = server.bind(("127.0.0.1", if serve { PORT } else { 0 }))?;
    let addr = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    println!("http://{addr}/metrics  http://{addr}/healthz  http://{addr}/readyz\n");

    if serve {
        println!("sign deliveries to {PATH} with {SECRET}; stop with Ctrl-C");
        actix_web::rt::signal::ctrl_c().await?;
    } else {
        send(addr).await?;
        while inbox.store().stats().await?.pending > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        inbox.sample().await?;
        println!("\nwhat /metrics says, without the buckets:\n");
        let text = read(addr, "/metrics").await?.1;
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.contains("_bucket"))
            .for_each(|line| println!("{line}"));
    }

    // The order of a graceful end.
    readiness.drain();
    println!("\ndraining: /healthz {}, /readyz {}", read(addr, "/healthz").await?.0, read(addr, "/readyz").await?.0);
    if serve {
        // As long as the balancer takes to notice.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    handle.stop(true).await;
    serving.await??;
    println!("{:?}", workers.drain(Duration::from_secs(20)).await);
    if !serve {
        drop(inbox);
        let _ = std::fs::remove_file(&file);
    }
    Ok(())
}

/// Real histograms, with the buckets that the library proposes. Without buckets the exporter makes summaries, which cannot be
/// added up over processes.
fn exporter() -> Result<PrometheusHandle, Failure> {
    let mut exporter = PrometheusBuilder::new();
    for metric in METRICS.iter().filter(|metric| metric.kind == MetricKind::Histogram) {
        exporter = exporter.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)?;
    }
    let handle = exporter.install_recorder()?;
    let upkeep = handle.clone();
    // Samples wait for the next scrape or for this, whichever comes first.
    actix_web::rt::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

fn scrape(scrapes: &PrometheusHandle) -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(scrapes.render())
}

async fn send(addr: SocketAddr) -> Result<(), Failure> {
    const BODY: &str = r#"{"event":"screening.completed","data":{"entity_id":"ent_7"}}"#;
    let genuine = Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(SECRET)?))?;
    let forger = Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(FORGED)?))?;
    for (what, signer, id, age) in [
        ("good", &genuine, "msg_1", 0),
        ("good", &genuine, "msg_2", 2),
        ("the same again", &genuine, "msg_2", 2),
        ("forged", &forger, "msg_3", 0),
        ("stale", &genuine, "msg_4", 600),
        ("hopeless", &genuine, "msg_hopeless", 0),
    ] {
        let signed_at = if age == 0 { now()? } else { now_minus(Duration::from_secs(age))? };
        let headers = signer.sign(&Message::new(BODY.as_bytes(), signed_at).id(id))?;
        println!("{what:16} {}", post(addr, PATH, headers, BODY).await?.0);
    }
    println!("{:16} {}", "/readyz", read(addr, "/readyz").await?.0);
    Ok(())
}

async fn read(addr: SocketAddr, path: &str) -> Result<(u16, String), Failure> {
    let url = format!("http://{addr}{path}");
    let read = web::block(move || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut reply = agent.get(url).call()?;
        Ok::<_, ureq::Error>((reply.status().as_u16(), reply.body_mut().read_to_string()?))
    });
    Ok(read.await??)
}
