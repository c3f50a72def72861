//! A body from the command line: `@file`, `-` for standard input, or the text itself. Bytes, never re-encoded.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::PathBuf;

use crate::exit::Failure;

/// The largest body that is read, from a file or standard input.
pub(crate) const MAX_BODY: u64 = 16 * 1024 * 1024;

/// Where a body comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    Literal(Vec<u8>),
    Stdin,
}

impl Source {
    /// `@file`, `-`, or the text itself.
    pub(crate) fn of_argument(argument: OsString) -> Self {
        let bytes = argument.as_encoded_bytes();
        if bytes == b"-" || bytes == b"@-" {
            return Self::Stdin;
        }
        match behind_at(&argument) {
            Some(path) => Self::File(path),
            None => Self::Literal(argument.into_encoded_bytes()),
        }
    }

    /// A file, or `-` for standard input.
    pub(crate) fn of_path(path: &OsStr) -> Self {
        if path == "-" { Self::Stdin } else { Self::File(path.into()) }
    }

    pub(crate) fn is_stdin(&self) -> bool {
        matches!(self, Self::Stdin)
    }

    /// All of it, at most [`MAX_BODY`].
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        match self {
            Self::File(path) => {
                let file = File::open(path).map_err(Failure::file(path))?;
                read_bounded(file, &path.display().to_string()).map_err(|failure| match failure {
                    Failure::System { reason, .. } => Failure::File { path: path.clone(), reason },
                    other => other,
                })
            }
            Self::Literal(bytes) => Ok(bytes.clone()),
            Self::Stdin => {
                let stdin = io::stdin();
                if stdin.is_terminal() {
                    crate::output::hint("reading from the terminal; end with Ctrl-D");
                }
                read_bounded(stdin.lock(), "standard input")
            }
        }
    }
}

/// The path in `@path`, which need not be UTF-8.
#[cfg(unix)]
fn behind_at(argument: &OsStr) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;

    argument.as_bytes().strip_prefix(b"@").map(|path| OsStr::from_bytes(path).into())
}

#[cfg(not(unix))]
fn behind_at(argument: &OsStr) -> Option<PathBuf> {
    argument.to_str()?.strip_prefix('@').map(PathBuf::from)
}

fn read_bounded(from: impl Read, what: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX_BODY + 1).read_to_end(&mut bytes).map_err(Failure::system(&format!("reading {what}")))?;
    if bytes.len() as u64 > MAX_BODY {
        return Err(Failure::unusable(
            format!("{what} holds more than {} MiB", MAX_BODY >> 20),
            "give a shorter one: receivers refuse bodies of that length",
        ));
    }
    Ok(bytes)
}
