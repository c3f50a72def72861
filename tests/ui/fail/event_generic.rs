use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event<T> {
    #[event("a")]
    A(T),
}

fn main() {
    fn events<E: WebhookEvent>() {}
    events::<Event<u8>>();
}
