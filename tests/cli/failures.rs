//! How the program ends when something is wrong: codes, words, signals, pipes.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::{API_KEY, BODY, PATIENCE, cli, folder, with_secret};

#[test]
fn the_table_of_exit_codes() {
    let dir = folder("codes");
    let scheme = dir.join("scheme.toml");
    std::fs::write(&scheme, "name = 'a'\n").expect("a file");
    let scheme = scheme.to_str().expect("UTF-8");
    // A port that is given to no test.
    let nobody = "http://127.0.0.1:1/";
    let table: [(i32, &[&str], &str); 18] = [
        (0, &["sign", BODY], ""),
        (0, &["--version"], ""),
        (1, &["verify", "--body", BODY], ""),
        (2, &[], "Usage"),
        (2, &["unheard-of"], "unrecognized subcommand"),
        (2, &["sign"], "required"),
        (2, &["sign", "--time", "yesterday", BODY], "-10m"),
        (2, &["sign", "--scheme", "nobody", BODY], "no scheme is called `nobody`"),
        (2, &["send", "ftp://127.0.0.1/", BODY], "is not an http:// or https:// URL"),
        (2, &["send", "--repeat", "0", "http://127.0.0.1/", BODY], "0 is not in"),
        (2, &["trigger", "test", "--rate", "nan"], "more than 0"),
        (2, &["logs", "list", "--status", "lost", "--sandbox"], "possible values: pending"),
        (2, &["webhooks", "update", "id", "--sandbox"], "nothing to change"),
        (3, &["sign", "--scheme", scheme, BODY], "scheme.toml"),
        (3, &["sign", "--scheme", "/nowhere.toml", BODY], "/nowhere.toml: No such file"),
        (4, &["send", nobody, BODY], "cannot reach 127.0.0.1"),
        (4, &["trigger", "test", "--url", nobody], "countersign sandbox"),
        (4, &["webhooks", "list", "--base-url", nobody, "--timeout", "1s"], "no connection (127.0.0.1:1: "),
    ];
    for (code, args, text) in table {
        let ran = with_secret(args).env("KYCGENIE_API_KEY", API_KEY).run();
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:#?}");
        assert!(ran.stderr.contains(text), "{args:?}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{args:?}: {ran:#?}");
        if (3..=5).contains(&code) {
            assert!(ran.stderr.starts_with("error: ") && ran.stderr.lines().count() <= 2, "{args:?}: {ran:#?}");
        }
    }
}

/// A script that asks for JSON reads JSON when things go wrong as well, whatever the command.
#[test]
fn with_json_a_failure_is_an_object_on_standard_error() {
    let nobody = "http://127.0.0.1:1/";
    let table: [(i32, &[&str], &str); 19] = [
        (2, &[], "subcommand"),
        (2, &["unheard-of"], "unrecognized subcommand"),
        (2, &["sign"], "required"),
        (2, &["sign", "--time", "yesterday", BODY], "-10m"),
        (2, &["sign", "--scheme", "nobody", BODY], "no scheme is called `nobody`"),
        (2, &["webhooks", "update", "id", "--sandbox"], "nothing to change"),
        (3, &["sign", "--scheme", "/nowhere.toml", BODY], "/nowhere.toml"),
        (3, &["verify", "/nowhere"], "/nowhere"),
        (3, &["identify", "--request", "/nowhere"], "/nowhere"),
        (3, &["listen", "--bind", "127.0.0.1:0", "--keys", "/nowhere"], "/nowhere"),
        (3, &["sandbox", "--bind", "127.0.0.1:0", "--state", "/nowhere/at/all"], ""),
        (3, &["man", "--out", "/dev/null/x"], "/dev/null/x"),
        (3, &["rotate", "id", "--keys", "/nowhere", "--sandbox"], "/nowhere"),
        (3, &["inbox", "stats", "--sqlite", "/nowhere"], "/nowhere"),
        (2, &["completions", "csh"], "csh"),
        (4, &["send", nobody, BODY], "cannot reach 127.0.0.1"),
        (4, &["trigger", "test", "--url", nobody], "127.0.0.1"),
        (4, &["webhooks", "list", "--base-url", nobody, "--timeout", "1s"], "127.0.0.1:1"),
        (4, &["logs", "list", "--base-url", nobody, "--timeout", "1s"], "127.0.0.1:1"),
    ];
    for (code, args, text) in table {
        let ran = with_secret(args.iter().chain(&["--json"])).env("KYCGENIE_API_KEY", API_KEY).run();
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(code), ""), "{args:?}: {ran:#?}");
        let error = ran.error();
        let told = format!("{} {}", error["message"], error["help"]);
        assert!(told.contains(text) && !told.starts_with("\"error"), "{args:?}: {ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{args:?}: {ran:#?}");
    }
    // A warning is an object as well, and a text that only looks like the option is none.
    let warned = cli(["--json", "sign", "--secret", "whsec_", BODY]).run();
    let lines: Vec<_> = warned.stderr.lines().map(serde_json::from_str::<serde_json::Value>).collect();
    assert!(lines.len() == 2 && lines.iter().all(Result::is_ok), "{warned:#?}");
    let text = cli(["sign", "--", "--json", "too", "many"]).run();
    assert!(text.code == Some(2) && text.stderr.starts_with("error:"), "{text:#?}");
}

