//! How long to wait before another try.

use std::time::Duration;

/// The pauses between the attempts of one delivery: twice as long each time, with jitter, within two bounds.
///
/// The pause after attempt *n* is drawn evenly from between half and the whole of `shortest` × 2ⁿ, and never more than
/// `longest` nor less than `shortest`. So the first try again comes after 1 to 2 s, the second after 2 to 4 s, and from
/// the twelfth on they come every 30 to 60 minutes, unless set otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The shortest pause; 1 s unless set.
    pub shortest: Duration,
    /// The longest pause; 1 h unless set.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { shortest: Duration::from_secs(1), longest: Duration::from_hours(1) }
    }
}

impl Backoff {
    /// The pause after attempt `attempt` (from 1). `chance` says where within its bounds: 0 is the lower one, and all
    /// of `u32` the upper.
    #[must_use]
    pub fn pause(&self, attempt: u32, chance: u32) -> Duration {
        let doubled = 2_u32.checked_pow(attempt).and_then(|factor| self.shortest.checked_mul(factor));
        let upper = doubled.map_or(self.longest, |upper| upper.min(self.longest));
        let lower = (upper / 2).max(self.shortest).min(upper);
        lower + (upper - lower).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    /// The same with a chance that nobody can foresee, so that what failed together does not come back together.
    pub(crate) fn draw(&self, attempt: u32) -> Duration {
        let mut chance = [0; 4];
        // A system without randomness has no jitter: the middle.
        let chance = getrandom::fill(&mut chance).map_or(u32::MAX / 2, |()| u32::from_le_bytes(chance));
        self.pause(attempt, chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_from_a_second_to_an_hour() {
        let backoff = Backoff::default();
        let table = [
            (1, 1_000, 2_000),
            (2, 2_000, 4_000),
            (3, 4_000, 8_000),
            (4, 8_000, 16_000),
            (8, 128_000, 256_000),
            (11, 1_024_000, 2_048_000),
            (12, 1_800_000, 3_600_000),
            (13, 1_800_000, 3_600_000),
            (31, 1_800_000, 3_600_000),
            (32, 1_800_000, 3_600_000),
            (u32::MAX, 1_800_000, 3_600_000),
        ];
        for (attempt, lower, upper) in table {
            assert_eq!(backoff.pause(attempt, 0), Duration::from_millis(lower), "attempt {attempt}");
            assert_eq!(backoff.pause(attempt, u32::MAX), Duration::from_millis(upper), "attempt {attempt}");
            let middle = backoff.pause(attempt, u32::MAX / 2).as_millis() as u64;
            assert!(middle.abs_diff((lower + upper) / 2) <= 1, "attempt {attempt}: {middle}");
        }
    }

    #[test]
    fn odd_bounds_hold_still() {
        let pause = |shortest, longest| {
            let backoff = Backoff { shortest: Duration::from_secs(shortest), longest: Duration::from_secs(longest) };
            (backoff.pause(1, 0).as_secs(), backoff.pause(40, u32::MAX).as_secs())
        };
        assert_eq!(pause(5, 5), (5, 5));
        assert_eq!(pause(5, 1), (1, 1), "`longest` wins");
        assert_eq!(pause(0, 0), (0, 0));
    }

    #[test]
    fn drawn_pauses_differ_and_stay_within_their_bounds() {
        let drawn: Vec<_> = (0..64).map(|_| Backoff::default().draw(4)).collect();
        assert!(drawn.iter().all(|pause| (8..=16).contains(&pause.as_secs())), "{drawn:?}");
        assert!(drawn.iter().any(|pause| *pause != drawn[0]));
    }
}
