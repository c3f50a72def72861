//! What was sent and done wrong on purpose: the newest attempts, in memory.

use std::collections::VecDeque;

use serde::Serialize;

use super::faults::Fault;

/// One request that was sent, or was to be. Not the provider's log, which knows nothing of faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// 1, 2, 3 … in the order in which they ended, since the sandbox was started.
    pub number: u64,
    /// The delivery's id, as the receiver sees it.
    pub delivery_id: String,
    /// The event's type.
    pub event_type: String,
    /// Where it was sent.
    pub webhook_url: String,
    /// Which attempt of the delivery it was, from 1.
    pub attempt: u32,
    /// Whether it was the second of a pair of duplicates.
    pub duplicate: bool,
    /// What was done wrong on purpose.
    pub faults: Vec<Fault>,
    /// What the receiver answered; `None` where there was no answer.
    pub status: Option<u16>,
    /// Why it failed; `None` when it did not.
    pub error: Option<String>,
}

/// The newest attempts.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    newest: VecDeque<Attempt>,
    count: u64,
}

impl Attempts {
    /// How many are kept.
    pub(super) const KEPT: usize = 10_000;

    pub(super) fn push(&mut self, mut attempt: Attempt) {
        if self.newest.len() == Self::KEPT {
            self.newest.pop_front();
        }
        self.count += 1;
        attempt.number = self.count;
        self.newest.push_back(attempt);
    }

    /// Those with a number above `after`, oldest first.
    pub(super) fn after(&self, after: u64) -> Vec<Attempt> {
        let skipped = self.newest.partition_point(|attempt| attempt.number <= after);
        self.newest.iter().skip(skipped).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_are_told_from_any_number_on() {
        let attempt = Attempt {
            number: 0,
            delivery_id: "msg_1".into(),
            event_type: "test".into(),
            webhook_url: "https://example.com/".into(),
            attempt: 1,
            duplicate: false,
            faults: Vec::new(),
            status: Some(200),
            error: None,
        };
        let mut attempts = Attempts::default();
        (0..Attempts::KEPT + 5).for_each(|_| attempts.push(attempt.clone()));
        let numbers = |after| attempts.after(after).iter().map(|attempt| attempt.number).collect::<Vec<_>>();
        assert_eq!(numbers(0).len(), Attempts::KEPT);
        assert_eq!(numbers(0)[0], 6);
        assert_eq!(numbers(10_003), [10_004, 10_005]);
        assert!(numbers(10_005).is_empty());
    }
}
