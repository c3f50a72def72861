//! The keys that serve at one moment: an immutable value, replaced as a whole.

use std::time::Duration;

use super::error::KeyringError;
use super::key::{Key, KeyInfo};
use super::secret::Secret;
use crate::crypto::MacKey;
use crate::encoding::{SecretEncoding, SecretFormat};
use crate::ids::KeyId;
use crate::time::Timestamp;

/// The most keys that are tried on one request. A rotation needs two.
pub(super) const MAX_KEYS: usize = 16;

/// The keys that serve, the primary first. Never empty in a ring.
#[derive(Clone)]
pub(crate) struct KeySet {
    entries: Vec<Entry>,
    decoy: bool,
    /// Until when the sender may sign with a key that is not here yet.
    rotating_until: Option<Timestamp>,
}

impl KeySet {
    /// The keys that count at `now`, the primary first. None before the ring is bound to a scheme.
    pub(crate) fn active(&self, now: Timestamp) -> impl Iterator<Item = (&KeyId, &MacKey)> {
        self.entries.iter().filter_map(move |entry| match &entry.material {
            Material::Bound(mac) if entry.info.is_active(now) => Some((&entry.info.id, mac)),
            _ => None,
        })
    }

    /// The key to sign with at `now`: the first that counts.
    pub(crate) fn primary(&self, now: Timestamp) -> Option<(&KeyId, &MacKey)> {
        self.active(now).next()
    }

    /// Whether this set stands in for a tenant that does not exist: do the work, then refuse whatever it says.
    pub(crate) fn is_decoy(&self) -> bool {
        self.decoy
    }

    /// Whether the sender may be signing already with a key that is on its way here. What no key matches is then not
    /// known to be forged.
    pub(crate) fn is_rotating(&self, now: Timestamp) -> bool {
        self.rotating_until.is_some_and(|end| now < end)
    }

    /// Until when it may; `None` when no rotation was begun, or the new key is here.
    pub(super) fn rotating_until(&self) -> Option<Timestamp> {
        self.rotating_until
    }

    /// The same keys, with the sender's rotation under way until `end`, or none under way.
    pub(super) fn rotating(self, end: Option<Timestamp>) -> Self {
        Self { rotating_until: end, ..self }
    }

    /// Checks `keys` and, where the format is known, decodes them.
    pub(super) fn new(
        keys: impl IntoIterator<Item = Key>,
        format: Option<&SecretFormat>,
    ) -> Result<Self, KeyringError> {
        let entries = keys.into_iter().map(|key| Entry::new(key, format));
        Self::checked(entries.collect::<Result<_, _>>()?)
    }

    /// One key, always active. Has nothing to check.
    pub(super) fn single(key: Key) -> Self {
        let Key { info, secret } = key;
        let material = Material::Unbound(secret);
        Self::of(vec![Entry { info, material }])
    }

    /// One key that nobody has.
    pub(super) fn decoy(id: KeyId) -> Self {
        let info = KeyInfo::unbounded(id);
        let material = Material::Bound(MacKey::unknowable());
        Self { decoy: true, ..Self::of(vec![Entry { info, material }]) }
    }

    /// What stands for keys that cannot be used with a scheme: none.
    pub(crate) fn unusable() -> Self {
        Self::of(Vec::new())
    }

    /// The same keys, decoded.
    pub(super) fn bound(&self, format: &SecretFormat) -> Result<Self, KeyringError> {
        let entries = self.entries.iter().map(|entry| {
            Ok(Entry {
                info: entry.info.clone(),
                material: match &entry.material {
                    Material::Unbound(secret) => decode(&entry.info.id, secret, format)?,
                    bound @ Material::Bound(_) => bound.clone(),
                },
            })
        });
        let entries = entries.collect::<Result<_, KeyringError>>()?;
        Ok(Self { entries, decoy: self.decoy, rotating_until: self.rotating_until })
    }