#[test]
fn a_receiver_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    with_secret(["send", "--timeout", "100ms", &url, BODY]).run().failed(4, "has not answered within 0.1 s");
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    for args in
        [&["man"][..], &["completions", "bash"], &["--help"], &["sign", BODY], &["listen", "--bind", "127.0.0.1:0"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(args).env("COUNTERSIGN_SECRET", "whsec_aGVsbG8=").stdin(Stdio::null()).stdout(writer);
        let output = command.stderr(Stdio::piped()).spawn().expect("it starts").wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn arguments_that_are_not_text_are_refused_or_taken_as_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let odd = OsStr::from_bytes(b"\xff");
    let list = || cli(["webhooks", "list"]).env("KYCGENIE_API_KEY", API_KEY);
    list().env("KYCGENIE_BASE_URL", odd).run().failed(3, "KYCGENIE_BASE_URL is not UTF-8");
    cli(["webhooks", "list"]).env("KYCGENIE_API_KEY", odd).run().failed(3, "KYCGENIE_API_KEY is not UTF-8");
    cli(["sign", BODY]).env("COUNTERSIGN_SECRET", odd).run().failed(3, "not UTF-8");
    for args in [
        &["sign", "--scheme"].map(OsStr::new)[..],
        &["verify"].map(OsStr::new),
        &["identify", "--request"].map(OsStr::new),
        &["sign", "--secret-file"].map(OsStr::new),
        &["trigger"].map(OsStr::new),
        &["webhooks", "get"].map(OsStr::new),
        &[][..],
    ] {
        let ran = with_secret(args.iter().copied().chain([odd])).run();
        assert!(matches!(ran.code, Some(2 | 3)) && !ran.stderr.contains("panicked"), "{args:?}: {ran:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_a_request_to_terminate_end_servers_well_and_work_with_130() {
    for signal in ["INT", "TERM"] {
        for args in [&["listen", "--bind", "127.0.0.1:0"][..], &["sandbox", "--bind", "127.0.0.1:0"]] {
            let mut running = with_secret(["--json"].iter().chain(args)).start();
            running.line();
            let began = Instant::now();
            running.signal(signal);
            let ran = running.end();
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?} {signal}: {ran:?}");
            assert!(began.elapsed() < PATIENCE / 4, "{args:?} {signal}");
        }
    }
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    let running = with_secret(["send", &url, BODY]).start();
    let _connection = silent.accept().expect("it sends");
    let ran = running.interrupt();
    assert_eq!((ran.code, ran.stderr.trim()), (Some(130), "error: interrupted"), "{ran:?}");
}

#[test]
fn colour_is_for_terminals_or_on_request() {
    let refuse = |args: &[&str]| cli(["sign"].iter().chain(args).chain([&BODY])).run();
    assert!(!refuse(&[]).stderr.contains('\u{1b}'));
    assert!(refuse(&["--color", "always"]).stderr.contains('\u{1b}'));
    assert!(!refuse(&["--color", "never"]).stderr.contains('\u{1b}'));
}
