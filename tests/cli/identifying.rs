//! From a request that was caught to a scheme that receives the next one.

use crate::support::{BODY, OTHER_SECRET, SECRET, cli, folder, with_secret};

const ACME: &str = "name = 'acme'\ncontent = '{timestamp}:{body}'\ntolerance = 300\n\
     timestamp = { element = 't=' }\n[signature]\nheader = 'x-acme-sig'\nseparator = ','\nprefix = 'h='\n\
     encoding = 'hex'\n";

#[test]
fn a_scheme_that_nobody_told_is_found_in_what_listen_caught() {
    let dir = folder("identify");
    let acme = dir.join("acme.toml");
    std::fs::write(&acme, ACME).expect("a file");
    let (acme, captures) = (acme.to_str().expect("UTF-8"), dir.join("captures"));
    let captures = captures.to_str().expect("UTF-8");
    // The receiver assumes another scheme, so that it refuses, and still writes down what it got.
    let mut listener = with_secret(["--json", "listen", "--bind", "127.0.0.1:0", "--capture", captures]).start();
    let url = listener.object()["listening"].as_str().expect("a URL").to_owned();
    let sent = with_secret(["send", "--scheme", acme, &url, BODY]).run();
    assert_eq!(sent.code, Some(1), "{sent:?}");
    let caught = listener.object()["captured"].as_str().expect("a file").to_owned();
    listener.interrupt().good();

    let found = dir.join("found.toml");
    let found = found.to_str().expect("UTF-8");
    let shown = with_secret(["identify", "--request", &caught, "--name", "acme", "--out", found]).run().good();
    assert!(shown.stdout.starts_with("found\n"), "{shown:?}");
    for part in ["x-acme-sig", "{timestamp}:{body}", "Scheme::builder(\"acme\")", "[signature]"] {
        assert!(shown.stdout.contains(part), "{part}: {shown:?}");
    }
    let report = with_secret(["--json", "identify", "--request", &caught]).run().good().json();
    assert_eq!(report["matches"][0]["header"], "x-acme-sig");
    assert_eq!(report["matches"][0]["content"], "{timestamp}:{body}");

    // The scheme that was found receives the next delivery.
    let mut listener =
        with_secret(["--json", "listen", "--bind", "127.0.0.1:0", "--scheme", found, "--count", "1"]).start();
    let url = listener.object()["listening"].as_str().expect("a URL").to_owned();
    with_secret(["send", "--scheme", acme, &url, BODY]).run().good();
    listener.end().good();
}

#[test]
fn where_nothing_fits_it_is_said_what_was_ruled_out() {
    let request = with_secret(["sign", "--http", BODY]).run().good().stdout;
    let ran = cli(["identify", "--request", "-"]).env("COUNTERSIGN_SECRET", OTHER_SECRET).input(request).run();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.starts_with("not found\n") && ran.stdout.contains("webhook-signature"), "{ran:?}");
}

#[test]
fn white_space_in_the_secret_is_one_of_the_mistakes() {
    let request = with_secret(["sign", "--http", BODY]).run().good().stdout;
    let file = folder("padded").join("secret");
    std::fs::write(&file, format!("{SECRET} \n")).expect("a file");
    let file = file.to_str().expect("UTF-8");
    let ran = cli(["identify", "--secret-file", file, "--request", "-"]).input(request).run();
    assert!(ran.code == Some(0) && ran.stdout.contains("mistake"), "{ran:?}");
}

#[test]
fn what_is_no_request_is_told() {
    with_secret(["identify", "--request", "-"]).input("hello").run().failed(3, "listen --capture");
    with_secret(["identify", "--request", "/nowhere"]).run().failed(3, "/nowhere: No such file");
    cli(["identify", "--request", "-"]).input("POST / HTTP/1.1\r\na: b\r\n\r\n").run().failed(3, "no signing secret");
}

#[test]
fn of_several_captures_the_first_match_counts_and_the_others_are_held_against_it() {
    let dir = folder("several");
    let path = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let request = |name: &str, secret: &str, body: &str| {
        let request = cli(["sign", "--http", body]).env("COUNTERSIGN_SECRET", secret).run().good().stdout;
        std::fs::write(path(name), request).expect("a file");
    };
    // As the shell writes `captures/*.http`: a forgery, a genuine one, another genuine one.
    request("1.http", OTHER_SECRET, BODY);
    request("2.http", SECRET, BODY);
    request("3.http", SECRET, "{}");
    let (one, two, three) = (path("1.http"), path("2.http"), path("3.http"));
    let shown = with_secret(["identify", "--request", &one, &two, &three]).run().good();
    for part in ["found\n", &format!("in {two}\n"), &format!("{three}: verifies with it"), &format!("{one}: does not")]
    {
        assert!(shown.stdout.contains(part), "{part}: {shown:?}");
    }
    let report = with_secret(["--json", "identify", "--request", &one, &two, &three]).run().good().json();
    assert_eq!(report["request"], two.as_str());
    assert_eq!(report["matches"].as_array().map(Vec::len), Some(1));
    assert_eq!((&report["others"][0]["accepted"], &report["others"][1]["accepted"]), (&false.into(), &true.into()));

    // In a rotation each is signed with a key of its own; one that the scheme cannot read is in nobody's way.
    let keys = path("keys.toml");
    let tables = [("a", "no base64!"), ("b", SECRET), ("c", OTHER_SECRET)];
    let text: String = tables.map(|(id, secret)| format!("[[key]]\nid = '{id}'\nsecret = '{secret}'\n")).concat();
    std::fs::write(&keys, text).expect("a file");
    let report = cli(["--json", "identify", "--keys", &keys, "--request", &one, &two, &three]).run().good().json();
    assert_eq!((&report["others"][0]["accepted"], &report["others"][1]["accepted"]), (&true.into(), &true.into()));

    let ran = cli(["identify", "--request", &two, &three]).env("COUNTERSIGN_SECRET", OTHER_SECRET).run();
    assert!(ran.code == Some(1) && ran.stdout.starts_with("not found\n"), "{ran:?}");
}

#[test]
fn what_was_found_is_printed_also_where_the_file_for_it_cannot_be_written() {
    let request = with_secret(["sign", "--http", BODY]).run().good().stdout;
    let ran = with_secret(["identify", "--request", "-", "--out", "/nowhere/scheme.toml"]).input(request).run();
    assert!(ran.code == Some(3) && ran.stderr.contains("/nowhere/scheme.toml: No such file"), "{ran:?}");
    assert!(ran.stdout.starts_with("found\n") && ran.stdout.contains("As TOML:"), "{ran:?}");
}

#[test]
fn a_variable_without_a_secret_is_named() {
    let request = with_secret(["sign", "--http", BODY]).run().good().stdout;
    let ran = cli(["identify", "--request", "-", "--secret-env", "NOWHERE"]).input(request).run();
    ran.failed(3, "the environment variable `NOWHERE`");
}
