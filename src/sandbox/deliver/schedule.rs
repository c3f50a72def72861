//! When a delivery is tried again: one pure function.

use std::time::Duration;

use crate::sandbox::Assumptions;

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// It is tried again after this wait, before the sandbox's speed shortens it.
    Again(Duration),
    Delivered,
    GivenUp,
}

/// What comes after attempt `attempt` of at most `max_attempts` was answered with `status`, or not at all. `chance` is
/// a number from 0 to 1.
pub(super) fn next(
    attempt: u32,
    max_attempts: u32,
    status: Option<u16>,
    retry_after: Option<Duration>,
    assumptions: &Assumptions,
    chance: f64,
) -> Next {
    match status {
        Some(200..=299) => return Next::Delivered,
        Some(400..=499) if !assumptions.retry_client_errors => return Next::GivenUp,
        _ if attempt >= max_attempts => return Next::GivenUp,
        _ => {}
    }
    let doublings = attempt.saturating_sub(1).min(31);
    let longest = assumptions.backoff_base.saturating_mul(1 << doublings).min(assumptions.backoff_cap);
    let wait = if assumptions.backoff_jitter { longest.mul_f64(chance.clamp(0.0, 1.0)) } else { longest };
    let asked = retry_after.filter(|_| assumptions.honour_retry_after).unwrap_or_default();
    Next::Again(wait.max(asked.min(LONGEST_RETRY_AFTER)))
}

/// A receiver cannot put a delivery off for longer than a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_waits() {
        let base = Assumptions::default();
        let patient = Assumptions { max_attempts: 20, backoff_jitter: false, ..Assumptions::default() };
        let strict = Assumptions { retry_client_errors: false, ..Assumptions::default() };
        let deaf = Assumptions { honour_retry_after: false, ..Assumptions::default() };
        let after = |seconds| Some(Duration::from_secs(seconds));
        let again = |seconds| Next::Again(Duration::from_secs(seconds));
        type Row<'a> = (&'a str, &'a Assumptions, u32, Option<u16>, Option<Duration>, f64, Next);
        let table: &[Row<'_>] = &[
            ("delivered", &base, 1, Some(200), None, 0.5, Next::Delivered),
            ("any 2xx", &base, 3, Some(299), after(9), 0.5, Next::Delivered),
            ("a redirect is a failure", &base, 1, Some(302), None, 1.0, again(60)),
            ("an informational status too", &base, 1, Some(101), None, 1.0, again(60)),
            ("5xx", &base, 1, Some(500), None, 0.5, again(30)),
            ("no answer", &base, 1, None, None, 0.5, again(30)),
            ("the second wait is twice as long", &base, 2, Some(500), None, 0.5, again(60)),
            ("the last attempt", &base, 3, Some(500), None, 0.5, Next::GivenUp),
            ("the last attempt, no answer", &base, 3, None, after(5), 0.5, Next::GivenUp),
            ("4xx like 5xx", &base, 1, Some(404), None, 1.0, again(60)),
            ("410 is not special", &base, 1, Some(410), None, 1.0, again(60)),
            ("4xx at once for good", &strict, 1, Some(404), None, 1.0, Next::GivenUp),
            ("5xx is retried all the same", &strict, 1, Some(503), None, 1.0, again(60)),
            ("full jitter begins at zero", &base, 1, Some(500), None, 0.0, again(0)),
            ("Retry-After is a lower bound", &base, 1, Some(503), after(45), 0.5, again(45)),
            ("and no upper bound", &base, 1, Some(503), after(5), 0.5, again(30)),
            ("it may exceed the cap", &base, 1, Some(429), after(7200), 0.5, again(7200)),
            ("but not a day", &base, 1, Some(429), after(u64::MAX), 0.5, again(86_400)),
            ("unless it is not honoured", &deaf, 1, Some(503), after(45), 0.5, again(30)),
            ("without jitter", &patient, 3, Some(500), None, 0.1, again(240)),
            ("up to the cap", &patient, 7, Some(500), None, 0.1, again(3600)),
            ("however often", &patient, 19, Some(500), None, 0.1, again(3600)),
        ];
        for (what, assumptions, attempt, status, retry_after, chance, expected) in table {
            let found = next(*attempt, assumptions.max_attempts, *status, *retry_after, assumptions, *chance);
            assert_eq!(found, *expected, "{what}");
        }
    }
}
