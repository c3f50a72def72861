//! `countersign inbox` over an inbox of SQLite that holds one delivery in every state.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::inbox::rusqlite::Connection;
use countersign::inbox::{Accepted, InboxError, InboxStore, Incoming, Lease, State, Wanted};
use countersign::{Clock, EventType, Settled, SqliteInbox, SystemClock, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::inbox_common::incoming;
use crate::support::{Cli, Ran, at_terminal, cli, folder, until};

/// Clears the screen, and asks the terminal to type for its user.
pub(crate) const HOSTILE: &str = "boom \u{1b}[2J\u{1b}[6n\u{202e}\r\nsecond line";

/// One that no inbox would make, which has every entity printable.
pub(crate) const ENTITY: &str = "test:\u{1b}]0;ent\u{7}";

const DONE: i64 = 2;
const RUNNING: i64 = 3;
const WAITING: i64 = 6;
pub(crate) const BODY: &[u8] = b"{\"passport\":\"P-8872\"}\xff\x00";

pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

pub(crate) async fn keep(store: &impl InboxStore, incoming: Incoming) {
    assert_eq!(store.accept(incoming, now()).await.expect("it answers"), Accepted::New);
}

#[track_caller]
pub(crate) fn current(settled: Result<Settled, InboxError>) {
    assert_eq!(settled.expect("it answers"), Settled::Current);
}

async fn lease(store: &impl InboxStore) -> Lease {
    let wanted = Wanted { limit: 1, lease: Duration::from_hours(1), max_attempts: 5 };
    let batch = store.claim(wanted, now()).await.expect("it answers");
    assert_eq!(batch.leased.len(), 1);
    batch.leased[0].lease
}

/// An inbox with, from number 1 on: dead, done, running, to be tried again, pending, waiting.
fn seeded(name: &str) -> PathBuf {
    let path = folder(name).join("inbox.sqlite");
    seed(&path);
    path
}

#[tokio::main(flavor = "current_thread")]
async fn seed(path: &Path) {
    fill(&SqliteInbox::open(path).expect("an inbox")).await;
}

/// Dead, done, running, to be tried again, pending, waiting.
pub(crate) async fn fill(store: &impl InboxStore) {
    let mut dead = incoming("msg_dead");
    dead.delivery.raw = bytes::Bytes::from_static(BODY);
    dead.delivery.received_at = now().saturating_sub(Duration::from_secs(7_500));
    dead.delivery.headers = vec![
        ("webhook-id".to_owned(), b"msg_dead".to_vec()),
        ("webhook-signature".to_owned(), b"v1,c2lnbmVkLWJ5LXRoZS1zZW5kZXI=".to_vec()),
    ];
    keep(store, dead).await;
    current(store.dead(&lease(store).await, HOSTILE, now()).await);
    let mut done = incoming("msg_done");
    done.delivery.tenant = Some(TenantId::new("acme").expect("a tenant"));
    keep(store, done).await;
    current(store.complete(&lease(store).await, now()).await);
    keep(store, incoming("msg_running")).await;
    let _running = lease(store).await;
    keep(store, incoming("msg_again")).await;
    let due = now().saturating_add(Duration::from_hours(1));
    current(store.retry(&lease(store).await, due, "the ledger is locked", now()).await);
    for id in ["msg_next", "msg_behind"] {
        let mut of_one = Incoming { entity: Some(ENTITY.to_owned()), ..incoming(id) };
        of_one.delivery.event_type = Some(EventType::from_static("other.type"));
        keep(store, of_one).await;
    }
}

fn inbox(path: &Path, args: &[&str]) -> Cli {
    let (command, rest) = args.split_first().expect("a command");
    cli(["inbox", command].iter().chain(rest)).env("COUNTERSIGN_INBOX_SQLITE", path)
}

fn json(path: &Path, args: &[&str]) -> Ran {
    let (command, rest) = args.split_first().expect("a command");
    cli(["--json", "inbox", command].iter().chain(rest)).env("COUNTERSIGN_INBOX_SQLITE", path).run()
}

pub(crate) fn numbers(ran: &Ran) -> Vec<i64> {
    ran.objects().iter().map(|entry| entry["number"].as_i64().expect("a number")).collect()
}

fn state(path: &Path, number: i64) -> Value {
    json(path, &["show", &number.to_string()]).good().json()["state"].take()
}

/// Nothing that a terminal would obey.
#[track_caller]
pub(crate) fn is_tame(text: &str) {
    let steers = |character: char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
    assert!(!text.contains(steers) && !text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn stats_count_by_state_and_tell_the_oldest() {
    let path = seeded("inbox-stats");
    let counted = json(&path, &["stats"]).good().json();
    for (name, expected) in [("pending", 2), ("running", 1), ("waiting", 1), ("done", 1), ("dead", 1)] {
        assert_eq!(counted[name], expected, "{name}: {counted}");
    }
    assert_eq!(counted["oldest"], "2026-09-21T14:13:20.000Z");
    assert!(counted["oldest_age_seconds"].as_f64().expect("a number") > 0.0);
    assert_eq!(counted.as_object().expect("an object").len(), 7);
    let text = inbox(&path, &["stats"]).run().good();
    assert!(text.stdout.starts_with("pending  2  ") && text.stdout.contains("\ndead     1  given up"), "{text:#?}");
    assert!(text.stdout.contains(" ago, at 2026-09-21T14:13:20"), "{text:#?}");
    assert!(text.stderr.contains("countersign inbox dead` tells why"), "{text:#?}");
}

#[cfg(unix)]
#[test]
fn stats_that_are_watched_come_until_they_are_interrupted() {
    let path = seeded("inbox-watch");
    let mut running =
        cli(["--json", "inbox", "stats", "--watch", "100ms"]).env("COUNTERSIGN_INBOX_SQLITE", &path).start();
    for _ in 0..3 {
        assert_eq!(running.object()["dead"], 1);
    }
    let ran = running.interrupt().good();
    assert_eq!(ran.stderr, "");
    let mut running = inbox(&path, &["stats", "--watch", "1"]).start();
    assert!(running.line().starts_with("time "));
    assert!(running.line().starts_with("20"));
    running.interrupt().good();
    inbox(&path, &["stats", "--watch", "0"]).run().failed(2, "100ms at most");
}

#[test]
fn a_list_is_filtered_and_paged_and_one_entry_a_line_for_machines() {
    let path = seeded("inbox-list");
    let listed = |args: &[&str]| numbers(&json(&path, &[&["list"], args].concat()).good());
    assert_eq!(listed(&[]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(listed(&["--limit", "2"]), [1, 2]);
    assert_eq!(listed(&["--limit", "2", "--after", "2"]), [3, 4]);
    assert_eq!(listed(&["--newest", "--limit", "2"]), [6, 5]);
    assert_eq!(listed(&["--before", "5", "--limit", "2"]), [4, 3]);
    for (state, expected) in
        [("dead", &[1][..]), ("done", &[2]), ("running", &[3]), ("pending", &[4, 5]), ("waiting", &[6])]
    {
        assert_eq!(listed(&["--state", state]), expected, "{state}");
    }
    assert_eq!(listed(&["--event-type", "other.type"]), [5, 6]);
    assert_eq!(listed(&["--event-type", "other.type", "--state", "waiting"]), [6]);
    assert_eq!(listed(&["--source", "test"]).len(), 6);
    assert_eq!(listed(&["--source", "nobody"]), [0; 0]);
    assert_eq!(listed(&["--delivery-id", "msg_again"]), [4]);
    assert_eq!(listed(&["--entity", ENTITY]), [5, 6]);
    assert_eq!(listed(&["--entity", ENTITY, "--state", "pending"]), [5]);
    assert_eq!(listed(&["--entity", "test"]), [0; 0]);
    assert_eq!(listed(&["--tenant", "acme"]), [2]);
    assert_eq!(listed(&["--tenant", "acme", "--entity", ENTITY]), [0; 0]);
    let again = json(&path, &["list", "--delivery-id", "msg_again"]).good().json();
    let received = "2026-09-21T14:13:20.000Z";
    assert!(again["due_at"].as_str().is_some_and(|due| due > received), "{again}");
    let expected = json!({
        "number": 4, "state": "pending", "source": "test", "tenant": null, "delivery_id": "msg_again",
        "event_type": "job", "entity": null, "received_at": received, "due_at": again["due_at"],
        "finished_at": null, "attempts": 1, "last_error": "the ledger is locked",
    });
    assert_eq!(again, expected);

    let table = inbox(&path, &["list"]).run().good();
    assert_eq!((table.stdout.lines().count(), table.stderr.as_str()), (7, ""), "{table:#?}");
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[1].contains("2 h 5 min ago") && lines[1].contains("given up "), "{table:#?}");
    assert!(lines[4].contains("due in 59 min") && lines[4].ends_with("the ledger is locked"), "{table:#?}");
    assert!(lines[6].contains("behind its entity"), "{table:#?}");
    is_tame(&table.stdout);
    let page = inbox(&path, &["list", "--limit", "2"]).run().good();
    assert_eq!(page.stderr.trim(), "there may be more: --after 2");
    assert_eq!(inbox(&path, &["list", "--source", "nobody"]).run().good().stdout, "no entries\n");
    inbox(&path, &["list", "--state", "lost"]).run().failed(2, "possible values: pending");
    inbox(&path, &["list", "--newest", "--after", "2"]).run().failed(2, "cannot be used with");
    inbox(&path, &["list", "--limit", "0"]).run().failed(2, "not in");
}

#[test]
fn dead_letters_are_told_with_their_errors_and_what_to_do_and_by_the_exit_code() {
    let path = seeded("inbox-dead");
    let dead = inbox(&path, &["dead"]).run();
    assert_eq!(dead.code, Some(1), "{dead:#?}");
    assert!(dead.stdout.starts_with("1  job  msg_dead  1 try, given up "), "{dead:#?}");
    assert!(dead.stdout.contains("\n    second line\n"), "{dead:#?}");
    is_tame(&dead.stdout);
    assert!(
        dead.stderr.contains("1 dead letter.") && dead.stderr.contains("countersign inbox replay 1\n"),
        "{dead:#?}"
    );
    let named = cli(["inbox", "dead", "--sqlite", path.to_str().expect("UTF-8")]).run();
    assert!(named.stderr.contains(&format!("replay --all-dead --sqlite {}", path.display())), "{named:#?}");
    let machine = json(&path, &["dead"]);
    assert_eq!((machine.code, machine.stderr.as_str(), &numbers(&machine)[..]), (Some(1), "", &[1][..]));
    assert_eq!(machine.json()["last_error"], HOSTILE);
    let none = inbox(&path, &["dead", "--event-type", "other.type"]).run().good();
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("no dead letters\n", ""));
    assert_eq!(json(&path, &["dead", "--after", "1"]).good().stdout, "");
}

#[test]
fn an_entry_is_shown_without_its_body_and_its_signature_unless_they_are_asked_for() {
    let path = seeded("inbox-show");
    for shown in [inbox(&path, &["show", "1"]).run().good(), json(&path, &["show", "1"]).good()] {
        assert!(shown.stdout.contains("msg_dead") && shown.stdout.contains("second line"), "{shown:#?}");
        assert!(!shown.stdout.contains("P-8872") && !shown.stdout.contains("c2lnbmVk"), "{shown:#?}");
        is_tame(&shown.stdout);
    }
    let object = json(&path, &["show", "1"]).good().json();
    assert_eq!(object["key_id"], "test");
    assert_eq!(object["authenticated"], json!(["body", "id"]));
    assert_eq!(object["body_bytes"], BODY.len());
    assert!(object.get("body").is_none() && object.get("headers").is_none(), "{object}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["inbox", "show", "1", "--body"]).env("COUNTERSIGN_INBOX_SQLITE", &path).stdin(Stdio::null());
    assert_eq!(command.output().expect("it runs").stdout, BODY, "byte for byte");
    let object = json(&path, &["show", "1", "--body", "--headers"]).good().json();
    assert_eq!(object["body_base64"], "eyJwYXNzcG9ydCI6IlAtODg3MiJ9/wA=");
    assert_eq!(object["headers"][0], json!({ "name": "webhook-id", "value": "msg_dead" }));
    assert_eq!(object["headers"][1]["value"], "(hidden; --reveal shows it)");
    let text = json(&path, &["show", "2", "--body"]).good().json();
    assert_eq!(text["body"], r#"{"event":"job","data":{"entity":"msg_done"}}"#);

    let headers = inbox(&path, &["show", "1", "--headers"]).run().good().stdout;
    assert_eq!(headers, "webhook-id: msg_dead\nwebhook-signature: (hidden; --reveal shows it)\n");
    let revealed = inbox(&path, &["show", "1", "--headers", "--reveal"]).run().good();
    assert_eq!(revealed.header("webhook-signature"), "v1,c2lnbmVkLWJ5LXRoZS1zZW5kZXI=");
    inbox(&path, &["show", "1", "--reveal"]).run().failed(2, "--headers");
    let running = inbox(&path, &["show", "3"]).run().good().stdout;
    assert!(running.contains("running, leased for 59 min") && running.contains("leased until"), "{running}");
    let waiting = inbox(&path, &["show", "6"]).run().good();
    assert!(waiting.stdout.contains("entity") && waiting.stdout.contains("\\u{1b}]0;ent\\u{7}"), "{waiting:#?}");
    assert!(waiting.stdout.contains("waits for") && waiting.stdout.contains("5, pending, due "), "{waiting:#?}");
    assert!(waiting.stderr.contains("`countersign inbox show 5` tells what holds it up"), "{waiting:#?}");
    assert_eq!(json(&path, &["show", "6"]).good().json()["waits_for"], 5);
    inbox(&path, &["show", "99"]).run().failed(1, "there is no entry 99");
    assert_eq!(json(&path, &["show", "99"]).error()["exit_code"], 1);
}

#[test]
fn a_replay_says_how_many_and_which_not_and_why() {
    let path = seeded("inbox-replay");
    let one = inbox(&path, &["replay", "1"]).run().good();
    assert_eq!((one.stdout.as_str(), one.stderr.as_str()), ("1 replayed: 1\n", ""));
    assert_eq!(state(&path, 1), "pending");
    let mixed = ["replay", "--yes", "1", "2", "3", "6", "99", "2"];
    let some = json(&path, &mixed);
    assert_eq!(some.code, Some(1), "{some:#?}");
    let expected = json!({ "replayed": [1, 2], "not_replayed": [
        { "number": 3, "reason": "running" }, { "number": 6, "reason": "waiting" }, { "number": 99, "reason": "none" },
    ] });
    assert_eq!((some.json(), some.stderr.as_str()), (expected, ""));
    let text = inbox(&path, &mixed).run();
    assert_eq!(text.code, Some(1), "{text:#?}");
    for line in ["3  it is running", "6  it waits for another", "99  there is no entry", "\n2 replayed\n"] {
        assert!(text.stdout.contains(line), "{line}: {text:#?}");
    }
    let nothing = inbox(&path, &["replay", "99"]).run();
    assert_eq!((nothing.code, nothing.stdout.lines().last()), (Some(1), Some("nothing was replayed")));
    inbox(&path, &["replay"]).run().failed(2, "required");
    inbox(&path, &["replay", "1", "--all-dead"]).run().failed(2, "cannot be used with");
    inbox(&path, &["replay", "1", "--source", "test"]).run().failed(2, "choose among the dead");
}

#[test]
fn what_a_replay_has_not_come_to_is_told_when_it_is_cut_short() {
    let path = seeded("inbox-cut-short");
    let refuse = "CREATE TRIGGER refuse BEFORE UPDATE ON countersign_inbox BEGIN SELECT RAISE(ABORT, 'not now'); END";
    Connection::open(&path).and_then(|connection| connection.execute_batch(refuse)).expect("a trigger");
    let cut = json(&path, &["replay", "--yes", "1", "2", "3"]);
    let expected = json!({ "replayed": [], "not_replayed": [
        { "number": 3, "reason": "running" }, { "number": 1, "reason": "left" }, { "number": 2, "reason": "left" },
    ] });
    assert_eq!((cut.code, cut.json()), (Some(4), expected), "{cut:#?}");
    let text = inbox(&path, &["replay", "--yes", "1"]).run().failed(4, "not now");
    assert!(text.stdout.contains("not replayed  1  it was cut short"), "{text:#?}");
}

#[test]
fn all_the_dead_or_some_of_them_are_replayed() {
    let path = seeded("inbox-replay-all");
    let none = ["replay", "--all-dead", "--event-type", "other.type"];
    assert_eq!(inbox(&path, &none).run().good().stdout, "nothing was replayed\n");
    assert_eq!(json(&path, &["replay", "--all-dead"]).good().json(), json!({ "replayed": [1], "not_replayed": [] }));
    let mut many = Vec::new();
    for number in 0..150 {
        many.push(format!("msg_many_{number}"));
    }
    bury(&path, &many);
    let dead = json(&path, &["stats"]).good().json()["dead"].as_u64().expect("a number") as usize;
    assert!(dead >= many.len());
    let replayed = json(&path, &["replay", "--all-dead", "--yes"]).good().json();
    assert_eq!(replayed["replayed"].as_array().expect("a list").len(), dead);
    assert_eq!(json(&path, &["stats"]).good().json()["dead"], 0);
}

#[tokio::main(flavor = "current_thread")]
async fn bury(path: &Path, ids: &[String]) {
    let store = SqliteInbox::open(path).expect("an inbox");
    for id in ids {
        keep(&store, incoming(id)).await;
    }
    let wanted = Wanted { limit: 1_000, lease: Duration::from_secs(60), max_attempts: 5 };
    for leased in store.claim(wanted, now()).await.expect("it answers").leased {
        current(store.dead(&leased.lease, "hopeless", now()).await);
    }
}

#[test]
fn what_happens_again_is_confirmed_or_refused() {
    let path = seeded("inbox-confirm");
    let replay = |args: &[&str]| inbox(&path, &[&["replay"], args].concat()).run();
    let refused = replay(&["2"]).failed(2, "nobody can be asked: it is done, and its effects happen again");
    assert!(refused.stderr.contains("--yes"), "{refused:#?}");
    replay(&["1", "4"]).failed(2, "2 entries are worked on again");
    replay(&["1", "2"]).failed(2, "one of them is done");
    bury(&path, &["msg_more".to_owned()]);
    replay(&["--all-dead"]).failed(2, "entries are worked on again");
    assert_eq!(state(&path, DONE), "done", "nothing of it was done");
    let error = json(&path, &["replay", "2"]).error();
    assert!(error["help"].as_str().expect("a text").contains("--yes"), "{error}");

    for (answer, code, after) in [("n", 1, "done"), ("", 1, "done"), ("y", 0, "pending")] {
        let mut running = at_terminal(&format!("inbox replay 2 --sqlite {}", path.display())).start();
        running.say(answer);
        let ran = running.end();
        assert_eq!(ran.code, Some(code), "{answer}: {ran:#?}");
        assert!(ran.stdout.contains("its effects happen again. Replay? [y/N]"), "{ran:#?}");
        assert_eq!(state(&path, DONE), after, "{answer}");
    }
}

#[test]
fn on_a_terminal_a_table_is_as_wide_as_it_and_nothing_steers_it() {
    let path = seeded("inbox-terminal");
    let error = "x".repeat(300);
    let long = format!("UPDATE countersign_inbox SET last_error = '{error}' WHERE number = 4");
    Connection::open(&path).expect("a database").execute(&long, []).expect("an update");
    for command in ["list", "dead", "show 1", "show 1 --body", "show 6"] {
        let ran = at_terminal(&format!("inbox {command} --sqlite {}", path.display())).run();
        is_tame(&ran.stdout);
        let longest = ran.stdout.lines().map(|line| line.trim_end().chars().count()).max();
        if command == "list" {
            assert!(ran.stdout.contains("xx…") && !ran.stdout.contains(&"x".repeat(100)), "{ran:#?}");
            assert!(longest <= Some(100) || !ran.stdout.contains(&"x".repeat(20)), "{ran:#?}");
        }
    }
    assert!(inbox(&path, &["list"]).run().good().stdout.contains(&error), "whole where nobody looks at it");
}

#[test]
fn pruning_forgets_what_is_old_and_refuses_what_would_run_twice() {
    let path = seeded("inbox-prune");
    let prune = |args: &[&str]| json(&path, &[&["prune"], args].concat());
    let age = |number: i64, hours: i64| {
        let update = "UPDATE countersign_inbox SET finished_at = finished_at - ?1 * 3600000 WHERE number = ?2";
        Connection::open(&path).expect("a database").execute(update, [hours, number]).expect("an update");
    };
    let pruned = |done: u64, dead: u64, dry_run: bool| json!({ "done": done, "dead": dead, "dry_run": dry_run });
    assert_eq!(prune(&[]).good().json(), pruned(0, 0, false));
    age(DONE, 79);
    age(1, 2_000);
    assert_eq!(prune(&[]).good().json(), pruned(0, 0, false), "80 h are not over");

    let refused = inbox(&path, &["prune", "--retention", "70h"]).run().failed(2, "shorter than 3 d 8 h");
    assert!(refused.stderr.contains("would run twice") && refused.stderr.contains("--danger-forget-early"));
    let github = inbox(&path, &["prune", "--retention", "73h", "--scheme", "github"]).run();
    github.failed(2, "shorter than 3 d 8 h (the inbox remembers for so long");
    inbox(&path, &["prune", "--keep-dead", "1h"]).run().failed(2, "--keep-dead is shorter");
    inbox(&path, &["prune", "--scheme", "nobody"]).run().failed(2, "no scheme is called");
    inbox(&path, &["prune", "--retention", "0s", "--danger-forget-early"]).run().failed(2, "cannot be 0");

    let early = ["--retention", "72h", "--danger-forget-early"];
    assert_eq!(prune(&[&early[..], &["--dry-run"]].concat()).good().json(), pruned(1, 0, true));
    assert_eq!(state(&path, DONE), "done", "nothing was forgotten");
    assert_eq!(prune(&["--keep-dead", "80d", "--dry-run"]).good().json(), pruned(0, 1, true));
    let text = inbox(&path, &["prune", "--keep-dead", "80d", "--dry-run"]).run().good().stdout;
    assert_eq!(
        text,
        "0 done would be forgotten: done more than 3 d 8 h ago\n1 dead would be forgotten: given up more than 80 d ago\n"
    );
    assert_eq!(prune(&early).good().json(), pruned(1, 0, false));
    assert_eq!(prune(&["--keep-dead", "80d"]).good().json(), pruned(0, 1, false));
    let left = json(&path, &["stats"]).good().json();
    assert_eq!((&left["done"], &left["dead"], &left["pending"]), (&json!(0), &json!(0), &json!(2)));
    // From then on the inbox remembers for no longer.
    let github = inbox(&path, &["prune", "--scheme", "github"]).run();
    github.failed(2, "what the inbox remembers for is shorter than 3 d (`github` delivers again for 3 d");
    inbox(&path, &["prune", "--scheme", "github", "--retention", "73h"]).run().good();
    assert!(inbox(&path, &["prune"]).run().good().stdout.contains("done more than 3 d ago"));
    assert_eq!(prune(&["--retention", "1ms", "--danger-forget-early"]).good().json(), pruned(0, 0, false));
}

#[test]
fn pruning_goes_by_the_longest_retention_that_a_receiver_has_opened_the_inbox_with() {
    let path = seeded("inbox-prune-longest");
    let days = |days: u64| Duration::from_hours(24 * days);
    drop(SqliteInbox::builder(&path).retention(days(11)).open().expect("an inbox"));
    let age = |days: i64| {
        let update = "UPDATE countersign_inbox SET finished_at = finished_at - ?1 * 86400000 WHERE number = ?2";
        Connection::open(&path).expect("a database").execute(update, [days, DONE]).expect("an update");
    };
    age(10);
    let nothing = inbox(&path, &["prune"]).run().good().stdout;
    assert!(nothing.starts_with("0 done forgotten: done more than 11 d ago"), "{nothing}");
    let shorter = inbox(&path, &["prune", "--retention", "80h"]).run().failed(2, "--retention is shorter than 11 d");
    assert!(shorter.stderr.contains("leave --retention out"), "{shorter:#?}");
    inbox(&path, &["prune", "--keep-dead", "10d"]).run().failed(2, "--keep-dead is shorter than what the inbox");
    // It does not raise what the inbox remembers for.
    inbox(&path, &["prune", "--retention", "30d"]).run().good();
    age(2);
    for dry_run in [true, false] {
        let args = if dry_run { &["prune", "--dry-run"][..] } else { &["prune"] };
        assert_eq!(json(&path, args).good().json(), json!({ "done": 1, "dead": 0, "dry_run": dry_run }));
    }
}

#[test]
fn many_are_pruned_in_steps_and_all_of_them() {
    let path = folder("inbox-prune-many").join("inbox.sqlite");
    finish(&path, 1_234);
    let old = "UPDATE countersign_inbox SET finished_at = 0 WHERE number > 34";
    Connection::open(&path).expect("a database").execute(old, []).expect("an update");
    assert_eq!(json(&path, &["prune", "--dry-run"]).good().json()["done"], 1_200);
    assert_eq!(json(&path, &["prune"]).good().json()["done"], 1_200);
    assert_eq!(json(&path, &["stats"]).good().json()["done"], 34);
}

#[tokio::main]
async fn finish(path: &Path, count: usize) {
    let store = SqliteInbox::open(path).expect("an inbox");
    let kept = (0..count).map(|number| keep(&store, incoming(&format!("msg_{number}"))));
    futures_util::future::join_all(kept).await;
    let wanted = Wanted { limit: count, lease: Duration::from_secs(60), max_attempts: 5 };
    let leased = store.claim(wanted, now()).await.expect("it answers").leased;
    let done = leased.iter().map(|leased| store.complete(&leased.lease, now()));
    futures_util::future::join_all(done).await;
    assert_eq!(store.stats().await.expect("it answers").done, count as u64);
}

#[test]
fn what_is_no_inbox_is_told_and_left_alone() {
    let dir = folder("inbox-none");
    let commands: [&[&str]; 7] = [
        &["stats"],
        &["list"],
        &["dead"],
        &["show", "1"],
        &["replay", "1"],
        &["prune", "--dry-run"],
        &["stats", "--watch", "1"],
    ];
    let newer = dir.join("newer.sqlite");
    seed(&newer);
    let raise = "UPDATE countersign_inbox_schema SET version = 9";
    Connection::open(&newer).expect("a database").execute(raise, []).expect("an update");
    Connection::open(dir.join("other.sqlite")).expect("one").execute_batch("CREATE TABLE a (b)").expect("a table");
    std::fs::write(dir.join("text"), "no database ".repeat(100)).expect("a file");
    std::fs::write(dir.join("empty"), "").expect("a file");
    let files = || {
        let entries = std::fs::read_dir(&dir).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut files: Vec<_> = entries.map(|path| (path.clone(), std::fs::read(&path).expect("a file"))).collect();
        files.sort();
        files
    };
    let before = files();
    for command in commands {
        for (name, text) in [
            ("missing.sqlite", "there is no inbox"),
            ("other.sqlite", "is no inbox"),
            ("text", "is no inbox"),
            ("empty", "is no inbox"),
            ("newer.sqlite", "run the newer program"),
            ("", "cannot be opened"),
        ] {
            inbox(&dir.join(name), command).run().failed(3, text);
        }
        inbox(Path::new(""), command).run().failed(2, "it is not said which inbox");
        let both = inbox(Path::new("a"), command).env("COUNTERSIGN_INBOX_POSTGRES", "postgres://127.0.0.1/");
        both.run().failed(2, "both COUNTERSIGN_INBOX_SQLITE and COUNTERSIGN_INBOX_POSTGRES are set");
    }
    assert_eq!(files(), before, "nothing was made, and nothing changed");
    // What is said goes before what is set.
    let path = seeded("inbox-said");
    cli(["inbox", "stats", "--sqlite", path.to_str().expect("UTF-8")])
        .env("COUNTERSIGN_INBOX_SQLITE", dir.join("missing.sqlite"))
        .run()
        .good();
}

#[test]
fn a_reader_of_a_long_list_that_has_gone_is_no_failure() {
    let path = folder("inbox-pipe").join("inbox.sqlite");
    finish(&path, 3_000);
    for args in
        [&["list", "--limit", "3000"][..], &["--json", "list", "--limit", "3000"], &["stats", "--watch", "100ms"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.arg("inbox").args(args).env("COUNTERSIGN_INBOX_SQLITE", &path).stdin(Stdio::null()).stdout(writer);
        let output = command.stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn an_inbox_that_somebody_has_locked_is_read_all_the_same_and_written_later() {
    let path = seeded("inbox-locked");
    let lock = Connection::open(&path).expect("a database");
    lock.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    for command in [&["stats"][..], &["list"], &["show", "1"], &["prune", "--dry-run"]] {
        inbox(&path, command).run().good();
    }
    let mut replaying = inbox(&path, &["replay", "1"]).start();
    // It waits for the lock: five seconds, so that there is time to give it up.
    until("the replay to wait", || Some(state(&path, 1)).filter(|state| state == "dead"));
    lock.execute_batch("COMMIT").expect("an end");
    assert_eq!(replaying.line(), "1 replayed: 1");
    replaying.end().good();
    assert_eq!(state(&path, 1), State::Pending.as_str());
    assert_eq!((state(&path, RUNNING), state(&path, WAITING)), (json!("running"), json!("waiting")));
}
