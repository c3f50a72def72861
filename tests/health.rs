//! Liveness and readiness over real sockets: what they say, and that nobody can make a store busy with them.

#![cfg(all(feature = "actix", feature = "postgres", feature = "redis", feature = "sqlite", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;
mod inbox_common;
#[path = "common/servers.rs"]
mod servers;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Event, NOW, Probe, Server, Setup, builder, key, scheme, wait_for};
use countersign::actix::liveness_at;
use countersign::inbox::rusqlite::Connection;
use countersign::testing::FakeClock;
use countersign::{
    ClaimKey, ClaimToken, Claimed, DedupeStore, Fingerprint, Inbox, Keyring, PostgresInbox, PostgresStore, Readiness,
    ReadinessBuilder, Receiver, RedisStore, Scheme, Settled, SqliteInbox, StoreError, Timestamp, Unready,
};
use inbox_common::Folder;
use servers::{Outage, Postgres, Redis};

/// A server with both probes and nothing else.
fn serve(readiness: &Readiness) -> Server {
    let readiness = readiness.clone();
    Server::configured(Setup { workers: 2, ..Setup::default() }, &Probe::default(), move |config| {
        config.service(liveness_at("/healthz")).service(readiness.at("/readyz"));
    })
}

/// All that comes back on a connection of its own, head and body.
fn ask(addr: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn status(addr: SocketAddr, path: &str) -> u16 {
    ask(addr, "GET", path)[9..12].parse().unwrap()
}

/// Remembers nothing, and answers a ping slowly.
#[derive(Default)]
struct Slow {
    pings: AtomicUsize,
    takes: Duration,
    away: std::sync::atomic::AtomicBool,
}

#[derive(Clone, Default)]
struct Handle(Arc<Slow>);

impl DedupeStore for Handle {
    async fn claim(
        &self,
        key: &ClaimKey,
        print: Fingerprint,
        _: Duration,
        now: Timestamp,
    ) -> Result<Claimed, StoreError> {
        Ok(Claimed::New(ClaimToken { key: *key, fingerprint: print, epoch: 0, claimed_at: now }))
    }

    async fn complete(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Current)
    }

    async fn release(&self, _: &ClaimToken, _: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Current)
    }

    async fn extend(&self, _: &ClaimToken, _: Duration, _: Timestamp) -> Result<Settled, StoreError> {
        Ok(Settled::Current)
    }

    fn abandon(&self, _: &ClaimToken) {}

    fn retention(&self) -> Duration {
        Duration::from_hours(1000)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.pings.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.0.takes).await;
        if self.0.away.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("connection refused by db.internal:5432"));
        }
        Ok(())
    }
}

fn receiver_with(store: Handle) -> Receiver<Probe, Handle> {
    builder(&Probe::default()).dedupe(store).build().unwrap()
}

#[test]
fn get_and_head_are_answered_and_other_methods_are_not() {
    let receiver = receiver_with(Handle::default());
    let server = serve(&Readiness::builder().receiver(&receiver).build());
    for (path, text) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        let answer = ask(server.addr, "GET", path);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&format!("\r\n\r\n{text}")), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
        let answer = ask(server.addr, "HEAD", path);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains(&format!("content-length: {}", text.len())), "{answer}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let answer = ask(server.addr, method, path);
            assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{method}: {answer}");
        }
    }
}

