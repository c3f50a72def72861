//! A rotation in two steps, for a sender that makes its new secret itself and signs with it at once.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::KeyringError;
use super::key::Key;
use super::ring::Keyring;
use crate::time::{Clock, SystemClock, Timestamp};

/// A rotation that has begun: the sender is about to make a new key, which is not here yet.
///
/// Between the sender's new key and its arrival here, a signature that no key matches may be genuine. As long as the
/// keyring is marked as rotating, such a delivery is answered 503 with `Retry-After` instead of 401, so that the sender
/// comes back and nothing is lost.
///
/// End it by [`install`](Self::install) or, where the sender has certainly kept its old key, by
/// [`abandon`](Self::abandon). Dropped without either, it leaves the mark until its limit has passed, since the sender
/// may have a new key by then; another rotation recovers from that.
///
/// ```
/// use std::time::Duration;
///
/// use countersign::{Key, KeyId, Keyring, Secret};
///
/// # fn ask_the_provider() -> Result<Secret, countersign::SecretError> { Secret::new("whsec_d29ybGQ=") }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keyring = Keyring::single(Secret::new("whsec_aGVsbG8=")?);
/// let rotation = keyring.begin_rotation(Duration::from_secs(15 * 60))?;
/// let secret = ask_the_provider()?;
/// rotation.install(Key::new(KeyId::new("2026-12")?, secret), Duration::from_secs(24 * 60 * 60))?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a rotation that is dropped leaves the keyring marked as rotating until its limit has passed"]
pub struct Rotation {
    ring: Keyring,
}

impl Keyring {
    /// Marks the keyring as rotating for at most `limit`, and keeps other rotations out until this one is dropped.
    ///
    /// Choose the limit longer than the sender takes to answer, time-outs and retries included.
    ///
    /// # Errors
    ///
    /// When the keyring follows a file (see [`KeyFile`](crate::KeyFile)), or a rotation of it has not ended.
    pub fn begin_rotation(&self, limit: Duration) -> Result<Rotation, KeyringError> {
        self.begin_rotation_at(limit, SystemClock.now())
    }

    /// The same, as if it were `now`.
    ///
    /// # Errors
    ///
    /// As [`Keyring::begin_rotation`].
    pub fn begin_rotation_at(&self, limit: Duration, now: Timestamp) -> Result<Rotation, KeyringError> {
        let ring = self.shared();
        ring.refuse_if_watched()?;
        if ring.rotation.swap(true, Ordering::AcqRel) {
            return Err(KeyringError::RotationUnderWay);
        }
        ring.mark(Some(now.saturating_add(limit)));
        Ok(Rotation { ring: self.clone() })
    }
}

impl Rotation {
    /// Makes `new` the primary, ends every other key `overlap` from now, and takes the mark off: all in one step.
    ///
    /// # Errors
    ///
    /// As [`Keyring::rotate`]. The keyring then stays marked until the limit has passed.
    pub fn install(self, new: Key, overlap: Duration) -> Result<(), KeyringError> {
        self.install_at(new, overlap, SystemClock.now())
    }

    /// The same, as if it were `now`.
    ///
    /// # Errors
    ///
    /// As [`Rotation::install`].
    pub fn install_at(self, new: Key, overlap: Duration, now: Timestamp) -> Result<(), KeyringError> {
        // One set is put in the place of another: no request sees the mark gone and the key not there.
        self.ring.shared().change(|current, format| current.rotated(new, overlap, now, format))
    }

    /// Takes the mark off: the sender has certainly kept its old key.
    pub fn abandon(self) {
        self.ring.shared().mark(None);
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        self.ring.shared().rotation.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").field("ring", &self.ring).finish()
    }
}
