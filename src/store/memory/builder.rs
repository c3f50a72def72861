//! Putting a memory store together.

use std::fmt;
use std::time::Duration;

use super::MemoryStore;
use crate::causes::Listed;

/// What a memory store does when it holds as many keys as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// Forgets the key that has been remembered for longest, though its sender may still retry it: that retry would
    /// run again. Counted ([`MemoryStore::forgotten`]) and warned about.
    ///
    /// A claim in flight is never forgotten: there may be `capacity` of them besides what is finished, and no more.
    ForgetOldest,
    /// Refuses further claims ([`StoreError::Full`](crate::StoreError::Full), which is answered 503) until keys have
    /// outlived the retention. Nothing is ever forgotten early.
    #[default]
    Refuse,
}

/// Builds a [`MemoryStore`]. What to decide, in this order: how many keys, for how long, and what if there are more.
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct MemoryStoreBuilder {
    pub(super) capacity: usize,
    pub(super) retention: Duration,
    pub(super) when_full: WhenFull,
}

impl MemoryStoreBuilder {
    /// How many keys there is room for, finished and in flight together: 1 to 2³⁰; one million unless told.
    ///
    /// It takes the deliveries that can come in during one retention. Reckon with 360 bytes a key, 32 of them
    /// before the first one comes in.
    pub fn capacity(self, keys: usize) -> Self {
        Self { capacity: keys, ..self }
    }

    /// For how long something done is remembered: a millisecond to a year; 80 hours unless told. That outlasts every
    /// preset: the longest retry horizon is the 76 hours of Standard Webhooks, and five minutes of tolerance count twice.
    pub fn retention(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    /// What happens when there are more keys than `capacity`; [`WhenFull::Refuse`] unless told.
    pub fn when_full(self, when_full: WhenFull) -> Self {
        Self { when_full, ..self }
    }

    /// Builds the store.
    ///
    /// # Errors
    ///
    /// When a setting is out of its range; all such mistakes are reported at once.
    pub fn build(self) -> Result<MemoryStore, MemoryStoreError> {
        let mut mistakes = Vec::new();
        if !(1..=MAX_CAPACITY).contains(&self.capacity) {
            mistakes.push(MemoryStoreMistake::Capacity { given: self.capacity });
        }
        if !(MIN_RETENTION..=MAX_RETENTION).contains(&self.retention) {
            mistakes.push(MemoryStoreMistake::Retention { given: self.retention });
        }
        if mistakes.is_empty() { Ok(MemoryStore::new(self)) } else { Err(MemoryStoreError { mistakes }) }
    }
}

impl Default for MemoryStoreBuilder {
    fn default() -> Self {
        Self { capacity: 1_000_000, retention: Duration::from_hours(80), when_full: WhenFull::default() }
    }
}

/// Why a memory store could not be built: every mistake in its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStoreError {
    mistakes: Vec<MemoryStoreMistake>,
}

impl MemoryStoreError {
    /// The mistakes, at least one.
    #[must_use]
    pub fn mistakes(&self) -> &[MemoryStoreMistake] {
        &self.mistakes
    }
}

impl fmt::Display for MemoryStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the memory store cannot be built: {}", Listed(&self.mistakes))
    }
}

impl std::error::Error for MemoryStoreError {}

/// A setting of a memory store that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryStoreMistake {
    /// No keys, or more than can be counted.
    #[error("`capacity` is {given} keys; set it to 1 to {MAX_CAPACITY}, such as 1000000")]
    Capacity {
        /// The setting.
        given: usize,
    },
    /// Shorter than a millisecond, or longer than a year.
    #[error("`retention` is {given:?}; set it to a millisecond to a year, such as 80 hours")]
    Retention {
        /// The setting.
        given: Duration,
    },
}

// The tally keeps two 32-bit numbers; a quarter of that leaves no sum of them near its end.
const MAX_CAPACITY: usize = 1 << 30;
const MIN_RETENTION: Duration = Duration::from_millis(1);
const MAX_RETENTION: Duration = Duration::from_hours(24 * 366);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once_with_a_value_that_works() {
        let error = MemoryStore::builder().capacity(0).retention(Duration::ZERO).build().expect_err("two mistakes");
        assert_eq!(error.mistakes().len(), 2);
        assert_eq!(
            error.to_string(),
            "the memory store cannot be built: `capacity` is 0 keys; set it to 1 to 1073741824, such as 1000000; \
             `retention` is 0ns; set it to a millisecond to a year, such as 80 hours"
        );
    }

    #[test]
    fn the_defaults_are_a_million_keys_for_80_hours_and_nothing_forgotten() {
        let builder = MemoryStore::builder();
        assert_eq!(builder.capacity, 1_000_000);
        assert_eq!(builder.retention, Duration::from_hours(80));
        assert_eq!(builder.when_full, WhenFull::Refuse);
        assert!(builder.capacity(1).build().is_ok());
    }
}
