//! Which events the handlers of one impl block cover, and what to say where that is none or too many.

use crate::event::{Variant, VariantKind};

use super::{Text, less, same};

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

/// Who covers the variant `name`, by binary search.
pub(super) const fn find(covered: &[Covered], name: &str) -> Option<By> {
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
