//! `listen`, and `send` against it, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use crate::support::{BODY, OTHER_SECRET, Ran, Running, SECRET, cli, folder, until, with_secret};

/// A listener on a free port, and its URL.
fn listen(args: &[&str]) -> (Running, String) {
    listening(with_secret(["--json", "listen", "--bind", "127.0.0.1:0"].iter().chain(args)).start())
}

fn listening(mut running: Running) -> (Running, String) {
    let started = running.object();
    let url = started["listening"].as_str().expect("a URL").to_owned();
    (running, url)
}

fn send(url: &str, args: &[&str]) -> Ran {
    with_secret(["send"].iter().chain(args).chain([&url, &BODY])).run()
}

#[test]
fn what_is_sent_is_printed_once_and_a_forgery_is_refused() {
    let (mut running, url) = listen(&[]);
    let url = format!("{url}/any/path");
    assert_eq!(send(&url, &["--id", "msg_1"]).code, Some(0));
    let line = running.object();
    assert_eq!((line["outcome"].as_str(), line["verified"].as_bool()), (Some("handled"), Some(true)));
    assert_eq!((line["id"].as_str(), line["event_type"].as_str()), (Some("msg_1"), Some("screening.completed")));
    assert_eq!((line["key_id"].as_str(), line["size"].as_u64()), (Some("COUNTERSIGN_SECRET"), Some(60)));
    assert_eq!((line["path"].as_str(), line["status"].as_u64()), (Some("/any/path"), Some(200)));
    assert_eq!(line.get("body"), None, "bodies are compliance data");

    assert_eq!(send(&url, &["--id", "msg_2", "--repeat", "2"]).code, Some(0));
    assert_eq!(running.object()["outcome"], "handled");
    let line = running.object();
    assert_eq!((line["outcome"].as_str(), line["id"].as_str()), (Some("duplicate"), Some("msg_2")));

    let forged = cli(["send", &url, BODY]).env("COUNTERSIGN_SECRET", OTHER_SECRET).run();
    assert_eq!(forged.code, Some(1), "{forged:?}");
    let line = running.object();
    assert_eq!((line["outcome"].as_str(), line["reason"].as_str()), (Some("rejected"), Some("wrong_signature")));
    assert_eq!((line["status"].as_u64(), line["id"].as_str()), (Some(401), None));

    assert_eq!(send(&url, &["--time", "-10m"]).code, Some(1));
    assert_eq!(running.object()["reason"], "too_old");
    let ended = running.interrupt().good();
    assert_eq!(ended.stdout.lines().count(), 6, "{ended:?}");
    assert_eq!(ended.stderr, "");
}

#[test]
fn lines_for_people_show_no_body_unless_asked() {
    for (args, shows) in [(&[][..], false), (&["--show-body"][..], true)] {
        let fixed = ["listen", "--count", "1", "--bind", "127.0.0.1:0"];
        let mut running = with_secret(fixed.iter().chain(args)).start();
        let first = running.line();
        let url = first.strip_prefix("listening on ").and_then(|rest| rest.split(',').next()).expect("a URL");
        assert_eq!(send(url, &["--id", "msg_1"]).code, Some(0));
        let ended = running.end().good();
        let verified = ended.stdout.lines().find(|line| line.contains("verified")).expect("a line");
        for part in ["200", "screening.completed", "msg_1", "key COUNTERSIGN_SECRET", "60 B"] {
            assert!(verified.contains(part), "{part}: {verified}");
        }
        assert_eq!(ended.stdout.contains("ent_7"), shows, "{ended:?}");
        assert!(!ended.stdout.contains('\u{1b}'), "no colour into a pipe: {ended:?}");
    }
}

#[test]
fn without_a_secret_nothing_is_verified_and_everything_is_503() {
    let (mut running, url) = listening(cli(["--json", "listen", "--bind", "127.0.0.1:0"]).start());
    let ran = send(&url, &[]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stdout.contains("503") && ran.stdout.contains("retry after"), "{ran:?}");
    let line = running.object();
    assert_eq!((line["outcome"].as_str(), line["verified"].as_bool()), (Some("unverified"), Some(false)));
    let ended = running.interrupt().good();
    assert!(ended.stderr.contains("there is no secret"), "{ended:?}");
}

