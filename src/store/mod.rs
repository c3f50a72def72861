//! Stores for the claim protocol of [`dedupe`](crate::dedupe).

mod forgetful;
mod memory;

pub use forgetful::Forgetful;
pub use memory::{MemoryStore, MemoryStoreBuilder, MemoryStoreError, MemoryStoreMistake, WhenFull};
