//! The honest opponent: what a competent engineer writes in an afternoon, with the usual crates and no framework.
//!
//! It does what tutorials and providers' pages tell one to do, and does it right: the raw body, the MAC compared in
//! constant time by `hmac` itself, several signatures in one header, the tolerance, ids remembered in moka by its
//! atomic `entry`, a tagged enum, a `match`. The key is set up per request (`Hmac::new_from_slice`), as every
//! provider's example does it. What it does not do, and the library does: give an id back when the handler fails, tell
//! "done" from "still running", find two bodies under one id, limits in time and in bytes over all connections, key
//! rotation, a time limit and a panic guard around the handler, spans.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use moka::sync::Cache;
use serde::Deserialize;
use sha2::Sha256;

use crate::payload::{Case, Onboarding, Screening};

const TOLERANCE: u64 = 300;

#[derive(Deserialize)]
#[serde(tag = "event", content = "data")]
pub enum Event {
    #[serde(rename = "screening.completed")]
    ScreeningCompleted(Screening),
    #[serde(rename = "onboarding.created")]
    OnboardingCreated(Onboarding),
    #[serde(rename = "case.opened")]
    CaseOpened(Case),
}

pub struct State {
    secret: Vec<u8>,
    seen: Cache<String, ()>,
}

impl State {
    pub fn new(secret: &str, capacity: u64) -> Self {
        Self {
            secret: STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64"),
            seen: Cache::builder()
                .max_capacity(capacity)
                .time_to_live(Duration::from_secs(80 * 60 * 60))
                .build(),
        }
    }
}

pub async fn hook(request: HttpRequest, body: web::Bytes, state: web::Data<State>) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(timestamp), Some(signatures)) = (
        header("webhook-id"),
        header("webhook-timestamp"),
        header("webhook-signature"),
    ) else {
        return HttpResponse::BadRequest().finish();
    };
    let Ok(seconds) = timestamp.parse::<u64>() else {
        return HttpResponse::BadRequest().finish();
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    if now.abs_diff(seconds) > TOLERANCE {
        return HttpResponse::Unauthorized().finish();
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&state.secret).expect("any length");
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(&body);
    let genuine = signatures
        .split(' ')
        .filter_map(|item| item.strip_prefix("v1,"))
        .filter_map(|text| STANDARD.decode(text).ok())
        .any(|tag| mac.clone().verify_slice(&tag).is_ok());
    if !genuine {
        return HttpResponse::Unauthorized().finish();
    }
    if !state.seen.entry(id.to_owned()).or_insert_with(|| ()).is_fresh() {
        return HttpResponse::Ok().finish();
    }
    match serde_json::from_slice::<Event>(&body) {
        Ok(Event::ScreeningCompleted(screening)) => screening_completed(screening).await,
        Ok(Event::OnboardingCreated(onboarding)) => drop(onboarding),
        Ok(Event::CaseOpened(case)) => drop(case),
        Err(_) => return HttpResponse::BadRequest().finish(),
    }
    HttpResponse::Ok().finish()
}

async fn screening_completed(screening: Screening) {
    std::hint::black_box(screening);
}
