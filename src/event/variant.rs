//! Which event types an enum's variants stand for, as constants: what the macros check coverage with.

/// One variant of an event enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The variant's name in the source.
    pub name: &'static str,
    /// What it holds.
    pub kind: VariantKind,
}

/// What a variant of an event enum holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariantKind {
    /// The payload of events of this type.
    Event(&'static str),
    /// An enum of its own.
    Group(&'static [Variant]),
    /// Every type that the enum does not know.
    Unknown,
}

impl Variant {
    /// A variant for one event type.
    #[must_use]
    pub const fn event(name: &'static str, event_type: &'static str) -> Self {
        Self { name, kind: VariantKind::Event(event_type) }
    }

    /// A variant that holds an enum of its own.
    #[must_use]
    pub const fn group(name: &'static str, variants: &'static [Variant]) -> Self {
        Self { name, kind: VariantKind::Group(variants) }
    }

    /// The variant for every type that the enum does not know.
    #[must_use]
    pub const fn unknown(name: &'static str) -> Self {
        Self { name, kind: VariantKind::Unknown }
    }
}

/// The name of an event type that `variants` know, as it stands in the source.
pub(crate) fn static_name(variants: &'static [Variant], name: &str) -> Option<&'static str> {
    variants.iter().find_map(|variant| match variant.kind {
        VariantKind::Event(event_type) => (event_type == name).then_some(event_type),
        VariantKind::Group(variants) => static_name(variants, name),
        VariantKind::Unknown => None,
    })
}
