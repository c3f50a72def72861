//! The load generator: kept-alive connections without pipelining, on one thread, deliveries made beforehand.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// A head of its own, and a body that it may share with others.
pub struct Request<'a> {
    pub head: Vec<u8>,
    pub body: &'a [u8],
}

/// Connections to one server.
pub struct Load {
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    job: Option<Job>,
    answer: Vec<u8>,
}

struct Job {
    request: usize,
    written: usize,
    since: Instant,
}

impl Load {
    pub fn connect(port: u16, connections: usize) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let connect = |at: usize| {
            let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(at), interest)?;
            Ok(Connection {
                stream,
                job: None,
                answer: Vec::with_capacity(1024),
            })
        };
        let connections = (0..connections).map(connect).collect::<std::io::Result<_>>()?;
        Ok(Self {
            poll,
            events: Events::with_capacity(256),
            connections,
        })
    }

    /// Sends every request as soon as a connection is free, and tells how long that took.
    pub fn full(&mut self, requests: &[Request<'_>]) -> std::io::Result<Duration> {
        let started = Instant::now();
        let mut next = 0;
        let mut answered = 0;
        for connection in &mut self.connections {
            if next < requests.len() {
                connection.begin(next, requests, started)?;
                next += 1;
            }
        }
        while answered < requests.len() {
            self.poll.poll(&mut self.events, Some(Duration::from_secs(5)))?;
            if self.events.is_empty() {
                return Err(std::io::Error::other("no answer within 5 seconds"));
            }
            for event in &self.events {
                let connection = &mut self.connections[event.token().0];
                if connection.advance(requests)?.is_some() {
                    answered += 1;
                    if next < requests.len() {
                        connection.begin(next, requests, started)?;
                        next += 1;
                    }
                }
            }
        }
        Ok(started.elapsed())
    }

    /// Sends `rate` requests a second, each at its time whether or not earlier ones are answered, and gives each
    /// one's latency since the time at which it should have gone.
    pub fn paced(&mut self, requests: &[Request<'_>], rate: f64) -> std::io::Result<Vec<Duration>> {
        let started = Instant::now();
        let due = |at: usize| started + Duration::from_secs_f64(at as f64 / rate);
        let mut latencies = Vec::with_capacity(requests.len());
        let mut free: Vec<usize> = (0..self.connections.len()).collect();
        let mut next = 0;
        while latencies.len() < requests.len() {
            while next < requests.len() && due(next) <= Instant::now() {
                let Some(at) = free.pop() else { break };
                self.connections[at].begin(next, requests, due(next))?;
                next += 1;
            }
            self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
            for event in &self.events {
                let at = event.token().0;
                if let Some(since) = self.connections[at].advance(requests)? {
                    latencies.push(since.elapsed());
                    free.push(at);
                }
            }
        }
        Ok(latencies)
    }
}

impl Connection {
    fn begin(&mut self, request: usize, requests: &[Request<'_>], since: Instant) -> std::io::Result<()> {
        self.job = Some(Job {
            request,
            written: 0,
            since,
        });
        self.write(requests)
    }

    /// Writes what is left, reads what is there; gives back when the request was begun once its answer is whole.
    fn advance(&mut self, requests: &[Request<'_>]) -> std::io::Result<Option<Instant>> {
        if self.job.is_none() {
            return Ok(None);
        }
        self.write(requests)?;
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => self.answer.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if !self.answer.ends_with(b"\r\n\r\n") {
            return Ok(None);
        }
        // Every answer that counts has no body.
        if !self.answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(std::io::Error::other(
                String::from_utf8_lossy(&self.answer).into_owned(),
            ));
        }
        self.answer.clear();
        Ok(self.job.take().map(|job| job.since))
    }

    fn write(&mut self, requests: &[Request<'_>]) -> std::io::Result<()> {
        let Some(job) = &mut self.job else { return Ok(()) };
        let Request { head, body } = &requests[job.request];
        while job.written < head.len() + body.len() {
            let head_left = &head[job.written.min(head.len())..];
            let body_left = &body[job.written.saturating_sub(head.len())..];
            let pieces = [IoSlice::new(head_left), IoSlice::new(body_left)];
            match self.stream.write_vectored(&pieces) {
                Ok(len) => job.written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
