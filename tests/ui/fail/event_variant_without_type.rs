use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event("a")]
    A,
    B,
    #[event]
    C,
    #[event()]
    D,
    #[event = "e"]
    E,
}

// What asks for the trait does not fail as well.
fn main() {
    fn events<E: WebhookEvent>() {}
    events::<Event>();
}
