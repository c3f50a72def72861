//! Senders that come back until they are told 200, and a record of every time they were.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use countersign::{Clock, Keyring, Message, Scheme, Secret, Signer, SystemClock};

use crate::child::{PATH, SECRET};

pub(crate) struct Senders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Where to send, while there is somebody.
    target: Mutex<Option<SocketAddr>>,
    acknowledged: Mutex<HashSet<String>>,
    /// What was sent in whole and not answered.
    broken: Mutex<HashSet<String>>,
    wrong: Mutex<Vec<(String, String)>>,
    ended: AtomicBool,
    next: AtomicU64,
    signer: Signer,
}

impl Senders {
    /// `count` of them, each with one delivery at a time; one in `repeat` is sent again after it was acknowledged.
    pub(crate) fn start(count: usize, repeat: u64) -> Self {
        let keyring = Keyring::single(Secret::new(SECRET).unwrap());
        let shared = Arc::new(Shared {
            target: Mutex::default(),
            acknowledged: Mutex::default(),
            broken: Mutex::default(),
            wrong: Mutex::default(),
            ended: AtomicBool::new(false),
            next: AtomicU64::new(0),
            signer: Signer::new(Scheme::standard_webhooks(), keyring).unwrap(),
        });
        let threads = (0..count).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(repeat))
        });
        Self { threads: threads.collect(), shared }
    }

    pub(crate) fn go(&self, addr: SocketAddr) {
        *self.shared.target.lock().unwrap() = Some(addr);
    }

    pub(crate) fn pause(&self) {
        *self.shared.target.lock().unwrap() = None;
    }

    pub(crate) fn acknowledged(&self) -> HashSet<String> {
        self.shared.acknowledged.lock().unwrap().clone()
    }

    /// What was sent in whole since the last call, and not answered.
    pub(crate) fn take_broken(&self) -> HashSet<String> {
        std::mem::take(&mut *self.shared.broken.lock().unwrap())
    }

    /// Answers that are neither 200 nor 503.
    pub(crate) fn wrong(&self) -> Vec<(String, String)> {
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
            let id = format!("msg_{number}");
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
            let target = *self.target.lock().unwrap();
            let Some(addr) = target else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            if stream.as_ref().is_none_or(|(connected, _)| *connected != addr) {
                *stream = TcpStream::connect(addr).ok().map(|stream| (addr, stream));
            }
            let answer = stream.as_mut().and_then(|(_, stream)| self.post(stream, id).ok());
            match answer {
                Some(200) => {
                    self.acknowledged.lock().unwrap().insert(id.to_owned());
                    return true;
                }
                Some(503) => std::thread::sleep(Duration::from_millis(10)),
                Some(status) => self.wrong.lock().unwrap().push((id.to_owned(), status.to_string())),
                None => {
                    *stream = None;
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        false
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
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(request.as_bytes())?;
        receive(stream).inspect_err(|_| {
            self.broken.lock().unwrap().insert(id.to_owned());
        })
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
