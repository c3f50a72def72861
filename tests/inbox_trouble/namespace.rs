//! Where a test may mount file systems of its own: in a namespace that anybody may make, or as root in one of root's.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::inbox_common::Folder;
use crate::packages;

/// Anybody's, in which root is whoever makes it.
const ANYBODYS: &[&str] = &["unshare", "--user", "--map-root-user", "--mount"];
/// That of root, whom a container or a kernel may have left the right to mount, but not the right to make users.
const OF_ROOT: &[&str] = &["unshare", "--mount"];

/// What a program is run under that is to mount something. Tried once; where nothing works, all that need it fail.
pub(crate) fn wrapper() -> &'static [&'static str] {
    static FOUND: OnceLock<Result<&'static [&'static str], String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let is_there = || packages::find("unshare", &[]).is_some();
        if !is_there() {
            packages::install("util-linux", is_there);
        }
        let folder = Folder::new();
        choose(packages::is_root(), |wrapper| mounts(wrapper, folder.path()))
    });
    found.as_ref().unwrap_or_else(|message| panic!("{message}"))
}

/// Where it is restricted, the namespace may be made and mounting in it refused: so something is mounted.
fn mounts(wrapper: &[&str], folder: &Path) -> Result<(), String> {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).args(["mount", "-t", "tmpfs", "tmpfs"]).arg(folder);
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn choose(
    is_root: bool,
    mounts: impl Fn(&'static [&'static str]) -> Result<(), String>,
) -> Result<&'static [&'static str], String> {
    let mut refused = String::new();
    for wrapper in [ANYBODYS, OF_ROOT].into_iter().take(if is_root { 2 } else { 1 }) {
        match mounts(wrapper) {
            Ok(()) => return Ok(wrapper),
            Err(error) => refused += &format!("  {}: {error}\n", wrapper.join(" ")),
        }
    }
    Err(format!(
        "this test mounts file systems of its own, which this machine does not allow:\n{refused}\
         Allow one of these, and run it again:\n  \
         - namespaces that anybody may make: `sysctl user.max_user_namespaces` is not 0, and where there are such settings, \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (Ubuntu), \
         `sysctl -w kernel.unprivileged_userns_clone=1` (Debian);\n  \
         - root with the capability CAP_SYS_ADMIN, in a container: \
         `docker run --cap-add SYS_ADMIN --security-opt apparmor=unconfined`"
    ))
}

#[test]
fn root_mounts_without_a_user_namespace_where_there_is_none() {
    let refuse = |_: &[&str]| Err("unshare failed: Operation not permitted".to_owned());
    let without_users = |wrapper: &'static [&str]| if wrapper == OF_ROOT { Ok(()) } else { refuse(wrapper) };
    assert_eq!(choose(true, |_| Ok(())).as_deref(), Ok(ANYBODYS));
    assert_eq!(choose(true, without_users).as_deref(), Ok(OF_ROOT));
    for (is_root, tried) in [(false, 1), (true, 2)] {
        let message = choose(is_root, refuse).unwrap_err();
        assert_eq!(message.matches("Operation not permitted").count(), tried, "{message}");
        for what in ["kernel.apparmor_restrict_unprivileged_userns=0", "CAP_SYS_ADMIN"] {
            assert!(message.contains(what), "{what}: {message}");
        }
    }
    choose(false, without_users).unwrap_err();
}
