//! A secret with a name and a window of time.

use super::secret::Secret;
use crate::ids::KeyId;
use crate::time::Timestamp;

/// A secret with the operator's name for it and the window in which it counts.
///
/// Without a window it always counts. `Debug` shows the name and the window, never the secret.
#[derive(Clone, Debug)]
#[must_use]
pub struct Key {
    pub(super) info: KeyInfo,
    pub(super) secret: Secret,
}

impl Key {
    /// A key that always counts.
    pub fn new(id: KeyId, secret: Secret) -> Self {
        Self { info: KeyInfo::unbounded(id), secret }
    }

    /// Counts from `begin` on, that moment included.
    pub fn not_before(mut self, begin: Timestamp) -> Self {
        self.info.not_before = Some(begin);
        self
    }

    /// Counts until `end`, that moment excluded.
    pub fn not_after(mut self, end: Timestamp) -> Self {
        self.info.not_after = Some(end);
        self
    }
}

/// What an operator may see of a key: its name and its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    pub(super) id: KeyId,
    pub(super) not_before: Option<Timestamp>,
    pub(super) not_after: Option<Timestamp>,
}

impl KeyInfo {
    /// The operator's name for the key.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The first moment at which the key counts; `None` when it always has.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// The first moment at which the key no longer counts; `None` when it has no end.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.not_after
    }

    /// Whether the key counts at `now`: `not_before <= now < not_after`.
    #[must_use]
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|begin| begin <= now) && !self.has_ended(now)
    }

    /// A key that always counts.
    pub(super) fn unbounded(id: KeyId) -> Self {
        Self { id, not_before: None, not_after: None }
    }

    /// Whether the key never counts again from `now` on.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|end| end <= now)
    }

    /// Whether there is no moment at which the key counts.
    pub(super) fn is_never_active(&self) -> bool {
        matches!((self.not_before, self.not_after), (Some(begin), Some(end)) if end <= begin)
    }

    /// Ends the key at `end` unless it ends earlier.
    pub(super) fn end_by(&mut self, end: Timestamp) {
        self.not_after = Some(self.not_after.map_or(end, |own| own.min(end)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_includes_its_begin_and_excludes_its_end() {
        let key = |begin, end| KeyInfo { id: KeyId::new("k").unwrap(), not_before: begin, not_after: end };
        let at = Timestamp::from_millis;
        let bounded = key(Some(at(10)), Some(at(20)));
        let active = |info: &KeyInfo| [9, 10, 19, 20].map(|now| info.is_active(at(now)));

        assert_eq!(active(&bounded), [false, true, true, false]);
        assert_eq!(active(&key(None, Some(at(20)))), [true, true, true, false]);
        assert_eq!(active(&key(Some(at(10)), None)), [false, true, true, true]);
        assert_eq!(active(&key(None, None)), [true; 4]);
        assert!(key(None, None).is_active(Timestamp::MAX));
        assert!(!key(None, Some(Timestamp::MAX)).is_active(Timestamp::MAX));
        assert!(key(Some(at(10)), Some(at(10))).is_never_active());
        assert!(!bounded.is_never_active());
    }

    #[test]
    fn debug_shows_the_name_and_not_the_secret() {
        let key = Key::new(KeyId::new("2026-11").unwrap(), Secret::new("planted").unwrap()).not_after(Timestamp::MAX);
        let shown = format!("{key:?} {key:#?}");
        assert!(shown.contains("2026-11") && !shown.contains("planted"), "{shown}");
    }
}
