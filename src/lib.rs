//! wip
#![allow(dead_code, unused_imports)]
#[cfg(all(test, feature = "macros"))]
extern crate self as countersign;

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "private/mod.rs"]
pub mod __private;
mod crypto;
mod dispatch;
mod encoding;
mod event;
mod ids;
mod request;
mod time;
mod verify;
#[cfg(feature = "macros")]
pub use countersign_macros::{WebhookEvent, handlers, on, otherwise};
pub use dispatch::*;
pub use event::*;
pub use ids::*;
pub use request::*;
pub use time::*;
pub use verify::*;

#[cfg(all(test, feature = "macros"))]
mod macro_tests;
