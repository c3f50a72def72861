//! A few hundred bytes that stand for a gigabyte. Alone in its process, since it looks at the memory of all of it.
//!
//! Compiled twice, as `edge_bodies.rs` is: without actix-web's `compress-*` features and, in `tests/compress`, with them.

#![cfg(all(feature = "actix", feature = "testing", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

mod common;

use common::{BOTH, Probe, Server, builder, signed};

/// 841 bytes of brotli that stand for 1 GiB of zeros; see `tests/data/README.md`.
const BOMB: &[u8] = include_bytes!("data/brotli-bomb.br");

/// What the allocator and the runtime may take for themselves meanwhile; a sixteenth of one bomb.
const SLACK: usize = 64 * 1024 * 1024;

/// Resident memory in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn a_brotli_bomb_is_415_and_nothing_grows() {
    for mount in BOTH {
        let probe = Probe::default();
        let server = Server::start(mount, &builder(&probe).build().unwrap(), &probe);
        let bomb = signed("bomb", BOMB).with("content-encoding", "br");
        assert_eq!(server.post(&bomb).status, 415);
        let before = resident();
        for _ in 0..500 {
            assert_eq!(server.post(&bomb).status, 415);
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < SLACK, "{grown} bytes more");
        assert_eq!(probe.all_runs(), 0);
    }
}
