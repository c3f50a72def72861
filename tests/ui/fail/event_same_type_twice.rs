use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event("screening.completed")]
    Completed(u8),
    #[event("screening.failed")]
    Failed(u8),
    #[event("screening.completed")]
    Done(u8),
}

fn main() {}
