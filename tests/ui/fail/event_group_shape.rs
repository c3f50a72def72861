use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(group)]
    Onboarding,
    #[event(group)]
    Screening(u8, u8),
}

fn main() {}
