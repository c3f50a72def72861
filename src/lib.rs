//! wip
#![allow(dead_code, unused_imports)]
mod crypto;
mod dedupe;
mod dispatch;
mod encoding;
mod event;
mod ids;
mod keyring;
mod receiver;
mod request;
pub mod scheme;
mod store;
#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod verify;
pub use dedupe::*;
pub use dispatch::*;
pub use encoding::*;
pub use event::*;
pub use ids::*;
pub use keyring::*;
pub use receiver::*;
pub use request::*;
pub use scheme::{HeadError, Scheme, SchemeBuilder, SchemeError};
pub use store::*;
pub use time::*;
pub use verify::*;
