//! The log as a stream over pages, and what failed delivered again.

#![cfg(feature = "client")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test ends so")]

mod client_server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use client_server::{Reply, Request, Server, answer, recorded};
use countersign::Timestamp;
use countersign::kycgenie::client::{ApiVersion, Error, ErrorKind, LogQuery, RedeliveryProgress};
use futures_util::{StreamExt, TryStreamExt};

fn row(id: usize, status: &str, second: i64) -> String {
    let at = Timestamp::from_secs(1_800_000_000 + second);
    format!(r#"{{"id": "row-{id}", "status": "{status}", "created_at": "{at}"}}"#)
}

fn since(second: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + second)
}

fn v2_page(rows: &[String], next: Option<&str>) -> Reply {
    let cursor = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    let body = format!(
        r#"{{"has_more": {}, "next_cursor": {cursor}, "prev_cursor": null, "results": [{}]}}"#,
        next.is_some(),
        rows.join(",")
    );
    Reply::Bytes(answer(200, &body))
}

fn v1_page(rows: &[String], page: usize, size: usize, total: usize) -> Reply {
    let body = format!(r#"{{"total": {total}, "page": {page}, "page_size": {size}, "logs": [{}]}}"#, rows.join(","));
    Reply::Bytes(answer(200, &body))
}

/// The query parameter `name` of a request.
fn parameter(request: &Request, name: &str) -> Option<String> {
    let (_, query) = request.target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(ToOwned::to_owned)
}

async fn ids(logs: countersign::kycgenie::client::Logs) -> Result<Vec<String>, Error> {
    logs.map_ok(|row| row.id.to_string()).try_collect().await
}

#[tokio::test]
async fn rows_come_over_cursors_and_pages_are_fetched_as_they_are_needed() {
    let server = Server::start(|request, _| match parameter(request, "after").as_deref() {
        None => v2_page(&[row(6, "failed", 6), row(5, "delivered", 5)], Some("c1")),
        Some("c1") => v2_page(&[], Some("c2")),
        Some("c2") => v2_page(&[row(4, "new", 4)], None),
        other => panic!("{other:?}"),
    });
    let client = server.client(ApiVersion::V2);
    let mut logs = client.logs();
    assert!(server.requests().is_empty(), "nothing was asked for yet");
    assert_eq!(logs.try_next().await.unwrap().unwrap().id, "row-6");
    assert_eq!(logs.next().await.unwrap().unwrap().id, "row-5");
    assert_eq!(server.requests().len(), 1);
    assert_eq!(logs.try_next().await.unwrap().unwrap().id, "row-4");
    assert!(logs.try_next().await.unwrap().is_none());
    assert!(logs.try_next().await.unwrap().is_none());
    assert_eq!(server.requests().len(), 3);
    assert_eq!(ids(client.logs_from(LogQuery::new().after("c2").page_size(7))).await.unwrap(), ["row-4"]);
    let last = server.requests().pop().unwrap();
    assert_eq!(last.line(), "GET /api/v2/webhooks/logs/?after=c2&page_size=7");
}

#[tokio::test]
async fn rows_come_over_page_numbers_in_v1() {
    let server = Server::start(|request, _| {
        let page: usize = parameter(request, "page").map_or(1, |page| page.parse().unwrap());
        let rows: Vec<String> = (0..5).rev().skip(2 * (page - 1)).take(2).map(|n| row(n, "failed", 0)).collect();
        v1_page(&rows, page, 2, 5)
    });
    let rows = ids(server.client(ApiVersion::V1).logs_from(LogQuery::new().page_size(2))).await.unwrap();
    assert_eq!(rows, ["row-4", "row-3", "row-2", "row-1", "row-0"]);
    let lines: Vec<String> = server.requests().iter().map(Request::line).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/webhooks/logs/?page_size=2",
            "GET /api/v1/webhooks/logs/?page=2&page_size=2",
            "GET /api/v1/webhooks/logs/?page=3&page_size=2",
        ]
    );
}

