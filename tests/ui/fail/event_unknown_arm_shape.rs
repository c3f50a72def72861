use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(unknown)]
    Unknown,
}

#[derive(WebhookEvent)]
enum Other {
    #[event(unknown)]
    Unknown { name: String },
}

fn main() {}
