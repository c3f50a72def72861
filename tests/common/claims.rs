//! What shared stores are put through, whichever engine is behind them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, missing_docs)] // each file uses its part

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use countersign::{
    Claim, ClaimKey, ClaimToken, Claimed, Clock, DedupeStore, DeliveryId, Fingerprint, Settled, Source, StoreError,
    SystemClock, Timestamp,
};
use futures_util::future::{FutureExt, join_all};

use super::common::{self, BOTH, Probe, Server, job, wait_for};
use super::servers::{self, Outage, Proxy};

pub const BODY: &[u8] = b"{}";
pub const LEASE: Duration = Duration::from_secs(30);
/// What takes longer than this hangs. How long it did take is printed: a busy machine is nobody's mistake.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Within which a sender is told to come back while a store is away.
const SENDERS_SECOND: Duration = Duration::from_secs(1);

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// A key that only this call site and number have.
pub fn key(name: &str, number: usize) -> ClaimKey {
    ClaimKey::for_id(&Source::new(name).unwrap(), None, &DeliveryId::new(&format!("msg_{number}")).unwrap())
}

pub async fn claim<S: DedupeStore>(store: &S, key: &ClaimKey) -> Result<Claimed, StoreError> {
    store.claim(key, Fingerprint::of(BODY), LEASE, now()).await
}

