use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(group)]
    Onboarding(Onboarding),
}

#[derive(WebhookEvent)]
enum Onboarding {
    #[event(unknown)]
    Unknown(countersign::Unknown),
}

fn main() {}
