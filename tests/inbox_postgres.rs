//! The inbox on PostgreSQL: the conformance suite, and what a network, its server and other processes do to it.

#![cfg(all(feature = "postgres", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/servers.rs"]
mod servers;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::PostgresInbox;
use servers::Postgres;

/// A server that all tests share which do nothing to it.
fn shared() -> String {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).url()
}

/// A schema that nobody else has.
fn schema() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("inbox_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// For what is not about time, on a machine that has little of it.
async fn patient(url: &str, schema: &str) -> PostgresInbox {
    let builder = PostgresInbox::builder(url).schema(schema).connections(6).response_timeout(Duration::from_secs(10));
    builder.build().await.unwrap()
}

mod conformance {
    countersign::inbox_conformance!(super::patient(&super::shared(), &super::schema()).await);
}

/// The same where the database was set to the strictest isolation, so that steps that meet are refused by the server.
mod conformance_serializable {
    async fn store() -> countersign::PostgresInbox {
        let url = format!("{}?options=-c%20default_transaction_isolation%3Dserializable", super::shared());
        super::patient(&url, &super::schema()).await
    }

    countersign::inbox_conformance!(store().await);
}
