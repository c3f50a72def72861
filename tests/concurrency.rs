//! The same delivery many times at once, and deliveries whose sender goes away.

#![cfg(all(feature = "actix", feature = "testing"))]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::{BOTH, Mount, Probe, Response, Server, Setup, builder, job, signed, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};

const SENDERS: usize = 64;
const ROUNDS: usize = 1_000;

/// A sender that keeps its connection and sends each round's request the moment it is told to.
async fn sender(
    addr: std::net::SocketAddr,
    mut rounds: broadcast::Receiver<Arc<Vec<u8>>>,
    answers: mpsc::UnboundedSender<u16>,
) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut pending = Vec::with_capacity(1024);
    while let Ok(request) = rounds.recv().await {
        stream.write_all(&request).await.unwrap();
        let response = loop {
            assert_ne!(stream.read_buf(&mut pending).await.unwrap(), 0, "closed");
            if let Some((response, length)) = Response::parse(&pending) {
                pending.drain(..length);
                break response;
            }
        };
        answers.send(response.status).unwrap();
    }
}

fn race(mount: Mount, rounds: usize, gated: bool) {
    let probe = Probe::default();
    let receiver = builder(&probe).build().unwrap();
    let setup = Setup { workers: 2, mount, ..Setup::default() };
    let server = Server::with(setup, &receiver, &probe);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (start, _) = broadcast::channel(1);
        let (answers, mut answered) = mpsc::unbounded_channel();
        for _ in 0..SENDERS {
            tokio::spawn(sender(server.addr, start.subscribe(), answers.clone()));
        }
        for round in 0..rounds {
            let id = format!("msg_{round}");
            let request = signed(&id, job(if gated { "gate" } else { "ok" })).to_bytes();
            start.send(Arc::new(request)).unwrap();
            let mut statuses = Vec::with_capacity(SENDERS);
            if gated {
                // All but one are answered while that one runs, and can only run while the gate is shut.
                while statuses.len() < SENDERS - 1 {
                    statuses.push(answered.recv().await.unwrap());
                }
                assert_eq!(statuses, [409; SENDERS - 1], "round {round}: nobody is told that it is done");
                assert_eq!(probe.runs(&id), 1, "round {round}");
                probe.open_gate(1);
                assert_eq!(answered.recv().await, Some(200), "round {round}: the first one");
            } else {
                while statuses.len() < SENDERS {
                    statuses.push(answered.recv().await.unwrap());
                }
                assert!(statuses.contains(&200), "round {round}");
                assert!(statuses.iter().all(|status| [200, 409].contains(status)), "round {round}: {statuses:?}");
            }
            assert_eq!(probe.runs(&id), 1, "round {round}");
        }
    });
    assert_eq!(probe.all_runs(), rounds);
    // The senders' connections must be gone before the server is told to stop.
    drop(runtime);
}

#[test]
fn of_64_deliveries_at_the_same_moment_one_runs_and_the_others_are_not_told_that_it_is_done() {
    race(Mount::Service, ROUNDS, true);
}

#[test]
fn the_same_holds_for_the_middleware() {
    race(Mount::Middleware, ROUNDS / 10, true);
}

#[test]
fn of_64_deliveries_at_the_same_moment_one_runs_even_when_it_is_over_at_once() {
    race(Mount::Service, ROUNDS / 5, false);
}

/// A sender that closes its connection while the handler runs, the polite way.
///
/// actix-web (4.18, actix-http 3.20) takes the FIN for a half-closed connection, as its `h1_allow_half_closed` is on
/// by default: the sender may still read. So the handler runs to its end, the claim is completed, and the answer is
/// written to nobody. The retry is a duplicate.
#[test]
fn a_sender_that_hangs_up_does_not_stop_the_handler_and_its_retry_is_a_duplicate() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let post = signed("msg_1", job("gate"));
        let mut client = server.client();
        client.send(&post.to_bytes());
        probe.wait_started();
        drop(client);
        assert_eq!(server.post(&post).status, 409, "still running");
        probe.open_gate(1);
        probe.wait_gone();
        let status = wait_for("the claim to be settled", || Some(server.post(&post).status).filter(|it| *it != 409));
        assert_eq!((status, probe.runs("msg_1")), (200, 1));
    }
}

/// The same by `shutdown(SHUT_WR)`: whoever only stops sending gets the answer.
#[test]
fn a_sender_that_half_closes_gets_its_answer() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let mut client = server.client();
        client.send(&signed("msg_1", job("gate")).to_bytes());
        client.finish();
        probe.wait_started();
        probe.open_gate(1);
        assert_eq!(client.receive().status, 200);
    }
}

/// A sender whose connection is reset while the handler runs.
///
/// actix-http reads on while a handler runs, sees `ECONNRESET`, and drops the connection with the handler's future in
/// it. Dropping the claim releases it, so the retry runs at once and need not wait for the end of a lease. (The clock
/// of this test stands still: a lease would never end.)
#[test]
fn a_reset_drops_the_handler_and_the_retry_runs_without_waiting_for_a_lease() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let post = signed("msg_1", job("hang_once"));
        let mut client = server.client();
        client.send(&post.to_bytes());
        probe.wait_started();
        assert_eq!(server.post(&post).status, 409, "running");
        client.reset();
        probe.wait_gone();
        let status = wait_for("the claim to be free", || Some(server.post(&post).status).filter(|it| *it != 409));
        assert_eq!((status, probe.runs("msg_1")), (200, 2));
    }
}

#[test]
fn a_reset_in_the_middle_of_a_body_leaves_nothing_behind() {
    for mount in BOTH {
        let probe = Probe::default();
        let body = job("ok");
        let receiver = builder(&probe).body_limit(body.len()).bytes_in_flight(body.len()).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        let post = signed("msg_1", body.clone());
        for _ in 0..20 {
            let mut client = server.client();
            client.send(post.head_of_length(body.len()).as_bytes());
            client.send(&body.as_bytes()[..body.len() / 2]);
            client.reset();
        }
        // The budget has room for one body: what the others held has come back.
        let status = wait_for("room", || Some(server.post(&post).status).filter(|it| *it != 503));
        assert_eq!((status, probe.runs("msg_1")), (200, 1));
    }
}

/// A handler that ends in a failure or a panic while others wait for it.
#[test]
fn after_a_failure_exactly_one_of_the_next_runs() {
    for mount in BOTH {
        let probe = Probe::default();
        let receiver = builder(&probe).build().unwrap();
        let server = Server::start(mount, &receiver, &probe);
        for (id, run) in [("failed", "fail_once"), ("panicked", "panic")] {
            let post = signed(id, job(run));
            assert_eq!(server.post(&post).status, 500, "{id}");
            assert_eq!(server.post(&post).status, if id == "failed" { 200 } else { 500 }, "{id}");
            assert_eq!(probe.runs(id), 2, "{id}");
        }
    }
}
