//! What the macros' compile-time checks are made of. Not public API: it changes without notice.
//!
//! Everything runs in constants over [`VARIANTS`](crate::WebhookEvent::VARIANTS), since a macro sees only its own
//! item: `#[handlers]` cannot see the enum, and a derive cannot see the enums of its groups. Each function is linear
//! in the number of event types, but for a logarithm, so that large enums stay within rustc's limit for constants.

mod coverage;
mod leaves;
mod text;

pub use coverage::{By, Covered, missing, twice};
pub use leaves::{Leaf, Routes, clash, count, leaves_by_variant};
pub use text::Text;

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() && a[i] == b[i] {
        i += 1;
    }
    i == a.len()
}

/// Byte-wise, as `str` compares itself.
const fn less(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut i = 0;
    while i < a.len() && i < b.len() {
        if a[i] != b[i] {
            return a[i] < b[i];
        }
        i += 1;
    }
    a.len() < b.len()
}
