//! What workers were told, and whether it can be done.

use std::time::Duration;

use crate::causes::Listed;
use crate::inbox::backoff::Backoff;

#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) concurrency: usize,
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) time_limit: Duration,
    pub(super) lease: Duration,
    pub(super) look_every: Duration,
    pub(super) prune_every: Duration,
    #[cfg(feature = "metrics")]
    pub(super) sample_every: Duration,
}

/// Why workers cannot be started: every mistake in their settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the workers cannot be started: {}", Listed(.mistakes))]
pub struct WorkersError {
    mistakes: Vec<WorkersMistake>,
}

/// A setting of workers that is out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkersMistake {
    /// None at once, or more than one claim can ask for.
    #[error("`concurrency` is {given}; set it to 1 to {MOST_AT_ONCE}, such as 16")]
    Concurrency {
        /// The setting.
        given: usize,
    },
    /// Shorter than a busy machine can renew it in time, or so long that what a process leaves behind is forgotten.
    #[error("`lease` is {given:?}; set it to {SHORTEST_LEASE:?} to a day, such as 30 s")]
    Lease {
        /// The setting.
        given: Duration,
    },
    /// No pause: the store would be asked all the time.
    #[error("`look_every` is {given:?}; set it to {SHORTEST_PAUSE:?} or more, such as 1 s")]
    LookEvery {
        /// The setting.
        given: Duration,
    },
    /// Everything would be dead before it was tried.
    #[error("`max_attempts` is 0; set it to 1 or more, such as 20")]
    MaxAttempts,
    /// No pause: the store would be asked all the time.
    #[error("`prune_every` is {given:?}; set it to {SHORTEST_PAUSE:?} or more, such as 60 s")]
    PruneEvery {
        /// The setting.
        given: Duration,
    },
    /// It reads an index from end to end each time.
    #[error("`sample_every` is {given:?}; set it to {SHORTEST_PAUSE:?} or more, such as 15 s")]
    SampleEvery {
        /// The setting.
        given: Duration,
    },
    /// Every attempt would be too slow.
    #[error("`time_limit` is zero, so no handler could come to its end; set it to 5 minutes, for example")]
    TimeLimit,
}

/// What one claim can ask for is a list of that many tokens.
const MOST_AT_ONCE: usize = 1 << 16;
const SHORTEST_LEASE: Duration = Duration::from_millis(30);
const LONGEST_LEASE: Duration = Duration::from_hours(24);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

impl WorkersError {
    /// Each mistake, in the order of the builder's methods.
    #[must_use]
    pub fn mistakes(&self) -> &[WorkersMistake] {
        &self.mistakes
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), WorkersError> {
        let &Self { concurrency, max_attempts, time_limit, lease, look_every, prune_every, .. } = self;
        let found = [
            (!(1..=MOST_AT_ONCE).contains(&concurrency)).then_some(WorkersMistake::Concurrency { given: concurrency }),
            (max_attempts == 0).then_some(WorkersMistake::MaxAttempts),
            time_limit.is_zero().then_some(WorkersMistake::TimeLimit),
            (!(SHORTEST_LEASE..=LONGEST_LEASE).contains(&lease)).then_some(WorkersMistake::Lease { given: lease }),
            (look_every < SHORTEST_PAUSE).then_some(WorkersMistake::LookEvery { given: look_every }),
            (prune_every < SHORTEST_PAUSE).then_some(WorkersMistake::PruneEvery { given: prune_every }),
            self.sampling(),
        ];
        let mistakes: Vec<_> = found.into_iter().flatten().collect();
        if mistakes.is_empty() { Ok(()) } else { Err(WorkersError { mistakes }) }
    }

    #[cfg(feature = "metrics")]
    fn sampling(&self) -> Option<WorkersMistake> {
        let given = self.sample_every;
        (given < SHORTEST_PAUSE).then_some(WorkersMistake::SampleEvery { given })
    }

    #[cfg(not(feature = "metrics"))]
    #[allow(clippy::unused_self, reason = "with metrics there is something to look at")]
    fn sampling(&self) -> Option<WorkersMistake> {
        None
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 16,
            max_attempts: 20,
            backoff: Backoff::default(),
            time_limit: Duration::from_mins(5),
            lease: Duration::from_secs(30),
            look_every: Duration::from_secs(1),
            prune_every: Duration::from_mins(1),
            #[cfg(feature = "metrics")]
            sample_every: Duration::from_secs(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_unless_told_otherwise_is_no_mistake() {
        assert_eq!(Settings::default().check(), Ok(()));
    }
}
