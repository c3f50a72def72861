//! The command line, as the real program that a user runs.

#![cfg(feature = "cli")]
#![allow(clippy::panic, reason = "a test ends so")]

#[path = "cli/support.rs"]
mod support;

#[path = "cli/failures.rs"]
mod failures;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/identifying.rs"]
mod identifying;
#[path = "cli/inbox.rs"]
mod inbox;
#[path = "inbox_common/mod.rs"]
mod inbox_common;
#[path = "cli/inbox_dead.rs"]
mod inbox_dead;
#[path = "cli/inbox_postgres.rs"]
mod inbox_postgres;
#[path = "cli/inbox_running.rs"]
mod inbox_running;
#[path = "cli/listening.rs"]
mod listening;
#[path = "cli/readme.rs"]
mod readme;
#[path = "cli/sandbox.rs"]
mod sandbox;
#[path = "cli/secrets.rs"]
mod secrets;
#[path = "common/servers.rs"]
mod servers;
#[path = "cli/signing.rs"]
mod signing;
