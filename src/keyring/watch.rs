//! Follows a key file: a thread that looks at it now and then, and reads it when it has changed.
//!
//! Looking beats being told: notifications get lost on network file systems and behind the symbolic links with which
//! Kubernetes mounts secrets, and one `stat` per second costs nothing.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::error::KeyringError;
use super::file;
use super::key::KeyInfo;
use super::ring::Ring;
use crate::crypto::RunningDigest;
use crate::time::{Clock, SystemClock};

/// Sixteen keys with long secrets take a few kilobytes.
const MAX_FILE: u64 = 64 * 1024;

/// How long a time stamp may stand still while the file changes: two seconds on FAT, the coarsest in use.
const COARSEST_TIMESTAMP: Duration = Duration::from_secs(2);

/// What the watching thread knows of the file.
pub(super) struct Watcher {
    path: PathBuf,
    interval: Duration,
    look: Look,
    /// Since when the file has looked like this.
    since: Instant,
    /// Whether this look needs no further reading.
    settled: bool,
    taken: Taken,
    warned_of_mode: bool,
}

impl Watcher {
    /// Reads the file for the first time.
    pub(super) fn begin(path: &Path, interval: Duration) -> Result<(Self, file::Content), KeyringError> {
        let (stamp, bytes) = read_patiently(path).map_err(|reason| reason.in_file(path))?;
        let content = read_content(&bytes).map_err(|reason| reason.in_file(path))?;
        let mut watcher = Self {
            path: path.to_owned(),
            interval: interval.max(Duration::from_millis(1)),
            look: Ok(stamp),
            since: Instant::now(),
            settled: false,
            taken: Taken::content(&bytes),
            warned_of_mode: false,
        };
        watcher.warn_of_mode();
        watcher.warn_if_none_counts(content.keys.iter().map(|key| &key.info));
        Ok((watcher, content))
    }

    /// Looks once per interval until `last_handle_gone` hangs up.
    pub(super) fn spawn(mut self, ring: Weak<Ring>, last_handle_gone: Receiver<()>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("keyring-watch".to_owned()).spawn(move || {
            while last_handle_gone.recv_timeout(self.interval) == Err(RecvTimeoutError::Timeout) {
                let Some(ring) = ring.upgrade() else { return };
                self.poll(&ring);
            }
        })
    }

    /// Looks at the file, and reads it when it looks other than before and has held still since the last time.
    pub(super) fn poll(&mut self, ring: &Ring) {
        let look = look(&self.path);
        if look != self.look {
            // Someone may still be writing.
            self.look = look;
            self.since = Instant::now();
            self.settled = false;
            return;
        }
        if self.settled {
            return;
        }
        let still = self.since.elapsed();
        let content = match read(&self.path) {
            Ok(Reading::Whole(stamp, content)) if self.look == Ok(stamp) => Ok(content),
            Ok(_) => return,
            Err(reason) => Err(reason),
        };
        // A second write within one tick of the file system's clock leaves the look as it was, so a fresh look is read
        // again. A file that cannot be read is tried each time: what mends it need not show in the look.
        self.settled = still > COARSEST_TIMESTAMP && content.is_ok();
        let taken = content.as_ref().map_or_else(Taken::failed, |content| Taken::content(content));
        if taken != self.taken {
            self.taken = taken;
            self.take(ring, content);
        }
    }

    fn take(&mut self, ring: &Ring, content: io::Result<Zeroizing<Vec<u8>>>) {
        let content =
            content.map_err(|reason| KeyringError::Unreadable { reason }).and_then(|content| read_content(&content));
        match ring.reload(content) {
            Ok(keys) => {
                let ids: Vec<_> = keys.iter().map(KeyInfo::id).collect();
                tracing::info!(path = %self.path.display(), keys = ?ids, "the key file has changed; these keys serve now");
                self.warn_of_mode();
                self.warn_if_none_counts(keys.iter());
            }
            Err(reason) => {
                tracing::error!(%reason, "the key file is of no use; the keys that served go on serving");
            }
        }
    }

    fn warn_if_none_counts<'a>(&self, mut keys: impl Iterator<Item = &'a KeyInfo>) {
        let now = SystemClock.now();
        if !keys.any(|key| key.is_active(now)) {
            tracing::warn!(path = %self.path.display(), "no key in the key file counts now; every request is refused");
        }
    }

    #[cfg(unix)]
    fn warn_of_mode(&mut self) {
        use std::os::unix::fs::PermissionsExt as _;

        let readable_by_all = |meta: Metadata| meta.permissions().mode() & 0o004 != 0;
        if !self.warned_of_mode && fs::metadata(&self.path).is_ok_and(readable_by_all) {
            self.warned_of_mode = true;
            tracing::warn!(path = %self.path.display(), "every user of this machine may read the key file; set its mode to 0600");
        }
    }

    #[cfg(not(unix))]
    fn warn_of_mode(&mut self) {
        self.warned_of_mode = true;
    }
}

/// How the file looks from outside.
type Look = Result<Stamp, io::ErrorKind>;

fn look(path: &Path) -> Look {
    fs::metadata(path).map(|meta| Stamp::of(&meta)).map_err(|error| error.kind())
}

/// What changes when a file is replaced or written to.
#[cfg(unix)]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[cfg(unix)]
impl Stamp {
    fn of(meta: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;

        Self {
            file: (meta.dev(), meta.ino()),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What changes when a file is replaced or written to.
#[cfg(not(unix))]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<std::time::SystemTime>,
}

#[cfg(not(unix))]
impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self { size: meta.len(), modified: meta.modified().ok() }
    }
}

/// What was last acted upon, so that nothing is done or said twice.
#[derive(PartialEq, Eq)]
enum Taken {
    Content([u8; 32]),
    Failed(io::ErrorKind),
}

impl Taken {
    fn content(content: &[u8]) -> Self {
        let mut digest = RunningDigest::default();
        digest.update(content);
        Self::Content(digest.finish())
    }

    fn failed(reason: &io::Error) -> Self {
        Self::Failed(reason.kind())
    }
}

enum Reading {
    /// The file was replaced or written to meanwhile.
    Unsettled,
    Whole(Stamp, Zeroizing<Vec<u8>>),
}

fn read(path: &Path) -> io::Result<Reading> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        // Opening a pipe would wait for whoever writes to it.
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 KiB"));
    }
    // With room for all of it from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 1));
    File::open(path)?.take(MAX_FILE).read_to_end(&mut content)?;
    let stamp = Stamp::of(&meta);
    Ok(if Stamp::of(&fs::metadata(path)?) == stamp { Reading::Whole(stamp, content) } else { Reading::Unsettled })
}

/// What the file at `path` holds now.
pub(super) fn read_once(path: &Path) -> Result<file::Content, KeyringError> {
    read_content(&read_patiently(path)?.1)
}

/// For the first time, when there is no later look that would mend it.
fn read_patiently(path: &Path) -> Result<(Stamp, Zeroizing<Vec<u8>>), KeyringError> {
    for _ in 0..10 {
        match read(path) {
            Ok(Reading::Whole(stamp, content)) => return Ok((stamp, content)),
            Ok(Reading::Unsettled) => thread::sleep(Duration::from_millis(20)),
            Err(reason) => return Err(KeyringError::Unreadable { reason }),
        }
    }
    Err(KeyringError::Unsettled)
}

fn read_content(content: &[u8]) -> Result<file::Content, KeyringError> {
    let text = std::str::from_utf8(content).map_err(|_| KeyringError::NotUtf8 { which: "the file".to_owned() })?;
    file::parse(text)
}
