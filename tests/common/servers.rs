//! Private Redis and PostgreSQL servers: real ones, on free ports of the loopback interface, with their data in a
//! directory of their own. They end with the value that stands for them, or else with the process that started them.
//!
//! They are started from the machine's own binaries. Where those are missing, Debian's packages are installed if the test
//! runs as root; otherwise the test fails and says what to run. No test is skipped.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, missing_docs)] // each file uses its part

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

#[path = "packages.rs"]
pub mod packages;

use packages::{find, install, is_root};

/// How long a server may take to start on a busy machine before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether what is promised of time is judged, on a machine that has nothing else to do (`COUNTERSIGN_ROUNDS`).
pub fn is_long_form() -> bool {
    std::env::var_os("COUNTERSIGN_ROUNDS").is_some()
}

/// How long something may take for which `promised` is promised. In a short form it only has to end: a busy machine is
/// nobody's mistake.
pub fn bound(promised: Duration) -> Duration {
    if is_long_form() { promised } else { PATIENCE }
}

/// A Redis server.
pub struct Redis(Server);

impl Redis {
    /// Without persistence, and with `noeviction`.
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// What is written is on disk before it is answered.
    pub fn durable() -> Self {
        Self::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    pub fn with(settings: &[&str]) -> Self {
        let program = find("redis-server", &[]).unwrap_or_else(|| {
            install("redis-server", || find("redis-server", &[]).is_some());
            find("redis-server", &[]).expect("redis-server was installed")
        });
        let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self(Server::start(Kind::Redis { program, settings }))
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.0.port)
    }
}

/// A PostgreSQL server with the user `postgres`, who needs no password, and the database `postgres`.
pub struct Postgres(Server);

impl Postgres {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With settings as `name=value`.
    pub fn with(settings: &[&str]) -> Self {
        Self::set_up(settings, &[])
    }

    /// With settings, and with arguments of `initdb`.
    pub fn set_up(settings: &[&str], initdb: &[&str]) -> Self {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let (settings, initdb) = (owned(settings), owned(initdb));
        Self(Server::start(Kind::Postgres { program: Self::program(), settings, initdb }))
    }

    /// The server's binary, installed where it is missing: before a namespace is entered in which nobody can.
    pub fn program() -> PathBuf {
        find_postgres().unwrap_or_else(|| {
            install("postgresql", || find_postgres().is_some());
            find_postgres().expect("postgresql was installed")
        })
    }

    /// Whether it has ended by itself. Then it can be started again.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.0.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some());
        if ended {
            self.0.wait();
        }
        ended
    }

    /// What it has written into its log.
    pub fn log(&self) -> String {
        self.0.log()
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.0.port)
    }
}

/// What can be done to either of them.
pub trait Outage {
    fn server(&mut self) -> &mut Server;

    /// Ends it as its operator would, and waits for its end.
    fn stop(&mut self) {
        let server = self.server();
        signal("TERM", &[server.pid()]);
        server.wait();
    }

    /// Ends it with all its processes as a crash would.
    fn kill(&mut self) {
        self.server().end();
    }

    /// Stops all its processes where they are: connections stay open and are not answered.
    fn freeze(&mut self) {
        self.server().freeze();
    }

    /// Lets them go on.
    fn thaw(&mut self) {
        signal("CONT", &self.server().pids());
    }

    /// Starts it again after it has ended, on the same port and with the same data.
    fn start_again(&mut self) {
        self.server().spawn();
        self.server().wait_until_it_answers();
    }
}

impl Outage for Redis {
    fn server(&mut self) -> &mut Server {
        &mut self.0
    }
}

impl Outage for Postgres {
    fn server(&mut self) -> &mut Server {
        &mut self.0
    }

    fn stop(&mut self) {
        let server = self.server();
        // `fast`: what it does at a TERM would wait for its clients.
        signal("INT", &[server.pid()]);
        server.wait();
    }
}

/// A way to a server that can be laid to another, and that can swallow what is sent on it.
pub struct Proxy {
    pub port: u16,
    route: Arc<Route>,
}

struct Route {
    target: AtomicU16,
    /// Connections that were opened before this many had been are swallowed: open, and silent in both directions.
    swallowed: AtomicU32,
    /// How many connections were opened.
    opened: AtomicU32,
}

