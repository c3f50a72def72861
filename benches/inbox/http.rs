//! Acknowledged deliveries a second, over HTTP.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use countersign::inbox::Inbox;
use countersign::kycgenie::Event;
use countersign::{Clock, Keyring, Message, Mode, Receiver, Scheme, Secret, Signer, SystemClock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::engine::{Engine, OnPostgres, OnSqlite};
use crate::{BODY, CONNECTIONS, Extent, Nothing, body, median, verdict};

const SECRET: &str = "whsec_YmVuY2g=";

pub(crate) fn print(extent: Extent, sqlite: bool, postgres: bool) {
    println!(
        "Over HTTP: {BODY} bytes, {CONNECTIONS} connections, closed loop, one server thread, this process sends; medians of \
         {} rounds of {} s by turns.\n",
        extent.rounds,
        extent.run.as_secs()
    );
    if sqlite {
        of::<OnSqlite>(extent, 50);
    }
    if postgres {
        of::<OnPostgres>(extent, 100);
    }
}

fn of<E: Engine>(extent: Extent, goal: u32) {
    let builder = || {
        let keyring = Keyring::single(Secret::new(SECRET).expect("a secret"));
        Receiver::builder(Scheme::standard_webhooks(), keyring)
    };
    let (mut inline, mut durable, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    let mut raw = vec![Vec::new(); E::WRITERS.len()];
    for _ in 0..extent.rounds {
        inline.push(load(&builder().handlers(Nothing).build().expect("sound"), extent.run));
        let mut engine = E::new();
        let inbox = Inbox::<Event, _>::new(engine.store());
        let before = engine.commits();
        let seen = load(&builder().inbox(inbox).build().expect("sound"), extent.run);
        let commits = engine.commits() - before;
        let batch = (seen.acks as f64 / commits as f64).max(1.0);
        durable.push(seen);
        shared.push(batch);
        for (writers, raw) in E::WRITERS.iter().zip(&mut raw) {
            raw.push(engine.raw(*writers, batch.round() as usize, extent.run));
        }
    }
    let of = |loads: &[Load], what: fn(&Load) -> f64| median(loads.iter().map(what).collect());
    let (inline_rate, rate) = (of(&inline, |load| load.rate), of(&durable, |load| load.rate));
    let to_inline = durable.iter().zip(&inline).map(|(durable, inline)| durable.rate / inline.rate).collect();
    println!("| | acks/s | p50 ms | p99 ms | a commit | beside inline |");
    println!("|---|---|---|---|---|---|");
    println!(
        "| {}: inline, memory store, no work | {inline_rate:.0} | {:.1} | {:.1} | | |",
        E::NAME,
        of(&inline, |load| load.p50),
        of(&inline, |load| load.p99)
    );
    let p99 = of(&durable, |load| load.p99);
    println!(
        "| {}: inbox (goal p99 {goal}: {}) | {rate:.0} | {:.1} | {p99:.1} | {:.0} | {:.2} |",
        E::NAME,
        verdict(p99 <= f64::from(goal)),
        of(&durable, |load| load.p50),
        median(shared),
        median(to_inline)
    );
    println!();
    for (writers, raw) in E::WRITERS.iter().zip(raw) {
        let ratio = median(durable.iter().zip(&raw).map(|(durable, raw)| durable.rate / raw).collect());
        let connections = if *writers == 1 { "one connection".to_owned() } else { format!("{writers} connections") };
        println!(
            "{} by itself, the same rows in commits of the same size, {connections}: {:.0}/s; the inbox beside that {ratio:.2} \
             (goal 0.60: {})",
            E::NAME,
            median(raw),
            verdict(ratio >= 0.6)
        );
    }
    println!();
}

struct Load {
    acks: usize,
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Serves `receiver`, and sends to it over 64 connections for a while.
fn load<H: Send + Sync + 'static, S: Mode<H>>(receiver: &Receiver<H, S>, run: Duration) -> Load {
    let receiver = receiver.clone();
    let (tell, told) = mpsc::channel();
    let server = std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let server = HttpServer::new(move || App::new().service(receiver.at("/hook"))).workers(1).disable_signals();
            let server = server.bind(("127.0.0.1", 0)).expect("a port");
            let addr = server.addrs()[0];
            let server = server.run();
            tell.send((addr, server.handle())).expect("told");
            server.await.expect("served");
        });
    });
    let (addr, handle) = told.recv().expect("a port");
    let started = Instant::now();
    let mut times = senders(addr, run);
    let taken = started.elapsed();
    drop(handle.stop(false));
    server.join().expect("a server");
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    Load { acks: times.len(), rate: times.len() as f64 / taken.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}

/// One thread that sends over all connections: a thread for each would spend the processors on waking one another.
#[tokio::main(flavor = "current_thread")]
async fn senders(addr: SocketAddr, run: Duration) -> Vec<Duration> {
    let until = Instant::now() + run;
    let senders: Vec<_> = (0..CONNECTIONS).map(|sender| tokio::spawn(send(addr, sender, until))).collect();
    let mut times = Vec::new();
    for sender in senders {
        times.extend(sender.await.expect("a sender"));
    }
    times
}

async fn send(addr: SocketAddr, sender: usize, until: Instant) -> Vec<Duration> {
    let keyring = Keyring::single(Secret::new(SECRET).expect("a secret"));
    let signer = Signer::new(Scheme::standard_webhooks(), keyring).expect("a signer");
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let body = body();
    let mut times = Vec::new();
    for number in 0.. {
        if Instant::now() > until {
            break;
        }
        let id = format!("msg_{sender}_{number}");
        let headers = signer.sign(&Message::new(body.as_bytes(), SystemClock.now()).id(&id)).expect("signed");
        let mut request = format!("POST /hook HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += &body;
        let started = Instant::now();
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = [0; 1024];
        let count = stream.read(&mut answer).await.expect("an answer");
        times.push(started.elapsed());
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..count]));
    }
    times
}
