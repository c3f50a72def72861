//! The files for operators agree with the library: names of metrics and labels, both ways, and rules that fire.

#![cfg(all(target_os = "linux", feature = "metrics"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "common/packages.rs"]
mod packages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign::metrics::{METRICS, Metric, MetricKind};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// What is called by a name, perhaps with what an exporter puts behind a histogram's.
fn named(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| {
        let rest = name.strip_prefix(metric.name);
        match metric.kind {
            MetricKind::Histogram => matches!(rest, Some("" | "_bucket" | "_sum" | "_count")),
            _ => rest == Some(""),
        }
    })
}

/// The names of metrics in a text, each with what follows it.
fn names(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices("countersign_").map(|(at, _)| {
        let rest = &text[at..];
        rest.split_at(rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()))
    })
}

/// The labels in `{…}` behind a name.
fn labels(rest: &str) -> Vec<&str> {
    let Some((inside, _)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return Vec::new();
    };
    let parts = inside.split(',').filter(|part| !part.is_empty());
    parts.map(|part| part.split(['=', '!']).next().unwrap().trim()).collect()
}

#[test]
fn every_metric_in_the_files_exists_with_its_labels_and_every_metric_is_in_them() {
    let mut used = BTreeSet::new();
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let text = read(&format!("examples/monitoring/{file}")).replace("\\\"", "\"");
        for (name, rest) in names(&text) {
            let metric = named(name).unwrap_or_else(|| panic!("{file}: `{name}` is no metric of the library"));
            for label in labels(rest) {
                let own = ["le", "instance"].contains(&label) || metric.labels.contains(&label);
                assert!(own, "{file}: `{name}` has no label `{label}`");
            }
            if file == "dashboard.json" {
                used.insert(metric.name);
            }
        }
    }
    let unused: Vec<_> =
        METRICS.iter().filter(|metric| !used.contains(metric.name)).map(|metric| metric.name).collect();
    assert!(unused.is_empty(), "the dashboard does not show {unused:?}");
}

#[test]
fn the_table_in_the_documentation_is_that_of_the_library() {
    let text = read("docs/operations.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")).filter(|row| row.starts_with("`countersign_"));
    let rows: Vec<String> =
        rows.map(|row| row.splitn(4, '|').take(3).map(str::trim).collect::<Vec<_>>().join(" ")).collect();
    let row = |metric: &Metric| {
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("`{}` {kind} {}", metric.name, labels.join(", "))
    };
    assert_eq!(rows, METRICS.iter().map(row).collect::<Vec<_>>());
    // And all names in it exist.
    names(&text).for_each(|(name, _)| assert!(named(name).is_some(), "`{name}` is no metric of the library"));
}

#[test]
fn names_units_and_buckets_are_as_prometheus_has_them() {
    for metric in METRICS {
        let Metric { name, kind, unit, buckets, .. } = *metric;
        assert!(name.starts_with("countersign_"), "{name}");
        assert_eq!(kind == MetricKind::Counter, name.ends_with("_total"), "{name}");
        if ["seconds", "bytes"].contains(&unit) {
            assert!(name.contains(unit), "{name} is in {unit}");
        }
        assert_eq!(kind == MetricKind::Histogram, !buckets.is_empty(), "{name}");
        assert!(buckets.is_sorted_by(|one, next| one < next), "{name}");
    }
}

#[test]
fn every_alert_is_explained_and_tested() {
    let (rules, docs, tests) = (
        read("examples/monitoring/alerts.yml"),
        read("docs/operations.md"),
        read("examples/monitoring/alerts_test.yml"),
    );
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let explained = docs.lines().filter_map(|line| line.strip_prefix("| `Countersign")?.split('`').next());
    let explained: BTreeSet<_> = explained.map(|name| format!("Countersign{name}")).collect();
    assert_eq!(alerts.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), explained);
    // Quiet once, at least, and firing once.
    let mut seen: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    let mut name = "";
    for line in tests.lines() {
        if let Some((_, rest)) = line.split_once("alertname: ") {
            name = rest.trim_end_matches('}').trim();
            seen.entry(name).or_default().0 |= line.contains('{');
        }
        seen.entry(name).or_default().1 |= line.contains("exp_labels");
    }
    for alert in alerts {
        assert_eq!(seen.get(alert), Some(&(true, true)), "{alert}: quiet, firing");
    }
}

/// With the README's command, which does not show what tests print.
#[test]
fn that_a_package_is_being_installed_is_told_while_the_harness_keeps_back_what_tests_print() {
    const NAME: &str = "that_a_package_is_being_installed_is_told_while_the_harness_keeps_back_what_tests_print";
    const INSIDE: &str = "COUNTERSIGN_TOLD";
    if std::env::var_os(INSIDE).is_some() {
        eprintln!("kept back");
        packages::say("prometheus is missing");
        return;
    }
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.args(["--exact", NAME]).env(INSIDE, "1").output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(text.contains("1 passed") && text.contains("prometheus is missing\n"), "{text}");
    assert!(!text.contains("kept back"), "{text}");
}

fn promtool(args: &[&str]) {
    let is_there = || packages::find("promtool", &[]).is_some();
    if !is_there() {
        packages::install("prometheus", is_there);
    }
    let mut promtool = Command::new("promtool");
    let output = promtool.args(args).current_dir(path("examples/monitoring")).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("SUCCESS"), "promtool {args:?}:\n{text}");
}

#[test]
fn the_rules_are_rules_and_each_fires_on_what_it_is_for() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "alerts.yml"]);
    promtool(&["test", "rules", "alerts_test.yml"]);
}

/// Every question of the dashboard, as a rule that promtool reads.
#[test]
fn the_dashboard_is_whole_and_asks_questions_that_prometheus_understands() {
    let dashboard: serde_json::Value = serde_json::from_str(&read("examples/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut rules = "groups: [{name: dashboard, rules: [\n".to_owned();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_i64().unwrap()), "{title}: an id twice");
        if panel["type"] == "row" {
            continue;
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} asks nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}: a data source of somebody's own");
            let question = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$source", ".*");
            assert!(!question.contains('$'), "{title}: {question}");
            let question = serde_json::to_string(&question).unwrap();
            rules += &format!("{{record: 'dashboard:{}', expr: {question}}},\n", rules.len());
        }
    }
    rules += "]}]\n";
    let file = std::env::temp_dir().join(format!("countersign-dashboard-{}.yml", std::process::id()));
    std::fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
}
