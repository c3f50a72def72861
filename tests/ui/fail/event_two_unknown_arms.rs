use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event(unknown)]
    Unknown(countersign::Unknown),
    #[event(unknown)]
    Rest(countersign::Unknown),
}

fn main() {}
