//! Routes of one's own behind the middleware: what reaches them is verified and new, and comes as a typed argument
//! beside `web::Data` and whatever else actix-web extracts.
//!
//! Run it: `cargo run --example own_routes`

mod common;

use std::sync::atomic::{AtomicU32, Ordering};

use actix_web::{HttpResponse, Responder, web};
use common::{Failure, now, post, serve};
use countersign::kycgenie::{self, Event};
use countersign::{Keyring, Message, Receiver, Secret, Signer, Verified};

const PATH: &str = "/webhooks/kycgenie";
const SECRET: &str = "whsec_b3duLXJvdXRlcy1leGFtcGxlLXNlY3JldA==";

/// Stands for a database: fails on its first use.
#[derive(Default)]
struct Db {
    uses: AtomicU32,
}

impl Db {
    fn save(&self) -> Result<u32, &'static str> {
        match self.uses.fetch_add(1, Ordering::Relaxed) {
            0 => Err("the database is being restarted"),
            uses => Ok(uses),
        }
    }
}

/// A 2xx completes the delivery. Anything else releases it, and the sender's retry comes here again.
async fn hook(event: Verified<Event>, db: web::Data<Db>) -> impl Responder {
    println!("  route: {:?} with id {:?}, key {}", event.event_type(), event.id(), event.key_id());
    match db.save() {
        Ok(_) => HttpResponse::NoContent(),
        Err(error) => {
            println!("  route: {error}");
            HttpResponse::ServiceUnavailable()
        }
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let keyring = Keyring::single(Secret::new(SECRET)?);
    let receiver = Receiver::builder(kycgenie::scheme(), keyring.clone()).build()?;
    let db = web::Data::new(Db::default());

    let (addr, server) = serve(move || {
        web::resource(PATH).app_data(db.clone()).wrap(receiver.middleware()).route(web::post().to(hook))
    })?;
    println!("listening on http://{addr}{PATH}");

    let signer = Signer::new(kycgenie::scheme(), keyring)?;
    let body = r#"{"event":"case.opened","data":{"id":"case_1"}}"#;
    let headers = signer.sign(&Message::new(body.as_bytes(), now()?).id("msg_1"))?;
    for attempt in ["the first attempt", "the retry", "a retry too many"] {
        println!("{attempt}");
        let (status, _) = post(addr, PATH, headers.clone(), body).await?;
        println!("  answered {status}");
    }
    server.stop(true).await;
    Ok(())
}
