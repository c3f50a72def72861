//! Runs the program, with nothing of the environment that the tests run in.
//!
//! Whatever it prints is searched for the planted secrets, by every test: one that is to see a secret says so.

#![allow(unreachable_pub, reason = "every module of the test target uses it")]

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::servers::packages;

/// The signing secret of these tests: base64 of `planted-signing-secret`.
pub const SECRET: &str = "whsec_cGxhbnRlZC1zaWduaW5nLXNlY3JldA==";
/// Another one: base64 of `planted-second-secret!`.
pub const OTHER_SECRET: &str = "whsec_cGxhbnRlZC1zZWNvbmQtc2VjcmV0IQ==";
/// An API key that nobody has.
pub const API_KEY: &str = "kycg_planted0planted0planted0planted0";

/// What no output may hold: the secrets as they are given, and what their text decodes to.
const PLANTED: [&str; 5] = [
    "cGxhbnRlZC1zaWduaW5nLXNlY3JldA",
    "cGxhbnRlZC1zZWNvbmQtc2VjcmV0",
    "planted-signing",
    "planted-second",
    "kycg_planted",
];

/// Longer than anything takes, on a machine that is busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const BODY: &str = r#"{"event":"screening.completed","data":{"entity_id":"ent_7"}}"#;

/// A run of the program that is being prepared.
pub struct Cli {
    command: Command,
    input: Vec<u8>,
    shows_secrets: bool,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program with these arguments and without a secret.
pub fn cli<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Cli {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(args).env_clear().env("COLUMNS", "100").stdout(Stdio::piped()).stderr(Stdio::piped());
    Cli { command, input: Vec::new(), shows_secrets: false }
}

/// Another program, which runs this one.
pub fn program(mut command: Command) -> Cli {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Cli { command, input: Vec::new(), shows_secrets: false }
}

/// The program at a terminal of its own, 100 columns wide, with what it prints on both outputs as one. Arguments go through
/// a shell.
pub fn at_terminal(args: &str) -> Cli {
    needs("script", "bsdutils");
    let log = folder("terminal").join("log");
    let run = format!("exec {} {args}", env!("CARGO_BIN_EXE_countersign"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &run]).arg(&log);
    script.env("SHELL", "/bin/sh").env("COLUMNS", "100").env("TERM", "xterm").env("NO_COLOR", "1");
    program(script)
}

/// What a test cannot do without, from Debian's package where it is missing.
pub fn needs(program: &str, package: &str) {
    let is_there = || packages::find(program, &[]).is_some();
    if !is_there() {
        packages::install(package, is_there);
    }
}

/// The same with [`SECRET`] in the environment.
pub fn with_secret<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Cli {
    cli(args).env("COUNTERSIGN_SECRET", SECRET)
}

impl Cli {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn input(self, input: impl Into<Vec<u8>>) -> Self {
        Self { input: input.into(), ..self }
    }

    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// It is to show a secret: what it prints is not searched.
    pub fn shows_secrets(self) -> Self {
        Self { shows_secrets: true, ..self }
    }

    /// Runs it to its end.
    pub fn run(self) -> Ran {
        let Self { mut command, input, shows_secrets } = self;
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // What does not read its input closes it.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let (stdout, stderr) = (gather(child.stdout.take()), gather(child.stderr.take()));
        let code = wait(&mut child).code();
        writer.join().expect("the input is written");
        let text = |gathered: JoinHandle<Vec<u8>>| String::from_utf8(gathered.join().expect("output")).expect("UTF-8");
        let ran = Ran { code, stdout: text(stdout), stderr: text(stderr) };
        if !shows_secrets {
            ran.holds_no_secret();
        }
        ran
    }

    /// Starts it, to be talked to.
    pub fn start(self) -> Running {
        let Self { mut command, input, shows_secrets } = self;
        let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(&input).expect("input");
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = gather(child.stderr.take());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, stdin: Some(stdin), lines, seen: Vec::new(), stderr: Some(stderr), shows_secrets }
    }
}

impl Ran {
    /// It ended well.
    #[track_caller]
    pub fn good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It ended with this code, an explanation on standard error that holds `text`, and nothing that looks like a panic.
    #[track_caller]
    pub fn failed(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(self.stderr.contains(text), "{text}: {self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// The object that tells what went wrong, as the only line of standard error.
    #[track_caller]
    pub fn error(&self) -> serde_json::Value {
        let mut object: serde_json::Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        let error = object["error"].take();
        assert_eq!(error["exit_code"].as_i64(), self.code.map(i64::from), "{self:#?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:#?}");
        error
    }

    /// Its objects, one a line.
    #[track_caller]
    pub fn objects(&self) -> Vec<serde_json::Value> {
        let object = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        self.stdout.lines().map(object).collect()
    }

    /// Its one object.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The value of one of its header lines.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("{name}: {self:#?}"))
    }

    #[track_caller]
    fn holds_no_secret(&self) {
        for planted in PLANTED {
            assert!(!self.stdout.contains(planted) && !self.stderr.contains(planted), "{planted} in {self:#?}");
        }
    }
}

/// A run that goes on. Killed when it is dropped.
pub struct Running {
    child: Child,
    stdin: Option<std::process::ChildStdin>,
    lines: Receiver<String>,
    seen: Vec<String>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    shows_secrets: bool,
}

impl Running {
    /// The next line of its output.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|_| panic!("no further line; so far {:#?}", self.seen));
        self.seen.push(line.clone());
        line
    }

    /// The next line as an object.
    #[track_caller]
    pub fn object(&mut self) -> serde_json::Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("input");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it reads");
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("`kill` runs").success());
    }

    /// Ctrl-C, and what comes of it.
    pub fn interrupt(self) -> Ran {
        self.signal("INT");
        self.end()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        self.stdin = None;
        let code = wait(&mut self.child).code();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let stderr = self.stderr.take().expect("once").join().expect("output");
        let stderr = String::from_utf8(stderr).expect("UTF-8");
        let ran = Ran { code, stdout: self.seen.join("\n"), stderr };
        if !self.shows_secrets {
            ran.holds_no_secret();
        }
        ran
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn gather(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut from = from.expect("a pipe");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("output");
        bytes
    })
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > deadline {
            drop(child.kill());
            panic!("it has not ended within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Looks until `found` has something.
#[track_caller]
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An empty folder of a test's own.
pub fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}-{number}", std::process::id()));
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

/// A tool of the system, where it is there: for a second opinion.
pub fn tool(command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("{command:?}: {error}"),
    }
}
