use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(group)]
    Onboarding(Onboarding),
    #[event(group)]
    Screening(Screening),
}

#[derive(WebhookEvent)]
enum Onboarding {
    #[event("created")]
    Created,
}

#[derive(WebhookEvent)]
enum Screening {
    #[event("ended")]
    Ended,
    #[event("created")]
    Created,
}

fn main() {}
