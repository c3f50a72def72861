//! Whether to ask again, and when: one pure function.

use std::time::Duration;

/// How often and how soon a call is tried again.
///
/// Tried again are answers 429 and 5xx, time-outs, and connections that fail or are lost; no other answer is. The wait
/// before try n + 1 is drawn evenly between nothing and `base × 2ⁿ⁻¹`, at most `cap` ("full jitter"), so that clients
/// that failed together do not come back together. Where the answer says `Retry-After`, that is waited for first.
///
/// The provider publishes neither limits nor advice: these defaults are an assumption.
///
/// ```
/// # use std::time::Duration;
/// use countersign::kycgenie::client::RetryPolicy;
///
/// let patient = RetryPolicy { max_attempts: 8, ..RetryPolicy::default() };
/// let never = RetryPolicy::none();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a call is tried in all, the first time included; 4 unless told.
    pub max_attempts: u32,
    /// The longest wait after the first failure; half a second unless told.
    pub base: Duration,
    /// The longest wait after any failure, `Retry-After` apart; 20 seconds unless told.
    pub cap: Duration,
}

impl RetryPolicy {
    /// Each call is tried once.
    #[must_use]
    pub fn none() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 4, base: Duration::from_millis(500), cap: Duration::from_secs(20) }
    }
}

/// How one attempt failed, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was an answer, and it was not a success.
    Answer { status: u16, retry_after: Option<Duration> },
    /// There was no connection, or it ended before the answer did.
    Connection,
    /// There was no whole answer in time.
    TimedOut,
    /// There was an answer that cannot be used. What was asked for may have been done.
    Unusable,
}

/// Why a call is not tried again, though its failure was of a kind that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GiveUp {
    /// As many times as it may be.
    Attempts,
    /// The deadline comes first.
    Deadline,
    /// The failure is not of a kind that another attempt mends.
    Final,
    /// The provider asks to wait for longer than the deadline leaves.
    RetryAfter(Duration),
}

/// How long to wait after `failure` of attempt number `attempt` (from 1), `elapsed` after the call began, all of which
/// ends at `deadline`. `random` is in `0.0..1.0`.
pub(super) fn decide(
    policy: &RetryPolicy,
    deadline: Duration,
    failure: Failure,
    attempt: u32,
    elapsed: Duration,
    random: f64,
) -> Result<Duration, GiveUp> {
    let asked = match failure {
        Failure::Answer { status: 429 | 500..=599, retry_after } => retry_after,
        Failure::Connection | Failure::TimedOut => None,
        Failure::Answer { .. } | Failure::Unusable => return Err(GiveUp::Final),
    };
    if attempt >= policy.max_attempts {
        return Err(GiveUp::Attempts);
    }
    let left = deadline.saturating_sub(elapsed);
    let (floor, ceiling) = match asked {
        Some(asked) if asked >= left => return Err(GiveUp::RetryAfter(asked)),
        // Everybody was told the same moment: not everybody comes back in it.
        Some(asked) => (asked, policy.base.min(policy.cap)),
        None => (Duration::ZERO, ceiling(policy, attempt)),
    };
    let delay = floor.saturating_add(ceiling.mul_f64(random.clamp(0.0, 1.0)));
    if delay >= left { Err(GiveUp::Deadline) } else { Ok(delay) }
}

fn ceiling(policy: &RetryPolicy, attempt: u32) -> Duration {
    let factor = 2_u32.checked_pow(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    policy.base.saturating_mul(factor).min(policy.cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { max_attempts: 4, base: Duration::from_millis(500), cap: Duration::from_millis(1500) };
    const DEADLINE: Duration = Duration::from_secs(60);

    fn answer(status: u16) -> Failure {
        Failure::Answer { status, retry_after: None }
    }

    /// The longest wait in milliseconds after attempts 1, 2, 3 and 4; none where there is no other attempt.
    fn ceilings(failure: Failure) -> [Result<u128, GiveUp>; 4] {
        [1, 2, 3, 4].map(|attempt| {
            decide(&POLICY, DEADLINE, failure, attempt, Duration::ZERO, 1.0).map(|delay| delay.as_millis())
        })
    }

    #[test]
    fn the_schedule_is_a_table_over_failures_and_attempts() {
        let again = [Ok(500), Ok(1000), Ok(1500), Err(GiveUp::Attempts)];
        let never = [Err(GiveUp::Final); 4];
        for (failure, expected) in [
            (answer(301), never),
            (answer(307), never),
            (answer(400), never),
            (answer(401), never),
            (answer(402), never),
            (answer(403), never),
            (answer(404), never),
            (answer(405), never),
            (answer(408), never),
            (answer(409), never),
            (answer(410), never),
            (answer(412), never),
            (answer(422), never),
            (answer(425), never),
            (answer(428), never),
            (answer(429), again),
            (answer(431), never),
            (answer(499), never),
            (answer(500), again),
            (answer(501), again),
            (answer(502), again),
            (answer(503), again),
            (answer(504), again),
            (answer(599), again),
            (Failure::Connection, again),
            (Failure::TimedOut, again),
            (Failure::Unusable, never),
        ] {
            assert_eq!(ceilings(failure), expected, "{failure:?}");
        }
    }

    #[test]
    fn jitter_is_full() {
        let delay = |random| decide(&POLICY, DEADLINE, answer(503), 2, Duration::ZERO, random).unwrap().as_millis();
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(delay), [0, 250, 500, 1000]);
        assert_eq!(delay(7.0), 1000);
    }

    #[test]
    fn the_wait_never_overflows() {
        let policy = RetryPolicy { max_attempts: u32::MAX, base: Duration::MAX, cap: Duration::from_secs(1) };
        let delay = decide(&policy, DEADLINE, answer(500), u32::MAX - 1, Duration::ZERO, 1.0);
        assert_eq!(delay, Ok(Duration::from_secs(1)));
    }

    #[test]
    fn retry_after_is_waited_for_first_and_bounded_by_the_deadline() {
        let asked = |secs, status| Failure::Answer { status, retry_after: Some(Duration::from_secs(secs)) };
        let at = |failure, elapsed, random| decide(&POLICY, DEADLINE, failure, 1, Duration::from_secs(elapsed), random);
        assert_eq!(at(asked(7, 429), 0, 0.0), Ok(Duration::from_secs(7)));
        assert_eq!(at(asked(7, 503), 0, 1.0), Ok(Duration::from_millis(7_500)));
        assert_eq!(at(asked(0, 500), 0, 0.0), Ok(Duration::ZERO));
        assert_eq!(at(asked(3600, 429), 0, 0.0), Err(GiveUp::RetryAfter(Duration::from_secs(3600))));
        assert_eq!(at(asked(7, 429), 53, 0.0), Err(GiveUp::RetryAfter(Duration::from_secs(7))));
        assert_eq!(at(asked(7, 404), 0, 0.0), Err(GiveUp::Final));
    }

    #[test]
    fn nothing_is_begun_behind_the_deadline() {
        let at = |millis| decide(&POLICY, DEADLINE, Failure::TimedOut, 1, Duration::from_millis(millis), 1.0);
        assert_eq!(at(59_499), Ok(Duration::from_millis(500)));
        assert_eq!(at(59_500), Err(GiveUp::Deadline));
        assert_eq!(at(90_000), Err(GiveUp::Deadline));
    }
}