#[tokio::test]
async fn a_log_in_a_circle_ends_with_an_error() {
    let one = [row(1, "failed", 0)];
    let circle = one.clone();
    let fresh = one.clone();
    let first = one.clone();
    let same = one.clone();
    let servers = [
        // The same cursor for ever.
        (ApiVersion::V2, Server::start(move |_, _| v2_page(&one, Some("c")))),
        // Three cursors in a circle.
        (ApiVersion::V2, Server::start(move |_, n| v2_page(&circle, Some(["a", "b", "c"][n % 3])))),
        // Ever new cursors that lead to the same page.
        (ApiVersion::V2, Server::start(move |_, n| v2_page(&fresh, Some(&format!("c{n}"))))),
        // Ever new cursors that lead to and fro between two pages.
        (ApiVersion::V2, Server::start(move |_, n| v2_page(&[row(n % 2, "failed", 0)], Some(&format!("c{n}"))))),
        // Ever new cursors that lead to nothing.
        (ApiVersion::V2, Server::start(move |_, n| v2_page(&[], Some(&format!("c{n}"))))),
        // Page numbers that are not understood.
        (ApiVersion::V1, Server::start(move |_, _| v1_page(&first, 1, 1, 9))),
        // Page numbers without an end.
        (ApiVersion::V1, Server::start(move |_, n| v1_page(&same, n + 1, 1, usize::MAX))),
    ];
    for (at, (version, server)) in servers.into_iter().enumerate() {
        let error = ids(server.client(version).logs()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::EndlessLog), "{at}: {error:?}");
        assert!(server.requests().len() < 12, "{at}: {}", server.requests().len());
        assert!(error.to_string().contains("lead in a circle"), "{error}");
    }
}

#[tokio::test]
async fn a_page_that_fails_ends_the_stream() {
    let server = Server::start(|_, n| match n {
        0 => v2_page(&[row(1, "failed", 0)], Some("c")),
        _ => Reply::Bytes(recorded("errors/authentication_failed.http")),
    });
    let mut logs = server.client(ApiVersion::V2).logs();
    assert!(logs.try_next().await.unwrap().is_some());
    assert_eq!(logs.try_next().await.unwrap_err().status(), Some(401));
    assert!(logs.try_next().await.unwrap().is_none());
    assert_eq!(server.requests().len(), 2);
}

/// The rows that were retried, in their order.
fn retried(server: &Server) -> Vec<String> {
    let id = |request: &Request| {
        let (_, rest) = request.target.split_once("/logs/")?;
        rest.strip_suffix("/retry/").map(ToOwned::to_owned)
    };
    server.requests().iter().filter_map(id).collect()
}

#[tokio::test]
async fn what_failed_since_a_moment_is_retried_once_the_oldest_first() {
    let server = Server::start(|request, _| {
        if request.method == "POST" {
            return match request.target.as_str() {
                target if target.contains("row-8") => Reply::Bytes(recorded("errors/not_found.http")),
                target if target.contains("row-6") => Reply::Bytes(recorded("errors/invalid_request.http")),
                _ => Reply::Bytes(recorded("v2/retry.http")),
            };
        }
        assert_eq!(parameter(request, "page_size").as_deref(), Some("100"));
        match parameter(request, "after").as_deref() {
            None => v2_page(
                &[row(9, "failed", 90), row(8, "failed", 80), row(7, "delivered", 70), row(6, "failed", 60)],
                Some("c1"),
            ),
            Some("c1") => v2_page(
                &[
                    row(6, "failed", 60),
                    row(5, "retrying", 50),
                    row(4, "pending", 40),
                    row(3, "FAILED", 35),
                    r#"{"id": "row-x", "status": "failed", "created_at": null}"#.to_owned(),
                    row(2, "failed", 30),
                    row(1, "failed", 29),
                ],
                Some("c2"),
            ),
            other => panic!("walked on to {other:?}"),
        }
    });
    let mut told = Vec::new();
    let client = server.client(ApiVersion::V2);
    let outcome = client.redeliver_failed_telling(since(30), |progress| told.push(progress)).await.unwrap();
    assert_eq!(retried(&server), ["row-2", "row-6", "row-8", "row-9"]);
    let (walking, retrying) = told.split_at(told.len() - 5);
    assert_eq!(walking.last(), Some(&RedeliveryProgress::Walking { walked: 10 }));
    assert!(walking.iter().all(|progress| matches!(progress, RedeliveryProgress::Walking { .. })), "{walking:?}");
    assert_eq!(retrying, [0, 1, 2, 3, 4].map(|tried| RedeliveryProgress::Retrying { tried, all: 4 }));
    let names = |rows: Vec<String>| rows.join(" ");
    assert_eq!(names(outcome.retried.iter().map(|row| row.id.to_string()).collect()), "row-2 row-9");
    assert!(outcome.retried.iter().all(|row| row.log_id.is_some()));
    assert_eq!(names(outcome.refused.iter().map(|row| row.id.to_string()).collect()), "row-6 row-8");
    let statuses: Vec<_> = outcome.refused.iter().map(|row| row.error.status()).collect();
    assert_eq!(statuses, [Some(400), Some(404)]);
    assert_eq!(outcome.undated, [countersign::kycgenie::client::LogId::new("row-x").unwrap()]);
    assert_eq!((outcome.walked, outcome.left.len(), outcome.stopped_by.is_none()), (10, 0, true));
}

