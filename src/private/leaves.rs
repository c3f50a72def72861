//! All event types of an enum and its groups, sorted: to find a type's handler, and types that stand there twice.

use crate::event::{Variant, VariantKind};
use crate::ids::EventType;

use super::coverage::find;
use super::{By, Covered, Text, less, same};

/// The handler of each type of event, sorted by type.
#[derive(Clone, Copy, Debug)]
pub struct Routes<const N: usize> {
    known: [Leaf; N],
    unknown: usize,
}

impl<const N: usize> Routes<N> {
    /// The table of all event types in `variants`.
    #[must_use]
    pub const fn new(variants: &'static [Variant], covered: &'static [Covered]) -> Self {
        let mut known = [Leaf { event_type: "", of: NONE }; N];
        fill(variants, Owner::Handlers(covered), &mut known, 0);
        sort(&mut known);
        let unknown = unknown_handler(variants, covered);
        Self { known, unknown }
    }

    /// The number of the handler for `event_type`; `None` where there is none but for `#[otherwise]`.
    #[must_use]
    pub fn handler(&self, event_type: &EventType) -> Option<usize> {
        let found = self.known.binary_search_by(|leaf| leaf.event_type.cmp(event_type.as_str()));
        let handler = found.map_or(self.unknown, |index| self.known[index].of);
        (handler != NONE).then_some(handler)
    }
}

/// One event type, and the number of what it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    event_type: &'static str,
    of: usize,
}

/// An event type that belongs to nothing.
const NONE: usize = usize::MAX;

/// How many event types the variants stand for.
#[must_use]
pub const fn count(variants: &[Variant]) -> usize {
    let mut total = 0;
    let mut i = 0;
    while i < variants.len() {
        total += match variants[i].kind {
            VariantKind::Event(_) => 1,
            VariantKind::Group(members) => count(members),
            VariantKind::Unknown => 0,
        };
        i += 1;
    }
    total
}

/// All event types, sorted, with the number of the variant at the top that each belongs to.
#[must_use]
pub const fn leaves_by_variant<const N: usize>(variants: &'static [Variant]) -> [Leaf; N] {
    let mut leaves = [Leaf { event_type: "", of: NONE }; N];
    fill(variants, Owner::Top, &mut leaves, 0);
    sort(&mut leaves);
    leaves
}

/// Why the group with number `index` cannot be a part of its enum; empty if it can.
#[must_use]
pub const fn clash<const N: usize>(variants: &[Variant], leaves: &[Leaf], index: usize) -> Text<N> {
    let mut text = Text::new();
    let VariantKind::Group(members) = variants[index].kind else {
        return text;
    };
    let name = variants[index].name;
    if holds_unknown(members) {
        text.push(&[
            "the group `",
            name,
            "` has an arm for unknown types, which would take those of all other groups: ",
        ]);
        text.push(&["move `#[event(unknown)]` to the enum at the top"]);
        return text;
    }
    let mut i = 1;
    while i < leaves.len() {
        let (a, b) = (leaves[i - 1], leaves[i]);
        if same(a.event_type, b.event_type) && a.of != b.of && (a.of == index || b.of == index) {
            let other = if a.of == index { b.of } else { a.of };
            // Of two groups the later one reports.
            if !matches!(variants[other].kind, VariantKind::Group(_)) || other < index {
                let other = variants[other].name;
                text.push(&["variants `", other, "` and `", name, "` both stand for `", a.event_type, "`: "]);
                text.push(&["an event type has one variant, in an enum and its groups together: remove one of them"]);
                return text;
            }
        }
        i += 1;
    }
    text
}

const fn holds_unknown(variants: &[Variant]) -> bool {
    let mut i = 0;
    while i < variants.len() {
        match variants[i].kind {
            VariantKind::Unknown => return true,
            VariantKind::Group(members) if holds_unknown(members) => return true,
            _ => {}
        }
        i += 1;
    }
    false
}

const fn unknown_handler(variants: &[Variant], covered: &[Covered]) -> usize {
    let mut i = 0;
    while i < variants.len() {
        if let VariantKind::Unknown = variants[i].kind
            && let Some(By::Handler(handler)) = find(covered, variants[i].name)
        {
            return handler;
        }
        i += 1;
    }
    NONE
}

/// What the leaves of a variant belong to.
#[derive(Clone, Copy)]
enum Owner {
    /// The variant at the top.
    Top,
    /// That with this number.
    Number(usize),
    /// The handler that covers them.
    Handlers(&'static [Covered]),
}

/// Writes the event types of `variants` to `leaves` from `next` on; returns where it stopped.
const fn fill<const N: usize>(
    variants: &'static [Variant],
    owner: Owner,
    leaves: &mut [Leaf; N],
    mut next: usize,
) -> usize {
    let mut i = 0;
    while i < variants.len() {
        let owner = match owner {
            Owner::Top => Owner::Number(i),
            Owner::Number(_) => owner,
            Owner::Handlers(covered) => match find(covered, variants[i].name) {
                Some(By::Handler(handler)) => Owner::Number(handler),
                Some(By::Members(members)) => Owner::Handlers(members),
                None => Owner::Number(NONE),
            },
        };
        match variants[i].kind {
            VariantKind::Event(event_type) => {
                let of = if let Owner::Number(number) = owner { number } else { NONE };
                leaves[next] = Leaf { event_type, of };
                next += 1;
            }
            VariantKind::Group(members) => next = fill(members, owner, leaves, next),
            VariantKind::Unknown => {}
        }
        i += 1;
    }
    next
}

/// Heapsort by event type: `sort` of the standard library is not `const`.
const fn sort(leaves: &mut [Leaf]) {
    let mut start = leaves.len() / 2;
    while start > 0 {
        start -= 1;
        sift(leaves, start, leaves.len());
    }
    let mut end = leaves.len();
    while end > 1 {
        end -= 1;
        leaves.swap(0, end);
        sift(leaves, 0, end);
    }
}

const fn sift(leaves: &mut [Leaf], mut root: usize, end: usize) {
    loop {
        let mut child = 2 * root + 1;
        if child >= end {
            return;
        }
        if child + 1 < end && less(leaves[child].event_type, leaves[child + 1].event_type) {
            child += 1;
        }
        if !less(leaves[root].event_type, leaves[child].event_type) {
            return;
        }
        leaves.swap(root, child);
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_sorted_whatever_their_order() {
        const VARIANTS: &[Variant] = &[
            Variant::event("C", "c"),
            Variant::group("G", &[Variant::event("B", "b"), Variant::event("Ab", "ab")]),
            Variant::unknown("U"),
            Variant::event("A", "a"),
        ];
        let leaves: [Leaf; count(VARIANTS)] = leaves_by_variant(VARIANTS);
        let leaves = leaves.map(|leaf| (leaf.event_type, leaf.of));
        assert_eq!(leaves, [("a", 3), ("ab", 1), ("b", 1), ("c", 0)]);
    }
}
