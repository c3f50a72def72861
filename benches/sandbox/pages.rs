//! Pages of a long log, over HTTP, from a state file.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign::sandbox::Sandbox;
use rusqlite::{Connection, params};

use crate::{Size, median, millis, resident};

pub(crate) async fn run(size: Size) {
    let state = StateFile::new();
    Sandbox::builder().state_file(&state.0).start().await.unwrap().stop().await;
    let started = Instant::now();
    fill(&state.0, size);
    println!(
        "\n{} subscriptions and {} log rows in a file: made in {:.1?}",
        size.subscriptions,
        size.rows,
        started.elapsed()
    );
    let before = resident();
    let started = Instant::now();
    let sandbox = Sandbox::builder().state_file(&state.0).start().await.unwrap();
    println!("start: {}", millis(started.elapsed()));
    let rows = size.rows;
    println!("\n| request | median | slowest |\n|---|---|---|");
    for (name, path) in [
        ("webhooks, v2, all of them", "/api/v2/webhooks/".to_owned()),
        ("logs, v2, first page of 100", "/api/v2/webhooks/logs/?page_size=100".to_owned()),
        ("logs, v2, in the middle", after(rows / 2)),
        ("logs, v2, last", after(101)),
        ("logs, v1, first page of 100", v1(1)),
        ("logs, v1, in the middle", v1(rows / 200)),
        ("logs, v1, last", v1(rows / 100)),
    ] {
        let url = format!("{}{path}", sandbox.url());
        let times = tokio::task::spawn_blocking(move || times(&url, size.requests)).await.unwrap();
        let slowest = times.iter().max().copied().unwrap_or_default();
        println!("| {name} | {} | {} |", millis(median(times)), millis(slowest));
    }
    println!("\nmemory with the state in a file: {} MiB ({before} MiB before its start)", resident());
}

fn v1(page: u64) -> String {
    format!("/api/v1/webhooks/logs/?page_size=100&page={page}")
}

fn after(number: u64) -> String {
    let cursor = STANDARD.encode(format!(r#"{{"id": {number}}}"#)).replace('=', "%3D").replace('+', "%2B");
    format!("/api/v2/webhooks/logs/?page_size=100&after={cursor}")
}

fn times(url: &str, requests: usize) -> Vec<Duration> {
    let agent = ureq::Agent::new_with_defaults();
    let authorization = format!("Bearer {}", Sandbox::TEST_KEY);
    let one = || {
        let started = Instant::now();
        let mut answer = agent.get(url).header("authorization", &authorization).call().unwrap();
        let body = answer.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap();
        assert!(body.len() > 1000, "{url}");
        started.elapsed()
    };
    one();
    (0..requests).map(|_| one()).collect()
}

/// Writes the rows that as many deliveries would have left.
fn fill(path: &Path, size: Size) {
    let mut connection = Connection::open(path).unwrap();
    let tx = connection.transaction().unwrap();
    let tenant: i64 =
        tx.query_row("SELECT tenant FROM api_key WHERE key = ?", [Sandbox::TEST_KEY], |row| row.get(0)).unwrap();
    let now = 1_790_000_000_000_000_i64;
    let mut subscription = tx
        .prepare(
            "INSERT INTO subscription (id, tenant, event_type, webhook_url, secret, created_at, updated_at) \
             VALUES (?, ?, 'screening.completed', ?, 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', ?, ?)",
        )
        .unwrap();
    for number in 0..size.subscriptions {
        let url = format!("https://receiver-{number}.example.com/webhooks/kycgenie");
        subscription.execute(params![id(1, number), tenant, url, now, now]).unwrap();
    }
    drop(subscription);
    let mut delivery = tx
        .prepare(
            "INSERT INTO delivery (id, tenant, subscription, event_type, webhook_url, body, attempts, max_attempts, \
             outcome, log) VALUES (?, ?, ?, 'screening.completed', ?, ?, 1, 3, 1, ?)",
        )
        .unwrap();
    let mut log = tx
        .prepare(
            "INSERT INTO log (tenant, number, id, delivery, status, http_status_code, attempt_number, created_at) \
             VALUES (?, ?, ?, ?, 1, 200, 1, ?)",
        )
        .unwrap();
    let body = br#"{"event":"screening.completed","data":{"screening_id":"7c8f6eb9-4619-4ce8-bbf7-c181ad062308","entity_id":"5a6d4c97-64f7-4ac6-99d5-af6f8be40106","status":"completed"}}"#;
    for number in 1..=size.rows {
        let subscription = number % size.subscriptions + 1;
        let url = format!("https://receiver-{subscription}.example.com/webhooks/kycgenie");
        let name = format!("msg_{:032x}", u128::from(number));
        delivery.execute(params![name, tenant, subscription as i64, url, body, number as i64]).unwrap();
        log.execute(params![tenant, number as i64, id(2, number), tx.last_insert_rowid(), now]).unwrap();
    }
    drop((delivery, log));
    tx.execute("UPDATE tenant SET log_count = ? WHERE id = ?", params![size.rows as i64, tenant]).unwrap();
    tx.commit().unwrap();
}

fn id(kind: u64, number: u64) -> [u8; 16] {
    (u128::from(kind) << 64 | u128::from(number)).to_be_bytes()
}

/// A state file that is gone afterwards.
struct StateFile(PathBuf);

impl StateFile {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("countersign-bench-{}.sqlite", std::process::id())))
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", self.0.display()));
        }
    }
}
