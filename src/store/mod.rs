//! Stores for the claim protocol of [`dedupe`](crate::dedupe).

mod forgetful;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;

pub use forgetful::Forgetful;
pub use memory::{MemoryStore, MemoryStoreBuilder, MemoryStoreError, MemoryStoreMistake, WhenFull};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresStore, PostgresStoreBuilder, PostgresStoreError, PostgresStoreMistake};
#[cfg(feature = "redis")]
pub use redis::{RedisStore, RedisStoreBuilder, RedisStoreError, RedisStoreMistake};