#[test]
fn every_scheme_is_listened_to() {
    for preset in ["standard-webhooks", "stripe", "github", "slack", "shopify"] {
        let (mut running, url) = listen(&["--scheme", preset, "--count", "1"]);
        let sent = send(&url, &["--scheme", preset, "--event-type", "push"]);
        assert_eq!(sent.code, Some(0), "{preset}: {sent:?}");
        assert_eq!(running.object()["outcome"], "handled", "{preset}");
        running.end().good();
    }
}

#[test]
fn a_key_file_is_followed() {
    let keys = folder("follow").join("keys.toml");
    let write = |id: &str, secret: &str| {
        let next = keys.with_extension("next");
        std::fs::write(&next, format!("[[key]]\nid = '{id}'\nsecret = '{secret}'\n")).expect("a file");
        std::fs::rename(&next, &keys).expect("a file");
    };
    write("old", SECRET);
    let args = ["--json", "listen", "--bind", "127.0.0.1:0", "--keys", keys.to_str().expect("UTF-8")];
    let (mut running, url) = listening(cli(args).start());
    assert_eq!(send(&url, &[]).code, Some(0));
    assert_eq!(running.object()["key_id"], "old");
    write("new", OTHER_SECRET);
    until("the new key counts", || {
        let sent = cli(["send", &url, BODY]).env("COUNTERSIGN_SECRET", OTHER_SECRET).run();
        let line = running.object();
        (sent.code == Some(0)).then(|| assert_eq!(line["key_id"], "new"))
    });
    running.interrupt().good();
}

/// Answers each request with the next of these, and keeps what it got.
fn target(answers: &'static [&'static str]) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/target", listener.local_addr().expect("an address"));
    let served = thread::spawn(move || {
        let serve = |answer: &&str| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut seen = Vec::new();
            let mut chunk = [0; 4096];
            while !String::from_utf8_lossy(&seen).ends_with(BODY) {
                let count = stream.read(&mut chunk).expect("a request");
                assert!(count > 0, "a whole request");
                seen.extend_from_slice(&chunk[..count]);
            }
            write!(stream, "HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").expect("an answer");
            String::from_utf8(seen).expect("UTF-8")
        };
        answers.iter().map(serve).collect()
    });
    (url, served)
}

#[test]
fn what_is_forwarded_is_answered_as_the_target_answers() {
    let (target, served) = target(&["202 Accepted", "422 Unprocessable", "503 Busy\r\nretry-after: 9", "302 Found"]);
    let (mut running, url) = listen(&["--forward", &target]);
    for (status, code, answered) in [(202, 0, "202"), (422, 1, "422"), (503, 4, "retry after 9"), (302, 4, "502")] {
        let sent = send(&url, &["--header", "X-Extra: kept"]);
        assert_eq!(sent.code, Some(code), "{sent:?}");
        assert!(sent.stdout.contains(answered), "{answered}: {sent:?}");
        let line = running.object();
        assert_eq!(line["forward_status"].as_u64(), Some(status), "{line}");
    }
    // A forgery does not reach the target, which has no answer left.
    let forged = cli(["send", &url, BODY]).env("COUNTERSIGN_SECRET", OTHER_SECRET).run();
    assert_eq!(forged.code, Some(1), "{forged:?}");
    let requests = served.join().expect("four requests");
    assert_eq!(requests.len(), 4);
    for part in ["POST /target HTTP/1.1", "webhook-signature: v1,", "x-extra: kept", "content-type: application/json"] {
        assert!(requests[0].contains(part), "{part}: {}", requests[0]);
    }
    assert!(requests[0].ends_with(BODY));
    running.interrupt().good();
}

#[test]
fn a_target_that_is_away_is_a_502_and_the_retry_runs() {
    // A port that is given to no test.
    let (mut running, url) = listen(&["--forward", "http://127.0.0.1:1/"]);
    for _ in 0..2 {
        let sent = send(&url, &["--id", "msg_1"]);
        assert!(sent.code == Some(4) && sent.stdout.contains("502"), "{sent:?}");
        let line = running.object();
        assert_eq!(line["outcome"], "released", "not a duplicate the second time: {line}");
        assert!(line["forward_error"].as_str().expect("a reason").contains("cannot reach"), "{line}");
    }
    running.interrupt().good();
}

