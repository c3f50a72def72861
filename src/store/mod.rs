//! Stores for the claim protocol of [`dedupe`](crate::dedupe).

mod memory;

pub use memory::{MemoryStore, MemoryStoreBuilder, MemoryStoreError, MemoryStoreMistake, WhenFull};
