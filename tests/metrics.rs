//! Metrics as an operator gets them: scraped over HTTP, from receivers and workers at work.

#![cfg(all(feature = "actix", feature = "metrics", feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;
mod inbox_common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix_web::{HttpResponse, web};
use common::{NOW, PATH, Post, Probe, Server, Setup, builder, job, key, keyring, scheme, signed, wait_for};
use countersign::inbox::rusqlite::Connection;
use countersign::inbox::{Accepted, InboxStore};
use countersign::metrics::{METRICS, MetricKind, describe};
use countersign::testing::FakeClock;
use countersign::{
    ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Inbox, Keyring, MemoryStore, Message, Readiness, Receiver,
    RequestView, Settled, Signer, SqliteInbox, StoreError, Timestamp, WhenFull,
};
use inbox_common::{Folder, incoming};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// The recorder of this process; whoever has the guard is the only one who counts.
fn exporter() -> (PrometheusHandle, MutexGuard<'static, ()>) {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    (HANDLE.get_or_init(|| with_buckets().install_recorder().unwrap()).clone(), alone)
}

fn with_buckets() -> PrometheusBuilder {
    let histograms = METRICS.iter().filter(|metric| metric.kind == MetricKind::Histogram);
    histograms.fold(PrometheusBuilder::new(), |builder, metric| {
        builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets).unwrap()
    })
}

/// What a scrape says: series by name and labels.
struct Scrape {
    text: String,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    fn of(server: &Server) -> Self {
        let mut client = server.client();
        client.send(b"GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n");
        let response = client.receive();
        assert_eq!(response.status, 200);
        Self::parse(String::from_utf8(response.body).unwrap())
    }

    fn parse(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self { series: series.collect(), text }
    }

    /// The sum of the series of this name that have these labels; `None` where there is none.
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let all: Vec<f64> = self
            .series
            .iter()
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .filter(|(series, _)| labels.iter().all(|(label, value)| series.contains(&format!("{label}=\"{value}\""))))
            .map(|(_, value)| *value)
            .collect();
        (!all.is_empty()).then(|| all.iter().sum())
    }

    #[track_caller]
    fn expect(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        assert_eq!(self.value(name, labels), Some(value), "{name} {labels:?} in\n{}", self.text);
    }
}

fn served(handle: &PrometheusHandle, configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> Server {
    let handle = handle.clone();
    Server::configured(Setup::default(), &Probe::default(), move |config| {
        let handle = handle.clone();
        configure(config);
        config.route("/metrics", web::get().to(move || std::future::ready(HttpResponse::Ok().body(handle.render()))));
    })
}

/// A store that is away.
struct Away;

impl DedupeStore for Away {
    async fn claim(&self, _: &ClaimKey, _: Fingerprint, _: Duration, _: Timestamp) -> Result<Claimed, StoreError> {
        Err(StoreError::unavailable("connection refused"))
    }

    async fn complete(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Superseded)
    }

    async fn release(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Superseded)
    }

    async fn extend(&self, _: &ClaimToken, _: Duration, _: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Superseded)
    }

    fn abandon(&self, _: &ClaimToken) {}

    fn retention(&self) -> Duration {
        Duration::from_hours(1000)
    }
}

