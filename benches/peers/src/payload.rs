//! What is sent: the payload that both the library and the straightforward version decode.

use serde::Deserialize;

/// The payload of `screening.completed`: what a program wants of it, typed and optional. Members that are not listed
/// are passed over, as in the 64 KiB deliveries the many `matches`.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "decoded, and read by nobody")]
pub struct Screening {
    pub screening_id: String,
    pub entity_id: Option<String>,
    pub entity_name: Option<String>,
    pub status: Option<String>,
    pub score: Option<f64>,
    pub match_count: Option<u32>,
    pub simulated: Option<bool>,
    pub created_at: Option<String>,
}

/// The payload of `onboarding.created`.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "decoded, and read by nobody")]
pub struct Onboarding {
    pub onboarding_id: String,
    pub entity_id: Option<String>,
    pub status: Option<String>,
}

/// The payload of `case.opened`.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "decoded, and read by nobody")]
pub struct Case {
    pub case_id: String,
    pub opened_by: Option<String>,
}
