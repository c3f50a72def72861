//! Where secrets come from, and that they go nowhere. Every test of this program searches its output for the planted
//! ones; these make it talk.

use std::process::Command;

use crate::support::{API_KEY, BODY, OTHER_SECRET, Ran, SECRET, cli, folder, needs, program, tool, until, with_secret};

const SIGN: [&str; 6] = ["sign", "--id", "msg_1", "--time", "1750000000", BODY];

fn signature(ran: Ran) -> String {
    ran.good().header("webhook-signature").to_owned()
}

#[test]
fn a_secret_comes_from_the_environment_a_file_a_key_file_or_an_argument() {
    let dir = folder("secrets");
    let (file, keys) = (dir.join("secret"), dir.join("keys.toml"));
    std::fs::write(&file, format!("{SECRET}\r\n")).expect("a file");
    std::fs::write(&keys, format!("[[key]]\nid = 'a'\nsecret = '{SECRET}'\n")).expect("a file");
    let expected = signature(with_secret(SIGN).run());
    let given = |option: &str, value: &str| cli(SIGN.iter().chain([&option, &value])).env("MINE", SECRET);
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    for ran in [
        cli(SIGN).env("KYCGENIE_WEBHOOK_SECRET", SECRET).run(),
        cli(SIGN).env("COUNTERSIGN_SECRET", SECRET).env("KYCGENIE_WEBHOOK_SECRET", OTHER_SECRET).run(),
        given("--secret-env", "MINE").env("COUNTERSIGN_SECRET", OTHER_SECRET).run(),
        given("--secret-file", &path(&file)).env("COUNTERSIGN_SECRET", OTHER_SECRET).run(),
        given("--keys", &path(&keys)).run(),
    ] {
        assert_eq!(ran.stderr, "", "nothing to warn about");
        assert_eq!(signature(ran), expected);
    }
    let argument = given("--secret", SECRET).run();
    assert!(argument.stderr.starts_with("warning: --secret") && argument.stderr.contains("history"), "{argument:?}");
    assert_eq!(signature(argument), expected);
}

#[test]
fn a_secret_that_is_missing_or_of_no_use_is_told_without_it() {
    let dir = folder("bad-secrets");
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    };
    let sign =
        |option: &str, value: &str| cli(SIGN.iter().chain([&option, &value])).env("PADDED", format!("{SECRET} "));
    cli(SIGN).run().failed(3, "there is no signing secret");
    cli(SIGN).env("COUNTERSIGN_SECRET", "").run().failed(3, "there is no signing secret");
    sign("--secret-env", "UNSET_VARIABLE").run().failed(3, "UNSET_VARIABLE");
    sign("--secret-env", "PADDED").run().failed(3, "white space");
    sign("--secret", &format!(" {SECRET}")).run().failed(3, "white space");
    sign("--secret-file", "/nowhere").run().failed(3, "/nowhere: No such file");
    sign("--secret-file", &write("empty", "\n")).run().failed(3, "empty");
    sign("--secret-file", &write("two", &format!("{SECRET}\n\n"))).run().failed(3, "white space");
    sign("--secret-file", &write("huge", &SECRET.repeat(2_000))).run().failed(3, "64 KiB");
    sign("--keys", &write("broken.toml", &format!("[[key]]\nid = 'a'\nsecret = {SECRET}\n"))).run().failed(3, "line 3");
    sign("--keys", &write("none.toml", "")).run().failed(3, "no key");
    // A secret that is not base64, where the scheme says that it is.
    let undecodable = SECRET.replace('=', "!");
    sign("--secret-file", &write("undecodable", &undecodable)).run().failed(3, "base64");
    sign("--secret", SECRET).env("X", "").run().good();
    let both = SIGN.iter().chain(&["--secret", SECRET, "--secret-file", "x"]);
    cli(both).run().failed(2, "cannot be used with");
}

