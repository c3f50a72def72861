//! Putting a Redis store together, and what must hold of the server.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisResult, Script};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::home::Home;
use super::{CLAIMS, Inner, RedisStore, Wire};
use crate::remote::{
    DEFAULT_RESPONSE_TIMEOUT, DEFAULT_RETENTION, Health, Later, Listed, MAX_RESPONSE_TIMEOUT, MAX_RETENTION,
    MIN_RESPONSE_TIMEOUT, MIN_RETENTION, Nonces, TooLate, reason,
};

/// Builds a [`RedisStore`]. What to decide, in this order: which server, under which names, and for how long.
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisStoreBuilder {
    client: RedisResult<Client>,
    prefix: String,
    retention: Duration,
    response_timeout: Duration,
    unchecked_eviction: bool,
}

impl RedisStoreBuilder {
    pub(super) fn new(client: RedisResult<Client>) -> Self {
        Self {
            client,
            prefix: "countersign".to_owned(),
            retention: DEFAULT_RETENTION,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            unchecked_eviction: false,
        }
    }

    /// What the names of all keys begin with, in braces: 1 to 64 letters, digits, `.`, `_`, `-` and `:`; `countersign`
    /// unless told. Receivers that share claims have the same prefix; programs that must not, have two.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// For how long something done is remembered: a millisecond to a year; 80 hours unless told.
    ///
    /// Reckon with 320 bytes of Redis' memory for each delivery of one retention (310 were measured with Redis 7.0 and
    /// 100,000 of them).
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long an answer may take, reconnecting included, before the store counts as away: 10 to 900 ms, so that the
    /// sender has its 503 within a second; 500 ms unless told.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// Does not ask the server for its `maxmemory-policy`. For servers that do not tell, where somebody has made sure
    /// that it is `noeviction`: under any other, Redis forgets claims when its memory is full, and duplicates run again.
    pub fn danger_unchecked_eviction(mut self) -> Self {
        self.unchecked_eviction = true;
        self
    }

    /// Connects, checks the server, and loads the script. Within five seconds.
    ///
    /// # Errors
    ///
    /// When a setting is out of its range (all of them at once), the server cannot be reached, or it may evict keys.
    pub async fn build(self) -> Result<RedisStore, RedisStoreError> {
        let mistakes = self.mistakes();
        let (Ok(client), true) = (&self.client, mistakes.is_empty()) else {
            return Err(RedisStoreError::Settings(mistakes));
        };
        let home = Home::new(Handle::try_current().map_err(RedisStoreError::unreachable)?);
        let client = hardened(client).map_err(RedisStoreError::unreachable)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.response_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_min_delay(RECONNECT_MIN)
            .set_max_delay(RECONNECT_MAX)
            .set_number_of_retries(RECONNECTS)
            .set_pipeline_buffer_size(PIPELINE);
        let script = Script::new(CLAIMS);
        let connect = async {
            let connection = ConnectionManager::new_with_config(client.clone(), config.clone());
            let mut connection = connection.await.map_err(RedisStoreError::unreachable)?;
            if !self.unchecked_eviction {
                check_policy(&mut connection).await?;
            }
            script.load_async(&mut connection).await.map_err(RedisStoreError::unreachable)?;
            Ok(connection)
        };
        let connection =
            timeout(BUILD_LIMIT, connect).await.map_err(|_| RedisStoreError::unreachable(TooLate(BUILD_LIMIT)))??;
        let inner = Inner {
            client,
            config,
            wire: ArcSwap::from_pointee(Wire::new(connection)),
            script,
            home,
            prefix: self.prefix,
            retention: self.retention,
            response_timeout: self.response_timeout,
            nonces: Nonces::new().map_err(RedisStoreError::unreachable)?,
            later: Later::here(),
            health: Health::new("redis", "the dedupe store"),
        };
        Ok(RedisStore { inner: Arc::new(inner) })
    }

    fn mistakes(&self) -> Vec<RedisStoreMistake> {
        let mut mistakes = Vec::new();
        if self.client.is_err() {
            mistakes.push(RedisStoreMistake::Url);
        }
        let sound = |letter: char| letter.is_ascii_alphanumeric() || "._-:".contains(letter);
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.chars().all(sound) {
            mistakes.push(RedisStoreMistake::Prefix { given: self.prefix.clone() });
        }
        if !(MIN_RETENTION..=MAX_RETENTION).contains(&self.retention) {
            mistakes.push(RedisStoreMistake::Retention { given: self.retention });
        }
        if !(MIN_RESPONSE_TIMEOUT..=MAX_RESPONSE_TIMEOUT).contains(&self.response_timeout) {
            mistakes.push(RedisStoreMistake::ResponseTimeout { given: self.response_timeout });
        }
        mistakes
    }
}

/// The client with what a connection needs that many requests share and that may die without a word.
fn hardened(client: &Client) -> RedisResult<Client> {
    let info = client.get_connection_info().clone();
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let tcp = match tcp.user_timeout() {
        Some(_) => tcp,
        None => tcp.set_user_timeout(crate::remote::UNACKNOWLEDGED),
    };
    Client::open(info.set_tcp_settings(tcp))
}

