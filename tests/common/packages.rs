//! Programs that tests need: found where they are, or else installed from Debian's packages. No test is skipped.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, missing_docs)] // each file uses its part

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

pub fn find(program: &str, more: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/usr/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(usual).chain(more.iter().cloned());
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Installs one of Debian's packages, one process at a time.
///
/// `found` tells whether it is there: another process may have installed it meanwhile.
pub fn install(package: &str, found: impl Fn() -> bool) {
    let lock = File::create(std::env::temp_dir().join("countersign-install.lock")).unwrap();
    lock.lock().unwrap();
    let command = format!("apt-get update && apt-get install --yes --no-install-recommends {package}");
    if found() {
        return;
    }
    assert!(is_root() && find("apt-get", &[]).is_some(), "this test needs {package}; run: sudo sh -c '{command}'");
    say(&format!("{package} is missing; installing it, which can take some minutes: {command}"));
    let started = Instant::now();
    // Debian starts what it installs, unless this says no.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n").unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(policy, executable).unwrap();
    }
    let mut apt = Command::new("sh");
    let output = apt.args(["-c", &command]).env("DEBIAN_FRONTEND", "noninteractive").output();
    if ours {
        let _ = fs::remove_file(policy);
    }
    let output = output.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    say(&format!("{package} is installed, after {} s", started.elapsed().as_secs()));
}

/// Tells the user at once. What `eprintln!` prints the harness keeps back until a test fails.
pub fn say(text: &str) {
    // At once, with what the harness prints around it. Nobody may be listening, which is no reason to fail.
    let _ = std::io::stderr().write_all(format!("\n{text}\n").as_bytes());
}