/// Somebody goes on sending a body to a probe: the connection is closed, not read for ever.
#[test]
fn a_probe_with_a_body_is_answered_and_its_connection_closed() {
    let server = serve(&Readiness::builder().build());
    for method in ["GET", "POST"] {
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!("{method} /readyz HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    }
}

#[test]
fn who_drains_is_alive_and_not_ready() {
    let (one, other) = (receiver_with(Handle::default()), receiver_with(Handle::default()));
    let readiness = Readiness::builder().receiver(&one).receiver(&other).build();
    let server = serve(&readiness);
    assert_eq!(status(server.addr, "/readyz"), 200);
    readiness.drain();
    assert_eq!((status(server.addr, "/healthz"), status(server.addr, "/readyz")), (200, 503));

    // And where one receiver of several was told to, at once, whatever was found a moment ago.
    let readiness = Readiness::builder().receiver(&one).receiver(&other).build();
    let server = serve(&readiness);
    assert_eq!(status(server.addr, "/readyz"), 200);
    other.drain();
    assert_eq!(status(server.addr, "/readyz"), 503);
}

#[test]
fn a_keyring_without_a_key_that_counts_is_not_ready_until_it_has_one() {
    let clock = FakeClock::at(NOW);
    let keyring =
        Keyring::new([key("old", common::SECRET).not_after(NOW.saturating_add(Duration::from_secs(60)))]).unwrap();
    let receiver = Receiver::builder(scheme(), keyring.clone()).handlers(Probe::default()).clock(clock.clone());
    let readiness = Readiness::builder().receiver(&receiver.build().unwrap()).build();
    let server = serve(&readiness);
    assert_eq!(status(server.addr, "/readyz"), 200);
    clock.advance(Duration::from_secs(120));
    assert_eq!(status(server.addr, "/readyz"), 503);
    keyring.replace([key("new", common::OTHER_SECRET)]).unwrap();
    assert_eq!(status(server.addr, "/readyz"), 200);
}

#[test]
fn a_thousand_probes_at_once_and_a_thousand_that_hang_up_are_few_pings() {
    let store = Handle(Arc::new(Slow { takes: Duration::from_millis(50), ..Slow::default() }));
    let receiver = receiver_with(store.clone());
    let readiness = Readiness::builder().receiver(&receiver).fresh_for(Duration::from_secs(1)).build();
    let server = serve(&readiness);
    let start = Instant::now();
    let request = b"GET /readyz HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut probes: Vec<_> = (0..1000).map(|_| TcpStream::connect(server.addr).unwrap()).collect();
    probes.iter_mut().for_each(|probe| probe.write_all(request).unwrap());
    for probe in &mut probes {
        probe.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = [0; 12];
        probe.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    for _ in 0..1000 {
        let mut probe = TcpStream::connect(server.addr).unwrap();
        probe.write_all(request).unwrap();
    }
    assert_eq!(status(server.addr, "/readyz"), 200);
    // One to begin with, and one for each second that all of it took.
    let most = 1 + usize::try_from(start.elapsed().as_secs()).unwrap();
    let pings = store.0.pings.load(Ordering::Relaxed);
    assert!((1..=most).contains(&pings), "{pings} pings in {:?}", start.elapsed());
}

#[test]
fn a_store_that_does_not_answer_in_time_is_not_ready_and_asked_one_at_a_time() {
    let store = Handle(Arc::new(Slow { takes: Duration::from_secs(600), ..Slow::default() }));
    let receiver = receiver_with(store.clone());
    let limit = Duration::from_millis(300);
    let readiness = Readiness::builder().receiver(&receiver).within(limit).fresh_for(Duration::ZERO).build();
    let server = serve(&readiness);
    let start = Instant::now();
    let probes: Vec<_> = (0..8)
        .map(|_| {
            let addr = server.addr;
            std::thread::spawn(move || status(addr, "/readyz"))
        })
        .collect();
    assert!(probes.into_iter().all(|probe| probe.join().unwrap() == 503));
    let most = 1 + start.elapsed().as_millis() / limit.as_millis();
    let pings = store.0.pings.load(Ordering::Relaxed);
    assert!(pings as u128 <= most, "{pings} pings in {:?}", start.elapsed());
}

/// The thread that looks at the stores is blocked by something else, and nobody on any other hears of it.
#[test]
fn a_thread_that_is_blocked_does_not_hang_the_probes_of_others() {
    // The first probe has twice as long to come, or another look is begun for it.
    let within = Duration::from_secs(2);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Handle(Arc::new(Slow { takes: within / 20, ..Slow::default() }));
    let readiness = Readiness::builder().receiver(&receiver_with(store.clone())).within(within).build();
    let (let_go, blocked) = std::sync::mpsc::channel::<()>();
    let (looks, asked) = (readiness.clone(), store.clone());
    let thread = std::thread::spawn(move || {
        runtime().block_on(async {
            let probe = tokio::spawn(async move { looks.check().await });
            while asked.0.pings.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
            blocked.recv().unwrap();
            drop(probe.await);
        });
    });
    wait_for("the look", || (store.0.pings.load(Ordering::Relaxed) == 1).then_some(()));
    runtime().block_on(async {
        let limit = Duration::from_secs(20);
        let first = tokio::time::timeout(limit, readiness.check()).await;
        assert_eq!(first.expect("a probe hangs with a thread that is not its own"), Err(Unready::Store));
        let ready = async {
            while readiness.check().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(limit, ready).await.expect("another thread looks in its place");
    });
    let_go.send(()).unwrap();
    thread.join().unwrap();
}

#[tokio::test]
async fn an_answer_may_be_good_for_ever() {
    let store = Handle::default();
    let readiness = Readiness::builder().receiver(&receiver_with(store.clone())).fresh_for(Duration::MAX).build();
    for _ in 0..2 {
        assert_eq!(readiness.check().await, Ok(()));
    }
    assert_eq!(store.0.pings.load(Ordering::Relaxed), 1);
}

/// Puts the server of a store through what can happen to it, and asks both probes all the while.
fn through_every_outage<O: Outage>(server: &mut O, readiness: ReadinessBuilder) {
    let http = serve(&readiness.fresh_for(Duration::from_millis(50)).build());
    let mut slowest = Duration::ZERO;
    let mut becomes = |expected: u16| {
        wait_for("the probe to change", || {
            let start = Instant::now();
            let found = status(http.addr, "/readyz");
            // It has a bound of 750 ms. How far a busy machine is from it is printed.
            slowest = slowest.max(start.elapsed());
            assert!([200, 503].contains(&found) && slowest < Duration::from_secs(10), "{found} after {slowest:?}");
            assert_eq!(status(http.addr, "/healthz"), 200);
            (found == expected).then_some(())
        });
    };
    becomes(200);
    for (begin, end) in [(O::stop as fn(&mut O), O::start_again as fn(&mut O)), (O::freeze, O::thaw)] {
        begin(server);
        becomes(503);
        end(server);
        becomes(200);
    }
    println!("the slowest answer of readiness came after {slowest:?}");
}

#[test]
fn claims_in_redis_stopped_frozen_and_started_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut redis = Redis::durable();
    let store = runtime.block_on(RedisStore::builder(&redis.url()).build()).unwrap();
    let receiver = builder(&Probe::default()).dedupe(store).build().unwrap();
    through_every_outage(&mut redis, Readiness::builder().receiver(&receiver));
}

#[test]
fn claims_in_postgres_stopped_frozen_and_started_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut postgres = Postgres::start();
    let store = runtime.block_on(PostgresStore::builder(&postgres.url()).build()).unwrap();
    let receiver = builder(&Probe::default()).dedupe(store).build().unwrap();
    through_every_outage(&mut postgres, Readiness::builder().receiver(&receiver));
}

/// A receiver that accepts, and a process of workers alone.
#[test]
fn an_inbox_on_postgres_stopped_frozen_and_started_again() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut postgres = Postgres::start();
    let store = runtime.block_on(PostgresInbox::builder(&postgres.url()).build()).unwrap();
    let inbox: Inbox<Event, _> = Inbox::new(store);
    let receiver = Receiver::builder(scheme(), common::keyring()).inbox(inbox.clone()).build().unwrap();
    through_every_outage(&mut postgres, Readiness::builder().receiver(&receiver));
    through_every_outage(&mut postgres, Readiness::builder().inbox(&inbox));
}

/// Another process has the file locked, and nothing can be kept meanwhile.
#[test]
fn an_inbox_that_cannot_write_is_not_ready_and_is_again_by_itself() {
    let folder = Folder::new();
    let store = SqliteInbox::builder(folder.file()).busy_timeout(Duration::from_millis(100)).open().unwrap();
    let inbox: Inbox<Event, _> = Inbox::new(store);
    let receiver = Receiver::builder(scheme(), common::keyring()).inbox(inbox.clone()).build().unwrap();
    let both = Readiness::builder().receiver(&receiver).inbox(&inbox).fresh_for(Duration::from_millis(50)).build();
    let server = serve(&both);
    let becomes = |expected: u16| {
        wait_for("the probe to change", || (status(server.addr, "/readyz") == expected).then_some(()));
    };
    becomes(200);
    let other = Connection::open(folder.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    becomes(503);
    other.execute_batch("ROLLBACK").unwrap();
    becomes(200);
}

/// Strangers learn nothing, operators all of it, and once.
#[test]
fn what_is_wrong_is_in_the_log_once_and_in_no_answer() {
    static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
    struct Log;
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            LOG.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();

    let store = Handle::default();
    let acme = Scheme::builder("acme").signature_header("x-signature").content("{body}").build().unwrap();
    let receiver = Receiver::builder(acme, common::keyring()).handlers(Probe::default()).dedupe(store.clone());
    let readiness = Readiness::builder().receiver(&receiver.build().unwrap()).fresh_for(Duration::ZERO).build();
    let server = serve(&readiness);
    assert_eq!(status(server.addr, "/readyz"), 200);
    store.0.away.store(true, Ordering::Relaxed);
    let answers: Vec<_> = (0..5).map(|_| ask(server.addr, "GET", "/readyz")).collect();
    assert!(
        answers.iter().all(|answer| answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\nnot ready\n"))
    );
    assert!(!answers.concat().contains("refused"), "{answers:?}");
    store.0.away.store(false, Ordering::Relaxed);
    assert_eq!(status(server.addr, "/readyz"), 200);
    let log = String::from_utf8(LOG.lock().unwrap().clone()).unwrap();
    let told: Vec<_> = log.lines().filter(|line| line.contains("check=\"acme\"")).collect();
    let reason = "the dedupe store is unavailable: connection refused by db.internal:5432";
    assert!(told.len() == 1 && told[0].contains(reason), "{log}");
    assert!(log.contains("ready again"), "{log}");
}

#[tokio::test]
async fn a_program_is_told_why_it_is_not_ready() {
    let store = Handle::default();
    store.0.away.store(true, Ordering::Relaxed);
    let readiness = Readiness::builder().receiver(&receiver_with(store)).build();
    assert_eq!(readiness.check().await, Err(Unready::Store));
    readiness.drain();
    assert_eq!(readiness.check().await, Err(Unready::Draining));
    assert!(format!("{readiness:?}").contains("standard-webhooks"), "{readiness:?}");
}
