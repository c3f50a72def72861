//! What a delivery is remembered by.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::crypto::RunningDigest;
use crate::ids::{DeliveryId, Source, TenantId};

/// The identity of a delivery as stores know it: always 32 bytes, the SHA-256 of a source, a tenant where there are
/// several, and a *signed* identity.
///
/// The digest covers which kind of identity it is and the length of the source, so that two different pairs never
/// give one key by concatenation: `("a", "bc")` and `("ab", "c")` are two keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey([u8; 32]);

impl ClaimKey {
    /// The key of a delivery whose id the signature covers.
    ///
    /// Never pass an id that is not signed: an attacker could replay one body under ever new ids, or send the id of
    /// a future delivery in order to suppress it. Use [`ClaimKey::for_content`] there.
    #[must_use]
    pub fn for_id(source: &Source, tenant: Option<&TenantId>, id: &DeliveryId) -> Self {
        Self::digest(ID, source, tenant, id.as_str().as_bytes())
    }

    /// The key of a delivery without a signed id: `content_digest` is the SHA-256 of everything that was signed.
    #[must_use]
    pub fn for_content(source: &Source, tenant: Option<&TenantId>, content_digest: &[u8; 32]) -> Self {
        Self::digest(CONTENT, source, tenant, content_digest)
    }

    /// The 32 bytes, as a remote store keeps them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that a store has kept as [`as_bytes`](Self::as_bytes).
    #[cfg(feature = "sqlite")]
    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn digest(kind: u8, source: &Source, tenant: Option<&TenantId>, identity: &[u8]) -> Self {
        let mut digest = RunningDigest::default();
        // With a tenant it is another kind of key, so that the pieces cannot be mistaken for one another.
        digest.update(&[if tenant.is_some() { kind.to_ascii_uppercase() } else { kind }]);
        for name in [Some(source.as_str()), tenant.map(TenantId::as_str)].into_iter().flatten() {
            digest.update(&(name.len() as u64).to_le_bytes());
            digest.update(name.as_bytes());
        }
        digest.update(identity);
        Self(digest.finish())
    }

    /// 8 of the 32 bytes as a number, from byte `8 * N`. Distinct words of one key are independent of one another.
    pub(crate) fn word<const N: usize>(&self) -> u64 {
        let word = self.0.as_chunks::<8>().0.get(N);
        word.copied().map_or(0, u64::from_le_bytes)
    }
}

/// Feeds 8 of the 32 bytes: the key is a digest already, and a hash map needs no more of it.
impl Hash for ClaimKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word::<0>());
    }
}

/// The first 8 bytes in hexadecimal: enough to find it in a log, and no whole identity.
impl fmt::Debug for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimKey({:016x}…)", self.word::<0>().swap_bytes())
    }
}

/// Tells two bodies apart that came under one signed id: XXH3-128 of the body.
///
/// Not a cryptographic digest, and it need not be one. A body comes this far only when the sender has signed it, so
/// nobody but the sender could choose two bodies that collide, and would gain nothing by it: the second would be taken
/// for a repetition of the first. What is left is chance, which 128 bits rule out. A second SHA-256 pass over the body
/// would cost as much again as the signature did; this is a small fraction of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// The fingerprint of a whole body.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(body))
    }

    /// The fingerprint that a remote store kept as a number.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The number, as a remote store keeps it.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

const CONTENT: u8 = b'c';
const ID: u8 = b'i';

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn key(source: &str, id: &str) -> ClaimKey {
        ClaimKey::for_id(&Source::new(source).unwrap(), None, &DeliveryId::new(id).unwrap())
    }

    #[test]
    fn no_two_pairs_share_a_key_by_concatenation() {
        assert_eq!(key("a", "bc"), key("a", "bc"));
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_ne!(key("a", "b"), key("b", "a"));
    }

    #[test]
    fn two_tenants_never_share_a_key() {
        let key = |tenant: Option<&str>| {
            let tenant = tenant.map(|tenant| TenantId::new(tenant).unwrap());
            ClaimKey::for_id(&Source::new("a").unwrap(), tenant.as_ref(), &DeliveryId::new("x").unwrap())
        };
        assert_ne!(key(Some("b")), key(Some("c")));
        assert_ne!(key(Some("b")), key(None));
    }

    #[test]
    fn an_id_and_a_content_digest_of_the_same_bytes_are_two_keys() {
        let id = "0123456789abcdef0123456789abcdef";
        let source = Source::new("a").unwrap();
        let digest: &[u8; 32] = id.as_bytes().try_into().unwrap();
        assert_ne!(ClaimKey::for_content(&source, None, digest), key("a", id));
    }

    #[test]
    fn the_layout_of_a_key_stays_since_remote_stores_keep_it() {
        // printf 'i\x01\x00\x00\x00\x00\x00\x00\x00abc' | sha256sum
        let expected = "9987e9a28eaf9cde1c4186edc20ac33d1274841035e8305428531d9efa638df6";
        assert_eq!(base16ct::lower::encode_string(key("a", "bc").as_bytes()), expected);
    }

    #[test]
    fn debug_shows_the_first_eight_bytes_only() {
        let key = ClaimKey(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(format!("{key:?}"), "ClaimKey(0001020304050607…)");
    }

    #[test]
    fn two_bodies_have_two_fingerprints() {
        assert_eq!(Fingerprint::of(b"{}"), Fingerprint::of(b"{}"));
        assert_ne!(Fingerprint::of(b"{}"), Fingerprint::of(b"{ }"));
        assert_eq!(Fingerprint::from_u128(Fingerprint::of(b"").as_u128()), Fingerprint::of(b""));
    }
}
