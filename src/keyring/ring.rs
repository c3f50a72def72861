//! The handle that everything else holds: build it, ask it, change it while serving.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use zeroize::Zeroizing;

use super::error::KeyringError;
use super::file;
use super::key::{Key, KeyInfo};
use super::secret::Secret;
use super::set::{KeySet, describe};
use super::watch::Watcher;
use crate::encoding::SecretFormat;
use crate::ids::KeyId;
use crate::time::{Clock, SystemClock, Timestamp};

/// The keys of one sender, of which the first that counts is the primary.
///
/// A request is verified with every key that counts at its moment, so the sender may change keys whenever it likes;
/// the primary is the one that signs. Clones are handles to one ring. Readers never wait: a change replaces the whole
/// set at once, and a request that has begun ends with the set it began with.
///
/// One ring serves one way of writing secrets, that of the first scheme it is used with.
///
/// ```
/// use std::time::Duration;
///
/// use countersign::{Key, KeyId, Keyring, Secret};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keyring = Keyring::new([Key::new(KeyId::new("2026-11")?, Secret::new("whsec_aGVsbG8=")?)])?;
///
/// // Later, while serving: sign with the new key, accept the old one for a day.
/// let key = Key::new(KeyId::new("2026-12")?, Secret::new("whsec_d29ybGQ=")?);
/// keyring.rotate(key, Duration::from_secs(24 * 60 * 60))?;
/// assert_eq!(keyring.keys()[0].id(), &"2026-12");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Keyring(Arc<Ring>);

/// Building one.
impl Keyring {
    /// The most keys that one ring holds, ended ones included: 16. Every one that counts costs one MAC per request.
    pub const MAX_KEYS: usize = super::set::MAX_KEYS;

    /// A ring of `keys`, the primary first.
    ///
    /// # Errors
    ///
    /// When there are no keys, more than [`Keyring::MAX_KEYS`], two with one id, or one that ends before it begins.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Result<Self, KeyringError> {
        Ok(Self::of(KeySet::new(keys, None)?, Origin::Memory))
    }

    /// A ring of one key that always counts, with the id `default`.
    #[must_use]
    pub fn single(secret: Secret) -> Self {
        Self::of(KeySet::single(Key::new(constant_id("default"), secret)), Origin::Memory)
    }

    /// The secret in the environment variable `variable`, which also is the key's id.
    ///
    /// To rotate by restart, move the old secret to the variable of the same name with `_PREVIOUS` behind it, put the
    /// new one in its place, and restart: both are accepted, and the new one signs. Once the old key has gone quiet,
    /// unset `…_PREVIOUS` (or leave it empty) and restart again.
    ///
    /// # Errors
    ///
    /// When `variable` is missing or empty, or when either is not UTF-8 or has white space around it.
    pub fn from_env(variable: &str) -> Result<Self, KeyringError> {
        Self::new(keys_of_environment(variable, |name| std::env::var_os(name))?)
    }

    /// The keys in a TOML text, the primary first.
    ///
    /// ```
    /// # use countersign::Keyring;
    /// let keyring = Keyring::from_toml(r#"
    ///     rotating_until = 2026-11-24T12:15:00Z  # optional; see `KeyFile::begin_rotation`
    ///
    ///     [[key]]
    ///     id = "2026-11"
    ///     secret = "whsec_aGVsbG8="
    ///     not_before = 2026-11-01T00:00:00Z      # optional; bare or quoted
    ///     not_after  = "2026-12-01T00:00:00Z"    # optional
    /// "#)?;
    /// # Ok::<(), countersign::KeyringError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Keyring::new`], and when the text is not of this form. The error tells line and column and never quotes
    /// the line.
    pub fn from_toml(text: &str) -> Result<Self, KeyringError> {
        let file::Content { keys, rotating_until } = file::parse(text)?;
        Ok(Self::of(KeySet::new(keys, None)?.rotating(rotating_until), Origin::Memory))
    }

    /// The keys in the file at `path`, as [`Keyring::from_toml`] reads them, now and whenever the file changes.
    ///
    /// Looks every second; see [`Keyring::watch_every`].
    ///
    /// # Errors
    ///
    /// As [`Keyring::watch_every`].
    pub fn watch(path: impl AsRef<Path>) -> Result<Self, KeyringError> {
        Self::watch_every(path, Duration::from_secs(1))
    }

    /// The same, looking once per `interval`; one shorter than 1 ms is taken as 1 ms.
    ///
    /// A replacement by rename, by a changed symbolic link (as Kubernetes mounts secrets) and by writing in place are
    /// all seen. A change is taken once it has held still for one interval, so within two. Prefer the rename: it is
    /// the only one that never shows half a file.
    ///
    /// A file that is broken, empty, unreadable or gone changes nothing: the keys that serve go on, within their own
    /// windows. It is logged as an error once per change, and [`Keyring::watch_error`] tells it until the file is good
    /// again. To take a key out of service, replace the file by one in which it is missing or has ended.
    ///
    /// The thread that looks ends when the last handle to the ring is dropped. Start it after any `fork`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read now, is not as [`Keyring::from_toml`] wants it, or no thread can be started.
    pub fn watch_every(path: impl AsRef<Path>, interval: Duration) -> Result<Self, KeyringError> {
        Self::follow(path.as_ref(), interval).map(|(ring, _thread)| ring)
    }

    /// A ring without a key that anybody has, for tenants that do not exist. Bound to every format.
    pub(crate) fn decoy() -> Self {
        Self::of(KeySet::decoy(constant_id("decoy")), Origin::Decoy)
    }
}

