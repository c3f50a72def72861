//! `sign`, `verify` and `send`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use base64ct::Encoding as _;

use crate::support::{BODY, OTHER_SECRET, SECRET, cli, folder, needs, with_secret};

const PRESETS: [&str; 6] = ["kycgenie", "standard-webhooks", "stripe", "github", "slack", "shopify"];

/// As the headers of `sign` are, they are given to `verify`.
fn header_arguments(signed: &str) -> Vec<String> {
    signed.lines().flat_map(|line| ["--header".to_owned(), line.to_owned()]).collect()
}

#[test]
fn what_is_signed_verifies_under_every_preset() {
    for preset in PRESETS {
        let signed = with_secret(["sign", "--scheme", preset, "--event-type", "push", BODY]).run().good();
        let headers = header_arguments(&signed.stdout);
        let verify = |body: &str, secret: &str| {
            let fixed = ["--json", "verify", "--scheme", preset, "--body", body];
            let args = fixed.iter().map(|arg| (*arg).to_owned()).chain(headers.clone());
            cli(args).env("COUNTERSIGN_SECRET", secret).run()
        };
        let good = verify(BODY, SECRET).good().json();
        assert_eq!(good["accepted"], true, "{preset}: {good}");
        assert_eq!(good["key_id"], "COUNTERSIGN_SECRET", "{preset}: {good}");
        let altered = verify(&BODY.replace('7', "8"), SECRET);
        assert_eq!(altered.code, Some(1), "{preset}: {altered:?}");
        assert_eq!(altered.json()["accepted"], false, "{preset}: {altered:?}");
        assert_eq!(verify(BODY, OTHER_SECRET).code, Some(1), "{preset}");
    }
}

#[test]
fn a_whole_request_is_signed_and_verified_as_a_file() {
    let request = with_secret(["sign", "--http", "--url", "http://127.0.0.1:1/hook?a=b", BODY]).run().good().stdout;
    assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\nhost: 127.0.0.1:1\r\n"), "{request}");
    let file = folder("request").join("request.http");
    std::fs::write(&file, &request).expect("a file");
    let from_file = with_secret(["verify".as_ref(), file.as_os_str()]).run().good();
    let from_input = with_secret(["verify", "-"]).input(request.clone()).run().good();
    for ran in [from_file, from_input] {
        assert!(ran.stdout.contains("accepted: key") && ran.stdout.contains("COUNTERSIGN_SECRET"), "{ran:?}");
    }
    let forged = request.replace("ent_7", "ent_8");
    with_secret(["verify", "-"]).input(forged).run().failed(1, "");
}

#[test]
fn published_signatures_are_made() {
    let github = cli(["sign", "--scheme", "github", "--event-type", "ping", "Hello, World!"])
        .env("COUNTERSIGN_SECRET", "It's a Secret to Everybody")
        .run()
        .good();
    let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(github.header("x-hub-signature-256"), expected);
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    let args = ["sign", "--scheme", "standard-webhooks", "--id", id, "--time", "1614265330", "{\"test\": 2432232314}"];
    let standard = cli(args).env("COUNTERSIGN_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").run().good();
    assert_eq!(standard.header("webhook-signature"), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert_eq!(standard.header("webhook-timestamp"), "1614265330");
}

#[test]
fn a_signature_is_what_openssl_computes() {
    let signed = with_secret(["sign", "--id", "msg_1", "--time", "2026-11-24T10:00:00Z", BODY]).run().good();
    let content = format!("msg_1.{}.{BODY}", signed.header("webhook-timestamp"));
    let file = folder("openssl").join("content");
    std::fs::write(&file, content).expect("a file");
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", "planted-signing-secret", "-r"]).arg(&file);
    needs("openssl", "openssl");
    let output = openssl.output().expect("openssl runs");
    let hex = String::from_utf8(output.stdout).expect("UTF-8");
    let hex = hex.split(' ').next().expect("a digest").to_owned();
    let signature = signed.header("webhook-signature").strip_prefix("v1,").expect("a version").to_owned();
    let bytes = base64ct::Base64::decode_vec(&signature).expect("base64");
    let ours: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(ours, hex);
}

#[test]
fn a_body_comes_from_an_argument_a_file_or_standard_input() {
    let file = folder("bodies").join("body.json");
    std::fs::write(&file, BODY).expect("a file");
    let fixed = ["sign", "--id", "msg_1", "--time", "1750000000"];
    let sign = |body: &str, input: &str| {
        with_secret(fixed.iter().copied().chain([body]))
            .input(input)
            .run()
            .good()
            .header("webhook-signature")
            .to_owned()
    };
    let literal = sign(BODY, "");
    assert_eq!(sign(&format!("@{}", file.display()), ""), literal);
    assert_eq!(sign("-", BODY), literal);
    assert_ne!(sign("-", &format!("{BODY}\n")), literal);
    with_secret(["sign", "@/nowhere/body.json"]).run().failed(3, "/nowhere/body.json: No such file");
    let huge = vec![b' '; 16 * 1024 * 1024 + 1];
    with_secret(["sign", "-"]).input(huge).run().failed(3, "more than 16 MiB");
}

#[cfg(unix)]
#[test]
fn a_body_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let body = b"\xff\xfe not UTF-8";
    let fixed = ["sign", "--id", "msg_1", "--time", "1750000000"].map(OsStr::new);
    let argument = with_secret(fixed.iter().copied().chain([OsStr::from_bytes(body)])).run().good();
    let input = with_secret(fixed.iter().copied().chain([OsStr::new("-")])).input(*body).run().good();
    assert_eq!(argument.header("webhook-signature"), input.header("webhook-signature"));
    with_secret([OsStr::new("sign"), OsStr::new("--id"), OsStr::from_bytes(body), OsStr::new("x")])
        .run()
        .failed(2, "UTF-8");
}

