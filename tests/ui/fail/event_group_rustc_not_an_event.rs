use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(group)]
    Onboarding(Onboarding),
}

enum Onboarding {}

fn main() {}
