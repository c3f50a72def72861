//! What a handler passes on, so that what it sets in motion happens once.

use std::fmt;

use crate::receiver::claim_key;
use crate::verify::Delivery;

/// A key for the effects of one delivery: the same in every run of every handler for it, inline or from an inbox, and
/// another for every other delivery. 64 hexadecimal digits.
///
/// A handler runs *at least* once: a process can die between the effect and the record of it. Pass this key on to
/// whoever carries the effect out, as an idempotency key of an API or under a unique constraint of a database, and the
/// effect happens once all the same. Where one handler has several effects, put a name of each behind the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EffectKey(String);

impl EffectKey {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Delivery {
    /// The key to pass on with the effects of this delivery. It is made of the same signed identity by which
    /// duplicates are known, so it does not change from one try to the next.
    #[must_use]
    pub fn effect_key(&self) -> EffectKey {
        EffectKey(base16ct::lower::encode_string(claim_key(self).as_bytes()))
    }
}

impl AsRef<str> for EffectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EffectKey({})", self.0)
    }
}
