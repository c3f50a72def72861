//! `#[event(..)]`, as it stands on an enum and on a variant.

use proc_macro2::Ident;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, MetaNameValue, Token};

use crate::errors::Errors;

/// What may stand on a variant; shown with every mistake there.
const FORMS: &str = "write `#[event(\"the.type\")]`, `#[event(group)]` or `#[event(unknown)]`";
/// What may stand on the enum.
const CONTAINER: &str = "on an enum, `#[event(..)]` takes `tag = \"..\"` and `content = \"..\"`";

/// `#[event(tag = "..", content = "..")]`.
#[derive(Default)]
pub(super) struct Container {
    pub(super) tag: Option<LitStr>,
    pub(super) content: Option<LitStr>,
}

/// What a variant stands for.
pub(super) enum Role {
    Event(LitStr),
    Group(Ident),
    Unknown(Ident),
}

impl Container {
    pub(super) fn read(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut container = Self::default();
        for attr in attrs.iter().filter(|attr| is_event(attr)) {
            match attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated) {
                Ok(metas) if metas.is_empty() => errors.push(attr, format!("nothing is said here: {CONTAINER}")),
                Ok(metas) => {
                    for meta in &metas {
                        container.set(meta, errors);
                    }
                }
                Err(_) => errors.push(attr, format!("this says nothing about the enum: {CONTAINER}")),
            }
        }
        if let (Some(tag), Some(content)) = (&container.tag, &container.content)
            && tag.value() == content.value()
        {
            errors.push(
                content,
                "`tag` and `content` are the same member: leave `content` out if the whole body is the payload",
            );
        }
        container
    }

    fn set(&mut self, meta: &Meta, errors: &mut Errors) {
        let slot = match meta.path().get_ident().map(ToString::to_string).as_deref() {
            Some("tag") => &mut self.tag,
            Some("content") => &mut self.content,
            _ => return errors.push(meta.path(), format!("unknown key: {CONTAINER}")),
        };
        let Meta::NameValue(MetaNameValue { path, value: Expr::Lit(ExprLit { lit: Lit::Str(name), .. }), .. }) = meta
        else {
            return errors.push(meta, format!("the value is not a string: {CONTAINER}"));
        };
        if name.value().is_empty() {
            errors.push(name, "the name of a member is empty: write the one that the provider documents");
        }
        if slot.replace(name.clone()).is_some() {
            errors.push(path, "said twice: remove one of them");
        }
    }
}

impl Role {
    /// `None` after a mistake.
    pub(super) fn read(variant: &syn::Variant, errors: &mut Errors) -> Option<Self> {
        for attr in variant.fields.iter().flat_map(|field| &field.attrs) {
            if is_event(attr) {
                errors.push(attr, "a field has no event type: `#[event(..)]` stands on the variant");
            }
        }
        let name = &variant.ident;
        let mut attrs = variant.attrs.iter().filter(|attr| is_event(attr));
        let Some(attr) = attrs.next() else {
            errors.push(name, format!("variant `{name}` does not say its event type: {FORMS}"));
            return None;
        };
        for more in attrs {
            let message = "one variant, one event type: for another type write another variant";
            errors.push(more, format!("variant `{name}` has two `#[event(..)]`: {message}"));
        }
        match attr.parse_args::<Self>() {
            Ok(role) => Some(role),
            Err(error) if matches!(&attr.meta, Meta::List(list) if !list.tokens.is_empty()) => {
                errors.push_at(error.span(), format!("variant `{name}`: {error}"));
                None
            }
            Err(_) => {
                errors.push(attr, format!("variant `{name}` does not say its event type: {FORMS}"));
                None
            }
        }
    }
}

impl Parse for Role {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let role = if input.peek(LitStr) {
            Self::Event(input.parse()?)
        } else {
            match input.parse::<Ident>() {
                Ok(word) if word == "group" => Self::Group(word),
                Ok(word) if word == "unknown" => Self::Unknown(word),
                Ok(word) => return Err(syn::Error::new(word.span(), format!("unknown key `{word}`: {FORMS}"))),
                Err(error) => return Err(syn::Error::new(error.span(), format!("not an event type: {FORMS}"))),
            }
        };
        input.parse::<Option<Token![,]>>()?;
        if input.peek(LitStr) {
            return Err(input.error("two event types on one variant: for another type write another variant"));
        }
        if !input.is_empty() {
            return Err(input.error(format_args!("nothing may follow here: {FORMS}")));
        }
        Ok(role)
    }
}

fn is_event(attr: &Attribute) -> bool {
    attr.path().is_ident("event")
}