/// Refuses a server that forgets keys when its memory is full.
async fn check_policy(connection: &mut ConnectionManager) -> Result<(), RedisStoreError> {
    let policy = match policy(connection).await {
        Ok(policy) => policy,
        // Only what the server itself says is about permissions.
        Err(error) if error.code().is_some() => return Err(RedisStoreError::PolicyUnknown(error.into())),
        Err(error) => return Err(RedisStoreError::unreachable(error)),
    };
    match policy {
        Some(policy) if policy == NO_EVICTION => Ok(()),
        Some(policy) => Err(RedisStoreError::Evicts { policy }),
        None => Err(RedisStoreError::PolicyUnknown("the server does not name it".into())),
    }
}

/// The policy as `CONFIG` or `INFO` tells it. Managed servers often forbid the first and allow the second.
async fn policy(connection: &mut ConnectionManager) -> RedisResult<Option<String>> {
    let mut config = redis::cmd("CONFIG");
    let config: RedisResult<HashMap<String, String>> =
        config.arg("GET").arg("maxmemory-policy").query_async(connection).await;
    if let Ok(Some(policy)) = config.map(|mut config| config.remove("maxmemory-policy")) {
        return Ok(Some(policy));
    }
    let info: String = redis::cmd("INFO").arg("memory").query_async(connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
    Ok(line.map(|policy| policy.trim().to_owned()))
}

/// Why a Redis store could not be built. Never holds a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStoreError {
    /// The server may forget claims within their retention.
    #[error(
        "Redis evicts keys when its memory is full (`maxmemory-policy` is `{policy}`), and would let duplicates run \
         again: set `maxmemory-policy noeviction`, or use a server of its own for claims"
    )]
    Evicts {
        /// The server's setting.
        policy: String,
    },
    /// The server does not say whether it evicts keys.
    #[error(
        "Redis does not tell this user its `maxmemory-policy`: {}. Allow `CONFIG GET` or `INFO` (`ACL SETUSER … \
         +config|get +info`), or make sure that it is `noeviction` and build with `danger_unchecked_eviction()`",
        reason(.0.as_ref())
    )]
    PolicyUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Settings that are out of their range, at least one.
    #[error("the Redis store cannot be built: {}", Listed(.0))]
    Settings(Vec<RedisStoreMistake>),
    /// No connection, or the server refused it.
    #[error("Redis cannot be reached: {}", reason(.0.as_ref()))]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RedisStoreError {
    fn unreachable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable(error.into())
    }
}

/// A setting of a Redis store that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStoreMistake {
    /// Empty, too long, or with letters that may mean something to Redis.
    #[error("`prefix` is {given:?}; set it to 1 to 64 letters, digits, `.`, `_`, `-` and `:`, such as countersign")]
    Prefix {
        /// The setting.
        given: String,
    },
    /// Shorter than 10 ms, or so long that a sender would wait for its 503 for more than a second.
    #[error("`response_timeout` is {given:?}; set it to 10 to 900 ms, such as 500 ms")]
    ResponseTimeout {
        /// The setting.
        given: Duration,
    },
    /// Shorter than a millisecond, or longer than a year.
    #[error("`retention` is {given:?}; set it to a millisecond to a year, such as 80 hours")]
    Retention {
        /// The setting.
        given: Duration,
    },
    /// Not the URL of a Redis server, or one for TLS without a TLS feature of the crate `redis`. It is not repeated
    /// here, since it may hold a password.
    #[error(
        "the URL of Redis cannot be read; write redis://user:password@host:6379/0, and for rediss:// turn on \
         `tokio-rustls-comp` of the crate `redis`"
    )]
    Url,
}

impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("prefix", &self.prefix)
            .field("retention", &self.retention)
            .field("response_timeout", &self.response_timeout)
            .field("unchecked_eviction", &self.unchecked_eviction)
            .finish_non_exhaustive()
    }
}

const NO_EVICTION: &str = "noeviction";
const BUILD_LIMIT: Duration = Duration::from_secs(5);
/// How many calls may wait to be written. The crate's own 50 would make a burst wait for itself.
const PIPELINE: usize = 1024;
/// A round of attempts to reconnect takes less than a response may. The next call after it begins another.
const RECONNECTS: usize = 2;
const RECONNECT_MIN: Duration = Duration::from_millis(25);
const RECONNECT_MAX: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_mistake_is_reported_at_once_and_no_password_with_it() {
        let builder = RedisStore::builder("redis://user:hunter2@host:port/").prefix("{a}").retention(Duration::ZERO);
        let builder = builder.response_timeout(Duration::from_secs(1));
        assert!(!format!("{builder:?}").contains("hunter2"));
        let error = builder.build().await.expect_err("four mistakes");
        let RedisStoreError::Settings(mistakes) = &error else { unreachable!("{error}") };
        assert_eq!(mistakes.len(), 4);
        assert!(error.to_string().starts_with("the Redis store cannot be built: the URL of Redis cannot be read"));
        assert!(error.to_string().ends_with("`response_timeout` is 1s; set it to 10 to 900 ms, such as 500 ms"));
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
