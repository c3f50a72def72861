//! What stands in `#[handlers(..)]`, `#[on(..)]` and `#[otherwise]`.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Attribute, Item, LitStr, Meta, Path, PathArguments, Token, Type};

use crate::errors::Errors;
use crate::handlers::{Handler, last};

/// How `#[on(..)]` is written; shown with every mistake there.
const FORMS: &str = "write `#[on(Variant)]`, `#[on(Group::Variant)]`, or `#[on(A | B)]` for several";

/// Which events a handler is for.
pub(super) enum Role {
    /// `#[on(A | B::C)]`: at least one path, each of at least one segment.
    On(Vec<Vec<Ident>>),
    /// `#[otherwise]`.
    Otherwise {
        /// The word itself.
        word: Span,
    },
}

/// The arguments of `#[handlers(..)]`.
pub(super) struct Args {
    /// The enum of the events.
    pub(super) event: Path,
    /// What the handlers write with, where they do.
    pub(super) effects: Option<Type>,
    /// That it is said, and cannot be understood: what handlers may take is not known then.
    pub(super) unclear: bool,
}

/// `None` after a mistake, but what could be understood of them.
pub(super) fn args(args: TokenStream, errors: &mut Errors) -> Option<Args> {
    if args.is_empty() {
        let message = "`#[handlers]` does not say which events: write `#[handlers(Event)]` with the enum of the events";
        errors.push_at(Span::call_site(), message);
        return None;
    }
    let parsed = |input: ParseStream<'_>| {
        let event = input.parse::<Path>().ok();
        // Whatever stands between here and the end is not what may stand here.
        let rest: TokenStream = input.parse()?;
        Ok((event, rest))
    };
    let (event, rest) = parsed.parse2(args.clone()).unwrap_or((None, args.clone()));
    let Some(event) = event else {
        let message = "not the path of one enum: write `#[handlers(Event)]` with the enum of the events";
        errors.push(args, message);
        return None;
    };
    if rest.is_empty() {
        return Some(Args { event, effects: None, unclear: false });
    }
    if !starts_with_comma(&rest) {
        let message = "not the path of one enum: write `#[handlers(Event)]` with the enum of the events";
        errors.push(args, message);
        return None;
    }
    let effects = effects(rest, errors);
    Some(Args { event, unclear: effects.is_none(), effects })
}

fn starts_with_comma(tokens: &TokenStream) -> bool {
    matches!(tokens.clone().into_iter().next(), Some(TokenTree::Punct(punct)) if punct.as_char() == ',')
}

/// `, effects = T` behind the enum.
fn effects(rest: TokenStream, errors: &mut Errors) -> Option<Type> {
    const FORM: &str = "write `#[handlers(Event, effects = T)]`, where `T` is what the inbox's store lets handlers write \
                        with, such as `SqliteEffects`";
    let behind: TokenStream = rest.clone().into_iter().skip(1).collect();
    let place = if behind.is_empty() { rest } else { behind.clone() };
    let parser = |input: ParseStream<'_>| {
        let key: Ident = input.parse()?;
        input.parse::<Token![=]>()?;
        let ty: Type = input.parse()?;
        input.parse::<Option<Token![,]>>()?;
        Ok((key, ty))
    };
    match parser.parse2(behind) {
        Ok((key, Type::Path(path))) if key == "effects" => Some(Type::Path(path)),
        Ok((key, ty)) if key == "effects" => {
            errors.push(ty, format!("effects are a type by its name, and handlers take `&mut` of it: {FORM}"));
            None
        }
        Ok((key, _)) => {
            errors.push(&key, format!("`#[handlers]` knows no `{key}`: {FORM}"));
            None
        }
        Err(_) => {
            errors.push(place, format!("behind the enum stands what the handlers write with, or nothing: {FORM}"));
            None
        }
    }
}

/// Takes `#[on(..)]` and `#[otherwise]` out of `attrs`.
pub(super) fn take(attrs: &mut Vec<Attribute>) -> Vec<Attribute> {
    attrs.extract_if(.., |attr| is_ours(attr, "on") || is_ours(attr, "otherwise")).collect()
}