#[test]
fn a_curl_command_is_one_that_a_shell_reads() {
    let body = "{\"text\":\"it's $HOME `here`\"}";
    let command = with_secret(["sign", "--curl", "--url", "http://127.0.0.1:1/a b", body]).run().good().stdout;
    let shown = command.replace("curl --silent", "printf '%s|' --silent");
    let printed = Command::new("sh").arg("-c").arg(shown).output().expect("a shell");
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    assert!(printed.contains(&format!("|--data-binary|{body}|")), "{printed}");
    assert!(printed.contains("|http://127.0.0.1:1/a b|"), "{printed}");
    with_secret(["sign", "--curl", "-"]).input(*b"\0").run().failed(2, "@FILE");
}

#[test]
fn what_a_scheme_needs_is_asked_for() {
    with_secret(["sign", "--scheme", "github", "no json"]).run().failed(2, "--event-type");
    let found = with_secret(["sign", "--scheme", "github", r#"{"type":"push"}"#]).run().good();
    assert_eq!(found.header("x-github-event"), "push");
    let scheme = folder("scheme").join("acme.toml");
    let text = "name = 'acme'\ncontent = '{header:x-kind}.{body}'\n[signature]\nheader = 'x-acme'\n";
    std::fs::write(&scheme, text).expect("a file");
    let scheme = scheme.to_str().expect("UTF-8");
    with_secret(["sign", "--scheme", scheme, "x"]).run().failed(2, "x-kind");
    let signed = with_secret(["sign", "--scheme", scheme, "--header", "X-Kind: a", "x"]).run().good();
    assert_eq!(signed.header("x-kind"), "a");
}

#[test]
fn verify_tells_what_is_wrong() {
    let sign = |time: &str| with_secret(["sign", "--http", "--time", time, BODY]).run().good().stdout;
    let verify = |request: String| with_secret(["verify", "-"]).input(request).run();
    let stale = verify(sign("-10m"));
    assert_eq!(stale.code, Some(1));
    assert!(stale.stdout.contains("10 min"), "{stale:?}");
    let ahead = verify(sign("+10m"));
    assert!(ahead.code == Some(1) && ahead.stdout.contains("ahead"), "{ahead:?}");
    let at = with_secret(["verify", "--at", "-10m", "-"]).input(sign("-10m")).run();
    assert_eq!(at.code, Some(0), "{at:?}");
    let any = with_secret(["verify", "--any-age", "-"]).input(sign("-10m")).run();
    assert_eq!(any.code, Some(0), "{any:?}");
    verify("not http".to_owned()).failed(3, "");
    let unsigned = verify("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}".to_owned());
    assert!(unsigned.code == Some(1) && unsigned.stdout.contains("webhook-signature"), "{unsigned:?}");
}

/// Answers each request with the next of these statuses.
fn receiver(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for (answer, stream) in answers.iter().zip(listener.incoming()) {
            let mut stream = stream.expect("a connection");
            let mut seen = Vec::new();
            let mut chunk = [0; 4096];
            while !String::from_utf8_lossy(&seen).contains("ent_7\"}}") {
                let count = stream.read(&mut chunk).expect("a request");
                seen.extend_from_slice(&chunk[..count]);
            }
            write!(stream, "HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").expect("an answer");
        }
    });
    url
}

#[test]
fn the_answer_decides_how_send_ends() {
    for (answer, code, shown) in [
        ("204 No Content", 0, "204 No Content"),
        ("302 Found\r\nlocation: http://127.0.0.1:1/", 1, "302 Found"),
        ("401 Unauthorized", 1, "401 Unauthorized"),
        ("503 Service Unavailable\r\nretry-after: 7", 4, "retry after 7"),
    ] {
        let url = receiver(Box::leak(Box::new([answer])));
        let ran = with_secret(["send", &url, BODY]).run();
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stdout.contains(shown), "{ran:?}");
    }
    let url = receiver(&["200 OK", "503 Service Unavailable\r\nretry-after: 7"]);
    let ran = with_secret(["--json", "send", "--repeat", "2", "--id", "msg_9", &url, BODY]).run();
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let lines: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines[0]["status"].as_u64(), lines[1]["retry_after"].as_str()), (Some(200), Some("7")));
    assert_eq!((lines[0]["id"].as_str(), lines[1]["id"].as_str()), (Some("msg_9"), Some("msg_9")));
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_behind_an_at_sign_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    let dir = folder("paths");
    std::fs::write(dir.join(OsStr::from_bytes(b"\xff.json")), BODY).expect("a file");
    let args = [OsStr::new("sign"), OsStr::new("--http"), OsStr::from_bytes(b"@\xff.json")];
    let signed = with_secret(args).dir(&dir).run().good();
    assert!(signed.stdout.ends_with(BODY), "{signed:?}");
}
