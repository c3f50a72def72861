use countersign::WebhookEvent;

#[derive(WebhookEvent)]
#[event(typ = "event")]
enum Event {
    #[event("a b")]
    A,
    B,
    #[event("c")]
    C(u8, u8),
    #[event("d")]
    D,
    #[event("d")]
    E,
}

struct Handlers;

// The handlers' own checks keep still while the enum is wrong.
#[countersign::handlers(Event)]
impl Handlers {
    #[on(D)]
    async fn d(&self) {}
}

fn main() {}
