//! The enum as the user wrote it: every variant with what its attribute says, before anything is checked.

use proc_macro2::Ident;
use syn::{Data, DeriveInput, Fields};

use crate::errors::Errors;
use crate::event::attr::{Container, Role};

/// An enum with `#[derive(WebhookEvent)]`.
pub(super) struct EventEnum<'a> {
    pub(super) ident: &'a Ident,
    pub(super) container: Container,
    pub(super) variants: Vec<EventVariant<'a>>,
}

/// One of its variants, unless its attribute could not be read.
pub(super) struct EventVariant<'a> {
    pub(super) ident: &'a Ident,
    pub(super) role: Role,
    pub(super) fields: &'a Fields,
}

/// `None` where there is no enum to speak of.
pub(super) fn read<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Option<EventEnum<'a>> {
    let ident = &input.ident;
    let Data::Enum(data) = &input.data else {
        let message = "events are the variants of an enum: write `enum` with one variant for each event type";
        errors.push(ident, format!("`{ident}` is not an enum: {message}"));
        return None;
    };
    if !input.generics.params.is_empty() {
        let message = "an event's type must be decided by its name alone: write the payload types out";
        errors.push(&input.generics, format!("`{ident}` is generic: {message}"));
    }
    let container = Container::read(&input.attrs, errors);
    let variants = data.variants.iter().filter_map(|variant| {
        Role::read(variant, errors).map(|role| EventVariant { ident: &variant.ident, role, fields: &variant.fields })
    });
    let variants = variants.collect();
    Some(EventEnum { ident, container, variants })
}
