//! What must hold of an enum's variants; the result can only be expanded, not be wrong.

use std::collections::HashMap;

use proc_macro2::Ident;
use syn::{Fields, LitStr, Type};

use crate::errors::Errors;
use crate::event::ast::{EventEnum, EventVariant};
use crate::event::attr::Role;

/// A variant in its checked shape.
pub(super) enum Arm<'a> {
    /// `#[event("type")]`, with its payload, if that is decoded.
    Leaf { ident: &'a Ident, event_type: &'a LitStr, payload: Option<&'a Type> },
    /// `#[event(group)]`.
    Group { ident: &'a Ident, events: &'a Type },
    /// `#[event(unknown)]`.
    Unknown { ident: &'a Ident, payload: &'a Type },
}

/// The arms without a mistake.
pub(super) fn check<'a>(events: &'a EventEnum<'a>, errors: &mut Errors) -> Vec<Arm<'a>> {
    one_variant_per_type(events, errors);
    one_unknown_arm(events, errors);
    events.variants.iter().filter_map(|variant| arm(variant, errors)).collect()
}

fn one_variant_per_type(events: &EventEnum<'_>, errors: &mut Errors) {
    let mut seen = HashMap::new();
    for variant in &events.variants {
        let Role::Event(event_type) = &variant.role else {
            continue;
        };
        let name = event_type.value();
        if let Some(mistake) = invalid(&name) {
            let message = "write the type as the provider sends it: 1 to 256 visible ASCII characters, no spaces";
            errors.push(event_type, format!("variant `{}`: the event type {mistake}: {message}", variant.ident));
        } else if let Some(first) = seen.insert(name.clone(), variant.ident) {
            let message = "an event type has one variant: remove one of them, or correct its type";
            errors.push(
                event_type,
                format!("variants `{first}` and `{}` both stand for `{name}`: {message}", variant.ident),
            );
        }
    }
}

fn one_unknown_arm(events: &EventEnum<'_>, errors: &mut Errors) {
    let mut first = None;
    for variant in &events.variants {
        let Role::Unknown(word) = &variant.role else {
            continue;
        };
        if let Some(first) = first.replace(variant.ident) {
            let message = "one arm takes all unknown types: remove one of them";
            errors.push(word, format!("`{first}` and `{}` are both unknown arms: {message}", variant.ident));
        }
    }
}

fn arm<'a>(variant: &'a EventVariant<'a>, errors: &mut Errors) -> Option<Arm<'a>> {
    let ident = variant.ident;
    let single = single(variant.fields);
    match (&variant.role, single) {
        (Role::Event(event_type), Ok(payload)) => Some(Arm::Leaf { ident, event_type, payload }),
        (Role::Group(_), Ok(Some(events))) => Some(Arm::Group { ident, events }),
        (Role::Unknown(_), Ok(Some(payload))) => Some(Arm::Unknown { ident, payload }),
        (Role::Event(_), Err(fields)) => {
            let message = format!("write `{ident}(Payload)`, or `{ident}` if the payload is not wanted");
            errors.push(fields, format!("variant `{ident}` must hold one payload: {message}"));
            None
        }
        (Role::Group(word), shape) => {
            let message = format!("write `{ident}({ident})`, where the enum `{ident}` derives `WebhookEvent` too");
            let message = format!("variant `{ident}` is a group and must hold one enum: {message}");
            match shape {
                Err(fields) => errors.push(fields, message),
                Ok(_) => errors.push(word, message),
            }
            None
        }
        (Role::Unknown(word), shape) => {
            let message = format!("write `{ident}(countersign::Unknown)`");
            let message = format!("variant `{ident}` takes the unknown types and must hold one value: {message}");
            match shape {
                Err(fields) => errors.push(fields, message),
                Ok(_) => errors.push(word, message),
            }
            None
        }
    }
}

/// The one type of a tuple variant, nothing for a unit variant; any other shape is given back.
fn single(fields: &Fields) -> Result<Option<&Type>, &Fields> {
    match fields {
        Fields::Unit => Ok(None),
        Fields::Unnamed(tuple) if tuple.unnamed.len() == 1 => Ok(tuple.unnamed.first().map(|field| &field.ty)),
        _ => Err(fields),
    }
}

fn invalid(event_type: &str) -> Option<&'static str> {
    match event_type.len() {
        0 => Some("is empty"),
        257.. => Some("is longer than 256 bytes"),
        _ if event_type.bytes().any(|byte| byte == b' ') => Some("holds a space"),
        _ if !event_type.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some("holds a character that is not visible ASCII")
        }
        _ => None,
    }
}
