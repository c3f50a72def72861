use countersign::{Unknown, WebhookEvent};

// Each of these does rightly what a file in `fail/` does wrongly.
#[derive(Debug, PartialEq, WebhookEvent)]
#[event(tag = "event", content = "data")]
enum Event {
    #[event("screening.completed")]
    ScreeningCompleted(u32),
    #[event("screening.failed")]
    ScreeningFailed(Option<Vec<u32>>),
    #[event(group)]
    Onboarding(groups::Onboarding),
    #[event("test")]
    Test,
    #[event(unknown)]
    Unknown(Unknown),
}

mod groups {
    #[derive(Debug, PartialEq, countersign::WebhookEvent)]
    pub enum Onboarding {
        #[event("onboarding.created")]
        Created(String),
        #[event(group)]
        Review(Review),
    }

    #[derive(Debug, PartialEq, countersign::WebhookEvent)]
    pub enum Review {
        #[event("onboarding.review.ended")]
        Ended,
    }
}

// A type in a header, the whole body as the payload; and an enum without any variant.
#[derive(WebhookEvent)]
enum Bare {}

// Only an unknown arm; only a content member.
#[derive(WebhookEvent)]
#[event(content = "data")]
enum Any {
    #[event(unknown)]
    Any(Unknown),
}

fn main() {
    assert_eq!(Event::ENVELOPE.tag, Some("event"));
    assert_eq!(Bare::ENVELOPE.tag, None);
    assert_eq!(Any::ENVELOPE.content, Some("data"));
    assert_eq!(Event::VARIANTS.len(), 5);
}
