//! Senders that come back until they are told 2xx, and a record of every answer.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use countersign::{Clock, SystemClock};

use crate::PATIENCE;
use crate::common::{self, Client};

/// How many deliveries are in flight at once.
const SENDERS: usize = 12;
/// One in so many is sent again after it was acknowledged.
const REPEAT: u64 = 3;
/// Between two deliveries of one sender: a load that leaves a small machine something to do beside it.
const PAUSE: Duration = Duration::from_millis(15);
/// Before it comes back; a provider would wait for longer, and see less.
const RETRY: Duration = Duration::from_millis(25);

/// What a sender was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    /// `None` where the connection ended instead.
    pub(crate) status: Option<u16>,
    pub(crate) retry_after: bool,
}

pub(crate) struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    addr: SocketAddr,
    ended: AtomicBool,
    next: AtomicU64,
    acknowledged: Mutex<HashSet<String>>,
    answers: Mutex<Vec<Answer>>,
    last_refusal: Mutex<Option<Instant>>,
    /// Since when the last so many were acknowledged.
    last_successes: Mutex<Vec<Instant>>,
}

impl Senders {
    pub(crate) fn start(addr: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            addr,
            ended: AtomicBool::new(false),
            next: AtomicU64::new(0),
            acknowledged: Mutex::default(),
            answers: Mutex::default(),
            last_refusal: Mutex::default(),
            last_successes: Mutex::default(),
        });
        let threads = (0..SENDERS).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work())
        });
        Self { threads: threads.collect(), shared }
    }

    pub(crate) fn take_answers(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.shared.answers.lock().unwrap())
    }

    pub(crate) fn last_refusal(&self) -> Option<Instant> {
        *self.shared.last_refusal.lock().unwrap()
    }

    /// Waits until `count` deliveries that were sent after `since` are acknowledged.
    pub(crate) fn wait_for_successes(&self, what: &str, count: usize, since: Instant) {
        self.shared.last_successes.lock().unwrap().clear();
        let told = |times: &Vec<Instant>| times.iter().filter(|started| **started >= since).count();
        while told(&self.shared.last_successes.lock().unwrap()) < count {
            assert!(since.elapsed() < PATIENCE, "{what}: it does not come back");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends no further deliveries, waits until those under way are acknowledged, and gives all that were.
    pub(crate) fn end(mut self) -> HashSet<String> {
        self.shared.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a sender has ended in peace");
        }
        self.shared.acknowledged.lock().unwrap().clone()
    }

    /// Sends one delivery once.
    pub(crate) fn send_once(addr: SocketAddr, id: &str) -> Option<u16> {
        exchange(addr, &mut None, id).status
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn work(&self) {
        let mut client = None;
        while !self.ended.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let id = format!("msg_{number}");
            for _ in 0..if number.is_multiple_of(REPEAT) { 2 } else { 1 } {
                self.deliver(&mut client, &id);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends it until it is acknowledged.
    fn deliver(&self, client: &mut Option<Client>, id: &str) {
        let first = Instant::now();
        loop {
            let answer = exchange(self.addr, client, id);
            self.answers.lock().unwrap().push(answer);
            match answer.status {
                Some(200) => {
                    self.acknowledged.lock().unwrap().insert(id.to_owned());
                    self.last_successes.lock().unwrap().push(answer.started);
                    return;
                }
                Some(503) => *self.last_refusal.lock().unwrap() = Some(answer.ended),
                _ => {}
            }
            // The longest outage, and what is right to wait for after it.
            assert!(first.elapsed() < 3 * PATIENCE, "{id} is never acknowledged: {answer:?}");
            std::thread::sleep(RETRY);
        }
    }
}

fn exchange(addr: SocketAddr, client: &mut Option<Client>, id: &str) -> Answer {
    let body = format!(r#"{{"event":"job","data":{{"run":"ok","id":"{id}"}}}}"#);
    let post = common::signed_with(&common::scheme(), &common::keyring(), id, SystemClock.now(), body);
    let started = Instant::now();
    let connected = client.get_or_insert_with(|| Client::connect(addr));
    let sent = connected.try_send(&post.to_bytes());
    let response = if sent { connected.try_receive() } else { None };
    if response.is_none() {
        *client = None;
    }
    let status = response.as_ref().map(|response| response.status);
    let retry_after = response.and_then(|response| Some(response.header("retry-after")?.parse::<u64>().is_ok()));
    Answer { started, ended: Instant::now(), status, retry_after: retry_after.unwrap_or(false) }
}
