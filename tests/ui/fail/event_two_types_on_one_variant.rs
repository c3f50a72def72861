use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event("a.b", "a.c")]
    A,
    #[event("b.b")]
    #[event("b.c")]
    B,
}

fn main() {}
