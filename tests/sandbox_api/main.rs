//! The sandbox's management API and control API, over real sockets.

#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub)]

mod bad_input;
mod common;
mod golden;
mod idempotency;
mod logs;
mod openapi;
#[allow(dead_code, reason = "the tests of the edge use the rest")]
#[path = "../common/raw.rs"]
mod raw;
mod receiver;
mod seed;
mod state;
