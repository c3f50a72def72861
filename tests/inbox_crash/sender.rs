//! Senders that come back until they are told 200, and a record of every time they were.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use countersign::{Clock, Keyring, Message, Scheme, Secret, Signer, SystemClock};

use crate::child::{PATH, SECRET};

/// How long an answer is waited for.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Where to send, while there is somebody.
    target: Mutex<Option<SocketAddr>>,
    /// How many have looked where to send, and not yet written down what came of it.
    under_way: AtomicUsize,
    acknowledged: Mutex<HashSet<String>>,
    /// An id for each answer of 200 or 503 that has come in whole.
    answered: Mutex<Vec<String>>,
    wrong: Mutex<Vec<(String, u16)>>,
    ended: AtomicBool,
    next: AtomicU64,
    /// What the delivery of that number is called.
    name: fn(u64) -> String,
    signer: Signer,
}

impl Senders {
    /// `count` of them, each with one delivery at a time; one in `repeat` is sent again after it was acknowledged.
    pub(crate) fn start(count: usize, repeat: u64, name: fn(u64) -> String) -> Self {
        let keyring = Keyring::single(Secret::new(SECRET).unwrap());
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            under_way: AtomicUsize::new(0),
            acknowledged: Mutex::default(),
            answered: Mutex::default(),
            wrong: Mutex::default(),
            ended: AtomicBool::new(false),
            next: AtomicU64::new(0),
            name,
            signer: Signer::new(Scheme::standard_webhooks(), keyring).unwrap(),
        });
        let threads = (0..count).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(repeat))
        });
        Self { threads: threads.collect(), shared }
    }

    /// None that sends by itself.
    pub(crate) fn none() -> Self {
        Self::start(0, 1, |number| number.to_string())
    }

    pub(crate) fn go(&self, addr: SocketAddr) {
        *self.shared.target.lock().unwrap() = Some(addr);
    }

    /// Sends nothing more, and returns when what became of all that was sent is written down.
    pub(crate) fn pause(&self) {
        *self.shared.target.lock().unwrap() = None;
        let started = Instant::now();
        while self.under_way() > 0 {
            assert!(started.elapsed() < 2 * READ_TIMEOUT, "{} senders are stuck", self.under_way());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn under_way(&self) -> usize {
        self.shared.under_way.load(Ordering::SeqCst)
    }

    pub(crate) fn acknowledged(&self) -> HashSet<String> {
        self.shared.acknowledged.lock().unwrap().clone()
    }

    /// What was answered 200 or 503 since the last call: the id of each answer.
    pub(crate) fn take_answered(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.answered.lock().unwrap())
    }

    /// Answers that are neither 200 nor 503.
    pub(crate) fn wrong(&self) -> Vec<(String, u16)> {
        self.shared.wrong.lock().unwrap().clone()
    }

    /// Waits until `more` further deliveries are acknowledged.
    pub(crate) fn wait_for_acknowledgements(&self, more: usize) {
        let count = || self.shared.acknowledged.lock().unwrap().len();
        let (goal, started) = (count() + more, Instant::now());
        while count() < goal {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing is acknowledged");
            std::thread::yield_now();
        }
    }

    pub(crate) fn send_one(&self, addr: SocketAddr, id: &str) -> u16 {
        let mut stream = TcpStream::connect(addr).unwrap();
        self.send_on(&mut stream, id)
    }

    pub(crate) fn send_on(&self, stream: &mut TcpStream, id: &str) -> u16 {
        self.shared.post(stream, id).unwrap()
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn work(&self, repeat: u64) {
        let mut stream: Option<(SocketAddr, TcpStream)> = None;
        while !self.ended.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let id = (self.name)(number);
            let times = if number.is_multiple_of(repeat) { 2 } else { 1 };
            for _ in 0..times {
                if !self.deliver(&id, &mut stream) {
                    return;
                }
            }
        }
    }

    /// Sends until it is acknowledged, as a sender does. `false` at the end of it all.
    fn deliver(&self, id: &str, stream: &mut Option<(SocketAddr, TcpStream)>) -> bool {
        while !self.ended.load(Ordering::SeqCst) {
            // Counted before it looks: who pauses sees either the count, or that nothing was found.
            self.under_way.fetch_add(1, Ordering::SeqCst);
            let answer = self.try_once(id, stream);
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            match answer {
                Some(200) => return true,
                Some(503) => std::thread::sleep(Duration::from_millis(10)),
                Some(_) => {}
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        false
    }

    /// Sends it once, if there is somebody to send it to, and writes down the answer.
    fn try_once(&self, id: &str, stream: &mut Option<(SocketAddr, TcpStream)>) -> Option<u16> {
        let addr = (*self.target.lock().unwrap())?;
        if stream.as_ref().is_none_or(|(connected, _)| *connected != addr) {
            *stream = TcpStream::connect(addr).ok().map(|stream| (addr, stream));
        }
        let status = stream.as_mut().and_then(|(_, stream)| self.post(stream, id).ok());
        match status {
            None => *stream = None,
            Some(200 | 503) => {
                self.answered.lock().unwrap().push(id.to_owned());
                if status == Some(200) {
                    self.acknowledged.lock().unwrap().insert(id.to_owned());
                }
            }
            Some(status) => self.wrong.lock().unwrap().push((id.to_owned(), status)),
        }
        status
    }

    fn post(&self, stream: &mut TcpStream, id: &str) -> std::io::Result<u16> {
        let body = format!(r#"{{"event":"screening.completed","data":{{"entity_id":"{id}"}}}}"#);
        let headers = self.signer.sign(&Message::new(body.as_bytes(), SystemClock.now()).id(id)).unwrap();
        let mut request = format!("POST {PATH} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += &body;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        receive(stream)
    }
}

fn receive(stream: &mut TcpStream) -> std::io::Result<u16> {
    let mut answer = Vec::new();
    loop {
        let mut chunk = [0; 1024];
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&chunk[..count]);
        if let Some(status) = whole(&answer) {
            return Ok(status);
        }
    }
}

/// The status, once the whole answer is there.
fn whole(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (body.len() >= length.unwrap_or(0)).then(|| head.split(' ').nth(1)?.parse().ok()).flatten()
}
