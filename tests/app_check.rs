//! The check of a program's own app: it passes where it should, and can fail.
#![cfg(all(feature = "actix", feature = "macros", feature = "testing"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;

use actix_web::{App, HttpResponse, HttpServer, web};
use countersign::kycgenie::{self, Event};
use countersign::testing::app::{self, Report, Request, Sample};
use countersign::{Clock, Delivery, Keyring, Receiver, Scheme, Secret, SystemClock, handlers};

struct Nothing;

#[handlers(Event)]
impl Nothing {
    #[otherwise]
    async fn nothing(&self, _delivery: &Delivery) {}
}

fn keyring() -> Keyring {
    Keyring::single(Secret::new("whsec_YXBwLWNoZWNrLXRlc3Q=").unwrap())
}

async fn post(addr: SocketAddr, request: Request) -> u16 {
    let sent = web::block(move || {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut builder = agent.post(format!("http://{addr}/hook"));
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        builder.send(&request.body[..])
    });
    sent.await.unwrap().unwrap().status().as_u16()
}

async fn check(scheme: &Scheme, configure: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> Report {
    let server = HttpServer::new(move || App::new().configure(configure.clone()))
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
    let addr = server.addrs()[0];
    let server = server.run();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    let sample = Sample::new(br#"{"event":"test","data":{}}"#, SystemClock.now());
    let report = app::check(scheme, &keyring(), &sample, |request| post(addr, request)).await.unwrap();
    handle.stop(true).await;
    report
}

#[actix_web::test]
async fn a_receiver_passes_with_every_preset() {
    for scheme in Scheme::presets().into_iter().chain([kycgenie::scheme()]) {
        let receiver = Receiver::builder(scheme.clone(), keyring()).handlers(Nothing).build().unwrap();
        check(&scheme, move |app| {
            app.service(receiver.at("/hook"));
        })
        .await
        .assert();
    }
}

#[actix_web::test]
async fn an_app_that_takes_everything_fails_in_every_case_but_the_good_ones() {
    let takes_all = |app: &mut web::ServiceConfig| {
        app.route("/hook", web::post().to(HttpResponse::Ok));
    };
    let report = check(&kycgenie::scheme(), takes_all).await;
    assert_eq!(report.wrong().count(), report.cases().len() - 2, "{report}");
}
