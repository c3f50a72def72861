#![allow(unused_variables)]

use countersign::handlers;

enum Event {
    Test,
}

struct Compliance;

#[handlers(Event)]
impl Compliance {
    #[on(Test)]
    async fn test(&self) {}
}

fn main() {}