/// Asking it.
impl Keyring {
    /// Every key with its window, the primary first, ended ones included.
    #[must_use]
    pub fn keys(&self) -> Vec<KeyInfo> {
        self.0.current.load().infos().cloned().collect()
    }

    /// Until when the sender may be signing with a key that is on its way here ([`Keyring::begin_rotation`]); `None`
    /// when there is no rotation under way.
    #[must_use]
    pub fn rotating_until(&self) -> Option<Timestamp> {
        self.0.current.load().rotating_until()
    }

    /// What is wrong with the watched file at present; `None` when nothing is, or no file is watched.
    #[must_use]
    pub fn watch_error(&self) -> Option<Arc<KeyringError>> {
        self.0.problem.load_full()
    }

    /// The keys that serve now, for the length of one request.
    pub(crate) fn snapshot(&self) -> Arc<KeySet> {
        self.0.current.load_full()
    }
}

/// Changing it.
impl Keyring {
    /// Makes `new` the primary and ends every other key `overlap` from now, unless it ends earlier.
    ///
    /// Keys that have ended, and those that would only begin after the overlap, are dropped. Choose the overlap longer
    /// than the sender's retries last, since a retry may carry the old signature.
    ///
    /// # Errors
    ///
    /// When the ring follows a file; when `new` has ended, would leave a gap, never counts, has the id of another key,
    /// or does not decode as the scheme's secrets do; when there would be more than [`Keyring::MAX_KEYS`]. The keys
    /// that serve are then untouched.
    pub fn rotate(&self, new: Key, overlap: Duration) -> Result<(), KeyringError> {
        self.rotate_at(new, overlap, SystemClock.now())
    }

    /// The same, as if it were `now`.
    ///
    /// # Errors
    ///
    /// As [`Keyring::rotate`].
    pub fn rotate_at(&self, new: Key, overlap: Duration, now: Timestamp) -> Result<(), KeyringError> {
        self.0.refuse_if_watched()?;
        self.0.change(|current, format| {
            let next = current.rotated(new, overlap, now, format)?;
            Ok(next.rotating(self.0.mark_of_another(current)))
        })
    }

    /// Puts `keys` in the place of all that serve, the primary first.
    ///
    /// # Errors
    ///
    /// As [`Keyring::new`]; when the ring follows a file; when a secret does not decode as the scheme's do. The keys
    /// that serve are then untouched.
    pub fn replace(&self, keys: impl IntoIterator<Item = Key>) -> Result<(), KeyringError> {
        self.0.refuse_if_watched()?;
        // Outside the lock: the iterator is the caller's code.
        let keys: Vec<Key> = keys.into_iter().collect();
        self.0.change(|current, format| Ok(KeySet::new(keys, format)?.rotating(self.0.mark_of_another(current))))
    }

