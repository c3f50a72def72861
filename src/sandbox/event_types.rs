//! The event types of the API reference, section "Event Types".

/// The 36 event types and `test`, in the reference's order.
pub(super) const EVENT_TYPES: [&str; 37] = [
    "onboarding.created",
    "onboarding.ddq_completed",
    "onboarding.verification_completed",
    "onboarding.completed",
    "onboarding.expired",
    "onboarding.revoked",
    "onboarding.link_regenerated",
    "response.created",
    "response.submitted",
    "response.reviewed",
    "response.approved",
    "response.rejected",
    "response.autofill_completed",
    "response.check_answers_completed",
    "response.autoflag_started",
    "response.autoflag_completed",
    "response.autoflag_failed",
    "response.assessment_generated",
    "report.client_report_generated",
    "screening.completed",
    "screening.failed",
    "batch.completed",
    "batch.progress",
    "batch.failed",
    "verification.session_created",
    "verification.session_accessed",
    "verification.session_completed",
    "verification.session_failed",
    "verification.session_expired",
    "verification.check_completed",
    "non_document.check_initiated",
    "non_document.completed",
    "non_document.reviewed",
    "case.opened",
    "case.resolved",
    "alert.created",
    TEST,
];

/// What the test endpoint sends.
pub(super) const TEST: &str = "test";

/// A subscription to every type; never an event's own.
pub(super) const ALL: &str = "all";

/// Whether `text` names a group, such as `onboarding.*`.
pub(super) fn is_group(text: &str) -> bool {
    text.strip_suffix('*')
        .is_some_and(|group| group.ends_with('.') && EVENT_TYPES.iter().any(|event_type| event_type.starts_with(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_types_are_those_of_the_reference() {
        let listed = include_str!("../../tests/data/kycgenie-event-types.txt");
        let listed: Vec<_> = listed.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(EVENT_TYPES.as_slice(), listed);
    }

    #[test]
    fn groups_are_those_that_have_types() {
        for group in ["onboarding.*", "non_document.*", "alert.*"] {
            assert!(is_group(group), "{group}");
        }
        for other in ["*", ".*", "onboarding*", "onboard.*", "test.*", "onboarding.created", ""] {
            assert!(!is_group(other), "{other}");
        }
    }
}
