//! Requests as files, as `identify` and `verify` read them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use countersign::Timestamp;
use countersign::identify::Captured;

use crate::exit::Failure;

/// Where requests are written, and how many more.
pub(super) struct Captures {
    folder: PathBuf,
    limit: u32,
    taken: AtomicU32,
}

/// What is written of a request.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: &'a [(String, Vec<u8>)],
    pub(super) body: &'a [u8],
}

/// What became of it.
pub(super) enum Capture {
    /// The last one that is taken; there is no room for more.
    Last(PathBuf),
    /// No room is left.
    No,
    Written(PathBuf),
}

impl Captures {
    pub(super) fn new(folder: &Path, limit: u32) -> Result<Self, Failure> {
        create(folder).map_err(Failure::file(folder))?;
        Ok(Self { folder: folder.to_owned(), limit, taken: AtomicU32::new(0) })
    }

    pub(super) fn write(&self, request: &Request<'_>, at: Timestamp) -> io::Result<Capture> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.limit {
            // Counting on would begin anew some day.
            self.taken.store(self.limit, Ordering::Relaxed);
            return Ok(Capture::No);
        }
        let path = self.folder.join(format!("{}-{number:04}.http", at.as_millis()));
        let mut file = private(&path)?;
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        let captured = Captured::new(headers, request.body.to_vec()).request_line(request.method, request.target);
        if let Err(error) = file.write_all(&captured.to_bytes()) {
            // Half a request would be taken for a whole one that is signed wrongly.
            drop(file);
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(if number + 1 == self.limit { Capture::Last(path) } else { Capture::Written(path) })
    }
}

#[cfg(unix)]
fn create(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
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