#[test]
fn a_secret_in_a_place_where_none_belongs_is_not_repeated() {
    with_secret(["sign", BODY, SECRET]).run().failed(2, "(hidden)");
    with_secret(["sign", BODY, &format!("--secrets={SECRET}")]).run().failed(2, "--secret");
    cli(["webhooks", "list", API_KEY]).run().failed(2, "(hidden)");
    cli([SECRET]).run().failed(2, "(hidden)");
    with_secret(["sign", BODY, "--time", SECRET]).run().failed(2, "(hidden)");
    with_secret(["sign", BODY, "--scheme", SECRET]).run();
    with_secret(["send", SECRET, BODY]).run();
}

#[test]
fn an_api_key_comes_from_the_environment_a_file_or_an_argument() {
    let file = folder("api-key").join("key");
    std::fs::write(&file, format!("{API_KEY}\n")).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let list = ["webhooks", "list", "--base-url", "http://127.0.0.1:9", "--timeout", "1s"];
    let list = |args: &[&str]| cli(list.iter().chain(args).copied().collect::<Vec<_>>());
    list(&[]).run().failed(3, "there is no API key");
    let unreachable = |ran: Ran| ran.failed(4, "cannot list the webhooks");
    unreachable(list(&[]).env("KYCGENIE_API_KEY", API_KEY).run());
    unreachable(list(&["--api-key-file", file]).run());
    let warned = unreachable(list(&["--api-key", API_KEY]).run());
    assert!(warned.stderr.contains("warning: --api-key"), "{warned:?}");
    list(&["--api-key", "a b"]).run().failed(3, "API key");
    // A key does not go over plain HTTP to another machine.
    let plain = cli(["webhooks", "list", "--base-url", "http://192.0.2.1"]).env("KYCGENIE_API_KEY", API_KEY).run();
    assert_eq!(plain.code, Some(3), "{plain:?}");
    let variable = cli(["webhooks", "list", "--timeout", "1s"]).env("KYCGENIE_BASE_URL", "http://127.0.0.1:9");
    unreachable(variable.env("KYCGENIE_API_KEY", API_KEY).run());
}

#[test]
fn not_even_the_most_verbose_logs_hold_a_secret_a_signature_or_a_body() {
    let mut listener =
        with_secret(["-vv", "--json", "listen", "--bind", "127.0.0.1:0"]).env("RUST_LOG", "trace").start();
    let url = listener.object()["listening"].as_str().expect("a URL").to_owned();
    let sent = with_secret(["-vv", "send", &url, BODY]).env("RUST_LOG", "trace").run().good();
    listener.line();
    let forged = cli(["-vv", "send", &url, BODY]).env("COUNTERSIGN_SECRET", OTHER_SECRET).run();
    assert_eq!(forged.code, Some(1));
    listener.line();
    let heard = listener.interrupt().good();
    assert!(heard.stderr.contains("webhook"), "it does log: {heard:?}");
    for stderr in [&sent.stderr, &heard.stderr] {
        assert!(!stderr.contains("v1,") && !stderr.contains("ent_7"), "{stderr}");
    }
    let api = ["-vv", "webhooks", "list", "--base-url", "http://127.0.0.1:9", "--timeout", "1s"];
    cli(api).env("KYCGENIE_API_KEY", API_KEY).env("RUST_LOG", "trace").run().failed(4, "cannot list");
}

/// `script` makes a terminal; `tty` names it, and `stty` tells when it no longer echoes.
#[test]
fn at_a_terminal_the_secret_is_asked_for_and_not_echoed() {
    needs("script", "bsdutils");
    let expected = signature(with_secret(SIGN).run());
    let log = folder("prompt").join("log");
    let sign = format!("{} sign --id msg_1 --time 1750000000 '{BODY}'", env!("CARGO_BIN_EXE_countersign"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &format!("tty; exec {sign}")]).arg(&log).env("SHELL", "/bin/sh");
    let mut running = program(script).start();
    let terminal = running.line().trim().to_owned();
    until("the terminal does not echo", || {
        let settings = tool(Command::new("stty").args(["-F", &terminal, "-a"]))?;
        String::from_utf8_lossy(&settings.stdout).contains("-echo ").then_some(())
    });
    running.say(SECRET);
    let ran = running.end().good();
    assert!(ran.stdout.contains("Signing secret:"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("webhook-signature: {expected}")), "{ran:?}");
}
