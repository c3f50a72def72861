//! The 36 event types and `test` of the vendor's Webhooks API reference, section "Event Types", in its groups.

use crate::WebhookEvent;
use crate::event::Unknown;
use crate::kycgenie::{
    AlertPayload, AutoflagPayload, BatchPayload, CasePayload, CheckAnswersPayload, ClientReportPayload, Data,
    NonDocumentPayload, OnboardingPayload, ResponsePayload, ScreeningPayload, TestPayload, VerificationPayload,
};

/// An event of KYC Genie.
///
/// The envelope is `{"event": <type>, "data": <payload>}`: the one sample that is published (SDK 1.0.0,
/// `check_answers`) has no more, and further members are passed over.
#[derive(Clone, Debug, PartialEq, WebhookEvent)]
#[event(tag = "event", content = "data")]
#[non_exhaustive]
pub enum Event {
    /// `onboarding.*`: the magic-link container that is sent to an entity: a questionnaire, an identity verification, or both.
    #[event(group)]
    Onboarding(Onboarding),
    /// `response.*`: questionnaire responses.
    #[event(group)]
    Response(Response),
    /// `report.*`: reports.
    #[event(group)]
    Report(Report),
    /// `screening.*`: AML screenings.
    #[event(group)]
    Screening(Screening),
    /// `batch.*`: batches of AML screenings.
    #[event(group)]
    Batch(Batch),
    /// `verification.*`: identity verifications by document.
    #[event(group)]
    Verification(Verification),
    /// `non_document.*`: identity checks without a document.
    #[event(group)]
    NonDocument(NonDocument),
    /// `case.*`: cases.
    #[event(group)]
    Case(Case),
    /// `alert.*`: alerts.
    #[event(group)]
    Alert(Alert),
    /// `test`: what the test endpoint sends.
    #[event("test")]
    Test(TestPayload),
    /// Every type that is not listed, as it came.
    #[event(unknown)]
    Unknown(Unknown),
}

/// Defines one group: an enum of events, each with its payload.
macro_rules! group {
    ($(#[$doc:meta])* $group:ident { $($(#[$event_doc:meta])* $event:ident($payload:ident) = $event_type:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, WebhookEvent)]
        #[non_exhaustive]
        pub enum $group {
            $($(#[$event_doc])* #[event($event_type)] $event($payload),)*
        }

        impl $group {
            /// The whole payload, whichever event of the group it is.
            #[must_use]
            pub fn data(&self) -> &Data {
                match self {
                    $(Self::$event(payload) => payload.data(),)*
                }
            }
        }
    };
}

group! {
    /// `onboarding.*`: the magic-link container that is sent to an entity: a questionnaire, an identity verification, or both (reference: "Onboarding Session Events").
    Onboarding {
        /// Onboarding link generated and sent to the entity.
        Created(OnboardingPayload) = "onboarding.created",
        /// Entity finished the DDQ step within the onboarding session.
        DdqCompleted(OnboardingPayload) = "onboarding.ddq_completed",
        /// Entity finished the identity verification step within the onboarding session.
        VerificationCompleted(OnboardingPayload) = "onboarding.verification_completed",
        /// All required steps completed: the entity is fully onboarded.
        Completed(OnboardingPayload) = "onboarding.completed",
        /// Onboarding link expired before the entity completed all steps.
        Expired(OnboardingPayload) = "onboarding.expired",
        /// Onboarding link permanently revoked by the team.
        Revoked(OnboardingPayload) = "onboarding.revoked",
        /// A new token issued for an existing session.
        LinkRegenerated(OnboardingPayload) = "onboarding.link_regenerated",
    }
}

group! {
    /// `response.*`: questionnaire responses (reference: "Response Workflow Events").
    Response {
        /// New response (DDQ submission) created.
        Created(ResponsePayload) = "response.created",
        /// Entity submitted a completed response.
        Submitted(ResponsePayload) = "response.submitted",
        /// Response reviewed by the compliance team.
        Reviewed(ResponsePayload) = "response.reviewed",
        /// Response approved.
        Approved(ResponsePayload) = "response.approved",
        /// Response rejected.
        Rejected(ResponsePayload) = "response.rejected",
        /// AI autofill process completed.
        AutofillCompleted(ResponsePayload) = "response.autofill_completed",
        /// AI answer checking completed.
        CheckAnswersCompleted(CheckAnswersPayload) = "response.check_answers_completed",
        /// AI autoflag analysis started.
        AutoflagStarted(ResponsePayload) = "response.autoflag_started",
        /// AI autoflag analysis completed.
        AutoflagCompleted(AutoflagPayload) = "response.autoflag_completed",
        /// AI autoflag analysis failed.
        AutoflagFailed(ResponsePayload) = "response.autoflag_failed",
        /// AI assessment report generated for a submitted response.
        AssessmentGenerated(ResponsePayload) = "response.assessment_generated",
    }
}

group! {
    /// `report.*`: reports (reference: "Reports Events").
    Report {
        /// Entity PDF client report generated successfully.
        ClientReportGenerated(ClientReportPayload) = "report.client_report_generated",
    }
}

group! {
    /// `screening.*`: AML screenings (reference: "AML Screening Events").
    Screening {
        /// AML screening check finished successfully.
        Completed(ScreeningPayload) = "screening.completed",
        /// AML screening encountered an error.
        Failed(ScreeningPayload) = "screening.failed",
    }
}

group! {
    /// `batch.*`: batches of AML screenings (reference: "AML Screening Events").
    Batch {
        /// Batch screening operation completed.
        Completed(BatchPayload) = "batch.completed",
        /// Batch screening progress update.
        Progress(BatchPayload) = "batch.progress",
        /// Batch screening operation failed.
        Failed(BatchPayload) = "batch.failed",
    }
}

group! {
    /// `verification.*`: identity verifications by document (reference: "Identity Verification Events").
    Verification {
        /// New identity verification session started.
        SessionCreated(VerificationPayload) = "verification.session_created",
        /// Verification session accessed by the entity.
        SessionAccessed(VerificationPayload) = "verification.session_accessed",
        /// Verification session completed successfully.
        SessionCompleted(VerificationPayload) = "verification.session_completed",
        /// Verification session failed.
        SessionFailed(VerificationPayload) = "verification.session_failed",
        /// Verification session expired.
        SessionExpired(VerificationPayload) = "verification.session_expired",
        /// Identity verification check completed.
        CheckCompleted(VerificationPayload) = "verification.check_completed",
    }
}

group! {
    /// `non_document.*`: identity checks without a document (reference: "Identity Verification Events").
    NonDocument {
        /// Non-document check initiated.
        CheckInitiated(NonDocumentPayload) = "non_document.check_initiated",
        /// Non-document check completed with results.
        Completed(NonDocumentPayload) = "non_document.completed",
        /// Non-document check reviewed.
        Reviewed(NonDocumentPayload) = "non_document.reviewed",
    }
}

group! {
    /// `case.*`: cases (reference: "Case & Alert Events").
    Case {
        /// New case opened for investigation.
        Opened(CasePayload) = "case.opened",
        /// Case resolved or closed.
        Resolved(CasePayload) = "case.resolved",
    }
}

group! {
    /// `alert.*`: alerts (reference: "Case & Alert Events").
    Alert {
        /// New alert created.
        Created(AlertPayload) = "alert.created",
    }
}
