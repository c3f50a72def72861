//! A PostgreSQL server that cannot write: no room for its tables, no room for its log, or told not to.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use countersign::PostgresInbox;
use countersign::inbox::tokio_postgres::{self, Client, NoTls};
use tokio::runtime::Runtime;

use crate::common::wait_for;
use crate::inbox_common::Folder;
use crate::over_http::{Receiving, long, runtime};
use crate::servers::{self, Outage, Postgres};
use crate::{Disk, again_under, namespace, place};

/// It refuses what needs room (53100), and goes on.
#[test]
fn a_receiver_answers_503_while_there_is_no_room_for_tables_and_200_afterwards() {
    const NAME: &str = "postgres::a_receiver_answers_503_while_there_is_no_room_for_tables_and_200_afterwards";
    let Some(place) = place() else { return in_a_namespace(NAME) };
    let disk = Disk::of(&place, 8);
    let tables = folder(&place, "tables");
    let server = Postgres::start();
    let admin = Admin::of(&server);
    admin.run(&format!("CREATE TABLESPACE small LOCATION '{tables}'"));
    admin.run("ALTER DATABASE postgres SET default_tablespace = small");
    let mut receiving = receiving(&server);
    disk.burden(4 << 20);
    receiving.send_until_refused();
    assert!(server.log().contains("No space left on device"), "{}", server.log());
    for number in 0..5 {
        // Room that a transaction took that was rolled back may be used by another one.
        receiving.send(long(&format!("full_{number}")));
    }
    admin.check_that_records_are_whole();
    receiving.check_that_nothing_else_is_kept();
    disk.relieve();
    receiving.send_all_again();
    receiving.check();
    admin.check_that_records_are_whole();
    assert!(!server.log().contains("PANIC"), "it went on: {}", server.log());
}

/// It ends all its processes (PANIC) and recovers, or cannot and ends. A service manager then starts it again.
#[test]
fn a_receiver_answers_503_while_there_is_no_room_for_the_log_and_200_afterwards() {
    const NAME: &str = "postgres::a_receiver_answers_503_while_there_is_no_room_for_the_log_and_200_afterwards";
    let Some(place) = place() else { return in_a_namespace(NAME) };
    let disk = Disk::of(&place, 48);
    let wal = format!("--waldir={}", folder(&place, "wal"));
    // Nothing makes room in the log but its end.
    let settings = ["max_wal_size=10GB", "min_wal_size=2MB", "checkpoint_timeout=1h"];
    let mut server = Postgres::set_up(&settings, &[&wal, "--wal-segsize=1"]);
    let mut receiving = receiving(&server);
    assert!(receiving.send(long("before")));
    disk.fill();
    receiving.send_until_refused();
    wait_for("the server to notice", || server.log().contains("PANIC").then_some(()));
    for number in 0..5 {
        receiving.send(long(&format!("full_{number}")));
    }
    disk.relieve();
    let (mut starts, after) = (0, long("after"));
    wait_for("an acknowledgement", || {
        if server.has_ended() {
            server.start_again();
            starts += 1;
        }
        receiving.send(after.clone()).then_some(())
    });
    let panics = server.log().matches("PANIC").count();
    println!("without room for its log the server gave up {panics} times, and had to be started again {starts} times");
    receiving.send_all_again();
    receiving.check();
    Admin::of(&server).check_that_records_are_whole();
}

/// As an operator tells it who wants no change for a while.
#[test]
fn a_receiver_answers_503_while_the_server_is_read_only_and_200_afterwards() {
    let server = Postgres::start();
    let admin = Admin::of(&server);
    let mut receiving = receiving(&server);
    assert!(receiving.send(long("before")));
    admin.run("ALTER SYSTEM SET default_transaction_read_only = on");
    admin.run("SELECT pg_reload_conf()");
    let mut number = 0;
    // Its processes hear of it one by one.
    wait_for("a refusal", || {
        number += 1;
        (!receiving.send(long(&format!("msg_{number}")))).then_some(())
    });
    for number in 0..5 {
        assert!(!receiving.send(long(&format!("read_only_{number}"))), "nothing can be written");
    }
    receiving.check_that_nothing_else_is_kept();
    admin.run("ALTER SYSTEM RESET default_transaction_read_only");
    admin.run("SELECT pg_reload_conf()");
    receiving.send_all_again();
    receiving.check();
    admin.check_that_records_are_whole();
}

fn in_a_namespace(name: &str) {
    // Nothing can be installed in there.
    Postgres::program();
    let folder = Folder::new();
    again_under(namespace::wrapper(), name, folder.path());
}

/// A new folder that the server takes for its own.
fn folder(place: &Path, name: &str) -> String {
    let folder = place.join(name);
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    servers::hand_over(&folder);
    folder.to_str().unwrap().to_owned()
}

fn receiving(server: &Postgres) -> Receiving<PostgresInbox> {
    let runtime = runtime();
    let store = runtime.block_on(PostgresInbox::builder(&server.url()).build()).unwrap();
    Receiving::over(runtime, store)
}

/// A connection past the inbox.
struct Admin {
    runtime: Runtime,
    client: Client,
}

impl Admin {
    fn of(server: &Postgres) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Self { runtime, client }
    }

    fn run(&self, statement: &str) {
        self.runtime.block_on(self.client.batch_execute(statement)).unwrap();
    }

    /// A delivery is a row in each of two tables.
    fn check_that_records_are_whole(&self) {
        let halves = "SELECT number FROM countersign.inbox FULL JOIN countersign.inbox_delivery USING (number)
                      WHERE inbox.state IS NULL OR inbox_delivery.body IS NULL";
        assert_eq!(self.runtime.block_on(self.client.query(halves, &[])).unwrap().len(), 0, "half a record");
    }
}
