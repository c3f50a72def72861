use countersign::WebhookEvent;

#[derive(WebhookEvent)]
enum Event {
    #[event("a")]
    A(Screening),
}

struct Screening;

fn main() {}

/// A second type of this name in every build, so that rustc writes the standard library's in full in every build.
pub struct Path;
