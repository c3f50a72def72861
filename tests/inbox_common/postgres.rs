//! What the tests of the inbox on PostgreSQL share: a server, schemas of their own, and a way past the inbox.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "not every test uses all of it")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign::inbox::Incoming;
use countersign::inbox::tokio_postgres::{self, Client, NoTls};
use countersign::{Clock, SystemClock, Timestamp};

use super::inbox_common::incoming;
use super::servers::Postgres;

/// A server that all tests share which do nothing to it.
pub fn shared() -> String {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::start).url()
}

/// A schema that nobody else has, and whose name no other begins with.
pub fn schema() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("test_{:04}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// A connection past the inbox.
pub async fn admin(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The one number that is the answer.
pub async fn number(admin: &Client, question: &str) -> i64 {
    admin.query_one(question, &[]).await.unwrap().get(0)
}

pub fn of_entity(id: &str, entity: &str) -> Incoming {
    Incoming { entity: Some(entity.to_owned()), ..incoming(id) }
}
