//! Faults on demand: what goes wrong with which delivery, told by a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sandbox::SandboxError;

/// Something that goes wrong with a delivery.
///
/// What a countersign receiver does about each stands in the crate's table of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// A byte of the body is another one than was signed.
    AlteredBody,
    /// It is sent later than it is due, by [`Faults::delay_ms`].
    Delay,
    /// One of the headers that the scheme reads stands there twice.
    DoubledHeader,
    /// The receiver works and answers, but its answer is lost: the attempt counts as failed, and a retry follows.
    DropAnswer,
    /// The very same request is sent again once the first one is answered.
    Duplicate,
    /// The very same request is sent twice at the same moment.
    DuplicateAtOnce,
    /// Signed with a time that lies ahead, by [`Faults::skew_ms`]. Nothing where the scheme has no time.
    FutureTimestamp,
    /// It is held back until up to three later ones to the same receiver have been sent, or until
    /// [`Faults::reorder_ms`] have passed.
    Reorder,
    /// The body is sent a few bytes at a time, all of it within [`Faults::slow_ms`].
    SlowBody,
    /// Signed with a time that has passed, by [`Faults::skew_ms`]. Nothing where the scheme has no time.
    StaleTimestamp,
    /// One of the headers that the scheme needs is missing.
    StrippedHeader,
    /// The connection is closed before the body is whole.
    TruncatedBody,
    /// Signed with a secret that nobody has.
    WrongKey,
}

/// Which deliveries a fault hits, counted from the moment at which the faults were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Strike {
    /// How many of the deliveries that come next.
    pub next: u64,
    /// Of all further ones, how probable it is: 0 to 1.
    pub probability: f64,
}

impl Strike {
    /// The next `count` deliveries.
    pub const fn next(count: u64) -> Self {
        Self { next: count, probability: 0.0 }
    }

    /// Each delivery with this probability, 0 to 1.
    pub const fn probability(probability: f64) -> Self {
        Self { next: 0, probability }
    }

    /// Every delivery.
    pub const fn always() -> Self {
        Self::probability(1.0)
    }
}

