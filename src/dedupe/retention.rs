//! How long something done must be remembered.

use std::time::Duration;

/// Whether a store that remembers for `retention` outlasts the sender.
///
/// A delivery can arrive as late as the sender retries (`retry_horizon`), signed by a clock that is `tolerance` ahead,
/// and is accepted until `tolerance` after that. So `retention` must be longer than `retry_horizon + 2 × tolerance`;
/// otherwise the last retry of something done would run again.
///
/// # Errors
///
/// When it does not; the error names the setting and a value that would work.
pub fn check_retention(
    retention: Duration,
    retry_horizon: Duration,
    tolerance: Duration,
) -> Result<(), RetentionTooShort> {
    let exposed = retry_horizon.saturating_add(tolerance.saturating_mul(2));
    if retention > exposed {
        return Ok(());
    }
    Err(RetentionTooShort { retention, retry_horizon, tolerance })
}

/// A store forgets before the sender has stopped retrying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store's `retention` of {} s is too short: the sender retries for {} s and timestamps may be off by {} s either \
     way; set `retention` to at least {} s",
    retention.as_secs(), retry_horizon.as_secs(), tolerance.as_secs(), self.enough().as_secs()
)]
pub struct RetentionTooShort {
    retention: Duration,
    retry_horizon: Duration,
    tolerance: Duration,
}

impl RetentionTooShort {
    /// A retention that would work: the shortest in whole seconds.
    #[must_use]
    pub fn enough(&self) -> Duration {
        let exposed = self.retry_horizon.saturating_add(self.tolerance.saturating_mul(2));
        Duration::from_secs(exposed.as_secs().saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS_3: Duration = Duration::from_hours(72);
    const MINUTES_5: Duration = Duration::from_mins(5);

    #[test]
    fn retention_must_exceed_the_retries_and_both_sides_of_the_tolerance() {
        let exposed = DAYS_3 + 2 * MINUTES_5;
        assert!(check_retention(exposed, DAYS_3, MINUTES_5).is_err());
        assert!(check_retention(exposed + Duration::from_millis(1), DAYS_3, MINUTES_5).is_ok());
        assert!(check_retention(Duration::MAX, Duration::MAX, MINUTES_5).is_err());
        assert!(check_retention(Duration::from_hours(73), DAYS_3, MINUTES_5).is_ok());
    }

    #[test]
    fn the_error_names_the_setting_and_a_value_that_works() {
        let error = check_retention(Duration::from_hours(1), DAYS_3, MINUTES_5).expect_err("too short");
        assert_eq!(
            error.to_string(),
            "the store's `retention` of 3600 s is too short: the sender retries for 259200 s and timestamps may be off by \
             300 s either way; set `retention` to at least 259801 s"
        );
        assert!(check_retention(error.enough(), DAYS_3, MINUTES_5).is_ok());
    }
}
