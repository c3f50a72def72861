//! `#[handlers(Event)]` and `#[handlers(Event, effects = T)]`: the attributes, the signatures and the expansion, one file each.

mod attr;
mod expand;
mod signature;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Ident, ImplItem, ImplItemFn, Item, ItemImpl, Path};

use crate::errors::Errors;
use crate::handlers::attr::{Args, Role};
use crate::handlers::signature::Signature;

/// One handler: which events, and what it takes.
struct Handler {
    ident: Ident,
    role: Role,
    signature: Signature,
}

/// The whole macro.
pub(crate) fn handlers(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut block = match impl_block(item) {
        Ok(block) => block,
        Err(tokens) => return tokens,
    };
    let mut errors = Errors::default();
    let args = attr::args(args, &mut errors);
    let handlers = read(&mut block, args.as_ref(), &mut errors);
    if let Some(args) = &args {
        attr::check_prefixes(&args.event, &handlers, &mut errors);
    }
    match (errors.into_compile_errors(), args) {
        (None, Some(args)) => {
            let expansion = expand::expand(&block, &args, &handlers);
            quote!(#block #expansion)
        }
        (errors, args) => {
            let fallback = args.filter(|args| !args.unclear).map(|args| expand::fallback(&block, &args));
            // Nobody calls the handlers, which is not what the user should read about.
            quote!(#errors #[allow(dead_code)] #block #fallback)
        }
    }
}

/// `#[on(..)]` or `#[otherwise]` where no `#[handlers(..)]` took it away.
pub(crate) fn outside(attribute: &str, item: &TokenStream) -> TokenStream {
    let message = format!(
        "`#[{attribute}]` outside of a block of handlers: write `#[handlers(Event)]` on the impl block around it"
    );
    let error = syn::Error::new(proc_macro2::Span::call_site(), message).into_compile_error();
    quote!(#error #item)
}

fn impl_block(item: &TokenStream) -> Result<ItemImpl, TokenStream> {
    let message = match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Impl(block)) => match &block.trait_ {
            None => return Ok(block),
            Some((name, _)) => {
                let message = "this implements a trait: handlers are methods of the type itself, so write \
                               `#[handlers(..)]` on an `impl Type { .. }`";
                syn::Error::new_spanned(name, message)
            }
        },
        Ok(other) => {
            let message =
                "this is not an impl block: write `#[handlers(..)]` on an `impl Type { .. }` with the handlers";
            syn::Error::new_spanned(attr::head(&other), message)
        }
        // rustc says what is wrong with it.
        Err(error) => error,
    };
    let message = message.into_compile_error();
    Err(quote!(#message #item))
}

/// Takes the attributes off the methods, and reads what they say.
fn read(block: &mut ItemImpl, args: Option<&Args>, errors: &mut Errors) -> Vec<Handler> {
    let mut handlers = Vec::new();
    let mut marked = false;
    for item in &mut block.items {
        match item {
            ImplItem::Fn(method) => {
                let attrs = attr::take(&mut method.attrs);
                marked |= !attrs.is_empty();
                handlers.extend(handler(method, &attrs, args, errors));
            }
            ImplItem::Const(item) => only_methods(&mut item.attrs, errors),
            ImplItem::Type(item) => only_methods(&mut item.attrs, errors),
            _ => {}
        }
    }
    attr::one_otherwise(&handlers, errors);
    if !marked {
        let message = "no handlers here: write `#[on(..)]` or `#[otherwise]` on a method";
        errors.push(block.impl_token, message);
    }
    handlers
}

fn handler(method: &ImplItemFn, attrs: &[Attribute], args: Option<&Args>, errors: &mut Errors) -> Option<Handler> {
    let first = attrs.first()?;
    let ident = &method.sig.ident;
    if let [_, more, ..] = attrs {
        let message = "a method has one `#[on(..)]` or `#[otherwise]`: for several events write `#[on(A | B)]`";
        errors.push(more, format!("handler `{ident}` is marked twice; {message}"));
    }
    for cfg in method.attrs.iter().filter(|attr| attr::is_cfg(attr)) {
        let message = "what has a handler must not depend on it: write the `cfg` into the body, or on the whole impl";
        errors.push(cfg, format!("handler `{ident}` is under a `cfg`; {message}"));
    }
    let role = Role::read(ident, first, errors);
    let mut passed_over = Errors::default();
    let errors = if args.is_some_and(|args| args.unclear) { &mut passed_over } else { errors };
    let signature = Signature::read(&method.sig, args.and_then(|args| args.effects.as_ref()), errors);
    Some(Handler { ident: ident.clone(), role: role?, signature: signature? })
}

fn only_methods(attrs: &mut Vec<Attribute>, errors: &mut Errors) {
    for attr in attr::take(attrs) {
        errors.push(attr, "this is not a method: `#[on(..)]` and `#[otherwise]` stand on an `async fn`");
    }
}

/// The last name of a path.
fn last(path: &Path) -> Option<&Ident> {
    path.segments.last().map(|segment| &segment.ident)
}