/// Receivers of all kinds, workers, and everything that may become of a delivery.
#[test]
fn every_metric_is_in_a_scrape_with_its_value() {
    let (handle, _alone) = exporter();
    let clock = FakeClock::at(NOW);
    let inline = Probe::default();
    let memory = MemoryStore::builder().capacity(2).when_full(WhenFull::ForgetOldest).build().unwrap();
    let keys = Keyring::new([key("new", common::OTHER_SECRET), key("old", common::SECRET)]).unwrap();
    let receiver = Receiver::builder(scheme(), keys).handlers(inline.clone()).dedupe(memory).clock(clock.clone());
    let receiver = receiver.build().unwrap();
    let away = builder(&Probe::default()).dedupe(Away).build().unwrap();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = Folder::new();
    let file = folder.file();
    let inbox = Inbox::new(SqliteInbox::open(&file).unwrap()).clock(clock.clone()).named("kept");
    let kept = Receiver::builder(scheme(), keyring()).inbox::<common::Event, _>(inbox.clone()).clock(clock.clone());
    let kept = kept.build().unwrap();
    let readiness = Readiness::builder().receiver(&receiver).build();

    let (one, two, three, ready) = (receiver.clone(), away, kept, readiness.clone());
    let server = served(&handle, move |config| {
        config.service(one.at(PATH)).service(two.at("/away")).service(three.at("/kept")).service(ready.at("/readyz"));
    });
    let post = |id: &str, run: &str, path: &str| server.post(&signed(id, job(run)).to(path)).status;
    let scrape = || Scrape::of(&server);
    let source = ("source", "standard-webhooks");

    // Inline: done, failed, a duplicate, and forgeries.
    assert_eq!(post("msg_1", "ok", PATH), 200);
    assert_eq!(post("msg_1", "ok", PATH), 200);
    assert_eq!(post("msg_2", "fail", PATH), 500);
    let stale = common::signed_with(&scheme(), &keyring(), "msg_3", NOW.saturating_sub(Duration::from_secs(900)), "{}");
    assert_eq!(server.post(&stale).status, 401);
    assert_eq!(server.post(&signed("msg_4", job("ok")).body("{}")).status, 401);
    assert_eq!(post("msg_5", "ok", "/away"), 503);
    let late =
        common::signed_with(&scheme(), &keyring(), "msg_6", NOW.saturating_sub(Duration::from_secs(20)), job("ok"));
    assert_eq!(server.post(&late).status, 200);
    let seen = scrape();
    let requests = |outcome, kind, status| [source, ("outcome", outcome), ("kind", kind), ("status", status)];
    seen.expect("countersign_requests_total", &requests("handled", "", "2xx"), 2.0);
    seen.expect("countersign_requests_total", &requests("duplicate", "", "2xx"), 1.0);
    seen.expect("countersign_requests_total", &requests("failed", "", "5xx"), 1.0);
    seen.expect("countersign_requests_total", &requests("rejected", "too_old", "4xx"), 1.0);
    seen.expect("countersign_requests_total", &requests("rejected", "wrong_signature", "4xx"), 1.0);
    seen.expect("countersign_requests_total", &requests("store_unavailable", "", "5xx"), 1.0);
    seen.expect("countersign_request_seconds_count", &[source, ("status", "2xx")], 3.0);
    seen.expect("countersign_request_seconds_bucket", &[("status", "2xx"), ("le", "+Inf")], 3.0);
    seen.expect("countersign_verified_total", &[source, ("key_id", "old")], 4.0);
    seen.expect("countersign_body_bytes_count", &[source], 5.0);
    seen.expect("countersign_timestamp_skew_seconds_count", &[source], 5.0);
    seen.expect("countersign_timestamp_skew_seconds_sum", &[source], 20.0);
    let handled = |result| [source, ("mode", "inline"), ("result", result)];
    seen.expect("countersign_handler_seconds_count", &handled("handled"), 2.0);
    seen.expect("countersign_handler_seconds_count", &handled("failed"), 1.0);
    let failure = [("store", "dedupe"), ("engine", "other"), ("operation", "claim"), ("kind", "unavailable")];
    seen.expect("countersign_store_failures_total", &failure, 1.0);
    seen.expect("countersign_store_seconds_count", &failure[..3], 1.0);

    // Bytes in flight while a handler runs, and none afterwards.
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(post("msg_7", "gate", PATH), 200));
        wait_for("the handler", || (inline.runs("msg_7") == 1).then_some(()));
        scrape().expect("countersign_bytes_in_flight", &[], job("gate").len() as f64);
        inline.open_gate(1);
    });
    let is_let_go = || scrape().value("countersign_bytes_in_flight", &[]) == Some(0.0);
    wait_for("the bytes to be let go", || is_let_go().then_some(()));

    // The memory store holds two, so each further one makes it forget the oldest.
    clock.advance(Duration::from_secs(1));
    assert_eq!(post("msg_8", "ok", PATH), 200);
    let seen = scrape();
    seen.expect("countersign_memory_store_capacity", &[], 2.0);
    seen.expect("countersign_memory_store_keys", &[("state", "in_flight")], 1.0);
    seen.expect("countersign_memory_store_keys", &[("state", "remembered")], 2.0);
    seen.expect("countersign_memory_store_forgotten_total", &[], 2.0);

    // The inbox: what waits, and how old it is.
    for (id, run) in
        [("in_1", "ok"), ("in_2", "fail_once"), ("in_3", "permanent"), ("in_4", "gate"), ("in_5", "hang_once")]
    {
        assert_eq!(post(id, run, "/kept"), 200);
    }
    clock.advance(Duration::from_secs(7));
    runtime.block_on(inbox.sample()).unwrap();
    let seen = scrape();
    let engine = ("engine", "sqlite");
    seen.expect("countersign_requests_total", &requests("accepted", "", "2xx"), 5.0);
    seen.expect("countersign_inbox_deliveries", &[engine, ("state", "pending")], 5.0);
    seen.expect("countersign_inbox_deliveries", &[engine, ("state", "done")], 0.0);
    seen.expect("countersign_inbox_oldest_seconds", &[engine], 7.0);
    seen.expect("countersign_inbox_sampled_timestamp_seconds", &[engine], NOW.as_secs() as f64 + 8.0);

    // It has no source to tell this test's from another's, so they are counted from here.
    let all_lost = |seen: &Scrape, noticed| {
        seen.value("countersign_leases_lost_total", &[engine, ("noticed", noticed)]).unwrap_or_default()
    };
    let before = scrape();
    let lost = |noticed| all_lost(&scrape(), noticed) - all_lost(&before, noticed);

    // Workers: two leases are stolen, one from a handler that is at work and one from a handler that ends.
    let worker = Probe::default();
    let _entered = runtime.enter();
    let workers = inbox
        .workers(worker.clone())
        .lease(Duration::from_millis(300))
        .sample_every(Duration::from_millis(20))
        .prune_every(Duration::from_millis(20))
        .start()
        .unwrap();
    wait_for("two handlers that wait", || (worker.runs("in_4") + worker.runs("in_5") == 2).then_some(()));
    wait_for("the others", || {
        let seen = scrape();
        let attempts = |result| seen.value("countersign_attempts_total", &[source, ("result", result)]);
        (attempts("done") == Some(1.0) && attempts("retry") == Some(1.0) && attempts("dead") == Some(1.0)).then_some(())
    });
    let thief = Connection::open(&file).unwrap();
    thief.busy_timeout(Duration::from_secs(20)).unwrap();
    let steal = |id: &str| {
        let text = "UPDATE countersign_inbox SET token = zeroblob(16) WHERE delivery_id = ?1 AND state = 1";
        assert_eq!(thief.execute(text, [id]).unwrap(), 1, "{id}");
    };
    // The handler that hangs learns it when the leases are renewed; until then the one at the gate keeps its own.
    steal("in_5");
    wait_for("a lease that is lost at work", || (lost("running") == 1.0).then_some(()));
    // Stolen and ended at once, between two renewals: again until it is noticed by whoever ends.
    steal("in_4");
    worker.open_gate(1);
    wait_for("a lease that is lost", || (lost("settling") + lost("running") == 2.0).then_some(()));
    // Both are taken up again when their leases have run out, and the one that failed after its pause.
    worker.open_gate(8);
    clock.advance(Duration::from_hours(1));
    wait_for("all of it", || {
        let seen = scrape();
        (seen.value("countersign_inbox_deliveries", &[engine, ("state", "done")]) == Some(4.0)).then_some(())
    });
    let seen = scrape();
    seen.expect("countersign_inbox_deliveries", &[engine, ("state", "dead")], 1.0);
    seen.expect("countersign_inbox_oldest_seconds", &[engine], 0.0);
    seen.expect("countersign_dead_letters_total", &[source, ("reason", "permanent")], 1.0);
    seen.expect("countersign_attempts_total", &[("inbox", "kept"), engine, source, ("result", "done")], 4.0);
    seen.expect("countersign_attempts_total", &[source, ("result", "lost")], 2.0);
    seen.expect("countersign_attempts_needed_count", &[source, ("result", "done")], 4.0);
    seen.expect("countersign_attempts_needed_sum", &[source, ("result", "done")], 1.0 + 2.0 + 2.0 + 2.0);
    seen.expect("countersign_attempts_needed_sum", &[source, ("result", "dead")], 1.0);
    let handled = |result| [source, ("mode", "inbox"), ("result", result)];
    seen.expect("countersign_handler_seconds_count", &handled("permanent"), 1.0);
    seen.expect("countersign_handler_seconds_count", &handled("failed"), 1.0);
    for operation in ["accept", "claim", "extend", "complete", "retry", "dead", "prune", "stats"] {
        let count = seen.value("countersign_store_seconds_count", &[engine, ("operation", operation)]);
        assert!(count >= Some(1.0), "{operation}");
    }

    // After the retention.
    clock.advance(Duration::from_hours(24 * 30));
    wait_for("what is done to be pruned", || {
        (scrape().value("countersign_pruned_total", &[engine]) == Some(4.0)).then_some(())
    });
    runtime.block_on(workers.drain(Duration::from_secs(5)));

    let mut client = server.client();
    client.send(b"GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n");
    assert_eq!(client.receive().status, 200);
    scrape().expect("countersign_probes_total", &[("result", "ready")], 1.0);

    // All that the table has, with its kind and its explanation; and nothing that the table has not.
    let seen = scrape();
    for metric in METRICS {
        let kind = format!("# TYPE {} {}", metric.name, format!("{:?}", metric.kind).to_lowercase());
        assert!(seen.text.contains(&kind), "{kind} in\n{}", seen.text);
        let help = format!("# HELP {} {}", metric.name, metric.help);
        assert!(seen.text.contains(&help), "{help} in\n{}", seen.text);
    }
    let types = seen.text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(types, METRICS.len());
    clean(&seen.text);
}

