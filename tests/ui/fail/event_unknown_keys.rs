use countersign::WebhookEvent;

#[derive(WebhookEvent)]
#[event(tga = "event", content = "data")]
enum Event {
    #[event(skip)]
    A,
    #[event("b", group)]
    B,
    #[event(7)]
    C,
    #[event("d")]
    D(#[event("e")] u8),
}

fn main() {}
