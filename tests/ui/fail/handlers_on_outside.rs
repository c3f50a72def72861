#![allow(unused_variables)]

use countersign::{on, otherwise};

struct Compliance;

impl Compliance {
    #[on(Completed)]
    async fn completed(&self) {}

    #[otherwise]
    async fn rest(&self) {}
}

fn main() {}
