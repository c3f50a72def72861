//! The state: what survives a restart, which files are refused, how it is set up, and how large it may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign::sandbox::{Assumptions, Mode, Sandbox, SandboxBuilder, SandboxError, StateProblem, Trigger};
use serde_json::{Value, json};

use crate::common::{FOREIGN_KEY, RECEIVER, get, post, request, start, start_with, subscribe, wait};
use crate::seed::{StateFile, failed_logs};

fn problem(file: &StateFile) -> StateProblem {
    match wait(Sandbox::builder().state_file(file.path()).start()).unwrap_err() {
        SandboxError::State { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn what_a_file_holds_survives_a_restart() {
    let file = StateFile::new();
    let builder = || Sandbox::builder().state_file(file.path()).api_key(FOREIGN_KEY, Mode::Live);
    let sandbox = start_with(builder());
    let id = subscribe(&sandbox, "screening.completed", RECEIVER);
    request("PATCH", &format!("/api/v2/webhooks/{id}/")).json(r#"{"is_active": false}"#).expect(&sandbox, 200);
    request("PUT", "/api/v2/webhooks/config/").json(r#"{"webhook_url": "https://localhost/"}"#).expect(&sandbox, 200);
    let other = post("/api/v2/webhooks/").json(&json!({ "event_type": "all", "webhook_url": RECEIVER }).to_string());
    other.key(FOREIGN_KEY).expect(&sandbox, 201);
    let test = json!({ "webhook_url": crate::receiver::receiver(200) });
    post("/api/v2/webhooks/test/").json(&test.to_string()).expect(&sandbox, 200);
    let all = |sandbox: &Sandbox| -> Vec<Value> {
        let paths = ["/api/v2/webhooks/", "/api/v2/webhooks/config/", "/api/v2/webhooks/logs/", "/sandbox/tenant"];
        let keys = [Sandbox::TEST_KEY, Sandbox::LIVE_KEY, FOREIGN_KEY];
        let calls = keys.iter().flat_map(|key| paths.iter().map(|path| get(path).key(key)));
        calls.map(|call| call.expect(sandbox, 200)).collect()
    };
    let before = all(&sandbox);
    wait(sandbox.stop());
    let sandbox = start_with(builder());
    assert_eq!(all(&sandbox), before);
    drop(sandbox);
    // A key is kept without being named again.
    let sandbox = start_with(Sandbox::builder().state_file(file.path()));
    assert_eq!(all(&sandbox), before);
    // Without a file, nothing is.
    assert_eq!(get("/api/v2/webhooks/").expect(&start(), 200)["count"], 0);
    get("/api/v2/webhooks/").key(FOREIGN_KEY).expect(&start(), 401);
}

#[test]
fn files_that_cannot_be_used_are_told_and_left_alone() {
    let file = StateFile::new();
    for content in [&b"nonsense"[..], &[0; 5000], b"SQLite format 3\0 and then something else"] {
        std::fs::write(file.path(), content).unwrap();
        assert_eq!(problem(&file), StateProblem::NotASandbox, "{content:?}");
        assert_eq!(std::fs::read(file.path()).unwrap(), content);
    }
    std::fs::remove_file(file.path()).unwrap();
    file.open().execute("CREATE TABLE somebody_elses (id)", []).unwrap();
    let before = std::fs::read(file.path()).unwrap();
    assert_eq!(problem(&file), StateProblem::NotASandbox);
    assert_eq!(std::fs::read(file.path()).unwrap(), before);

    let file = StateFile::new();
    wait(start_with(Sandbox::builder().state_file(file.path())).stop());
    file.open().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(problem(&file), StateProblem::Newer { found: 99, .. }));

    let file = StateFile::new();
    let running = start_with(Sandbox::builder().state_file(file.path()));
    assert_eq!(problem(&file), StateProblem::InUse);
    get("/api/v2/webhooks/").expect(&running, 200);
    wait(running.stop());
    start_with(Sandbox::builder().state_file(file.path()));

    let nowhere = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no/such/folder/x.sqlite");
    let error = wait(Sandbox::builder().state_file(nowhere).start()).unwrap_err();
    assert!(matches!(error, SandboxError::State { problem: StateProblem::Sqlite(_), .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = StateFile::new();
    let _sandbox = start_with(Sandbox::builder().state_file(file.path()));
    assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn settings_that_cannot_work_are_told_all_at_once_each_with_what_would() {
    let mut assumptions = Assumptions::default();
    assumptions.max_attempts = 0;
    assumptions.rate_limit = Some(0);
    let builder = Sandbox::builder()
        .bind("0.0.0.0:0")
        .speed(0.0)
        .assumptions(assumptions)
        .api_key("a b", Mode::Test)
        .api_key(Sandbox::TEST_KEY, Mode::Live);
    let refused = |builder: SandboxBuilder| match wait(builder.start()).unwrap_err() {
        SandboxError::Settings(mistakes) => mistakes.to_string(),
        other => panic!("{other}"),
    };
    let text = refused(builder);
    for setting in
        ["bind: must be a loopback", "speed: ", "max_attempts: ", "rate_limit: ", "api_key: must be 1 to 128"]
    {
        assert!(text.contains(setting), "{setting}: {text}");
    }
    assert!(text.contains("danger_bind_any"));
    for bad in ["nonsense", "127.0.0.1", "localhost", "example.com:80", ""] {
        assert!(refused(Sandbox::builder().bind(bad)).contains("bind: must be an address and a port"), "{bad}");
    }
    for speed in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(refused(Sandbox::builder().speed(speed)).contains("speed: "));
    }
    for good in ["localhost:0", "[::1]:0", "127.0.0.2:0"] {
        let started = wait(Sandbox::builder().bind(good).start());
        // A machine may lack IPv6.
        assert!(!matches!(started, Err(SandboxError::Settings(_))), "{good}");
    }
    start_with(Sandbox::builder().bind("0.0.0.0:0").danger_bind_any());
    let sandbox = start();
    let taken = wait(Sandbox::builder().bind(sandbox.address().to_string()).start()).unwrap_err();
    assert!(matches!(taken, SandboxError::Bind { .. }), "{taken}");
}

#[test]
fn assumptions_are_read_from_toml_and_written_to_it() {
    let defaults = Assumptions::default();
    assert_eq!(Assumptions::from_toml("").unwrap(), defaults);
    assert_eq!(Assumptions::from_toml(&defaults.to_toml()).unwrap(), defaults);
    let text = "timeout = 3\nbackoff_base = \"250ms\"\nbackoff_cap = \"1h 30m\"\nlog_rows = \"per_delivery\"\n\
                test_failure = \"envelope\"\ntest_signing = \"tenant_secret\"\nrate_limit = 10";
    let read = Assumptions::from_toml(text).unwrap();
    assert_eq!(read.timeout, Duration::from_secs(3));
    assert_eq!((read.backoff_base, read.backoff_cap), (Duration::from_millis(250), Duration::from_secs(5400)));
    assert_eq!(Assumptions::from_toml(&read.to_toml()).unwrap(), read);
    for bad in ["max_attemps = 3", "timeout = \"soon\"", "timeout = -1", "timeout = 1.5", "max_attempts = \"x\"", "["] {
        let error = Assumptions::from_toml(bad).unwrap_err();
        assert!(matches!(error, SandboxError::AssumptionsSyntax(_)), "{bad}: {error}");
    }
    let error =
        Assumptions::from_toml("max_attempts = 0\nbackoff_cap = 1\ntimeout = 0\nid_prefix = \" \"\nuser_agent = \"\"");
    let text = error.unwrap_err().to_string();
    for setting in ["max_attempts", "backoff_cap", "timeout", "id_prefix", "user_agent"] {
        assert!(text.contains(setting), "{setting}: {text}");
    }
}

#[test]
fn settings_of_validation_are_settings() {
    let text = "event_groups = true\nunknown_event_types = true\nrefuse_duplicates = true\nmax_url_length = 50\n\
                max_description_length = 3\nmax_filters_size = 10\nmax_body = 300";
    let sandbox = start_with(Sandbox::builder().assumptions(Assumptions::from_toml(text).unwrap()));
    subscribe(&sandbox, "onboarding.*", RECEIVER);
    subscribe(&sandbox, "moon.rose", RECEIVER);
    let create = |body: Value| post("/api/v2/webhooks/").json(&body.to_string());
    let again = create(json!({ "event_type": "moon.rose", "webhook_url": RECEIVER }));
    assert_eq!(again.expect(&sandbox, 409)["code"], "conflict");
    for (field, value) in [
        ("webhook_url", json!(format!("{RECEIVER}/0123456789"))),
        ("description", json!("four")),
        ("filters", json!({ "a": "0123456789" })),
    ] {
        let mut body = json!({ "event_type": "test", "webhook_url": RECEIVER });
        body[field] = value;
        assert!(create(body).expect(&sandbox, 400)["errors"][field].is_array(), "{field}");
    }
    let long = create(json!({ "event_type": "test", "webhook_url": RECEIVER, "x": "x".repeat(300) }));
    assert_eq!(long.expect(&sandbox, 400)["code"], "invalid_request");
}

#[test]
fn the_pages_of_the_log_join_without_a_gap_in_both_versions() {
    let file = StateFile::new();
    wait(start_with(Sandbox::builder().state_file(file.path())).stop());
    failed_logs(&file.open(), 25);
    let sandbox = start_with(Sandbox::builder().state_file(file.path()));
    let ids = |page: &Value| -> Vec<String> {
        page.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let everything = ids(&get("/api/v1/webhooks/logs/").expect(&sandbox, 200)["logs"]);
    assert_eq!(everything.len(), 25);
    let mut pages = Vec::new();
    for number in 1..=4 {
        let page = get(&format!("/api/v1/webhooks/logs/?page={number}&page_size=10")).expect(&sandbox, 200);
        assert_eq!((&page["total"], &page["page"], &page["page_size"]), (&json!(25), &json!(number), &json!(10)));
        pages.push(ids(&page["logs"]));
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5, 0]);
    assert_eq!(pages.concat(), everything);

    let page = |query: String| get(&format!("/api/v2/webhooks/logs/?page_size=10{query}")).expect(&sandbox, 200);
    let (first, mut walked) = (page(String::new()), Vec::new());
    assert!(first["prev_cursor"].is_null());
    let mut at = first.clone();
    loop {
        walked.extend(ids(&at["results"]));
        assert_eq!(at["has_more"], !at["next_cursor"].is_null());
        let Some(next) = at["next_cursor"].as_str() else { break };
        at = page(format!("&after={}", next.replace('=', "%3D")));
        assert!(!at["prev_cursor"].is_null());
    }
    assert_eq!(walked, everything);
    let back = page(format!("&before={}", at["prev_cursor"].as_str().unwrap().replace('=', "%3D")));
    assert_eq!(ids(&back["results"]), everything[10..20]);
    let back = page(format!("&before={}", back["prev_cursor"].as_str().unwrap()));
    assert_eq!(back["results"], first["results"]);
    assert!(back["prev_cursor"].is_null());
    let both = format!("/api/v2/webhooks/logs/?after={0}&before={0}", first["next_cursor"].as_str().unwrap());
    get(&both).expect(&sandbox, 400);
}

#[test]
fn a_long_log_and_many_subscriptions_stay_usable() {
    const ROWS: u32 = 200_000;
    let file = StateFile::new();
    wait(start_with(Sandbox::builder().state_file(file.path())).stop());
    let connection = file.open();
    failed_logs(&connection, ROWS);
    let sql = format!(
        "INSERT INTO subscription (id, tenant, event_type, webhook_url, secret, created_at, updated_at)
             WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < 10000)
             SELECT randomblob(16), 1, 'all', '{RECEIVER}', 'whsec_x', number, number FROM numbers;"
    );
    connection.execute_batch(&sql).unwrap();
    drop(connection);
    let sandbox = start_with(Sandbox::builder().state_file(file.path()));
    // Generous: how fast it is stands in a benchmark. A scan of the log would take far longer in a debug build.
    let within = |limit: Duration, path: &str| {
        let start = Instant::now();
        let body = get(path).expect(&sandbox, 200);
        assert!(start.elapsed() < limit, "{path}: {:?}", start.elapsed());
        body
    };
    let second = Duration::from_secs(1);
    for page in [1, 1000, 2000] {
        let body = within(second, &format!("/api/v1/webhooks/logs/?page={page}&page_size=100"));
        assert_eq!(body["logs"].as_array().unwrap().len(), 100);
    }
    let cursor =
        within(second, "/api/v2/webhooks/logs/?page_size=100")["next_cursor"].as_str().unwrap().replace('=', "%3D");
    within(second, &format!("/api/v2/webhooks/logs/?after={cursor}&page_size=100"));
    assert_eq!(within(30 * second, "/api/v2/webhooks/")["count"], 10_000);
}

#[test]
fn a_dropped_sandbox_lets_go_of_its_port() {
    let sandbox = start();
    let address = sandbox.address();
    assert_eq!(sandbox.url(), format!("http://{address}"));
    assert!(!format!("{sandbox:?} {:?}", Sandbox::builder().api_key("planted", Mode::Test)).contains("planted"));
    drop(sandbox);
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
        std::thread::yield_now();
    }
}

#[test]
fn a_sandbox_can_be_used_from_any_task() {
    fn movable<T: Send>(task: T) -> T {
        task
    }
    wait(movable(async {
        let sandbox = Arc::new(Sandbox::start().await.unwrap());
        let triggered = sandbox.trigger(&Trigger::new("test")).await.unwrap();
        assert_eq!((triggered.events, triggered.deliveries), (1, 0));
        assert!(sandbox.trigger_for("nobody", &Trigger::new("test")).await.is_err());
        sandbox.settled(Duration::from_secs(30)).await.unwrap();
    }));
}