#[cfg(unix)]
#[test]
fn captures_are_raw_requests_for_their_owner_alone_and_bounded() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = folder("captures").join("new");
    let args = ["--capture", dir.to_str().expect("UTF-8"), "--capture-limit", "2"];
    let (mut running, url) = listen(&args);
    send(&url, &[]).good();
    let forged = cli(["send", &url, BODY]).env("COUNTERSIGN_SECRET", OTHER_SECRET).run();
    assert_eq!(forged.code, Some(1));
    send(&url, &[]).good();
    let captured: Vec<_> = (0..3).map(|_| running.object()["captured"].as_str().map(str::to_owned)).collect();
    assert!(captured[0].is_some() && captured[1].is_some() && captured[2].is_none(), "{captured:?}");
    let ended = running.interrupt().good();
    assert!(ended.stderr.contains("limit"), "{ended:?}");
    let mode = |path: &Path| std::fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for path in captured.iter().flatten() {
        assert_eq!(mode(Path::new(path)), 0o600);
        let raw = std::fs::read_to_string(path).expect("a capture");
        assert!(raw.starts_with("POST / HTTP/1.1\r\n") && raw.ends_with(BODY), "{raw}");
    }
    // What was captured verifies, also when it was refused, under the key that it was signed with.
    let verify = |path: &Option<String>, secret: &str| {
        cli(["verify", path.as_deref().expect("a path")]).env("COUNTERSIGN_SECRET", secret).run().code
    };
    assert_eq!(verify(&captured[0], SECRET), Some(0));
    assert_eq!(verify(&captured[1], SECRET), Some(1));
    assert_eq!(verify(&captured[1], OTHER_SECRET), Some(0));
}

#[test]
fn bodies_that_are_too_long_or_cut_off_get_their_answers() {
    let dir = folder("captures");
    let (mut running, url) = listen(&["--capture", dir.to_str().expect("UTF-8")]);
    let long = vec![b'x'; 1024 * 1024 + 1];
    let sent = with_secret(["send", &url, "-"]).input(long).run();
    assert!(sent.code == Some(1) && sent.stdout.contains("413"), "{sent:?}");
    let line = running.object();
    assert_eq!((line["outcome"].as_str(), line["status"].as_u64()), (Some("too_large"), Some(413)));
    assert_eq!(line.get("captured"), None);

    let address = url.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nwebhook-id: a\r\ncontent-length: 10\r\n\r\nabc").expect("half");
    drop(stream);
    let ended = {
        send(&url, &[]).good();
        until("the genuine one", || (running.object()["outcome"] == "handled").then_some(()));
        running.interrupt().good()
    };
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address").to_string();
    with_secret(["listen", "--bind", &taken]).run().failed(3, "port 0");
}

#[test]
fn an_address_that_is_none_is_told_with_one_that_is() {
    with_secret(["listen", "--bind", "localhost:8080"]).run().failed(2, "such as 127.0.0.1:8080");
}

#[cfg(target_os = "linux")]
#[test]
fn half_a_request_is_not_left_behind_as_a_capture() {
    use std::process::Command;

    use crate::support::program;

    let dir = folder("full");
    // A limit on the size of files stands for a disk that is full.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 8; trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_countersign")]);
    command.args(["--json", "listen", "--bind", "127.0.0.1:0", "--capture", dir.to_str().expect("UTF-8")]);
    let mut running = program(command).env("COUNTERSIGN_SECRET", SECRET).start();
    let url = running.object()["listening"].as_str().expect("a URL").to_owned();
    let long = format!(r#"{{"event":"test","data":{{"x":"{}"}}}}"#, "y".repeat(64 * 1024));
    with_secret(["send", &url, "-"]).input(long).run().good();
    let line = running.object();
    assert_eq!((line["status"].as_u64(), line.get("captured")), (Some(200), None), "{line}");
    assert_eq!(std::fs::read_dir(&dir).expect("a directory").count(), 0);
    let ended = running.interrupt().good();
    assert!(ended.stderr.contains("could not be captured"), "{ended:?}");
}
