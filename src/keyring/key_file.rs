//! Changes a key file that other processes follow.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::error::KeyringError;
use super::file::{self, Content};
use super::key::{Key, KeyInfo};
use super::secret::Secret;
use super::set::KeySet;
use super::watch::read_once;
use crate::time::{Clock, SystemClock, Timestamp};

/// Writes the file that [`Keyring::watch`](crate::Keyring::watch) follows, in one or in many processes.
///
/// Each change is a new file that is renamed into the old one's place, so that nobody ever reads half of one. It keeps
/// the old one's owner and mode; a new one is readable for its owner alone. Comments in the file are not kept.
#[derive(Clone, Copy, Debug)]
pub struct KeyFile;

/// A rotation of a key file that has begun; the same as [`Rotation`](crate::Rotation), for all who follow the file.
///
/// While it lives, no other rotation of the file can begin, in this process or in another.
#[must_use = "a rotation that is dropped leaves the key file marked as rotating until its limit has passed"]
pub struct KeyFileRotation {
    path: PathBuf,
    _lock: File,
}

impl KeyFile {
    /// Makes a file that holds `key`, readable for its owner alone.
    ///
    /// # Errors
    ///
    /// When there is a file at `path` already, it cannot be written, or the secret is not text.
    pub fn create(path: impl AsRef<Path>, key: Key) -> Result<(), KeyringError> {
        let path = path.as_ref();
        let create = || {
            let content = render(&KeySet::new([key], None)?)?;
            let mut file = private(path).map_err(unwritable)?;
            let written = file.write_all(&content).and_then(|()| file.sync_all()).and_then(|()| sync_parent(path));
            // A file that was not written whole would be taken for one that is broken.
            written.inspect_err(|_| drop(fs::remove_file(path))).map_err(unwritable)
        };
        create().map_err(|reason| reason.in_file(path))
    }

    /// Marks the file as rotating for at most `limit`: those who follow it answer 503 with `Retry-After` instead of 401
    /// to what no key matches.
    ///
    /// They see the mark when they look next, within two of their intervals (two seconds with
    /// [`Keyring::watch`](crate::Keyring::watch)): let that pass before the sender makes its new key.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written, is not as [`Keyring::from_toml`](crate::Keyring::from_toml) wants it, or
    /// a rotation of it has not ended.
    pub fn begin_rotation(path: impl AsRef<Path>, limit: Duration) -> Result<KeyFileRotation, KeyringError> {
        let path = path.as_ref();
        let begin = || {
            // Of a symbolic link it is the file behind it that is replaced, not the link.
            let path = fs::canonicalize(path).map_err(|reason| KeyringError::Unreadable { reason })?;
            let rotation = KeyFileRotation { _lock: lock(&path)?, path };
            let until = SystemClock.now().saturating_add(limit);
            rotation.change(|set| Ok(set.rotating(Some(until))))?;
            Ok(rotation)
        };
        begin().map_err(|reason: KeyringError| reason.in_file(path))
    }
}

impl KeyFileRotation {
    /// Makes `new` the primary, ends every other key `overlap` from now, and takes the mark off: all in one step.
    ///
    /// # Errors
    ///
    /// As [`Keyring::rotate`](crate::Keyring::rotate), and when the file cannot be written or the secret is not text.
    pub fn install(self, new: Key, overlap: Duration) -> Result<(), KeyringError> {
        self.changed(|set| set.rotated(new, overlap, SystemClock.now(), None))
    }

    /// Takes the mark off: the sender has certainly kept its old key.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn abandon(self) -> Result<(), KeyringError> {
        self.changed(|set| Ok(set.rotating(None)))
    }

    fn changed(&self, next: impl FnOnce(KeySet) -> Result<KeySet, KeyringError>) -> Result<(), KeyringError> {
        self.change(next).map_err(|reason| reason.in_file(&self.path))
    }

    /// Reads the file anew, since somebody may have edited it meanwhile, and puts the next one in its place.
    fn change(&self, next: impl FnOnce(KeySet) -> Result<KeySet, KeyringError>) -> Result<(), KeyringError> {
        let Content { keys, rotating_until } = read_once(&self.path)?;
        let set = next(KeySet::new(keys, None)?.rotating(rotating_until))?;
        replace(&self.path, &render(&set)?).map_err(unwritable)
    }
}

