//! wip
#![allow(dead_code, unused_imports)]
mod crypto;
mod dispatch;
mod encoding;
mod event;
mod ids;
mod keyring;
mod request;
mod time;
mod verify;
pub use dispatch::*;
pub use event::*;
pub use ids::*;
pub use keyring::*;
pub use request::*;
pub use time::*;
pub use verify::*;
