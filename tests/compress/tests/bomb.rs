//! That the bomb is one, and that compression is on in this package: what actix-web's own extractor does with it.

#![allow(clippy::unwrap_used)]

#[path = "../../common/mod.rs"]
mod common;

use actix_web::web;
use common::{Probe, Server, Setup, signed};

const LIMIT: usize = 8 * 1024 * 1024;

#[test]
fn actix_webs_own_extractor_decompresses_the_bomb_before_anything_is_checked() {
    let server = Server::configured(Setup::default(), &Probe::default(), |config| {
        config
            .app_data(web::PayloadConfig::new(LIMIT))
            .route("/hooks", web::post().to(async |body: web::Bytes| body.len().to_string()));
    });
    let bomb = signed("bomb", *include_bytes!("../../data/brotli-bomb.br"));
    // As it is, it is short.
    let sent = server.post(&bomb);
    assert_eq!((sent.status, sent.body.as_slice()), (200, &b"841"[..]));
    // With its header it does not fit into 8 MiB, of which actix-web knows only once it has them.
    let expanded = server.post(&bomb.with("content-encoding", "br"));
    assert_eq!(expanded.status, 413);
}
