//! `countersign inbox dead` page by page, and the commands that it suggests: a shell runs them as they are printed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use countersign::inbox::{InboxStore as _, Wanted};
use countersign::{EventType, SqliteInbox};
use serde_json::json;

use crate::inbox::{current, keep, now};
use crate::inbox_common::incoming;
use crate::support::{Ran, cli, folder, program};

const JOB: EventType = EventType::from_static("job");
const OTHER: EventType = EventType::from_static("other.type");

/// An inbox of dead letters of these types, from number 1 on.
#[tokio::main(flavor = "current_thread")]
async fn graveyard(path: &Path, types: &[EventType]) {
    let store = SqliteInbox::open(path).expect("an inbox");
    for (at, event_type) in types.iter().enumerate() {
        let mut letter = incoming(&format!("msg_{at}"));
        letter.delivery.event_type = Some(event_type.clone());
        keep(&store, letter).await;
    }
    let wanted = Wanted { limit: types.len(), lease: Duration::from_secs(60), max_attempts: 5 };
    for leased in store.claim(wanted, now()).await.expect("it answers").leased {
        current(store.dead(&leased.lease, "hopeless", now()).await);
    }
}

/// Five of one type with three of another among them: 1, 3, 5, 7, 8 and 2, 4, 6.
fn mixed(name: &str) -> PathBuf {
    let path = folder(name).join("inbox.sqlite");
    graveyard(&path, &[JOB, OTHER, JOB, OTHER, JOB, OTHER, JOB, JOB]);
    path
}

fn dead(path: &Path, args: &[&str]) -> Ran {
    let ran = cli(["inbox", "dead"].iter().chain(args)).env("COUNTERSIGN_INBOX_SQLITE", path).run();
    assert!([0, 1].map(Some).contains(&ran.code), "{ran:#?}");
    ran
}

fn shown(ran: &Ran) -> Vec<String> {
    let letters = ran.stdout.lines().filter(|line| !line.starts_with(' '));
    letters.filter_map(|line| Some(line.split_once("  ")?.0.to_owned())).collect()
}

/// The commands that were suggested.
pub(crate) fn suggested(ran: &Ran) -> Vec<&str> {
    ran.stderr.lines().filter_map(|line| line.find("countersign ").map(|at| line[at..].trim_end_matches('`'))).collect()
}

/// Has a shell run it as it is.
pub(crate) fn pasted(line: &str, path: Option<&Path>) -> Ran {
    let program_folder = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().expect("a folder");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line]).env_clear().env("PATH", program_folder);
    let shell = program(shell);
    match path {
        Some(path) => shell.env("COUNTERSIGN_INBOX_SQLITE", path).run(),
        None => shell.run(),
    }
}

#[test]
fn filtered_dead_letters_that_fill_a_page_say_that_there_may_be_more_and_how_to_see_it() {
    let path = mixed("dead-filtered-page");
    let first = dead(&path, &["--event-type", "job", "--limit", "3"]);
    assert_eq!(shown(&first), ["1", "3", "5"]);
    let next = "countersign inbox dead --after 5 --limit 3 --event-type job";
    assert!(first.stderr.ends_with(&format!("there may be more: {next}\n")), "{first:#?}");
    let rest = pasted(next, Some(&path));
    assert_eq!(shown(&rest), ["7", "8"]);
    assert!(!rest.stderr.contains("more") && rest.stderr.contains("\n2 dead letters."), "{rest:#?}");
}

#[test]
fn the_last_page_of_dead_letters_offers_no_next_one() {
    let path = mixed("dead-last-page");
    let first = dead(&path, &["--limit", "5"]);
    assert!(first.stderr.contains("\n5 of 8 dead letters."), "{first:#?}");
    let next = "countersign inbox dead --after 5 --limit 5";
    assert_eq!(suggested(&first).last(), Some(&next), "{first:#?}");
    let rest = pasted(next, Some(&path));
    assert_eq!(shown(&rest), ["6", "7", "8"]);
    assert!(rest.stderr.contains("\n3 dead letters.") && !rest.stderr.contains("more"), "{rest:#?}");
    assert!(!rest.stderr.contains("--all-dead"), "those of the page before were not asked for: {rest:#?}");
    assert!(!dead(&path, &[]).stderr.contains("more"), "all of them were shown");
}

#[test]
fn what_is_suggested_for_filtered_dead_letters_replays_no_others() {
    let path = mixed("dead-filtered-replay");
    let ran = dead(&path, &["--event-type", "other.type"]);
    assert_eq!(shown(&ran), ["2", "4", "6"]);
    let commands = suggested(&ran);
    assert_eq!(commands, ["countersign inbox show 2", "countersign inbox replay 2", "countersign inbox replay 2 4 6"]);
    pasted(&format!("{} --yes", commands[2]), Some(&path)).good();
    assert_eq!(shown(&dead(&path, &[])), ["1", "3", "5", "7", "8"]);
    // One alone has been named already.
    assert_eq!(suggested(&dead(&path, &["--delivery-id", "msg_0"])).len(), 2);

    // More than a command line should hold are named by their filter.
    let path = folder("dead-many-replay").join("inbox.sqlite");
    graveyard(&path, &[vec![OTHER; 101], vec![JOB]].concat());
    let ran = dead(&path, &["--event-type", "other.type", "--limit", "1000"]);
    let replay = "countersign inbox replay --all-dead --event-type other.type";
    assert_eq!(suggested(&ran)[2..], [replay]);
    let replayed = pasted(&format!("{replay} --yes --json"), Some(&path)).good().json();
    assert_eq!(replayed["replayed"].as_array().map(Vec::len), Some(101));
    assert_eq!(replayed["not_replayed"], json!([]));
    assert_eq!(shown(&dead(&path, &[])), ["102"]);
}

#[test]
fn what_is_suggested_can_be_pasted_whatever_the_file_is_called() {
    for (at, name) in ["a b", "it's", "$HOME", "x&y;z", "q?*", "\"double\"", "back`tick`", "Größe"].iter().enumerate()
    {
        let path = folder(&format!("dead-pasted-{at}")).join(name).join("inbox.sqlite");
        std::fs::create_dir(path.parent().expect("a folder")).expect("a folder");
        graveyard(&path, &[JOB, JOB]);
        let run =
            |command: &[&str]| cli([&["inbox"], command, &["--sqlite", path.to_str().expect("UTF-8")]].concat()).run();
        let mut seen = 0;
        for ran in [run(&["dead", "--limit", "1"]), run(&["show", "1"]), run(&["stats"])] {
            for line in suggested(&ran) {
                let line = line.split_once("` ").map_or(line, |(command, _)| command);
                let again = pasted(&line.replace(" replay ", " show --json "), None);
                if !line.contains("--all-dead") {
                    assert!(again.code <= Some(1) && again.stdout.contains("msg_"), "{line}: {again:#?}");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 5, "{name}: two of `dead` and its next page, one of `show`, one of `stats`");
    }
}
