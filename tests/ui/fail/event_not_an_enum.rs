use countersign::WebhookEvent;

#[derive(WebhookEvent)]
struct Event {
    id: u32,
}

// What asks for the trait does not fail as well.
fn main() {
    fn events<E: WebhookEvent>() {}
    events::<Event>();
}