impl fmt::Debug for KeyFileRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFileRotation").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The one lock of the file at `path`. It lies beside it, since the file itself is another one after each change.
fn lock(path: &Path) -> Result<File, KeyringError> {
    let path = beside(path, "lock");
    let file = OpenOptions::new().create(true).write(true).truncate(false).open(path).map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(KeyringError::FileInUse),
        Err(fs::TryLockError::Error(reason)) => Err(unwritable(reason)),
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let next = beside(path, "next");
    // What a process that was killed has left; nobody else writes one while we hold the lock.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private(&next)?;
    let written = file
        .write_all(content)
        .and_then(|()| resemble(&file, &fs::metadata(path)?))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&next, path));
    written.inspect_err(|_| drop(fs::remove_file(&next)))?;
    sync_parent(path)
}

/// `.keys.toml.next` for `keys.toml`.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{ending}"))
}

#[cfg(unix)]
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;

    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Gives `file` the owner and mode of the one it replaces: the service that reads that one may read this one.
#[cfg(unix)]
fn resemble(file: &File, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};

    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(old.permissions())
}

#[cfg(not(unix))]
fn resemble(_: &File, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// A rename outlasts a power cut once its directory is on the disk.
#[cfg(unix)]
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_parent(_: &Path) -> io::Result<()> {
    Ok(())
}

fn unwritable(reason: io::Error) -> KeyringError {
    KeyringError::Unwritable { reason }
}

/// A key file's text.
fn render(set: &KeySet) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let keys: Vec<(&KeyInfo, &Secret)> = set.undecoded().collect();
    // With room for all of it, so that no copy is left behind where a buffer grew: a character is escaped in six.
    let room = keys.iter().map(|(info, secret)| 256 + 6 * (info.id.as_str().len() + secret.expose_secret().len()));
    let mut text = Zeroizing::new(String::with_capacity(256 + room.sum::<usize>()));
    if let Some(until) = set.rotating_until() {
        push_date(&mut text, "rotating_until", until);
        text.push('\n');
    }
    for (info, secret) in keys {
        let shown = std::str::from_utf8(secret.expose_secret());
        let shown = shown.map_err(|_| KeyringError::NotUtf8 { which: format!("the secret of key `{}`", info.id) })?;
        text.push_str("[[key]]\n");
        push_string(&mut text, "id", info.id.as_str());
        push_string(&mut text, "secret", shown);
        if let Some(begin) = info.not_before {
            push_date(&mut text, "not_before", begin);
        }
        if let Some(end) = info.not_after {
            push_date(&mut text, "not_after", end);
        }
        text.push('\n');
    }
    // Those who follow the file would refuse what does not read back, such as a secret with white space around it.
    file::parse(&text)?;
    Ok(Zeroizing::new(std::mem::take(&mut *text).into_bytes()))
}

fn push_string(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str(" = \"");
    for character in value.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                let digit = |nibble: u32| char::from_digit(nibble, 16).unwrap_or('0');
                let code = u32::from(character);
                text.extend(['\\', 'u', '0', '0', digit(code >> 4), digit(code & 15)]);
            }
            _ => text.push(character),
        }
    }
    text.push_str("\"\n");
}

/// A moment that no calendar reaches is as good as none, and is written as the nearest that one does.
fn push_date(text: &mut String, name: &str, moment: Timestamp) {
    /// The last second that RFC 3339 can write at every offset.
    const LAST: Timestamp = Timestamp::from_secs(253_402_207_200);
    let shown = moment.clamp(Timestamp::from_secs(0), LAST).to_string();
    text.push_str(name);
    text.push_str(" = \"");
    text.push_str(&shown);
    text.push_str("\"\n");
}