#[tokio::test]
async fn a_failure_that_is_not_about_the_row_stops_and_tells_what_is_left() {
    for file in ["errors/authentication_failed.http", "errors/permission_denied.http", "errors/server_error.http"] {
        let server = Server::start(move |request, _| match request.method.as_str() {
            "POST" if request.target.contains("row-1") => Reply::Bytes(recorded("v2/retry.http")),
            "POST" => Reply::Bytes(recorded(file)),
            _ => v2_page(&[row(3, "failed", 3), row(2, "failed", 2), row(1, "failed", 1)], None),
        });
        let outcome = server.client(ApiVersion::V2).redeliver_failed(since(0)).await.unwrap();
        assert_eq!((outcome.retried.len(), outcome.refused.len(), outcome.left.len()), (1, 0, 2), "{file}");
        assert_eq!(outcome.left[0], "row-2");
        assert!(outcome.stopped_by.unwrap().status().is_some());
        assert!(!retried(&server).contains(&"row-3".to_owned()));
    }
    let server = Server::start(|_, _| Reply::Bytes(recorded("errors/permission_denied.http")));
    let error = server.client(ApiVersion::V2).redeliver_failed(since(0)).await.unwrap_err();
    assert_eq!((error.status(), server.requests().len()), (Some(403), 1));
}

/// A log of v1 whose pages are numbered from the newest row, and which grows.
#[derive(Default)]
struct Growing {
    rows: Mutex<usize>,
}

impl Growing {
    fn page(&self, number: usize, size: usize) -> Reply {
        let total = *self.rows.lock().unwrap();
        let rows: Vec<String> =
            (0..total).rev().skip(size * (number - 1)).take(size).map(|n| row(n, "failed", n as i64)).collect();
        v1_page(&rows, number, size, total)
    }

    fn grow(&self, rows: usize) {
        *self.rows.lock().unwrap() += rows;
    }
}

#[tokio::test]
async fn rows_that_come_in_meanwhile_neither_loop_nor_double() {
    let log = Arc::new(Growing::default());
    log.grow(10);
    let server = {
        let log = log.clone();
        Server::start(move |request, _| {
            // Each call makes a new row: a retry that fails again, or somebody else's delivery.
            log.grow(1);
            if request.method == "POST" {
                return Reply::Bytes(recorded("v2/retry.http"));
            }
            log.page(parameter(request, "page").map_or(1, |page| page.parse().unwrap()), 4)
        })
    };
    let outcome = server.client(ApiVersion::V1).redeliver_failed(since(0)).await.unwrap();
    let rows = retried(&server);
    let mut once = rows.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), rows.len(), "a row was retried twice: {rows:?}");
    assert!((0..10).all(|n| rows.contains(&format!("row-{n}"))), "{rows:?}");
    assert_eq!(rows.len(), outcome.retried.len());
    assert!(rows.len() <= 11, "{rows:?}");
}

#[tokio::test]
async fn a_log_that_grows_faster_than_it_is_read_is_given_up() {
    let log = Arc::new(Growing::default());
    log.grow(10);
    let reads = Arc::new(AtomicUsize::new(0));
    let server = {
        let (log, reads) = (log.clone(), reads.clone());
        Server::start(move |request, _| {
            reads.fetch_add(1, Ordering::Relaxed);
            let reply = log.page(parameter(request, "page").map_or(1, |page| page.parse().unwrap()), 4);
            log.grow(4);
            reply
        })
    };
    let error = server.client(ApiVersion::V1).redeliver_failed(since(0)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::EndlessLog), "{error:?}");
    assert!(reads.load(Ordering::Relaxed) < 20);
    assert!(retried(&server).is_empty());
}
