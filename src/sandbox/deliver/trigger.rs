//! What makes deliveries: one event, many, or many at a rate.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::example;
use crate::ids::EventType;
use crate::sandbox::SandboxError;
use crate::sandbox::event_types::ALL;

/// An event to be delivered: once, several times, or at a rate.
///
/// ```
/// use countersign::sandbox::Trigger;
///
/// let once = Trigger::new("screening.completed");
/// let steady = Trigger::new("case.opened").data(serde_json::json!({ "id": "case_7" })).count(600).rate(10.0);
/// # let _ = (once, steady);
/// ```
#[derive(Clone, PartialEq)]
#[must_use = "give it to `Sandbox::trigger`"]
pub struct Trigger {
    event_type: String,
    data: Option<Value>,
    count: u64,
    rate: Option<f64>,
}

/// What a trigger came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Triggered {
    /// How many events there were.
    pub events: u64,
    /// How many deliveries they make: one for each subscription that matches, or one to the tenant's own URL where none
    /// does. An event that nobody wants makes none.
    pub deliveries: u64,
    /// The deliveries' ids in their order: the first [`Trigger::MAX_IDS`] of them.
    pub delivery_ids: Vec<String>,
}

impl Trigger {
    /// The most events of one trigger: 1,000,000.
    pub const MAX_COUNT: u64 = 1_000_000;
    /// The most deliveries of one trigger, and the most that may be unfinished at once: 2,000,000.
    pub const MAX_DELIVERIES: u64 = 2_000_000;
    /// How many delivery ids are told: 1,000.
    pub const MAX_IDS: usize = 1_000;
    /// The highest rate in events per second: 100,000.
    pub const MAX_RATE: f64 = 100_000.0;
    /// The longest payload in bytes: 1,048,576.
    pub const MAX_DATA: usize = 1024 * 1024;

    /// One event of this type with example data.
    ///
    /// The type may be one that the provider does not have, so that a receiver can be tested with it: 1 to 256 visible
    /// ASCII characters, and not `all`, which is a subscription to every type.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), data: None, count: 1, rate: None }
    }

    /// The same with this payload, the envelope's `data`.
    pub fn data(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The same, this many times; 1 to [`Trigger::MAX_COUNT`]. Each event is one of its own, with its own delivery ids.
    pub fn count(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// The same, this many times in a second instead of at once. The sandbox's speed multiplies it.
    pub fn rate(self, events_per_second: f64) -> Self {
        Self { rate: Some(events_per_second), ..self }
    }

    /// The request that this is, checked.
    pub(super) fn checked(&self, live: bool) -> Result<Checked, SandboxError> {
        let invalid = |text: String| Err(SandboxError::Invalid(text));
        if EventType::new(&self.event_type).is_err() || self.event_type == ALL {
            return invalid(
                "event_type must be 1 to 256 visible ASCII characters, without spaces, and not `all`".into(),
            );
        }
        if !(1..=Self::MAX_COUNT).contains(&self.count) {
            return invalid(format!("count must be from 1 to {}", Self::MAX_COUNT));
        }
        if self.rate.is_some_and(|rate| !(rate > 0.0 && rate <= Self::MAX_RATE)) {
            return invalid(format!("rate must be more than 0 and at most {} events a second", Self::MAX_RATE));
        }
        let data = match &self.data {
            Some(data) => data.to_string(),
            None => example::data(&self.event_type, live),
        };
        if data.len() > Self::MAX_DATA {
            return invalid(format!("data must be at most {} bytes", Self::MAX_DATA));
        }
        Ok(Checked { event_type: self.event_type.clone(), data, count: self.count, rate: self.rate })
    }
}

/// A trigger that can be done.
pub(super) struct Checked {
    pub(super) event_type: String,
    /// JSON.
    pub(super) data: String,
    pub(super) count: u64,
    pub(super) rate: Option<f64>,
}

/// Without the data.
impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger")
            .field("event_type", &self.event_type)
            .field("has_data", &self.data.is_some())
            .field("count", &self.count)
            .field("rate", &self.rate)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_refused_with_what_would_work() {
        let refused = |trigger: Trigger| trigger.checked(false).err().unwrap().to_string();
        for event_type in ["", "a b", "all", "\u{e9}", &"x".repeat(257)] {
            assert!(refused(Trigger::new(event_type)).starts_with("event_type must be"), "{event_type}");
        }
        for count in [0, Trigger::MAX_COUNT + 1] {
            assert_eq!(refused(Trigger::new("x").count(count)), "count must be from 1 to 1000000");
        }
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 100_001.0] {
            assert!(refused(Trigger::new("x").rate(rate)).starts_with("rate must be"), "{rate}");
        }
        let long = Value::String("x".repeat(Trigger::MAX_DATA));
        assert_eq!(refused(Trigger::new("x").data(long)), "data must be at most 1048576 bytes");
        let shown = format!("{:?}", Trigger::new("x").data(Value::from("planted")));
        assert!(shown.contains("has_data: true") && !shown.contains("planted"), "{shown}");
        assert!(Trigger::new("moon.rose").count(Trigger::MAX_COUNT).rate(0.001).checked(true).is_ok());
    }
}
