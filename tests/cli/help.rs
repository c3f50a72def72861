//! What the program says about itself: help, manual, completions.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{cli, folder, tool};

/// Every command, found as a user finds them: by asking for help.
fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut at = 0;
    while let Some(path) = found.get(at).cloned() {
        let text = help(&path);
        let list = text.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for line in list {
            // Lines that go on with a description are indented further.
            let name =
                line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).and_then(|line| line.split(' ').next());
            if let Some(name) = name.filter(|name| *name != "help") {
                found.push(path.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
        at += 1;
    }
    found
}

fn help(path: &[String]) -> String {
    let ran = cli(path.iter().map(String::as_str).chain(["--help"])).run().good();
    assert_eq!(ran.stderr, "");
    ran.stdout
}

#[test]
fn the_help_of_every_command_is_as_it_was_agreed() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cli/help");
    let update = std::env::var_os("UPDATE").is_some();
    let mut expected = Vec::new();
    for path in commands() {
        let name = ["countersign".to_owned()].into_iter().chain(path.clone()).collect::<Vec<_>>().join("-") + ".txt";
        let file = goldens.join(&name);
        let text = help(&path);
        if update {
            std::fs::write(&file, &text).expect("a golden file");
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(golden == text, "{name} differs; look at it, then run this with UPDATE=1\n{text}");
        expected.push(name);
    }
    expected.sort();
    let files = std::fs::read_dir(&goldens).expect("golden files");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8")).collect();
    files.sort();
    assert_eq!(files, expected, "no file is left over");
    assert_eq!(expected.len(), 34);
}

#[test]
fn every_help_has_an_example_and_fits_its_width() {
    for path in commands() {
        let text = help(&path);
        if !path.is_empty() {
            assert!(text.contains("Example"), "{path:?}");
        }
        assert!(text.contains("countersign"), "{path:?}");
        for line in text.lines() {
            assert!(line.len() <= 100 && line.is_ascii(), "{path:?}: {line}");
        }
    }
}

#[test]
fn short_and_long_help_are_one_and_the_exit_codes_stand_in_it() {
    let (short, long) = (cli(["-h"]).run().good().stdout, cli(["--help"]).run().good().stdout);
    assert_eq!(short, long);
    for code in ["  0  ", "  1  ", "  2  ", "  3  ", "  4  ", "  5  ", "  130"] {
        assert!(short.contains(code), "{code}");
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let first = cli(["man"]).run().good().stdout;
    for part in [".TH countersign 1", ".SH NAME", ".SH SYNOPSIS", "Exit codes"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    let folder = folder("man");
    let written = cli(["--json", "man", "--out", "."]).dir(&folder).run().good().json();
    let pages = written["pages"].as_array().expect("a list").len();
    assert_eq!(pages, commands().len());
    for entry in std::fs::read_dir(&folder).expect("pages") {
        let path = entry.expect("a page").path();
        let page = std::fs::read_to_string(&path).expect("a page");
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS") && page.len() > 500, "{}", path.display());
        // Where there is a formatter, it has nothing to say about the page.
        if let Some(output) = tool(Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(&path)) {
            assert!(output.stderr.is_empty(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn completions_are_scripts_of_their_shells() {
    for (shell, check) in [
        ("bash", Some(["bash", "-n"])),
        ("zsh", Some(["zsh", "-n"])),
        ("fish", Some(["fish", "-n"])),
        ("elvish", None),
        ("powershell", None),
    ] {
        let script = cli(["completions", shell]).run().good().stdout;
        assert!(script.contains("countersign") && script.contains("rotate-secret"), "{shell}");
        let Some([program, option]) = check else { continue };
        let file = folder("completions").join(shell);
        std::fs::write(&file, script).expect("a script");
        let checked = tool(Command::new(program).arg(option).arg(&file).stdin(Stdio::null()));
        if let Some(output) = checked {
            assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn the_version_is_the_crates() {
    let version = cli(["--version"]).run().good().stdout;
    assert_eq!(version, format!("countersign {}\n", env!("CARGO_PKG_VERSION")));
}
