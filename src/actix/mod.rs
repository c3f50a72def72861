//! The actix-web edge: the only place that names actix types.
//!
//! Three ways in, one engine behind all three:
//!
//! 1. [`Receiver::at`] mounts a receiver with its handlers at a path.
//! 2. [`Receiver::middleware`] stands in front of routes of your own: what reaches them is verified and new.
//! 3. [`Verified<Event>`](crate::Verified) as an argument of such a route is the decoded event.
//!
//! This edge reads the request's payload itself. actix-web's body extractors decompress whenever any crate of the
//! program turns a `compress-*` feature on; then nobody sees the bytes that were signed, and a body of a few hundred
//! bytes can grow to a gigabyte before anything is checked. Here every content encoding is refused (415), a body has a
//! limit (413, before it is read where its length is told), a deadline and a minimum rate (408), and all bodies
//! together have a budget (503).
//!
//! Build receivers outside of the closure that makes an `App`: it runs once per worker.
//!
//! # What is out of a service's reach
//!
//! actix-web times the head of the first request of a connection only. A client that keeps a connection alive and then
//! stalls in the middle of its second head holds the connection for as long as it likes. [`harden`] sets a server up so
//! that this cannot happen.
//!
//! After a refusal before the end of a body, the connection is closed instead of reading on. What brings that about is
//! in the body of the answer: a middleware of the program's own that puts another body in its place, such as a page for
//! errors, lets the client go on sending for as long as it likes.

mod body;
mod extractor;
mod head;
mod health;
mod intake;
mod middleware;
mod respond;
mod server;
mod service;

pub use extractor::ExtractError;
pub use health::{Health, liveness_at};
pub use middleware::{Middleware, MiddlewareService};
pub use server::harden;
pub use service::At;

use actix_web::dev::{AppService, ResourceDef};

use crate::dedupe::DedupeStore;
use crate::receiver::{Mode, Receiver};

impl<H: 'static, S: Mode<H>> Receiver<H, S> {
    /// A service for [`App::service`](actix_web::App::service) that receives at `path`, which may have parameters as
    /// in `/webhooks/{tenant}`. Methods other than POST are answered 405.
    #[must_use]
    pub fn at(&self, path: &str) -> At<H, S> {
        At::new(self.clone(), path)
    }
}

impl<H: 'static, S: DedupeStore> Receiver<H, S> {
    /// A middleware that lets verified and new deliveries through to the routes inside it, and no others.
    ///
    /// The route's answer decides: 2xx completes the delivery; anything else, a panic, or the time limit releases it,
    /// so that the sender's retry runs. The body is still there for the route to read.
    #[must_use]
    pub fn middleware(&self) -> Middleware<H, S> {
        Middleware::new(self.clone())
    }
}

/// A path as it is for a resource of actix-web itself: `hooks` and `/hooks` are the same, and "" is the scope's own path.
fn resource(config: &AppService, path: String) -> ResourceDef {
    let slash = !path.starts_with('/') && (config.is_root() || !path.is_empty());
    ResourceDef::new(if slash { format!("/{path}") } else { path })
}
