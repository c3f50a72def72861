use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event("a")]
    A(u8, u8),
    #[event("b")]
    B { id: u32 },
    #[event("c")]
    C(),
}

fn main() {}
