//! The engine against a receiver that answers as it is told; what a real receiver says stands in `tests/`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use super::*;
use crate::sandbox::Mode;
use crate::sandbox::store::{LogRow, Page, Store};

const PATIENCE: Duration = Duration::from_secs(30);

/// Answers each request with the next of `answers`, and with 200 once they have run out. Tells what came.
struct Script {
    url: String,
    requests: mpsc::Receiver<String>,
}

impl Script {
    fn serve(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        let (tell, requests) = mpsc::channel();
        std::thread::spawn(move || {
            let mut answers = answers.iter();
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                while !is_whole(&request) {
                    match connection.read(&mut chunk) {
                        Ok(read @ 1..) => request.extend_from_slice(&chunk[..read]),
                        _ => break,
                    }
                }
                if tell.send(String::from_utf8_lossy(&request).into_owned()).is_err() {
                    return;
                }
                let answer = answers.next().unwrap_or(&"200 OK\r\n");
                let _ = write!(connection, "HTTP/1.1 {answer}content-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        Self { url, requests }
    }

    fn next(&self) -> String {
        self.requests.recv_timeout(PATIENCE).unwrap()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn settings() -> Settings {
    let assumptions = Assumptions { timeout: Duration::from_secs(20), ..Assumptions::default() };
    Settings { scheme: Scheme::standard_webhooks(), assumptions, speed: 1e6, seed: 7, targets: Targets::default() }
}

fn store() -> Arc<Store> {
    let store = Store::open(None).unwrap();
    store.add_key("kycg_test", "acme", Mode::Test, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    Arc::new(store)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

type Row = (&'static str, Option<u16>, u32, Option<String>, bool);

/// The log, oldest first: status, HTTP status, attempt, error, whether there is a next one.
fn log(store: &Store) -> Vec<Row> {
    let (_, mut rows) = store.log_page(1, Page::Skip(0), 100).unwrap();
    rows.reverse();
    let numbers: Vec<i64> = rows.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..).take(rows.len()).collect::<Vec<_>>(), "without a gap");
    let row = |row: LogRow| {
        (row.status, row.http_status_code, row.attempt_number, row.error_message, row.next_retry_at.is_some())
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn a_delivery_is_tried_until_it_is_taken_and_leaves_a_row_for_each_attempt() {
    let script = Script::serve(&["500 Oops\r\n", "404 Not Found\r\n"]);
    let store = store();
    store.set_tenant_url(1, Some(&script.url)).unwrap();
    let engine = Engine::start(Arc::clone(&store), settings()).unwrap();
    let triggered = block_on(engine.trigger(1, &Trigger::new("case.opened"))).unwrap();
    assert_eq!((triggered.events, triggered.deliveries), (1, 1));
    assert!(block_on(engine.settled(PATIENCE)));
    let requests = [script.next(), script.next(), script.next()];
    for request in &requests {
        assert!(
            request.starts_with("POST /hooks HTTP/1.1\r\n") && request.contains(&triggered.delivery_ids[0]),
            "{request}"
        );
        assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
        assert!(request.contains("\r\nuser-agent: countersign-sandbox/"), "{request}");
        assert!(request.contains("\r\n\r\n{\"event\":\"case.opened\",\"data\":{"), "{request}");
    }
    assert_eq!(
        log(&store),
        [
            ("retrying", Some(500), 1, Some("Server error".into()), true),
            ("retrying", Some(404), 2, Some("Client error".into()), true),
            ("delivered", Some(200), 3, None, false),
        ]
    );
    let status = engine.status();
    assert_eq!((status.delivered, status.failed, status.pending, status.in_flight), (1, 0, 0, 0));
    assert_eq!(engine.attempts(1).len(), 2);
}