/// Neither secrets nor anything that a sender wrote.
#[track_caller]
fn clean(text: &str) {
    for forbidden in ["whsec_", "MfKQ9r8G", "msg_", "in_1", "v1,", "hostile", "refused", "/hooks"] {
        assert!(!text.contains(forbidden), "{forbidden} in\n{text}");
    }
}

/// 10,000 requests that differ in everything a stranger can choose, and 1,000 genuine ones that differ in everything a sender
/// can: the same series before and after.
#[test]
fn labels_stay_bounded_whatever_is_sent() {
    let (handle, _alone) = exporter();
    let store = MemoryStore::builder().build().unwrap();
    // A source of its own: the other test counts its own exactly.
    let scheme = countersign::kycgenie::scheme();
    let receiver = Receiver::builder(scheme.clone(), keyring()).handlers(Probe::default()).dedupe(store);
    let receiver = receiver.clock(FakeClock::at(NOW)).build().unwrap();
    let mounted = receiver.clone();
    let server = served(&handle, move |config| {
        config.service(mounted.at("/hooks/{tenant}/{more}"));
    });
    let random = |number: usize| format!("hostile-{number:x}-{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let signer = Signer::new(scheme, keyring()).unwrap();
    let attack = |numbers: std::ops::Range<usize>| {
        runtime.block_on(async {
            for number in numbers {
                let text = random(number);
                let body = format!(r#"{{"event":"{text}","data":"{text}"}}"#);
                let id = format!("msg_{text}");
                let headers: Vec<(String, String)> = match number % 11 {
                    // Genuine, of a type and an id that nobody has seen.
                    0 => signer.sign(&Message::new(body.as_bytes(), NOW).id(&id)).unwrap(),
                    kind => {
                        let time = match kind % 4 {
                            0 => NOW.as_secs().to_string(),
                            1 => number.to_string(),
                            2 => text.clone(),
                            _ => format!("99999{number}"),
                        };
                        let signature =
                            if kind % 3 == 0 { text.clone() } else { format!("v1,{:0>43}=", number % 1000) };
                        let mut headers = vec![
                            ("webhook-id".to_owned(), id),
                            ("webhook-timestamp".to_owned(), time),
                            ("webhook-signature".to_owned(), signature),
                            (format!("x-{text}"), text.clone()),
                        ];
                        if kind == 7 {
                            headers.remove(number % 3);
                        }
                        headers
                    }
                };
                let _ = receiver.receive(RequestView::new(&headers, body), NOW).await;
            }
        });
    };
    let over_http = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let text = random(number);
            let headers = vec![("webhook-id".to_owned(), text.clone()), ("content-type".to_owned(), text.clone())];
            let status = server.post(&Post::new(&format!("/hooks/{text}/{number}"), headers, text)).status;
            assert_eq!(status, 401);
        }
    };
    let series = || Scrape::of(&server).series.into_keys().collect::<BTreeSet<_>>();
    attack(0..1_000);
    over_http(0..10);
    let before = series();
    attack(1_000..12_000);
    over_http(10..300);
    let after = series();
    assert_eq!(before, after);
    clean(&Scrape::of(&server).text);
}