/// Whether code may vanish by this attribute.
pub(super) fn is_cfg(attr: &Attribute) -> bool {
    attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr")
}

/// By name, since an attribute that is taken away need not be imported: `on` or `countersign::on`.
fn is_ours(attr: &Attribute, name: &str) -> bool {
    let path = attr.path();
    path.is_ident(name)
        || (path.segments.len() == 2
            && path.segments.first().is_some_and(|segment| segment.ident == "countersign")
            && last(path).is_some_and(|ident| ident == name))
}

/// What to underline of an item that is not an impl block: the word it begins with.
pub(super) fn head(item: &Item) -> TokenStream {
    let keyword: &dyn ToTokens = match item {
        Item::Enum(item) => &item.enum_token,
        Item::Fn(item) => &item.sig.fn_token,
        Item::Mod(item) => &item.mod_token,
        Item::Struct(item) => &item.struct_token,
        Item::Trait(item) => &item.trait_token,
        other => other,
    };
    keyword.to_token_stream()
}

pub(super) fn one_otherwise(handlers: &[Handler], errors: &mut Errors) {
    let mut first = None;
    for handler in handlers {
        if let Role::Otherwise { word } = handler.role
            && let Some(first) = first.replace(&handler.ident)
        {
            let message = "one handler takes all the rest: remove one of them";
            errors.push_at(word, format!("`{first}` and `{}` are both `#[otherwise]`; {message}", handler.ident));
        }
    }
}

/// `#[on(Event::Variant)]` says the enum again, and rustc could only say that the enum has no variant `Event`.
pub(super) fn check_prefixes(event: &Path, handlers: &[Handler], errors: &mut Errors) {
    let Some(event) = event.get_ident() else { return };
    for handler in handlers {
        let Role::On(paths) = &handler.role else { continue };
        for path in paths {
            if let [first, rest, ..] = path.as_slice()
                && first == event
            {
                let message = format!("paths begin after the enum of `#[handlers({event})]`: write `{rest}`");
                errors.push(first, format!("handler `{}`: {message}", handler.ident));
            }
        }
    }
}

impl Role {
    /// `None` after a mistake.
    pub(super) fn read(handler: &Ident, attr: &Attribute, errors: &mut Errors) -> Option<Self> {
        let word = last(attr.path())?;
        if word == "otherwise" {
            if !matches!(attr.meta, Meta::Path(_)) {
                let message = "`#[otherwise]` takes nothing: it is for every event that no `#[on(..)]` names";
                errors.push(attr, format!("handler `{handler}`: {message}"));
            }
            return Some(Self::Otherwise { word: word.span() });
        }
        let args = match &attr.meta {
            Meta::List(list) if !list.tokens.is_empty() => &list.tokens,
            _ => {
                errors.push(attr, format!("handler `{handler}` does not say for which events: {FORMS}"));
                return None;
            }
        };
        paths(handler, args, errors).map(Self::On)
    }
}

fn paths(handler: &Ident, args: &TokenStream, errors: &mut Errors) -> Option<Vec<Vec<Ident>>> {
    if let Ok(text) = syn::parse2::<LitStr>(args.clone()) {
        let message = format!("`#[on(..)]` names a variant, not an event type: {FORMS}");
        errors.push(text, format!("handler `{handler}`: {message}"));
        return None;
    }
    match Punctuated::<Path, Token![|]>::parse_separated_nonempty.parse2(args.clone()) {
        Ok(paths) => paths.iter().map(|path| segments(handler, path, errors)).collect(),
        Err(_) => {
            errors.push(args, format!("handler `{handler}`: not a list of variants: {FORMS}"));
            None
        }
    }
}

fn segments(handler: &Ident, path: &Path, errors: &mut Errors) -> Option<Vec<Ident>> {
    let plain = path.segments.iter().all(|segment| matches!(segment.arguments, PathArguments::None));
    if path.leading_colon.is_some() || !plain {
        errors.push(path, format!("handler `{handler}`: a path of variants has names only: {FORMS}"));
        return None;
    }
    Some(path.segments.iter().map(|segment| segment.ident.clone()).collect())
}
