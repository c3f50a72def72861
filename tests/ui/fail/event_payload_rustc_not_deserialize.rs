use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event("a")]
    A(Screening),
}

struct Screening;

fn main() {}