/// Whoever has thousands of tenants with keys of their own does not get thousands of series.
#[test]
fn past_a_limit_series_are_counted_together() {
    let (_, _alone) = exporter();
    let recorder = with_buckets().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for number in 0..2_000 {
            let keyring = Keyring::new([key(&format!("key-{number}"), common::SECRET)]).unwrap();
            let receiver = Receiver::builder(scheme(), keyring).handlers(Probe::default()).danger_without_dedupe();
            let receiver = receiver.build().unwrap();
            let body = job("ok");
            let headers = Signer::new(scheme(), common::keyring()).unwrap();
            let headers = headers.sign(&Message::new(body.as_bytes(), NOW).id("msg_1")).unwrap();
            let answer = runtime.block_on(receiver.receive(RequestView::new(&headers, body), NOW));
            assert_eq!(answer.status(), 200);
        }
    });
    let seen = Scrape::parse(handle.render());
    let keys = seen.series.keys().filter(|series| series.starts_with("countersign_verified_total")).count();
    assert_eq!(keys, 501);
    seen.expect("countersign_verified_total", &[("key_id", "other")], 1_500.0);
}

/// A program that receives from two providers, each into an inbox of its own.
#[test]
fn two_inboxes_of_one_engine_are_told_apart_by_their_names() {
    let (_, _alone) = exporter();
    let recorder = with_buckets().build_recorder();
    let handle = recorder.handle();
    let folder = Folder::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            for (name, count) in [("kycgenie", 2), ("stripe", 1)] {
                let store = SqliteInbox::open(folder.path().join(name)).unwrap();
                let inbox = Inbox::<common::Event, _>::new(store).named(name);
                for number in 0..count {
                    let accepted = inbox.store().accept(incoming(&number.to_string()), NOW).await.unwrap();
                    assert_eq!(accepted, Accepted::New);
                }
                inbox.sample().await.unwrap();
            }
        });
    });
    let seen = Scrape::parse(handle.render());
    for (name, count) in [("kycgenie", 2.0), ("stripe", 1.0)] {
        let inbox = [("inbox", name), ("engine", "sqlite")];
        seen.expect("countersign_inbox_deliveries", &[&inbox[..], &[("state", "pending")]].concat(), count);
        assert!(seen.value("countersign_inbox_oldest_seconds", &inbox).is_some());
        assert!(seen.value("countersign_inbox_sampled_timestamp_seconds", &inbox).is_some());
    }
}

