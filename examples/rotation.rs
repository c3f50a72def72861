//! Secrets change while deliveries come in: the keys stand in a file that is replaced, and each delivery tells which
//! key it was signed with, so that one sees when the old key has gone quiet.
//!
//! Run it: `cargo run --example rotation`

mod common;

use std::time::Duration;

use common::{Failure, id, now, post, serve};
use countersign::kycgenie::{self, Event};
use countersign::{Delivery, Keyring, Message, Receiver, Secret, Signer, handlers};

const PATH: &str = "/webhooks/kycgenie";
const OLD: &str = "whsec_cm90YXRpb24tZXhhbXBsZS1vbGQ=";
const NEW: &str = "whsec_cm90YXRpb24tZXhhbXBsZS1uZXc=";

struct Printer;

#[handlers(Event)]
impl Printer {
    #[otherwise]
    async fn print(&self, delivery: &Delivery) {
        println!("    handled {}, signed with key {}", id(delivery), delivery.key_id());
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let directory = std::env::temp_dir().join(format!("countersign-rotation-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("keys.toml");
    let old = format!("[[key]]\nid = \"old\"\nsecret = \"{OLD}\"\n");
    let new = format!("[[key]]\nid = \"new\"\nsecret = \"{NEW}\"\n");

    // Every process that watches the file rotates with it. Write a new file and rename it: never half a file.
    let replace = |text: &str| -> Result<(), Failure> {
        let next = directory.join("keys.toml.next");
        std::fs::write(&next, text)?;
        Ok(std::fs::rename(&next, &path)?)
    };
    replace(&old)?;
    let keyring = Keyring::watch_every(&path, Duration::from_millis(50))?;
    let receiver = Receiver::builder(kycgenie::scheme(), keyring.clone()).handlers(Printer).build()?;
    let (addr, server) = serve(move || receiver.at(PATH))?;

    let mut count = 0;
    for (stage, text, ids) in [
        ("before: the old key", &old, &["old"][..]),
        ("the overlap: the new key signs, the old one is still good", &format!("{new}{old}"), &["new", "old"]),
        ("after: the old key is gone", &new, &["new"]),
    ] {
        replace(text)?;
        while keyring.keys().iter().map(|key| key.id().to_string()).ne(ids.iter().map(ToString::to_string)) {
            actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{stage}");
        for (name, secret) in [("old", OLD), ("new", NEW)] {
            count += 1;
            let signer = Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(secret)?))?;
            let body = r#"{"event":"test","data":{}}"#;
            let headers = signer.sign(&Message::new(body.as_bytes(), now()?).id(&format!("msg_{count}")))?;
            let (status, _) = post(addr, PATH, headers, body).await?;
            println!("  signed with the {name} secret: {status}");
        }
    }
    server.stop(true).await;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
