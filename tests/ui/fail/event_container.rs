use countersign::WebhookEvent;

#[derive(WebhookEvent)]
#[event(tag = event)]
enum NotAString {}

#[derive(WebhookEvent)]
#[event(tag = "a", tag = "b")]
enum Twice {}

#[derive(WebhookEvent)]
#[event(tag = "a", content = "a")]
enum Same {}

#[derive(WebhookEvent)]
#[event(tag = "")]
enum Empty {}

#[derive(WebhookEvent)]
#[event()]
enum Nothing {}

#[derive(WebhookEvent)]
#[event("event")]
enum NoKey {}

fn main() {}
