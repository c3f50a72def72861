//! wip
#![allow(dead_code, unused_imports)]
mod crypto;
mod dispatch;
mod encoding;
mod event;
mod ids;
mod request;
pub mod scheme;
mod time;
mod verify;
pub use dispatch::*;
pub use encoding::*;
pub use event::*;
pub use ids::*;
pub use request::*;
pub use scheme::{HeadError, Scheme, SchemeBuilder, SchemeError};
pub use time::*;
pub use verify::*;