/// What goes wrong from now on.
///
/// Hits deliveries that are triggered after it was set. Which of them, and how, follows from the seed and from the
/// delivery's place among those, and from nothing else: the same seed and the same triggers give the same faults on
/// the same deliveries. Several faults may hit one delivery. The test endpoint's delivery is never hit.
///
/// ```
/// use countersign::sandbox::{Fault, Faults, Strike};
///
/// let faults = Faults::seeded(7)
///     .with(Fault::WrongKey, Strike::next(1))
///     .with(Fault::Duplicate, Strike::probability(0.1));
/// # let _ = faults;
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[must_use = "give it to `Sandbox::set_faults`"]
pub struct Faults {
    /// What chance is made of.
    pub seed: u64,
    /// Which faults hit which deliveries.
    pub strikes: BTreeMap<Fault, Strike>,
    /// Whether every attempt of a delivery is hit, and not its first one alone, after which the genuine retry follows.
    pub every_attempt: bool,
    /// By how much a delayed delivery is late, in milliseconds; 1,000 unless set. The sandbox's speed divides it.
    pub delay_ms: u64,
    /// For how long a delivery waits at most to be overtaken, in milliseconds; 1,000 unless set. The sandbox's speed
    /// divides it.
    pub reorder_ms: u64,
    /// How far a stale or future time is off, in milliseconds; 600,000 (ten minutes) unless set.
    pub skew_ms: u64,
    /// How long a slow body takes, in milliseconds; 3,000 unless set. The speed does not change it.
    pub slow_ms: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 0,
            strikes: BTreeMap::new(),
            every_attempt: false,
            delay_ms: 1_000,
            reorder_ms: 1_000,
            skew_ms: 600_000,
            slow_ms: 3_000,
        }
    }
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Nothing yet; chance is made of `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The same with `fault` for the deliveries of `strike`.
    pub fn with(mut self, fault: Fault, strike: Strike) -> Self {
        self.strikes.insert(fault, strike);
        self
    }

    /// The same for every attempt of a delivery that is hit.
    pub fn every_attempt(self) -> Self {
        Self { every_attempt: true, ..self }
    }

    /// The same with another lateness of delayed deliveries.
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay_ms: millis(delay), ..self }
    }

    /// The same with another longest wait to be overtaken.
    pub fn reorder(self, wait: Duration) -> Self {
        Self { reorder_ms: millis(wait), ..self }
    }

    /// The same with stale and future times that are off by this much.
    pub fn skew(self, skew: Duration) -> Self {
        Self { skew_ms: millis(skew), ..self }
    }

    /// The same with slow bodies that take this long.
    pub fn slow(self, slow: Duration) -> Self {
        Self { slow_ms: millis(slow), ..self }
    }

    /// Whether the values make sense.
    pub(super) fn check(&self) -> Result<(), SandboxError> {
        let wrong = self.strikes.iter().find(|(_, strike)| !(0.0..=1.0).contains(&strike.probability));
        if let Some((fault, _)) = wrong {
            return Err(SandboxError::Invalid(format!("strikes.{}.probability must be from 0 to 1", fault.as_str())));
        }
        let times = [
            ("delay_ms", self.delay_ms),
            ("reorder_ms", self.reorder_ms),
            ("skew_ms", self.skew_ms),
            ("slow_ms", self.slow_ms),
        ];
        match times.iter().find(|(_, millis)| *millis > MAX_MILLIS) {
            Some((setting, _)) => Err(SandboxError::Invalid(format!("{setting} must be at most {MAX_MILLIS}"))),
            None => Ok(()),
        }
    }

    /// What hits the delivery that is the `ordinal`th, from 0, since these faults were set.
    pub(super) fn plan(&self, ordinal: u64, first_attempt: bool) -> Plan {
        let mut faults = Vec::new();
        if first_attempt || self.every_attempt {
            for (fault, strike) in &self.strikes {
                // A stream of its own for each fault, so that turning one on moves none of the others.
                let mut chance = fastrand::Rng::with_seed(mix(self.seed, ordinal, *fault as u64 + 1));
                if ordinal < strike.next || chance.f64() < strike.probability {
                    faults.push(*fault);
                }
            }
        }
        Plan { faults, chance: mix(self.seed, ordinal, 0), times: self.times() }
    }

    fn times(&self) -> Times {
        Times {
            delay: Duration::from_millis(self.delay_ms),
            reorder: Duration::from_millis(self.reorder_ms),
            skew: Duration::from_millis(self.skew_ms),
            slow: Duration::from_millis(self.slow_ms),
        }
    }
}

impl Fault {
    /// Its name as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AlteredBody => "altered_body",
            Self::Delay => "delay",
            Self::DoubledHeader => "doubled_header",
            Self::DropAnswer => "drop_answer",
            Self::Duplicate => "duplicate",
            Self::DuplicateAtOnce => "duplicate_at_once",
            Self::FutureTimestamp => "future_timestamp",
            Self::Reorder => "reorder",
            Self::SlowBody => "slow_body",
            Self::StaleTimestamp => "stale_timestamp",
            Self::StrippedHeader => "stripped_header",
            Self::TruncatedBody => "truncated_body",
            Self::WrongKey => "wrong_key",
        }
    }

    /// Every fault there is.
    pub const ALL: [Self; 13] = [
        Self::AlteredBody,
        Self::Delay,
        Self::DoubledHeader,
        Self::DropAnswer,
        Self::Duplicate,
        Self::DuplicateAtOnce,
        Self::FutureTimestamp,
        Self::Reorder,
        Self::SlowBody,
        Self::StaleTimestamp,
        Self::StrippedHeader,
        Self::TruncatedBody,
        Self::WrongKey,
    ];
}

/// What goes wrong with one attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) faults: Vec<Fault>,
    /// The seed of how it goes wrong.
    chance: u64,
    pub(super) times: Times,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) delay: Duration,
    pub(super) reorder: Duration,
    pub(super) skew: Duration,
    pub(super) slow: Duration,
}

impl Plan {
    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Chance for how `fault` goes: the same for every attempt of the delivery.
    pub(super) fn chance(&self, fault: Fault) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(self.chance, 0, fault as u64 + 1))
    }
}

const MAX_MILLIS: u64 = 60 * 60 * 1000;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// One number of three, spread over all bits (the finalizer of SplitMix64).
pub(super) fn mix(seed: u64, ordinal: u64, stream: u64) -> u64 {
    [ordinal, stream].into_iter().fold(seed, |state, next| {
        let mut mixed = state ^ next.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(faults: &Faults, fault: Fault) -> Vec<u64> {
        (0..1000).filter(|ordinal| faults.plan(*ordinal, true).has(fault)).collect()
    }

    #[test]
    fn the_same_seed_hits_the_same_deliveries_whatever_else_is_on() {
        let one = Faults::seeded(7).with(Fault::WrongKey, Strike::probability(0.2));
        let more = one.clone().with(Fault::Delay, Strike::probability(0.5)).with(Fault::Duplicate, Strike::next(3));
        let expected = hits(&one, Fault::WrongKey);
        assert!((150..250).contains(&expected.len()), "{}", expected.len());
        assert_eq!(hits(&more, Fault::WrongKey), expected);
        assert_eq!(hits(&more, Fault::Duplicate), [0, 1, 2]);
        let other = Faults { seed: 8, ..one.clone() };
        assert_ne!(hits(&other, Fault::WrongKey), expected);
        assert_ne!(hits(&more, Fault::Delay), hits(&more, Fault::WrongKey));
        let chance = |ordinal| one.plan(ordinal, true).chance(Fault::WrongKey).u64(..);
        assert_eq!(chance(3), chance(3));
        assert_ne!(chance(3), chance(4));
    }

    #[test]
    fn the_retry_is_genuine_unless_every_attempt_is_hit() {
        let faults = Faults::seeded(7).with(Fault::WrongKey, Strike::always());
        assert_eq!(faults.plan(0, true).faults, [Fault::WrongKey]);
        assert_eq!(faults.plan(0, false).faults, []);
        assert_eq!(faults.every_attempt().plan(0, false).faults, [Fault::WrongKey]);
    }

    #[test]
    fn the_json_form_is_short_and_its_names_are_the_faults_own() {
        let faults: Faults =
            serde_json::from_str(r#"{"seed":7,"strikes":{"wrong_key":{"next":2},"delay":{"probability":0.5}}}"#)
                .unwrap();
        let expected = Faults::seeded(7).with(Fault::WrongKey, Strike::next(2));
        assert_eq!(faults, expected.with(Fault::Delay, Strike::probability(0.5)));
        assert!(serde_json::from_str::<Faults>(r#"{"wrong_key":1}"#).is_err());
        for fault in Fault::ALL {
            assert_eq!(serde_json::to_value(fault).unwrap(), fault.as_str());
        }
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let refused = |faults: Faults| faults.check().unwrap_err().to_string();
        for probability in [-0.1, 1.1, f64::NAN] {
            let faults = Faults::none().with(Fault::Delay, Strike::probability(probability));
            assert_eq!(refused(faults), "strikes.delay.probability must be from 0 to 1");
        }
        assert_eq!(refused(Faults::none().slow(Duration::MAX)), "slow_ms must be at most 3600000");
    }
}
