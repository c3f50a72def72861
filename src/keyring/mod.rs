//! Signing keys: several at a time, each with a name and a window, replaced while serving.
//!
//! A [`Keyring`] answers one question on the hot path, which keys count at this moment, and does so without a lock.
//! This room holds the secrets and never sees a request; what reads requests never sees a secret. The two meet in
//! `verify` only.

mod error;
mod file;
mod key;
mod key_file;
mod ring;
mod rotation;
mod secret;
mod set;
mod watch;

pub use self::error::KeyringError;
pub use self::key::{Key, KeyInfo};
pub use self::key_file::{KeyFile, KeyFileRotation};
pub use self::ring::Keyring;
pub use self::rotation::Rotation;
pub use self::secret::{Secret, SecretError};
pub(crate) use self::set::KeySet;

#[cfg(test)]
mod tests;
