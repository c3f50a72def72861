//! One endpoint for many customers, each with a secret of its own, chosen by a part of the path. Nobody learns which
//! customers there are: a name that does not exist is answered like a wrong signature, after the same work.
//!
//! Run it: `cargo run --example tenants`

mod common;

use common::{Failure, id, now, post, serve};
use countersign::kycgenie::{self, Event};
use countersign::{Delivery, Keyring, Message, Receiver, Secret, Signer, TenantId, Tenants, handlers};

const ACME: &str = "whsec_YWNtZSdzIGV4YW1wbGUgc2VjcmV0";
const GLOBEX: &str = "whsec_Z2xvYmV4J3MgZXhhbXBsZSBzZWNyZXQ=";

struct Printer;

#[handlers(Event)]
impl Printer {
    #[otherwise]
    async fn print(&self, delivery: &Delivery) {
        let tenant = delivery.tenant().map_or("(none)", TenantId::as_str);
        println!("    handled {} for tenant {tenant}", id(delivery));
    }
}

#[actix_web::main]
async fn main() -> Result<(), Failure> {
    let tenants = Tenants::by_param("tenant");
    tenants.insert("acme", Keyring::single(Secret::new(ACME)?))?;
    let receiver = Receiver::builder(kycgenie::scheme(), tenants.clone()).handlers(Printer).build()?;
    let (addr, server) = serve(move || receiver.at("/webhooks/{tenant}"))?;

    let body = r#"{"event":"test","data":{}}"#;
    let send = async |tenant: &str, secret: &str| -> Result<(), Failure> {
        let signer = Signer::new(kycgenie::scheme(), Keyring::single(Secret::new(secret)?))?;
        let headers = signer.sign(&Message::new(body.as_bytes(), now()?).id("msg_1"))?;
        let (status, _) = post(addr, &format!("/webhooks/{tenant}"), headers, body).await?;
        println!("  to {tenant}: {status}");
        Ok(())
    };

    println!("acme's delivery, and one for globex, who is no customer yet");
    send("acme", ACME).await?;
    send("globex", GLOBEX).await?;

    println!("globex comes, while serving; its ids are its own");
    tenants.insert("globex", Keyring::single(Secret::new(GLOBEX)?))?;
    send("globex", GLOBEX).await?;

    println!("acme's secret is no good for globex");
    send("globex", ACME).await?;

    println!("acme goes");
    tenants.remove("acme");
    send("acme", ACME).await?;
    server.stop(true).await;
    Ok(())
}
