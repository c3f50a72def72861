//! wip
#![allow(dead_code, unused_imports)]
mod crypto;
mod dedupe;
mod dispatch;
mod encoding;
mod event;
mod ids;
mod request;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod verify;
pub use dedupe::*;
pub use dispatch::*;
pub use event::*;
pub use ids::*;
pub use request::*;
pub use store::*;
pub use time::*;
pub use verify::*;
