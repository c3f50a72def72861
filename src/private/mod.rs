//! What the macros' compile-time checks are made of. Not public API: it changes without notice.
//!
//! Everything runs in constants over [`VARIANTS`](crate::WebhookEvent::VARIANTS), since a macro sees only its own
//! item: `#[handlers]` cannot see the enum, and a derive cannot see the enums of its groups. Each function is linear
//! in the number of event types, but for a logarithm, so that large enums stay within rustc's limit for constants.

use crate::event::{Variant, VariantKind};
use crate::ids::EventType;

mod text;

pub use text::Text;

/// What the handlers of one impl block cover, as a tree of variants' names. Siblings are sorted by name.
#[derive(Clone, Copy, Debug)]
pub struct Covered {
    /// The variant's name.
    pub name: &'static str,
    /// By whom.
    pub by: By,
}

/// Who covers a variant.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// The handler with this number, and the whole variant.
    Handler(usize),
    /// Handlers of single members of the group.
    Members(&'static [Covered]),
}

/// One event type, and the number of what it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    event_type: &'static str,
    of: usize,
}

/// An event type that belongs to nothing.
const NONE: usize = usize::MAX;

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
        let mut known = [Leaf {
            event_type: "",
            of: NONE,
        }; N];
        fill(variants, Owner::Handlers(covered), &mut known, 0);
        sort(&mut known);
        let unknown = unknown_handler(variants, covered);
        Self { known, unknown }
    }

    /// The number of the handler for `event_type`; `None` where there is none but for `#[otherwise]`.
    #[must_use]
    pub fn handler(&self, event_type: &EventType) -> Option<usize> {
        let found = self
            .known
            .binary_search_by(|leaf| leaf.event_type.cmp(event_type.as_str()));
        let handler = found.map_or(self.unknown, |index| self.known[index].of);
        (handler != NONE).then_some(handler)
    }
}

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
    let mut leaves = [Leaf {
        event_type: "",
        of: NONE,
    }; N];
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
                text.push(&[
                    "variants `",
                    other,
                    "` and `",
                    name,
                    "` both stand for `",
                    a.event_type,
                    "`: ",
                ]);
                text.push(&["an event type has one variant, in an enum and its groups together: remove one of them"]);
                return text;
            }
        }
        i += 1;
    }
    text
}

/// Which events have no handler; empty if all have one, and also where a handler names what is no variant, since
/// rustc reports that.
#[must_use]
pub const fn missing<const N: usize>(variants: &[Variant], covered: &[Covered]) -> Text<N> {
    let mut text = Text::new();
    if !all_exist(variants, covered) {
        return text;
    }
    list_missing(variants, covered, None, &mut text);
    if !text.is_empty() {
        text.push(&[
            ": write `#[on(..)]` with the path in parentheses on a method for each, or `#[otherwise]` on one ",
        ]);
        text.push(&["for all the rest"]);
    }
    text
}

/// That two handlers are for the events under `path`; empty where there is no such variant, since rustc reports that.
#[must_use]
pub const fn twice<const N: usize>(variants: &[Variant], path: &[&str], handlers: &str) -> Text<N> {
    let mut text = Text::new();
    let Some(variant) = resolve(variants, path) else {
        return text;
    };
    text.push(&["two handlers for "]);
    match variant.kind {
        VariantKind::Event(event_type) => text.push(&["`", event_type, "`"]),
        VariantKind::Group(members) => list_types(members, &mut text),
        VariantKind::Unknown => text.push(&["the unknown event types"]),
    }
    text.push(&[": ", handlers]);
    text
}

const fn resolve<'a>(variants: &'a [Variant], path: &[&str]) -> Option<&'a Variant> {
    let [first, rest @ ..] = path else {
        return None;
    };
    let Some(variant) = find_variant(variants, first) else {
        return None;
    };
    match variant.kind {
        _ if rest.is_empty() => Some(variant),
        VariantKind::Group(members) => resolve(members, rest),
        VariantKind::Event(_) | VariantKind::Unknown => None,
    }
}

const fn list_types<const N: usize>(variants: &[Variant], text: &mut Text<N>) {
    let mut i = 0;
    while i < variants.len() {
        match variants[i].kind {
            VariantKind::Event(event_type) => {
                if i > 0 {
                    text.push(&[", "]);
                }
                text.push(&["`", event_type, "`"]);
            }
            VariantKind::Group(members) => {
                if i > 0 {
                    text.push(&[", "]);
                }
                list_types(members, text);
            }
            VariantKind::Unknown => {}
        }
        i += 1;
    }
}

/// The path down to a member of a group, from its end.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    name: &'a str,
}

const fn list_missing<const N: usize>(
    variants: &[Variant],
    covered: &[Covered],
    parent: Option<&Path<'_>>,
    text: &mut Text<N>,
) {
    let mut i = 0;
    while i < variants.len() {
        let name = variants[i].name;
        let path = Path { parent, name };
        match (variants[i].kind, find(covered, name)) {
            (VariantKind::Unknown, _) | (_, Some(By::Handler(_))) => {}
            (VariantKind::Event(event_type), _) => {
                text.push(&[if text.is_empty() { "no handler for " } else { ", " }]);
                text.push(&["`", event_type, "` ("]);
                write_path(&path, text);
                text.push(&[")"]);
            }
            (VariantKind::Group(members), Some(By::Members(covered))) => {
                list_missing(members, covered, Some(&path), text);
            }
            (VariantKind::Group(members), None) => list_missing(members, &[], Some(&path), text),
        }
        i += 1;
    }
}

const fn write_path<const N: usize>(path: &Path<'_>, text: &mut Text<N>) {
    if let Some(parent) = path.parent {
        write_path(parent, text);
        text.push(&["::"]);
    }
    text.push(&[path.name]);
}

/// Whether each name in `covered` is that of a variant.
const fn all_exist(variants: &[Variant], covered: &[Covered]) -> bool {
    let mut found = 0;
    let mut i = 0;
    while i < variants.len() {
        match (variants[i].kind, find(covered, variants[i].name)) {
            (_, None) => {}
            (VariantKind::Group(members), Some(By::Members(covered))) => {
                if all_exist(members, covered) {
                    found += 1;
                }
            }
            (_, Some(By::Members(_))) => return false,
            (_, Some(By::Handler(_))) => found += 1,
        }
        i += 1;
    }
    found == covered.len()
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
                let of = if let Owner::Number(number) = owner {
                    number
                } else {
                    NONE
                };
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

const fn find_variant<'a>(variants: &'a [Variant], name: &str) -> Option<&'a Variant> {
    let mut i = 0;
    while i < variants.len() {
        if same(variants[i].name, name) {
            return Some(&variants[i]);
        }
        i += 1;
    }
    None
}

/// Who covers the variant `name`, by binary search.
const fn find(covered: &[Covered], name: &str) -> Option<By> {
    let (mut low, mut high) = (0, covered.len());
    while low < high {
        let middle = low.midpoint(high);
        let candidate = covered[middle];
        if same(candidate.name, name) {
            return Some(candidate.by);
        }
        if less(candidate.name, name) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    None
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
