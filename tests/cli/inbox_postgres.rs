//! `countersign inbox` over an inbox of a PostgreSQL server.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::inbox::{InboxStore, PostgresInbox};
use countersign::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

use crate::inbox::{BODY, ENTITY, HOSTILE, fill, is_tame, numbers};
use crate::inbox_common::incoming;
use crate::inbox_dead::{pasted, suggested};
use crate::servers::Postgres;
use crate::support::{Cli, Ran, at_terminal, cli, until};

/// What no output may hold.
const PASSWORD: &str = "pl4nted-database-p4ssword";

/// A server with an inbox that holds a delivery in every state.
struct Seeded {
    server: Postgres,
    numbers: Vec<i64>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn seed(url: &str, schema: &str) {
    let builder = PostgresInbox::builder(url).schema(schema).response_timeout(Duration::from_secs(10));
    fill(&builder.build().await.expect("an inbox")).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn admin(url: &str, statements: &str) {
    let (client, connection): (Client, _) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    let connection = tokio::spawn(connection);
    client.batch_execute(statements).await.expect("it does");
    drop(client);
    connection.await.expect("an end").expect("it ends well");
}

impl Seeded {
    fn start() -> Self {
        let server = Postgres::start();
        seed(&server.url(), "countersign");
        let mut seeded = Self { server, numbers: Vec::new() };
        seeded.numbers = numbers(&seeded.json(&["list"]).good());
        assert_eq!(seeded.numbers.len(), 6);
        seeded
    }

    fn inbox(&self, args: &[&str]) -> Cli {
        let (command, rest) = args.split_first().expect("a command");
        cli(["inbox", command].iter().chain(rest)).env("COUNTERSIGN_INBOX_POSTGRES", self.server.url())
    }

    fn json(&self, args: &[&str]) -> Ran {
        self.inbox(&[args, &["--json"]].concat()).run()
    }

    fn number(&self, at: usize) -> String {
        self.numbers[at].to_string()
    }

    fn state(&self, at: usize) -> Value {
        self.json(&["show", &self.number(at)]).good().json()["state"].take()
    }
}

#[test]
fn an_operator_sees_and_does_on_postgresql_what_he_does_on_sqlite() {
    let inbox = Seeded::start();
    let counted = inbox.json(&["stats"]).good().json();
    for (name, expected) in [("pending", 2), ("running", 1), ("waiting", 1), ("done", 1), ("dead", 1)] {
        assert_eq!(counted[name], expected, "{name}: {counted}");
    }
    assert_eq!(counted["oldest"], "2026-09-21T14:13:20.000Z");

    let listed = |args: &[&str]| numbers(&inbox.json(&[&["list"], args].concat()).good());
    let all = &inbox.numbers;
    assert_eq!(listed(&["--limit", "2", "--after", &inbox.number(1)]), all[2..4]);
    assert_eq!(listed(&["--newest", "--limit", "2"]), [all[5], all[4]]);
    assert_eq!(listed(&["--state", "pending"]), all[3..5]);
    assert_eq!(listed(&["--event-type", "other.type", "--state", "waiting"]), all[5..]);
    assert_eq!(listed(&["--delivery-id", "msg_again", "--source", "test"]), all[3..4]);
    assert_eq!(listed(&["--entity", ENTITY, "--state", "pending"]), all[4..5]);
    assert_eq!(listed(&["--entity", ENTITY]), all[4..]);
    assert_eq!(listed(&["--tenant", "acme"]), all[1..2]);
    assert_eq!(inbox.json(&["show", &inbox.number(5)]).good().json()["waits_for"], all[4]);
    is_tame(&inbox.inbox(&["list"]).run().good().stdout);

    let letters = inbox.json(&["dead"]);
    assert_eq!((letters.code, &letters.json()["last_error"]), (Some(1), &HOSTILE.into()));
    let dead = inbox.number(0);
    let shown = inbox.inbox(&["show", &dead]).run().good().stdout;
    assert!(shown.contains("msg_dead") && !shown.contains("P-8872") && !shown.contains("c2lnbmVk"), "{shown}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["inbox", "show", &dead, "--body"]).env("COUNTERSIGN_INBOX_POSTGRES", inbox.server.url());
    assert_eq!(command.stdin(Stdio::null()).output().expect("it runs").stdout, BODY, "byte for byte");

    let ids: Vec<String> = (0..6).map(|at| inbox.number(at)).chain(["999999".to_owned()]).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    inbox.inbox(&["replay", ids[1]]).run().failed(2, "nobody can be asked");
    let some = inbox.json(&[&["replay", "--yes"], &ids[..]].concat());
    assert_eq!(some.code, Some(1), "{some:#?}");
    let expected = json!({ "replayed": [all[0], all[1], all[3], all[4]], "not_replayed": [
        { "number": all[2], "reason": "running" },
        { "number": all[5], "reason": "waiting" },
        { "number": 999_999, "reason": "none" },
    ] });
    assert_eq!(some.json(), expected);
    assert_eq!((inbox.state(0), inbox.state(2)), (json!("pending"), json!("running")));
    assert_eq!(inbox.json(&["replay", "--all-dead"]).good().json(), json!({ "replayed": [], "not_replayed": [] }));
    is_tame(&at_terminal(&format!("inbox list --postgres '{}'", inbox.server.url())).run().good().stdout);
}

#[test]
fn pruning_on_postgresql_forgets_what_is_old_in_steps() {
    let server = Postgres::start();
    finish(&server.url(), 1_234);
    let age = "UPDATE countersign.inbox SET finished_at = finished_at - 360000000 WHERE number IN \
               (SELECT number FROM countersign.inbox ORDER BY number LIMIT 1200)";
    admin(&server.url(), age);
    let inbox = Seeded { server, numbers: Vec::new() };
    let dry = inbox.json(&["prune", "--dry-run", "--keep-dead", "80h"]).good().json();
    assert_eq!(dry, json!({ "done": 1_200, "dead": 0, "dry_run": true }));
    inbox.inbox(&["prune", "--retention", "1h"]).run().failed(2, "would run twice");
    admin(&inbox.server.url(), "UPDATE countersign.inbox_retention SET milliseconds = 360000000 * 2");
    assert_eq!(inbox.json(&["prune"]).good().json()["done"], 0, "all of it is to be remembered");
    inbox.inbox(&["prune", "--retention", "80h"]).run().failed(2, "the inbox remembers for so long");
    let early = ["prune", "--retention", "80h", "--danger-forget-early"];
    assert_eq!(inbox.json(&[&early[..], &["--dry-run"]].concat()).good().json()["done"], 1_200);
    inbox.inbox(&["prune", "--retention", "80h"]).run().failed(2, "the inbox remembers for so long");
    assert_eq!(inbox.json(&early).good().json()["done"], 1_200);
    admin(&inbox.server.url(), &age.replace("1200", "10"));
    assert_eq!(inbox.json(&["prune", "--keep-dead", "80h"]).good().json()["done"], 10);
    assert_eq!(inbox.json(&["stats"]).good().json()["done"], 24);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn finish(url: &str, count: usize) {
    let store = PostgresInbox::builder(url).response_timeout(Duration::from_secs(10)).build().await.expect("an inbox");
    let now = || SystemClock.now();
    let kept = (0..count).map(|number| store.accept(incoming(&format!("msg_{number}")), now()));
    for accepted in futures_util::future::join_all(kept).await {
        let _ = accepted.expect("it answers");
    }
    let wanted = countersign::inbox::Wanted { limit: count, lease: Duration::from_secs(60), max_attempts: 5 };
    let mut done = 0;
    while done < count {
        let leased = store.claim(wanted, now()).await.expect("it answers").leased;
        for settled in
            futures_util::future::join_all(leased.iter().map(|leased| store.complete(&leased.lease, now()))).await
        {
            assert_eq!(settled.expect("it answers"), countersign::Settled::Current);
            done += 1;
        }
    }
}

#[test]
fn what_is_suggested_on_postgresql_can_be_pasted_whatever_url_and_schema_hold() {
    const SCHEMA: &str = "it's $HOME & \"more\"";
    let server = Postgres::start();
    seed(&server.url(), SCHEMA);
    let url = format!("{}?application_name=a&connect_timeout=5", server.url());
    let dead = cli(["inbox", "dead", "--limit", "1", "--postgres", &url, "--schema", SCHEMA]).run();
    let commands = suggested(&dead);
    assert_eq!(commands.len(), 4, "{dead:#?}");
    let shown = pasted(commands[0], None).good();
    assert!(shown.stdout.contains("msg_dead"), "{shown:#?}");
    assert_eq!(pasted(commands[3], None).good().stdout, "no dead letters\n");
}

/// What it prints is enough, and for the schema that was asked for.
#[test]
fn a_role_without_rights_is_told_the_grants_after_which_it_may_do_everything() {
    for (schema, role) in [("elsewhere", "poor"), ("It's \"my\" schema", "Poor \"one\"")] {
        let server = Postgres::start();
        let url = server.url();
        seed(&url, schema);
        let name = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        admin(&url, &format!("CREATE ROLE {} LOGIN", name(role)));
        let settings = format!("host=127.0.0.1 port={} dbname=postgres user='{role}'", server.port());
        let by_role = |args: &[&str]| {
            cli([&["inbox"], args, &["--schema", schema]].concat()).env("COUNTERSIGN_INBOX_POSTGRES", &settings).run()
        };
        let refused = by_role(&["stats"]).failed(3, "permission denied");
        let grants: Vec<&str> =
            refused.stderr.lines().map(str::trim).filter(|line| line.starts_with("GRANT ")).collect();
        assert_eq!(grants.len(), 5, "{refused:#?}");
        for grant in &grants {
            assert!(grant.contains(&name(schema)) && grant.ends_with(&format!(" TO {};", name(role))), "{grant}");
        }
        let error = by_role(&["stats", "--json"]).error();
        assert!(error["help"].as_str().expect("a text").contains(grants[0]), "{error}");

        admin(&url, &grants.concat());
        assert!(by_role(&["stats"]).good().stdout.contains("\ndead     1  given up"));
        let letter = by_role(&["dead", "--json"]).json();
        assert_eq!(letter["delivery_id"], "msg_dead");
        let number = letter["number"].to_string();
        by_role(&["show", &number]).good();
        by_role(&["replay", &number]).good();
        by_role(&["prune", "--retention", "1ms", "--danger-forget-early"]).good();
        assert!(numbers(&by_role(&["list", "--state", "done", "--json"]).good()).is_empty(), "it was forgotten");
    }
}

#[test]
fn on_postgresql_nothing_is_made_and_no_password_is_told() {
    let server = Postgres::start();
    let url = server.url();
    let secret = url.replacen('@', &format!(":{PASSWORD}@"), 1);
    assert!(secret.contains(PASSWORD), "the server's URL has a user: {url}");
    let hidden = |ran: Ran| {
        assert!(!ran.stdout.contains(PASSWORD) && !ran.stderr.contains(PASSWORD), "{ran:#?}");
        ran
    };
    let by_variable = |url: &str, args: &[&str]| {
        hidden(cli([&["inbox"], args].concat()).env("COUNTERSIGN_INBOX_POSTGRES", url).run())
    };
    for command in [&["stats"][..], &["list"], &["dead"], &["show", "1"], &["replay", "1"], &["prune"]] {
        by_variable(&secret, command).failed(3, "there is no inbox in the schema `countersign`");
    }
    admin(&url, "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'countersign'); END $$");

    seed(&url, "elsewhere");
    by_variable(&secret, &["stats", "--schema", "elsewhere"]).good();
    let dead = by_variable(&secret, &["dead", "--schema", "elsewhere"]);
    assert!(dead.stderr.contains("replay --all-dead --schema elsewhere"), "{dead:#?}");
    let said = hidden(cli(["inbox", "dead", "--schema", "elsewhere", "--postgres", &secret]).run());
    assert_eq!(said.code, Some(1), "{said:#?}");
    assert!(said.stderr.contains("warning:") && said.stderr.contains("COUNTERSIGN_INBOX_POSTGRES"), "{said:#?}");
    assert!(said.stderr.contains("replay --all-dead --postgres URL --schema elsewhere"), "{said:#?}");
    // As PostgreSQL reads a list of settings, and a URL.
    let spaced =
        format!("host={} port={} user=postgres dbname=postgres password = {PASSWORD}", "127.0.0.1", server.port());
    let by_letters = format!("{url}?pass%77ord={PASSWORD}");
    for password in [spaced, by_letters] {
        let said = hidden(cli(["inbox", "dead", "--schema", "elsewhere", "--postgres", &password]).run());
        assert!(said.stderr.contains("warning:") && said.stderr.contains("--postgres URL --schema"), "{said:#?}");
    }
    let plain = cli(["inbox", "stats", "--schema", "elsewhere", "--postgres", &url]).run().good();
    assert!(!plain.stderr.contains("warning"), "{plain:#?}");

    admin(&url, "UPDATE elsewhere.inbox_schema SET version = 99");
    by_variable(&secret, &["stats", "--schema", "elsewhere"]).failed(3, "run the newer program");

    // Somebody's typing mistakes.
    by_variable(&secret.replace("postgres://", "postgrs://"), &["stats"]).failed(3, "");
    by_variable(&format!("host=127.0.0.1 port=1 user=x password={PASSWORD}"), &["stats"])
        .failed(4, "cannot be reached");
    by_variable(&format!("host=127.0.0.1 prt=1 password={PASSWORD}"), &["stats"]).failed(3, "");
    hidden(cli(["inbox", "stats", &secret]).run().failed(2, "(hidden)"));
    hidden(cli(["--json", "inbox", "stats", &secret]).run()).error();
    hidden(cli(["inbox", "stats", &format!("--postgrs={secret}")]).run().failed(2, ""));
    hidden(cli(["inbox", "stats", "-vv", "--schema", "elsewhere"]).env("COUNTERSIGN_INBOX_POSTGRES", &secret).run());

    // Nobody is there, or says nothing.
    by_variable(&format!("postgres://x:{PASSWORD}@127.0.0.1:1/x"), &["stats"]).failed(4, "cannot be reached");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let waiting = by_variable(&format!("postgres://x:{PASSWORD}@127.0.0.1:{port}/x"), &["stats", "--json"]);
    assert_eq!(waiting.error()["exit_code"], 4);
}

/// The workers of another process hear of a replay at once, and the counts that are watched follow.
#[cfg(unix)]
#[test]
fn on_postgresql_what_is_watched_follows() {
    let inbox = Seeded::start();
    let mut watching = inbox.inbox(&["stats", "--json", "--watch", "100ms"]).start();
    assert_eq!(watching.object()["dead"], 1);
    assert_eq!(inbox.json(&["replay", "--all-dead"]).good().json()["replayed"].as_array().map(Vec::len), Some(1));
    until("the replay is seen", || (watching.object()["dead"] == 0).then_some(()));
    watching.interrupt().good();
}