impl Proxy {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let route = Route { target: AtomicU16::new(port), swallowed: AtomicU32::new(0), opened: AtomicU32::new(0) };
        let route = Arc::new(route);
        let shared = Arc::clone(&route);
        // It ends with the process.
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let number = shared.opened.fetch_add(1, Ordering::SeqCst);
                let target = shared.target.load(Ordering::SeqCst);
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else { continue };
                for (mut from, mut to) in [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))].map(both) {
                    let route = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        let mut bytes = [0; 4096];
                        while let Ok(count @ 1..) = from.read(&mut bytes) {
                            let swallowed = number < route.swallowed.load(Ordering::SeqCst);
                            if !swallowed && to.write_all(&bytes[..count]).is_err() {
                                break;
                            }
                        }
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { port: own, route }
    }

    /// New connections go there; those that are open stay where they are.
    pub fn lay_to(&self, port: u16) {
        self.route.target.store(port, Ordering::SeqCst);
    }

    /// How many connections were opened so far.
    pub fn opened(&self) -> u32 {
        self.route.opened.load(Ordering::SeqCst)
    }

    /// Nothing arrives any more on the connections that are open now. Nobody is told.
    pub fn swallow(&self) {
        self.route.swallowed.store(self.route.opened.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

fn both((from, to): (std::io::Result<TcpStream>, std::io::Result<TcpStream>)) -> (TcpStream, TcpStream) {
    (from.unwrap(), to.unwrap())
}

enum Kind {
    Postgres { program: PathBuf, settings: Vec<String>, initdb: Vec<String> },
    Redis { program: PathBuf, settings: Vec<String> },
}

pub struct Server {
    kind: Kind,
    port: u16,
    folder: PathBuf,
    child: Option<Child>,
    /// Ends the server and removes its folder when this end of a pipe is closed, however this process ends.
    _guard: ChildStdin,
}

impl Server {
    fn start(kind: Kind) -> Self {
        let folder = new_folder();
        let guard = guard(&folder);
        let mut server = Self { kind, port: 0, folder, child: None, _guard: guard };
        server.prepare();
        // Somebody else may take a port between its choice and its use.
        for _ in 0..20 {
            server.port = free_port();
            server.spawn();
            if server.answers_in_time() {
                return server;
            }
            server.end();
        }
        panic!("no server could be started; see {}", server.log());
    }

    /// What is done once, before the first start.
    fn prepare(&self) {
        let Kind::Postgres { program, initdb: more, .. } = &self.kind else { return };
        let data = self.folder.join("data");
        let mut initdb = as_owner(&program.with_file_name("initdb"), &self.folder);
        initdb.arg("--pgdata").arg(&data).args(["--username=postgres", "--auth=trust", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--no-sync"]).args(more).stdin(Stdio::null());
        let output = initdb.output().unwrap_or_else(|error| panic!("initdb: {error}"));
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "it has ended before");
        let port = self.port.to_string();
        let mut command = match &self.kind {
            Kind::Redis { program, settings } => {
                let mut command = Command::new(program);
                command.args(["--bind", "127.0.0.1", "--port", &port, "--daemonize", "no", "--dir"]).arg(&self.folder);
                command.args(["--maxmemory-policy", "noeviction"]).args(settings);
                command
            }
            Kind::Postgres { program, settings, .. } => {
                let mut command = as_owner(program, &self.folder);
                command.arg("-D").arg(self.folder.join("data")).args(["-p", &port, "-h", "127.0.0.1", "-k", ""]);
                for setting in ["shared_buffers=16MB", "max_connections=300"] {
                    command.args(["-c", setting]);
                }
                for setting in settings {
                    command.args(["-c", setting]);
                }
                command
            }
        };
        let log = || File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log()).stderr(log()).current_dir(&self.folder).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        fs::write(self.folder.join("pid"), child.id().to_string()).unwrap();
        self.child = Some(child);
    }

    fn answers_in_time(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.as_mut().expect("it was started").try_wait().unwrap().is_some();
            if ended || Instant::now() > deadline {
                return false;
            }
            if self.answers() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_until_it_answers(&mut self) {
        assert!(self.answers_in_time(), "it does not answer: {}", self.log());
    }

    /// Whether it is ready for work, by the first words of its protocol.
    fn answers(&self) -> bool {
        let (question, expected) = match self.kind {
            Kind::Redis { .. } => (b"PING\r\n".to_vec(), b'+'),
            Kind::Postgres { .. } => {
                let words = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
                let length = u32::try_from(words.len() + 4).unwrap();
                ([&length.to_be_bytes(), words.as_slice()].concat(), b'R')
            }
        };
        let ask = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(&question)?;
            let mut first = [0];
            stream.read_exact(&mut first)?;
            Ok::<u8, std::io::Error>(first[0])
        };
        ask().is_ok_and(|first| first == expected)
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The process and its children, the parent first.
    fn pids(&self) -> Vec<u32> {
        let parent = self.pid();
        let mut pids = vec![parent];
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            // `pid (name) state ppid …`, where the name may hold anything.
            let Some((head, tail)) = stat.rsplit_once(')') else { continue };
            if tail.split_whitespace().nth(1).and_then(|ppid| ppid.parse().ok()) == Some(parent) {
                pids.extend(head.split_whitespace().next().and_then(|pid| pid.parse::<u32>().ok()));
            }
        }
        pids
    }

    fn wait(&mut self) {
        let _ = fs::remove_file(self.folder.join("pid"));
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    /// The parent first, so that it has no further children.
    fn freeze(&self) -> Vec<u32> {
        signal("STOP", &[self.pid()]);
        let pids = self.pids();
        signal("STOP", &pids);
        pids
    }

    fn end(&mut self) {
        if self.child.is_none() {
            return;
        }
        let pids = self.freeze();
        signal("KILL", &pids);
        self.wait();
        // The children hold the shared memory, without which the next one does not start.
        let deadline = Instant::now() + PATIENCE;
        while pids.iter().any(|pid| lives(*pid)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the last words of the server:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        self.end();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whether it is more than an entry that its parent has not read yet.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, tail)| !tail.starts_with(['Z', 'X']))
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A folder that nobody else has, and that the server's user may enter.
fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let folder = std::env::temp_dir().join(format!("countersign-server-{}-{count}-{nanos}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    hand_over(&folder);
    folder
}

/// Makes a folder the server's own, where that is another user's than the test.
pub fn hand_over(folder: &Path) {
    if let Owner::Other(user, group) = owner() {
        std::os::unix::fs::chown(folder, Some(user), Some(group)).unwrap();
    }
}

/// A shell that waits for the end of this process and then cleans up.
fn guard(folder: &Path) -> ChildStdin {
    let script = r#"trap '' HUP INT TERM; cat >/dev/null
        if pid=$(cat "$1/pid" 2>/dev/null); then kill -9 "$pid"; sleep 0.2; fi
        rm -rf "$1""#;
    let mut guard = Command::new("sh");
    guard.args(["-c", script, "guard"]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    guard.spawn().expect("sh").stdin.take().expect("a pipe")
}

/// Who PostgreSQL runs as, which refuses to be root.
enum Owner {
    /// Whoever runs the test.
    Us,
    /// Another user and group, where the test is root.
    Other(u32, u32),
    /// Root under another number, in a namespace that has no user but root.
    Renamed,
}

fn owner() -> Owner {
    if !is_root() {
        return Owner::Us;
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    if counts.sum::<u64>() == 1 {
        return Owner::Renamed;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let found = ["postgres:", "nobody:"].iter().find_map(|name| {
        let mut fields = users.lines().find(|line| line.starts_with(name))?.split(':').skip(2);
        Some(Owner::Other(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    found.unwrap_or(Owner::Us)
}

fn as_owner(program: &Path, folder: &Path) -> Command {
    let mut command = match owner() {
        Owner::Us => Command::new(program),
        Owner::Other(user, group) => {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups", "--"]);
            command.arg(program);
            command
        }
        Owner::Renamed => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-user=1000", "--map-group=1000", "--"]).arg(program);
            command
        }
    };
    command.current_dir(folder);
    command
}

fn find_postgres() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    // `initdb` stands where it is, and not where a link to it is.
    let postgres = fs::canonicalize(find("postgres", &folders)?).ok()?;
    postgres.with_file_name("initdb").is_file().then_some(postgres)
}

fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let script = format!("kill -{name} {}", pids.join(" "));
    // A child may have ended meanwhile.
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
}
