//! What the documents point at is there: files, tests by their names, targets of cargo, and the features in its commands.
//! So is what the mutants of `.ci/mutants` change, and the tests that are to catch them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DOCUMENTS: [&str; 6] =
    ["README.md", "CONTRIBUTING.md", "SECURITY.md", "benches/README.md", "examples/monitoring/README.md", "docs"];
const PROSE: &str = "src/docs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(below: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    if below.is_file() {
        found.extend(below.to_str().unwrap().ends_with(ending).then(|| below.to_owned()));
        return;
    }
    for entry in fs::read_dir(below).unwrap() {
        files(&entry.unwrap().path(), ending, found);
    }
}

/// Each document, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    DOCUMENTS.iter().chain([&PROSE]).for_each(|name| files(&root().join(name), ".md", &mut found));
    assert!(found.len() > 10, "{found:?}");
    found.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// What stands in backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let rooms = ["tests/", "src/", "examples/", "benches/", "docs/", "macros/", "../src/", "../docs/"];
    for (document, text) in documents() {
        let here = document.parent().unwrap();
        let is_there = |path: &str| {
            let path = path.split_once('#').map_or(path, |(file, _)| file).trim_end_matches('/');
            // Prose that becomes documentation names files from the root.
            root().join(path).exists() || here.join(path).exists()
        };
        let links = text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split(')').next());
        let links = links.filter(|link| link.contains(".md") || link.contains(".rs") || link.starts_with("examples/"));
        for link in links.filter(|link| !link.contains("://")) {
            assert!(is_there(link), "{}: [..]({link})", document.display());
        }
        for path in quoted(&text).filter(|path| rooms.iter().any(|room| path.starts_with(room))) {
            assert!(path.contains(['*', ' ']) || is_there(path), "{}: `{path}`", document.display());
        }
    }
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let functions = functions();
    let is_word = |name: &str| name.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter));
    let mut seen = 0;
    for (document, text) in documents() {
        for name in quoted(&text) {
            // A sentence of four words or more is a test; the rest of a long one may be left out.
            let (stem, whole) = name.strip_suffix('…').map_or((name, true), |stem| (stem, false));
            if !is_word(stem) || stem.split('_').filter(|word| !word.is_empty()).count() < 4 || is_metric(stem) {
                continue;
            }
            seen += 1;
            let is_there = functions.contains(stem) || (!whole && functions.iter().any(|name| name.starts_with(stem)));
            assert!(is_there, "{}: no function is called `{name}`", document.display());
        }
    }
    assert!(seen > 5, "{seen}");
}

/// The names of all functions that there are.
fn functions() -> BTreeSet<String> {
    let mut sources = Vec::new();
    ["tests", "src", "macros"].iter().for_each(|folder| files(&root().join(folder), ".rs", &mut sources));
    let functions = sources.iter().flat_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        let names = text.lines().filter_map(|line| line.split_once("fn ")?.1.split(['(', '<']).next());
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    functions.collect()
}

fn is_metric(name: &str) -> bool {
    name.starts_with("countersign_")
}

#[test]
fn every_command_of_cargo_in_a_document_has_targets_and_features_that_there_are() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let features = manifest["features"].as_table().unwrap();
    let mut seen = 0;
    for (document, text) in documents() {
        let lines = text.lines().filter(|line| line.contains("cargo "));
        for line in lines.filter(|line| !line.contains("cargo fuzz")) {
            let words: Vec<&str> = line.split([' ', '`', '|']).filter(|word| !word.is_empty()).collect();
            for pair in words.windows(2) {
                let value = pair[1];
                let holds = match pair[0] {
                    "--features" => value.split(',').all(|feature| features.contains_key(feature)),
                    "--example" => is_target("examples", value),
                    "--test" => is_target("tests", value),
                    "--bench" => is_target("benches", value),
                    _ => continue,
                };
                seen += 1;
                assert!(holds || value == "…", "{}: {} {value}", document.display(), pair[0]);
            }
        }
    }
    assert!(seen > 5, "{seen}");
}

/// They are run by `.ci/mutants`, which takes too long for every change.
#[test]
fn every_mutant_still_applies_and_names_tests_that_there_are() {
    let mut patches = Vec::new();
    files(&root().join(".ci/mutants.d"), ".patch", &mut patches);
    assert!(patches.len() > 5, "{patches:?}");
    let functions = functions();
    for patch in patches {
        // Within another repository git would take the paths for that one's.
        let mut git = Command::new("git");
        git.current_dir(root()).env("GIT_CEILING_DIRECTORIES", root().parent().unwrap());
        let output = git.args(["apply", "--check"]).arg(&patch).output().unwrap_or_else(|error| panic!("git: {error}"));
        let (name, why) = (patch.display(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name} does not apply any more; make the same mistake anew: {why}");
        let text = fs::read_to_string(&patch).unwrap();
        let tests: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("test: ")).collect();
        assert!(!tests.is_empty(), "{name} names no test");
        for test in tests {
            let words: Vec<&str> = test.split(' ').collect();
            match words[..] {
                ["--test", target, _] => assert!(is_target("tests", target), "{name}: no test target {target}"),
                ["--lib", _] => {}
                _ => panic!("{name}: `{test}` is neither `--test TARGET NAME` nor `--lib NAME`"),
            }
            // The suite of a store is a macro, whose functions are there under the same names.
            let function = words.last().and_then(|path| path.rsplit("::").next()).unwrap();
            assert!(functions.contains(function), "{name}: no function is called {function}");
        }
    }
}

fn is_target(folder: &str, name: &str) -> bool {
    let folder = root().join(folder);
    folder.join(format!("{name}.rs")).is_file() || folder.join(name).join("main.rs").is_file()
}

#[test]
fn the_readme_and_the_documentation_have_every_feature_and_every_example() {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let features = manifest["features"].as_table().unwrap().keys().filter(|name| *name != "default");
    let [readme, docs] = ["README.md", "src/docs/crate.md"].map(|name| fs::read_to_string(root().join(name)).unwrap());
    for feature in features {
        let row = format!("| `{feature}` | ");
        assert!(readme.contains(&row) && docs.contains(&row), "no row for the feature `{feature}`");
    }
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".rs");
        if !["common", "monitoring"].contains(&name) {
            assert!(readme.contains(&format!("| [`{name}`](examples/{name}")), "no row for the example `{name}`");
        }
    }
}