/// A program may install its recorder after it has built, or even used, its receivers.
#[test]
fn what_is_installed_late_counts_from_then_on() {
    let (_, _alone) = exporter();
    let receiver = builder(&Probe::default()).danger_without_dedupe().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let body = job("ok");
    let headers: Vec<(String, String)> =
        Signer::new(scheme(), keyring()).unwrap().sign(&Message::new(body.as_bytes(), NOW).id("msg_1")).unwrap();
    let receive = || runtime.block_on(receiver.receive(RequestView::new(&headers, body.clone()), NOW));
    let (first, second) = (with_buckets().build_recorder(), with_buckets().build_recorder());
    let count = |recorder: &PrometheusHandle| {
        Scrape::parse(recorder.render()).value("countersign_requests_total", &[("outcome", "handled")])
    };
    metrics::with_local_recorder(&first, || {
        assert_eq!(receive().status(), 200);
    });
    metrics::with_local_recorder(&second, || {
        assert_eq!(receive().status(), 200);
        assert_eq!(receive().status(), 200);
    });
    assert_eq!((count(&first.handle()), count(&second.handle())), (Some(1.0), Some(2.0)));
}

#[test]
fn all_of_it_can_be_described_in_advance() {
    let recorder = with_buckets().build_recorder();
    metrics::with_local_recorder(&recorder, describe);
    // An exporter shows only what has been counted; that nothing panics is what can be seen from here.
    assert!(Scrape::parse(recorder.handle().render()).series.is_empty());
}
