//! Example payloads.
//!
//! **Nearly all of them are invented.** The provider publishes fields of three events: `response.check_answers_completed`
//! (`response_id`, `answers_checked`), `report.client_report_generated` (`document_id`) and
//! `response.autoflag_completed`, which for test keys has `"simulated": true` and empty counts, whose names are not told.
//! What the others hold here resembles the API's resources (status names are its enums), and may be anything in truth.

/// The `data` of an event of this type, as JSON. A type that the provider does not have gets an empty object.
pub(super) fn data(event_type: &str, live: bool) -> String {
    let data = match event_type {
        "onboarding.created" => onboarding("pending"),
        "onboarding.ddq_completed" => onboarding("ddq_completed"),
        "onboarding.verification_completed" => onboarding("verification_completed"),
        "onboarding.completed" => onboarding("completed"),
        "onboarding.expired" => onboarding("expired"),
        "onboarding.revoked" => onboarding("revoked"),
        "onboarding.link_regenerated" => onboarding("pending"),
        "response.created" => response("DRAFT"),
        "response.submitted" => response("SUBMITTED"),
        "response.reviewed" => response("REVIEWED"),
        "response.approved" => response("APPROVED"),
        "response.rejected" => response("REJECTED"),
        "response.autofill_completed" => response("PREFILL"),
        // As published.
        "response.check_answers_completed" => format!(r#"{{"response_id":"{RESPONSE}","answers_checked":42}}"#),
        "response.autoflag_started" | "response.autoflag_failed" | "response.assessment_generated" => {
            response("SUBMITTED")
        }
        // `simulated` and that the counts are empty is published; the counts' names are invented.
        "response.autoflag_completed" if live => {
            format!(r#"{{"response_id":"{RESPONSE}","flag_counts":{{"red":1,"amber":2,"green":39}}}}"#)
        }
        "response.autoflag_completed" => {
            format!(r#"{{"response_id":"{RESPONSE}","simulated":true,"flag_counts":{{}}}}"#)
        }
        // `document_id` is published, its place in the body is not.
        "report.client_report_generated" => {
            format!(r#"{{"document_id":"{DOCUMENT}","entity_id":"{ENTITY}","report_type":"client_report"}}"#)
        }
        "screening.completed" => screening("completed"),
        "screening.failed" => screening("failed"),
        "batch.completed" => batch("completed", 20),
        "batch.progress" => batch("processing", 10),
        "batch.failed" => batch("failed", 10),
        "verification.session_created" => verification("pending", "pending"),
        "verification.session_accessed" => verification("accessed", "pending"),
        "verification.session_completed" => verification("completed", "clear"),
        "verification.session_failed" => verification("failed", "error"),
        "verification.session_expired" => verification("expired", "not_processed"),
        "verification.check_completed" => format!(
            r#"{{"session_id":"{SESSION}","entity_id":"{ENTITY}","check_type":"document_check","status":"completed","outcome":"clear"}}"#
        ),
        "non_document.check_initiated" => non_document("pending", "pending"),
        "non_document.completed" => non_document("completed", "clear"),
        "non_document.reviewed" => {
            format!(r#"{{"check_id":"{CHECK}","entity_id":"{ENTITY}","review_decision":"approved"}}"#)
        }
        "case.opened" => case(r#""open","decision":null"#),
        "case.resolved" => case(r#""closed","decision":"no_risk""#),
        "alert.created" => format!(r#"{{"id":"{ALERT}","entity_id":"{ENTITY}","risk_profiles":[]}}"#),
        "test" => r#"{"message":"This is a test webhook"}"#.to_owned(),
        _ => "{}".to_owned(),
    };
    debug_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&data).is_ok(), "{event_type}");
    data
}

const ALERT: &str = "0f8e6b0a-6d5c-4f43-9d50-3a1c2b7e9f01";
const BATCH: &str = "1c9b7d52-0f2e-4f0f-8a53-5b7f1f0c9a02";
const CASE: &str = "2d3a1f64-91c4-47f3-a6a2-7c3c58b1de03";
const CHECK: &str = "3e4b2a75-82d5-48a4-b7b3-8d4d69c2ef04";
const DOCUMENT: &str = "4f5c3b86-73e6-49b5-88c4-9e5e7ad3f005";
const ENTITY: &str = "5a6d4c97-64f7-4ac6-99d5-af6f8be40106";
const RESPONSE: &str = "6b7e5da8-5508-4bd7-aae6-b0709cf51207";
const SCREENING: &str = "7c8f6eb9-4619-4ce8-bbf7-c181ad062308";
const SESSION: &str = "8d907fca-372a-4df9-8c08-d292be173409";

fn onboarding(status: &str) -> String {
    format!(r#"{{"workflow_session_id":"{SESSION}","entity_id":"{ENTITY}","status":"{status}"}}"#)
}

fn response(status: &str) -> String {
    format!(r#"{{"response_id":"{RESPONSE}","entity_id":"{ENTITY}","status":"{status}"}}"#)
}

fn screening(status: &str) -> String {
    format!(r#"{{"screening_id":"{SCREENING}","entity_id":"{ENTITY}","status":"{status}"}}"#)
}

fn batch(status: &str, processed: u32) -> String {
    format!(
        r#"{{"job_id":"{BATCH}","job_type":"screening_batch","status":"{status}","total_count":20,"processed_count":{processed}}}"#
    )
}

fn verification(status: &str, outcome: &str) -> String {
    format!(r#"{{"session_id":"{SESSION}","entity_id":"{ENTITY}","status":"{status}","outcome":"{outcome}"}}"#)
}

fn non_document(status: &str, outcome: &str) -> String {
    format!(r#"{{"check_id":"{CHECK}","entity_id":"{ENTITY}","status":"{status}","outcome":"{outcome}"}}"#)
}

fn case(status: &str) -> String {
    format!(r#"{{"id":"{CASE}","screening_id":"{SCREENING}","status":{status}}}"#)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::sandbox::event_types::EVENT_TYPES;

    #[test]
    fn every_event_type_has_an_example_and_an_unknown_one_an_empty_object() {
        for event_type in EVENT_TYPES {
            for live in [false, true] {
                let data: Value = serde_json::from_str(&data(event_type, live)).unwrap();
                assert!(data.as_object().is_some_and(|data| !data.is_empty()), "{event_type}");
            }
        }
        assert_eq!(data("moon.rose", true), "{}");
    }

    #[test]
    fn what_is_published_is_as_it_is_published() {
        let read = |event_type, live| serde_json::from_str::<Value>(&data(event_type, live)).unwrap();
        let checked = read("response.check_answers_completed", true);
        assert_eq!(checked["answers_checked"], 42);
        assert!(checked["response_id"].is_string() && checked.as_object().unwrap().len() == 2);
        assert!(read("report.client_report_generated", true)["document_id"].is_string());
        let simulated = read("response.autoflag_completed", false);
        assert_eq!(
            (&simulated["simulated"], simulated["flag_counts"].as_object().unwrap().len()),
            (&Value::Bool(true), 0)
        );
        assert!(read("response.autoflag_completed", true).get("simulated").is_none());
    }
}