    /// The set in which `new` comes first and every other key ends `overlap` after `now` at the latest.
    pub(super) fn rotated(
        &self,
        new: Key,
        overlap: Duration,
        now: Timestamp,
        format: Option<&SecretFormat>,
    ) -> Result<Self, KeyringError> {
        let end = now.saturating_add(overlap);
        check_rotation(&new.info, now, end)?;
        let mut entries = vec![Entry::new(new, format)?];
        entries.extend(self.entries.iter().filter(|entry| !entry.info.has_ended(now)).cloned());
        check_ids(&entries)?;
        for entry in &mut entries[1..] {
            entry.info.end_by(end);
        }
        entries.retain(|entry| !entry.info.has_ended(now) && !entry.info.is_never_active());
        Self::checked(entries)
    }

    /// The keys as they were given; those that were decoded are left out, since their secrets are gone.
    pub(super) fn undecoded(&self) -> impl Iterator<Item = (&KeyInfo, &Secret)> {
        self.entries.iter().filter_map(|entry| match &entry.material {
            Material::Bound(_) => None,
            Material::Unbound(secret) => Some((&entry.info, secret)),
        })
    }

    /// What an operator may see.
    pub(super) fn infos(&self) -> impl Iterator<Item = &KeyInfo> {
        self.entries.iter().map(|entry| &entry.info)
    }

    fn checked(entries: Vec<Entry>) -> Result<Self, KeyringError> {
        if entries.is_empty() {
            return Err(KeyringError::NoKeys);
        }
        if entries.len() > MAX_KEYS {
            return Err(KeyringError::TooManyKeys { count: entries.len() });
        }
        check_ids(&entries)?;
        Ok(Self::of(entries))
    }

    fn of(entries: Vec<Entry>) -> Self {
        Self { entries, decoy: false, rotating_until: None }
    }
}

/// How the scheme's secrets are written, for messages.
pub(super) fn describe(format: &SecretFormat) -> String {
    let encoding = match format.encoding {
        SecretEncoding::Base64 => "base64",
        SecretEncoding::Hex => "hex",
        SecretEncoding::Text => "plain text",
    };
    match &format.strip_prefix {
        Some(prefix) => format!("{encoding} after the prefix `{prefix}`"),
        None => encoding.to_owned(),
    }
}

#[derive(Clone)]
struct Entry {
    info: KeyInfo,
    material: Material,
}

/// Once decoded, the secret itself is no longer held.
#[derive(Clone)]
enum Material {
    Bound(MacKey),
    Unbound(Secret),
}

impl Entry {
    fn new(key: Key, format: Option<&SecretFormat>) -> Result<Self, KeyringError> {
        let Key { info, secret } = key;
        if let (true, Some(not_before), Some(not_after)) = (info.is_never_active(), info.not_before, info.not_after) {
            return Err(KeyringError::Window { id: info.id, not_before, not_after });
        }
        let material = match format {
            Some(format) => decode(&info.id, &secret, format)?,
            None => Material::Unbound(secret),
        };
        Ok(Self { info, material })
    }
}

fn decode(id: &KeyId, secret: &Secret, format: &SecretFormat) -> Result<Material, KeyringError> {
    let bytes = format
        .decode(secret.expose_secret())
        .ok_or_else(|| KeyringError::Undecodable { id: id.clone(), expected: describe(format) })?;
    MacKey::new(&bytes)
        .map(Material::Bound)
        .ok_or_else(|| KeyringError::EmptySecret { id: id.clone(), expected: describe(format) })
}

/// The new key must count once the others have ended.
fn check_rotation(new: &KeyInfo, now: Timestamp, end: Timestamp) -> Result<(), KeyringError> {
    let id = || new.id.clone();
    match (new.not_before, new.not_after) {
        (_, Some(not_after)) if not_after <= now => Err(KeyringError::Ended { id: id(), not_after }),
        (Some(not_before), _) if not_before > end => Err(KeyringError::Gap { id: id(), not_before, end }),
        _ => Ok(()),
    }
}

fn check_ids(entries: &[Entry]) -> Result<(), KeyringError> {
    for (at, entry) in entries.iter().enumerate() {
        if entries[..at].iter().any(|earlier| earlier.info.id == entry.info.id) {
            return Err(KeyringError::DuplicateId { id: entry.info.id.clone() });
        }
    }
    Ok(())
}