    /// Decodes the secrets as `format` says, once and for all. Costs next to nothing when that has been done.
    pub(crate) fn bind(&self, format: &SecretFormat) -> Result<(), KeyringError> {
        self.0.bind(format)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads the file and starts the thread that looks after it.
    pub(super) fn follow(path: &Path, interval: Duration) -> Result<(Self, JoinHandle<()>), KeyringError> {
        let (watcher, content) = Watcher::begin(path, interval)?;
        let set = KeySet::new(content.keys, None).map_err(|reason| reason.in_file(path))?;
        let set = set.rotating(content.rotating_until);
        let (alive, last_handle_gone) = mpsc::channel();
        let origin = Origin::File { path: path.to_owned(), _alive: alive };
        let ring = Self::of(set, origin);
        let thread = watcher
            .spawn(Arc::downgrade(&ring.0), last_handle_gone)
            .map_err(|reason| KeyringError::WatchThread { reason }.in_file(path))?;
        Ok((ring, thread))
    }

    pub(super) fn shared(&self) -> &Ring {
        &self.0
    }

    fn of(set: KeySet, origin: Origin) -> Self {
        Self(Arc::new(Ring {
            current: ArcSwap::from_pointee(set),
            format: OnceLock::new(),
            writer: Mutex::new(()),
            problem: ArcSwapOption::empty(),
            rotation: AtomicBool::new(false),
            origin,
        }))
    }
}

/// What all handles share.
pub(super) struct Ring {
    current: ArcSwap<KeySet>,
    format: OnceLock<SecretFormat>,
    /// Held by whoever makes the next set out of the current one.
    writer: Mutex<()>,
    /// What is wrong with the watched file.
    problem: ArcSwapOption<KeyringError>,
    /// Whether a [`Rotation`](super::Rotation) of this ring is alive.
    pub(super) rotation: AtomicBool,
    origin: Origin,
}

enum Origin {
    Decoy,
    File {
        path: PathBuf,
        /// Never sent on: that it is gone tells the watching thread to end.
        _alive: mpsc::Sender<()>,
    },
    Memory,
}

impl Ring {
    /// Takes the keys of a changed file, or keeps those that serve and remembers why.
    pub(super) fn reload(
        &self,
        content: Result<file::Content, KeyringError>,
    ) -> Result<Vec<KeyInfo>, Arc<KeyringError>> {
        let changed = content.and_then(|file::Content { keys, rotating_until }| {
            self.change(|_, format| Ok(KeySet::new(keys, format)?.rotating(rotating_until)))
        });
        match changed {
            Ok(()) => {
                self.problem.store(None);
                Ok(self.current.load().infos().cloned().collect())
            }
            Err(reason) => {
                let reason = Arc::new(match &self.origin {
                    Origin::File { path, .. } => reason.in_file(path),
                    Origin::Decoy | Origin::Memory => reason,
                });
                self.problem.store(Some(Arc::clone(&reason)));
                Err(reason)
            }
        }
    }

    pub(super) fn change(
        &self,
        next: impl FnOnce(&KeySet, Option<&SecretFormat>) -> Result<KeySet, KeyringError>,
    ) -> Result<(), KeyringError> {
        let _writer = self.lock();
        let set = next(&self.current.load(), self.format.get())?;
        self.current.store(Arc::new(set));
        Ok(())
    }

    /// Marks the ring as rotating until `end`, or takes the mark off.
    pub(super) fn mark(&self, end: Option<Timestamp>) {
        let _writer = self.lock();
        let set = self.current.load().as_ref().clone().rotating(end);
        self.current.store(Arc::new(set));
    }

    fn bind(&self, format: &SecretFormat) -> Result<(), KeyringError> {
        if matches!(self.origin, Origin::Decoy) {
            return Ok(());
        }
        if let Some(bound) = self.format.get() {
            return agree(bound, format);
        }
        let _writer = self.lock();
        if let Some(bound) = self.format.get() {
            return agree(bound, format);
        }
        let set = self.current.load().bound(format)?;
        self.current.store(Arc::new(set));
        // Last, so that whoever sees the ring bound also sees keys that are.
        let _ = self.format.set(format.clone());
        Ok(())
    }

    /// The mark of a rotation that somebody else has under way, which a change by hand leaves as it is.
    fn mark_of_another(&self, current: &KeySet) -> Option<Timestamp> {
        current.rotating_until().filter(|_| self.rotation.load(Ordering::Acquire))
    }

    pub(super) fn refuse_if_watched(&self) -> Result<(), KeyringError> {
        match &self.origin {
            Origin::File { path, .. } => Err(KeyringError::Watched { path: path.clone() }),
            Origin::Decoy | Origin::Memory => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The set is swapped as a whole, so a writer that panicked left nothing half done.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn agree(bound: &SecretFormat, asked: &SecretFormat) -> Result<(), KeyringError> {
    if bound == asked {
        return Ok(());
    }
    Err(KeyringError::FormatConflict { bound: describe(bound), asked: describe(asked) })
}

/// The key in `variable` and, where there is one, that in `{variable}_PREVIOUS`.
pub(super) fn keys_of_environment(
    variable: &str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<Key>, KeyringError> {
    let primary =
        key_of_variable(variable, &lookup)?.ok_or_else(|| KeyringError::Variable { variable: variable.to_owned() })?;
    let previous = key_of_variable(&format!("{variable}_PREVIOUS"), &lookup)?;
    Ok(std::iter::once(primary).chain(previous).collect())
}

fn key_of_variable(name: &str, lookup: impl Fn(&str) -> Option<OsString>) -> Result<Option<Key>, KeyringError> {
    let Some(value) = lookup(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.into_string().map_err(|value| {
        drop(Zeroizing::new(value.into_encoded_bytes()));
        KeyringError::NotUtf8 { which: format!("the environment variable `{name}`") }
    })?;
    let secret = Secret::new(value);
    let id = KeyId::new(name).map_err(|reason| KeyringError::InvalidId {
        which: format!("the key in the environment variable {name:?}"),
        reason,
    })?;
    match secret {
        Ok(secret) => Ok(Some(Key::new(id, secret))),
        Err(reason) => Err(KeyringError::Secret { id, reason }),
    }
}

fn constant_id(text: &'static str) -> KeyId {
    KeyId::new(text).unwrap_or_else(|_| unreachable!("a visible constant"))
}