/// A claim of a key that is free. On a machine that has no time the store may say that it cannot tell; a sender would come
/// again, and so does this.
pub async fn new_claim<S: DedupeStore>(store: &S, key: &ClaimKey) -> ClaimToken {
    let start = Instant::now();
    let mut unsure = false;
    loop {
        match claim(store, key).await {
            Ok(Claimed::New(token)) => return token,
            Err(StoreError::Unavailable(_)) if start.elapsed() < PATIENCE => unsure = true,
            // Until the claim that had no answer is taken back.
            Ok(Claimed::InFlight { .. }) if unsure && start.elapsed() < PATIENCE => {}
            other => panic!("expected new, found {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A key that is claimed and completed.
pub async fn done<S: DedupeStore>(store: &S, key: &ClaimKey) {
    let token = new_claim(store, key).await;
    completed(store, &token).await;
}

/// A claim that is current, and completed. A completion without an answer is made up for by the store.
pub async fn completed<S: DedupeStore>(store: &S, token: &ClaimToken) {
    match store.complete(token, now()).await {
        Ok(settled) => assert_eq!(settled, Settled::Current),
        Err(error) => {
            let start = Instant::now();
            while !matches!(claim(store, &token.key).await, Ok(Claimed::Done)) {
                assert!(start.elapsed() < PATIENCE, "{error:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Claims until there is an answer; tells it.
pub async fn until_it_answers<S: DedupeStore>(store: &S, key: &ClaimKey) -> Claimed {
    let start = Instant::now();
    loop {
        match claim(store, key).await {
            Ok(claimed) => return claimed,
            Err(error) => assert!(start.elapsed() < PATIENCE, "after {:?}: {error:?}", start.elapsed()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every call fails and none hangs: a claim, the completion of one token, what else can be done to another, and many at
/// once.
pub async fn is_away<S: DedupeStore>(store: &S, key: &ClaimKey, late: &ClaimToken, other: &ClaimToken) {
    for what in ["claim", "extend", "release", "claim", "complete"] {
        let answer = in_time(what, async {
            match what {
                "claim" => claim(store, key).await.map(|claimed| format!("{claimed:?}")),
                "complete" => store.complete(late, now()).await.map(|settled| format!("{settled:?}")),
                "extend" => store.extend(other, LEASE, now()).await.map(|settled| format!("{settled:?}")),
                _ => store.release(other, now()).await.map(|settled| format!("{settled:?}")),
            }
        });
        let answer = answer.await;
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{what}: {answer:?}");
    }
    let claims = in_time("64 claims at once", join_all((0..64).map(|_| claim(store, key)))).await;
    assert!(claims.iter().all(Result::is_err), "{claims:?}");
}

/// Prints how long it took; it must have ended.
pub async fn in_time<T>(what: &str, call: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let answer = tokio::time::timeout(PATIENCE, call).await;
    println!("{what}: answered after {:?}", start.elapsed());
    answer.unwrap_or_else(|_| panic!("{what} hangs"))
}

/// A store whose server goes away in each way there is, and comes back. `keeps` tells whether the server keeps its data.
pub async fn outages<S: DedupeStore, O: Outage>(store: &Arc<S>, server: &mut O, keeps: bool) {
    type Step<O> = (&'static str, fn(&mut O), fn(&mut O));
    let ways: [Step<O>; 3] =
        [("stopped", O::stop, O::start_again), ("killed", O::kill, O::start_again), ("frozen", O::freeze, O::thaw)];
    let mut last_epoch = 0;
    for (round, (way, begin, end)) in ways.into_iter().cycle().take(6).enumerate() {
        let name = format!("outage-{way}-{round}");
        let (held, finished, tried) = (key(&name, 1), key(&name, 2), key(&name, 3));
        let token = new_claim(&**store, &held).await;
        let unfinished = key(&name, 4);
        let late = new_claim(&**store, &unfinished).await;
        let other = new_claim(&**store, &key(&name, 5)).await;
        done(&**store, &finished).await;

        begin(server);
        is_away(&**store, &tried, &late, &other).await;
        // What is dropped meanwhile is released when the server is back.
        drop(Claim::new(Arc::clone(store), token.clone()));
        end(server);

        let back = Instant::now();
        let answer = until_it_answers(&**store, &finished).await;
        println!("{way}: back after {:?}", back.elapsed());
        let kept = keeps || way == "frozen";
        match answer {
            Claimed::Done => {}
            Claimed::New(_) if !kept => {}
            other => panic!("{way}: what was done is {other:?}"),
        }
        // Claims without an answer, made before or after it was back, are taken back; so is the one that was dropped.
        for key in [&tried, &held] {
            let again = eventually_new(&**store, key).await;
            assert!(again.epoch > token.epoch && again.epoch > last_epoch, "{way}: epochs go on rising");
            last_epoch = again.epoch;
        }
        assert_eq!(store.complete(&token, now()).await.unwrap(), Settled::Superseded, "{way}: the old holder");
        // The completion that had no answer is made up for, where there is still something to complete.
        let deadline = Instant::now() + PATIENCE;
        while kept && !matches!(claim(&**store, &unfinished).await.unwrap(), Claimed::Done) {
            assert!(Instant::now() < deadline, "{way}: the completion was not recorded");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn eventually_new<S: DedupeStore>(store: &S, key: &ClaimKey) -> ClaimToken {
    let start = Instant::now();
    loop {
        match claim(store, key).await {
            Ok(Claimed::New(token)) => return token,
            Ok(Claimed::InFlight { .. }) | Err(_) if start.elapsed() < PATIENCE => {}
            other => panic!("after {:?}: {other:?}", start.elapsed()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A receiver whose store goes away and comes back: 503 with `Retry-After`, no handler runs, and then as before.
pub fn receiver_while_away<S: DedupeStore, O: Outage>(store: impl Fn() -> S, server: &mut O) {
    for (at, mount) in BOTH.into_iter().enumerate() {
        let probe = Probe::default();
        let receiver = common::builder(&probe).dedupe(store()).build().unwrap();
        let http = Server::start(mount, &receiver, &probe);
        let post = |id: &str| common::signed(&format!("{id}-{at}"), job("ok"));
        assert_eq!(http.post(&post("before")).status, 200);
        for (way, begin, end) in
            [("stopped", O::stop as fn(&mut O), O::start_again as fn(&mut O)), ("frozen", O::freeze, O::thaw)]
        {
            begin(server);
            let runs = probe.all_runs();
            for id in ["before", "during", "during"] {
                let start = Instant::now();
                let response = http.post(&post(&format!("{id}-{way}")));
                let took = start.elapsed();
                println!("{way}: 503 after {took:?}");
                // By design: a store gives up after half of it.
                assert!(took < servers::bound(SENDERS_SECOND), "{way}: 503 after {took:?}");
                assert_eq!((response.status, response.header("retry-after")), (503, Some("5")), "{way}");
            }
            assert_eq!(probe.all_runs(), runs, "{way}: nothing ran");
            end(server);
            let back = Instant::now();
            let id = format!("during-{way}");
            let ends = |status: &u16| ![409, 503].contains(status);
            let status = wait_for("the store", || Some(http.post(&post(&id)).status).filter(ends));
            println!("{way}: 200 again after {:?}", back.elapsed());
            assert_eq!((status, probe.runs(&format!("{id}-{at}"))), (200, 1), "{way}");
            assert_eq!(http.post(&post("before")).status, 200);
            assert_eq!(probe.runs(&format!("before-{at}")), 1, "{way}: a duplicate");
        }
    }
}

/// The earliest and the latest moment are moments like any other.
pub async fn ends_of_time<S: DedupeStore>(store: &S) {
    for (number, start) in [Timestamp::from_millis(i64::MIN), Timestamp::MAX].into_iter().enumerate() {
        let claimed = store.claim(&key("time", number), Fingerprint::of(BODY), LEASE, start).await.unwrap();
        let Claimed::New(token) = claimed else { panic!("{claimed:?}") };
        assert_eq!(store.complete(&token, start).await.unwrap(), Settled::Current);
    }
}

/// The last handle may be dropped anywhere: with no runtime, or after the one that it was built on has ended.
pub fn abandoned_without_a_runtime<S: DedupeStore>(store: impl AsyncFnOnce() -> S) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let store = runtime.block_on(store());
    let token = runtime.block_on(new_claim(&store, &key("abandon", 1)));
    store.abandon(&token);
    // The runtime that it was built on sends the release.
    let free = || matches!(runtime.block_on(claim(&store, &key("abandon", 1))), Ok(Claimed::New(_)));
    wait_for("the release", || free().then_some(()));
    drop(runtime);
    store.abandon(&token);
    // And another runtime will do for everything else.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime.block_on(until_it_answers(&store, &key("abandon", 2)));
    assert!(matches!(answer, Claimed::New(_)), "{answer:?}");
}

/// Claims whose requests end while they are under way: senders that hang up. The key is free again long before the lease
/// would end.
pub async fn hang_ups<S: DedupeStore>(store: &S) {
    let mut hung_up = Vec::new();
    for number in 0..200 {
        let key = key("hang-up", number);
        let moment = Duration::from_micros(50 * u64::try_from(number % 40).unwrap());
        // Every other one as soon as it has begun.
        let ended = match number % 2 {
            0 => claim(store, &key).now_or_never().is_none(),
            _ => tokio::time::timeout(moment, claim(store, &key)).await.is_err(),
        };
        hung_up.extend(ended.then_some(key));
    }
    println!("{} of 200 were dropped half-way", hung_up.len());
    assert!(hung_up.len() >= 50, "most of those that had only begun");
    let mut tokens = Vec::new();
    for key in hung_up {
        tokens.push(eventually_new(store, &key).await);
    }
    // Whoever takes back the first claims goes on doing so for a while, and must not take these.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for token in tokens {
        completed(store, &token).await;
    }
}

/// A connection that is open and dead, as behind a firewall that has forgotten it.
pub async fn swallowed<S: DedupeStore>(store: &S, proxy: &Proxy) {
    for round in 0..2 {
        // All that are dead are given up, and not one after the other.
        let token = new_claim(store, &key("swallowed", round * 10 + 3)).await;
        proxy.swallow();
        let mut failures = 0;
        for _ in 0..12 {
            failures += usize::from(store.extend(&token, LEASE, now()).await.is_err());
        }
        assert!((1..=5).contains(&failures), "{failures} of 12 calls failed");

        done(store, &key("swallowed", round * 10)).await;
        proxy.swallow();
        let start = Instant::now();
        let error = claim(store, &key("swallowed", round * 10 + 1)).await.expect_err("nobody answers");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        let answer = until_it_answers(store, &key("swallowed", round * 10 + 2)).await;
        assert!(matches!(answer, Claimed::New(_)), "{answer:?}");
        println!("swallowed: back after {:?}", start.elapsed());
    }
}

/// A server that is frozen, behind `proxy`, and asked by many for 4 s: its kernel keeps what nobody takes up, and all of it is
/// worked through when it goes on. At most so many connections are opened meanwhile.
pub async fn flood<S: DedupeStore, O: Outage>(store: &S, server: &mut O, proxy: &Proxy, most: u32) {
    server.freeze();
    let (before, end) = (proxy.opened(), Instant::now() + Duration::from_secs(4));
    let ask = async |number| while Instant::now() < end && claim(store, &key("flood", number)).await.is_err() {};
    join_all((0..24).map(ask)).await;
    let opened = proxy.opened() - before;
    println!("{opened} connections were opened in 4 s");
    assert!((1..=most).contains(&opened), "{opened} connections were opened to a server that takes up none");
    server.thaw();
    done(store, &key("flood", 100)).await;
}

// 64 at once, in one process and in several.

pub const COPIES: usize = 64;
pub const KEYS: usize = 1_000;
/// The longest that a claim may wait.
pub const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// One race at a time: they measure a store, and not one another.
static RACE: Mutex<()> = Mutex::new(());

/// How claims of one key ended that were made at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raced {
    new: usize,
    /// A store may say that it cannot tell, on a machine that has no time.
    unsure: usize,
    longest: Duration,
}

impl Raced {
    fn add(&mut self, other: Self) {
        self.new += other.new;
        self.unsure += other.unsure;
        self.longest = self.longest.max(other.longest);
    }

    /// Where every claim had an answer, one of them was new; never more.
    fn judge(self, number: usize) {
        assert!(self.new <= 1 && (self.new == 1 || self.unsure > 0), "key {number}: {self:?}");
    }

    fn tell(self, who: &str) {
        println!(
            "{who}: {KEYS} keys, {COPIES} claims each; {} unsure; the longest took {:?}",
            self.unsure, self.longest
        );
        assert!(self.unsure < KEYS * COPIES / 100, "{} claims had no answer", self.unsure);
        if servers::is_long_form() {
            assert!(self.unsure == 0 && self.longest <= LONGEST_WAIT, "{who}: {self:?}");
        }
    }
}

/// `copies` claims of one key at once, made through several handles.
pub async fn race<S: DedupeStore>(stores: &[Arc<S>], name: &str, number: usize, copies: usize) -> Raced {
    let key = key(name, number);
    let tasks = (0..copies).map(|copy| {
        let store = Arc::clone(&stores[copy % stores.len()]);
        tokio::spawn(async move {
            let start = Instant::now();
            let claimed = claim(&*store, &key).await;
            (claimed, start.elapsed())
        })
    });
    let mut raced = Raced::default();
    for answer in join_all(tasks.collect::<Vec<_>>()).await {
        let (claimed, took) = answer.unwrap();
        raced.longest = raced.longest.max(took);
        match claimed {
            Ok(Claimed::New(_)) => raced.new += 1,
            Ok(Claimed::InFlight { .. }) => {}
            Err(StoreError::Unavailable(_)) => raced.unsure += 1,
            other => panic!("{other:?}"),
        }
    }
    raced
}

/// 64 claims of each of 1,000 keys through the handles that `stores` makes: one of each is new.
pub fn race_in_one_process<S: DedupeStore>(name: &str, stores: impl AsyncFnOnce() -> [Arc<S>; 3]) {
    let _alone = RACE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let stores = stores().await;
        let mut all = Raced::default();
        for number in 0..KEYS {
            let raced = race(&stores, name, number, COPIES).await;
            raced.judge(number);
            all.add(raced);
        }
        all.tell("3 handles");
    });
}

const RACER: &str = "COUNTERSIGN_RACER";

/// What a racer is told by its environment: where the store is and what the keys are called. `None` in a test run.
pub fn racer() -> Option<(String, String)> {
    let told = std::env::var(RACER).ok()?;
    let (url, name) = told.split_once(' ')?;
    Some((url.to_owned(), name.to_owned()))
}

/// A process of its own that claims what it is told to: lines of `number copies` come in, `new unsure longest` go out.
pub async fn run_racer<S: DedupeStore>(store: S, name: &str) {
    let stores = [Arc::new(store)];
    println!("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (number, copies) = line.split_once(' ').unwrap();
        let raced = race(&stores, name, number.parse().unwrap(), copies.parse().unwrap()).await;
        println!("raced {} {} {}", raced.new, raced.unsure, raced.longest.as_millis());
    }
}

struct Racer {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Racer {
    /// Runs the test `test` of this binary in a process of its own.
    fn start(test: &str, url: &str, name: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(RACER, format!("{url} {name}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, stdin, stdout }
    }

    /// The next line that it writes itself, and not the test harness.
    fn line(&mut self, begins: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the racer has ended");
            // The harness leaves `test … ` in front of the first line.
            if let Some(at) = line.find(begins) {
                return line[at + begins.len()..].trim().to_owned();
            }
        }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// 64 claims of each of 1,000 keys, from `count` processes at once: one of each is new.
pub fn race_in_processes(test: &str, url: &str, count: usize) {
    let _alone = RACE.lock().unwrap_or_else(PoisonError::into_inner);
    let name = format!("race-of-{count}");
    let mut racers: Vec<Racer> = (0..count).map(|_| Racer::start(test, url, &name)).collect();
    for racer in &mut racers {
        racer.line("ready");
    }
    let mut all = Raced::default();
    for number in 0..KEYS {
        for (at, racer) in racers.iter_mut().enumerate() {
            let copies = COPIES / count + usize::from(at < COPIES % count);
            writeln!(racer.stdin.as_mut().unwrap(), "{number} {copies}").unwrap();
        }
        let mut raced = Raced::default();
        for racer in &mut racers {
            let line = racer.line("raced ");
            let numbers: Vec<usize> = line.split(' ').map(|number| number.parse().unwrap()).collect();
            let longest = Duration::from_millis(numbers[2].try_into().unwrap());
            raced.add(Raced { new: numbers[0], unsure: numbers[1], longest });
        }
        raced.judge(number);
        all.add(raced);
    }
    all.tell(&format!("{count} processes"));
}
