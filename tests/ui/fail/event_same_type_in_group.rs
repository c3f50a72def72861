use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(group)]
    Onboarding(Onboarding),
    #[event("onboarding.created")]
    Created,
}

#[derive(WebhookEvent)]
enum Onboarding {
    #[event("onboarding.created")]
    Created,
    #[event("onboarding.ended")]
    Ended,
}

fn main() {}
