//! HMAC-SHA256, SHA-256 and constant-time comparison: the only module that names the crates for them.
//!
//! Two rules keep comparison safe here. A tag is always all [`MAC_LEN`] bytes, so there is no shorter input at which a
//! comparison could stop; and whether two tags are equal leaves this module only as a [`Choice`] that was folded over
//! every candidate.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The length of an HMAC-SHA256 tag in bytes (RFC 4868, section 2.6: untruncated).
pub(crate) const MAC_LEN: usize = 32;

/// The bytes of a whole tag.
pub(crate) type Tag = [u8; MAC_LEN];

/// A key whose two hash states are computed already: starting a MAC is a copy of 2 × 32 bytes of state.
///
/// Wiped on drop, as is every state that is started from it.
#[derive(Clone)]
pub(crate) struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// Prepares `key`. `None` when it is empty: a MAC under no key proves nothing.
    pub(crate) fn new(key: &[u8]) -> Option<Self> {
        if key.is_empty() {
            return None;
        }
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// A key that nobody has, for work that must cost the same as real work and never succeed.
    pub(crate) fn unknowable() -> Self {
        let mut bytes = [0_u8; MAC_LEN];
        // A system without randomness gives a fixed key here, which is why a decoy's match is never accepted.
        let _ = getrandom::fill(&mut bytes);
        Self(Hmac::new_from_slice(&bytes).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length")))
    }

    /// Starts a MAC under this key.
    pub(crate) fn start(&self) -> RunningMac {
        RunningMac(self.0.clone())
    }
}

/// A MAC that is being fed.
#[derive(Clone)]
pub(crate) struct RunningMac(Hmac<Sha256>);

impl RunningMac {
    /// Appends `bytes` to the message.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Whether any of `candidates` is the message's tag: every one is compared in full.
    pub(crate) fn matches_any(self, candidates: &[Tag]) -> Choice {
        let tag = self.tag();
        candidates.iter().fold(Choice::from(0), |found, candidate| found | tag.ct_eq(candidate))
    }

    /// The message's tag, to sign with.
    pub(crate) fn tag(self) -> Tag {
        self.0.finalize().into_bytes().into()
    }
}

/// Which of several keys matched, told only after all were tried.
#[derive(Clone, Copy)]
pub(crate) struct FirstMatch {
    found: Choice,
    index: u32,
}

impl FirstMatch {
    /// Nothing tried yet.
    pub(crate) fn none() -> Self {
        Self { found: Choice::from(0), index: 0 }
    }

    /// Folds in the result of the key at `index`, in the same time whether it matched or not.
    pub(crate) fn fold(&mut self, index: u32, matched: Choice) {
        self.index.conditional_assign(&index, matched & !self.found);
        self.found |= matched;
    }

    /// The index of the first key that matched.
    pub(crate) fn index(self) -> Option<usize> {
        bool::from(self.found).then_some(self.index as usize)
    }
}

/// A SHA-256 that is being fed.
#[derive(Clone, Default)]
pub(crate) struct RunningDigest(Sha256);

impl RunningDigest {
    /// Appends `bytes` to the message.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Whether any of `candidates` is the digest of everything that was fed: every one is compared in full.
    #[cfg(feature = "cli")]
    pub(crate) fn matches_any(self, candidates: &[[u8; 32]]) -> Choice {
        let digest = self.finish();
        candidates.iter().fold(Choice::from(0), |found, candidate| found | digest.ct_eq(candidate))
    }

    /// The digest of everything that was fed.
    pub(crate) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_matches_is_told() {
        let mut first = FirstMatch::none();
        for (index, matched) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
            first.fold(index, Choice::from(matched));
        }
        assert_eq!(first.index(), Some(1));
        assert_eq!(FirstMatch::none().index(), None);
    }

    #[test]
    fn an_empty_key_cannot_be_prepared() {
        assert!(MacKey::new(b"").is_none());
    }

    #[test]
    fn no_candidate_is_no_match() {
        let mac = MacKey::unknowable().start();
        assert!(!bool::from(mac.matches_any(&[])));
    }
}
