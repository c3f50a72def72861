//! The server role: every contender in one process, each on a port and a worker of its own, all at `/hook`.

use std::io::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use actix_web::dev::HttpServiceFactory;
use actix_web::{App, HttpResponse, HttpServer, Resource, web};
use countersign::{DedupeStore, NoHandlers, Receiver};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::deliveries::SECRET;
use crate::machine::pin;
use crate::{ours, straightforward};

pub const CONTENDERS: [&str; 8] = [
    "bare",
    "floor",
    "straightforward",
    "verify",
    "middleware",
    "pipeline",
    "pipeline-2-keys",
    "pipeline-unwanted",
];

/// Serves until the parent closes our standard input; prints the ports in the order of [`CONTENDERS`].
pub fn run(core: usize, capacity: usize) -> std::io::Result<()> {
    pin(core);
    actix_web::rt::System::new().block_on(async move {
        let state = web::Data::new(straightforward::State::new(SECRET, capacity as u64));
        let verify = ours::verify_only(SECRET);
        let guarded = ours::guarding(SECRET, capacity);
        let pipeline = ours::pipeline(SECRET, 0, capacity, ours::All);
        let two_keys = ours::pipeline(SECRET, 1, capacity, ours::All);
        let unwanted = ours::pipeline(SECRET, 0, capacity, ours::Other);
        let ports = [
            serve(bare_at_hook)?,
            serve(floor_at_hook)?,
            serve(move || straightforward_at_hook(&state))?,
            serve(move || verify_at_hook(&verify))?,
            serve(move || verify_at_hook(&guarded))?,
            serve(move || pipeline.at("/hook"))?,
            serve(move || two_keys.at("/hook"))?,
            serve(move || unwanted.at("/hook"))?,
        ];
        println!("{}", ports.map(|port| port.to_string()).join(" "));
        std::io::stdout().flush()?;
        web::block(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
            .await
            .expect("a thread")?;
        Ok(())
    })
}

fn serve<F, R>(mount: F) -> std::io::Result<u16>
where
    F: Fn() -> R + Clone + Send + 'static,
    R: HttpServiceFactory + 'static,
{
    let server = HttpServer::new(move || App::new().service(mount()))
        .workers(1)
        .keep_alive(Duration::from_secs(3600))
        .disable_signals()
        .bind(("127.0.0.1", 0))?;
    let port = server.addrs()[0].port();
    actix_web::rt::spawn(server.run());
    Ok(port)
}

pub fn bare_at_hook() -> Resource {
    web::resource("/hook").route(web::post().to(bare))
}

pub fn floor_at_hook() -> Resource {
    web::resource("/hook").route(web::post().to(floor))
}

pub fn straightforward_at_hook(state: &web::Data<straightforward::State>) -> Resource {
    web::resource("/hook")
        .app_data(state.clone())
        .route(web::post().to(straightforward::hook))
}

pub fn verify_at_hook<S: DedupeStore>(receiver: &Receiver<NoHandlers, S>) -> impl HttpServiceFactory + use<S> {
    web::resource("/hook")
        .wrap(receiver.middleware())
        .route(web::post().to(bare))
}

/// Reads the body and answers 200.
async fn bare(body: web::Bytes) -> HttpResponse {
    std::hint::black_box(body);
    HttpResponse::Ok().finish()
}

/// The same and one MAC pass over the body: what no verifier can do without.
async fn floor(body: web::Bytes) -> HttpResponse {
    mac_pass(&body);
    HttpResponse::Ok().finish()
}

/// A MAC under a key that is set up once.
pub fn mac_pass(body: &[u8]) {
    static KEY: LazyLock<Hmac<Sha256>> = LazyLock::new(|| Hmac::new_from_slice(b"set up once").expect("any length"));
    let mut mac = KEY.clone();
    mac.update(body);
    std::hint::black_box(mac.finalize().into_bytes());
}
