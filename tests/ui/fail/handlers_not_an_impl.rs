#![allow(unused_variables)]

use countersign::handlers;

#[handlers(Event)]
struct Compliance;

#[handlers(Event)]
fn completed() {}

fn main() {}
