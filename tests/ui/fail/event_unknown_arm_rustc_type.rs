use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(unknown)]
    Unknown(String),
}

fn main() {}
