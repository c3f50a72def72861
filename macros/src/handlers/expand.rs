//! The implementation of `Handlers`, or of `TransactionalHandlers`, as one `match`, and the constants that check the coverage.
//!
//! Spans decide how good rustc's own messages are. An expression gets the spans of what it must fit: the event given
//! to a handler those of the parameter's type, the handler's result those of the return type; a pattern gets those of
//! the path in `#[on(..)]`.

use std::collections::BTreeMap;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Attribute, ItemImpl, Path};

use crate::errors::Extent;
use crate::handlers::Handler;
use crate::handlers::attr::{Args, Role, is_cfg};
use crate::handlers::signature::Kind;

/// What stands beside the impl block.
pub(super) fn expand(block: &ItemImpl, args: &Args, handlers: &[Handler]) -> TokenStream {
    let event = &args.event;
    let (tree, repeated) = cover(handlers);
    let covered = tree.tokens();
    let otherwise = handlers.iter().find(|handler| matches!(handler.role, Role::Otherwise { .. }));
    let cfgs = cfgs(block);
    let checks = checks(event, handlers, &repeated, &covered, otherwise.is_none());
    let checks = checks.map(|check| quote!(#(#cfgs)* #check));

    let handle = handle(args, handlers, otherwise, &repeated);
    let undecoded = handlers.iter().any(|handler| !handler.signature.takes(Kind::Event));
    let undecoded = undecoded.then(|| undecoded_methods(args, handlers));
    let implementation = implementation(block, args, &quote!(#handle #undecoded));
    if undecoded.is_none() {
        return quote!(#implementation #checks);
    }
    // The sorting ends, however large the enum is.
    quote! {
        #(#cfgs)*
        #[allow(long_running_const_eval)]
        const _: () = {
            static __ROUTES: ::countersign::__private::Routes<{
                ::countersign::__private::count(<#event as ::countersign::WebhookEvent>::VARIANTS)
            }> = ::countersign::__private::Routes::new(
                <#event as ::countersign::WebhookEvent>::VARIANTS,
                #covered,
            );
            #implementation
        };
        #checks
    }
}

/// What stands in for it after a mistake, so that the type's users do not fail as well.
pub(super) fn fallback(block: &ItemImpl, args: &Args) -> TokenStream {
    let event = &args.event;
    let (shared, unused) = (shared_params(args), unused(args, &[]));
    let handle = quote! {
        async fn handle(&self, _: #event #shared) -> ::countersign::Outcome {
            #unused
            ::countersign::Outcome::Unhandled
        }
    };
    implementation(block, args, &handle)
}

fn implementation(block: &ItemImpl, args: &Args, methods: &TokenStream) -> TokenStream {
    let (params, _, bounds) = block.generics.split_for_impl();
    let this = &block.self_ty;
    let cfgs = cfgs(block);
    let event = &args.event;
    let implemented = match &args.effects {
        None => quote!(::countersign::Handlers),
        Some(effects) => quote!(::countersign::inbox::TransactionalHandlers<#effects>),
    };
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        #[allow(clippy::unit_arg, clippy::unneeded_struct_pattern)]
        impl #params #implemented for #this #bounds {
            type Event = #event;
            #methods
        }
    }
}

/// What all generated methods take behind the event.
fn shared_params(args: &Args) -> TokenStream {
    let delivery = binding(Kind::Delivery, Span::mixed_site());
    let effects = args.effects.as_ref().map(|ty| {
        let effects = binding(Kind::Effects, Span::mixed_site());
        quote!(, #effects: &mut #ty)
    });
    quote!(, #delivery: &::countersign::Delivery #effects)
}

/// Uses what no handler uses.
fn unused(args: &Args, handlers: &[Handler]) -> TokenStream {
    let kinds = [Some(Kind::Delivery), args.effects.as_ref().map(|_| Kind::Effects)];
    let unused =
        kinds.into_iter().flatten().filter(|kind| !handlers.iter().any(|handler| handler.signature.takes(*kind)));
    let bindings = unused.map(|kind| binding(kind, Span::mixed_site()));
    quote!(#(let _ = #bindings;)*)
}

fn cfgs(block: &ItemImpl) -> Vec<&Attribute> {
    block.attrs.iter().filter(|attr| is_cfg(attr)).collect()
}

fn handle(args: &Args, handlers: &[Handler], otherwise: Option<&Handler>, repeated: &[Repeated<'_>]) -> TokenStream {
    let event = &args.event;
    let mut arms = TokenStream::new();
    for handler in handlers {
        if let Role::On(paths) = &handler.role {
            let patterns = paths.iter().map(|path| pattern(event, path, handler.signature.takes(Kind::Event)));
            let call = call(handler);
            // The check of the coverage says it better.
            let allow = (!repeated.is_empty()).then(|| quote!(#[allow(unreachable_patterns)]));
            arms.extend(quote!(#allow #(#patterns)|* => #call,));
        }
    }
    let rest = otherwise.map_or_else(|| quote!(::countersign::Outcome::Unhandled), call);
    let name = binding(Kind::Event, Span::mixed_site());
    let (shared, unused) = (shared_params(args), unused(args, handlers));
    let body = if arms.is_empty() {
        quote!(let _ = &#name; #rest)
    } else {
        let rest_pattern = match otherwise {
            Some(handler) if handler.signature.takes(Kind::Event) => quote!(#name),
            _ => quote!(_),
        };
        quote! {
            match #name {
                #arms
                #[allow(unreachable_patterns)]
                #rest_pattern => #rest,
            }
        }
    };
    quote! {
        async fn handle(&self, #name: #event #shared) -> ::countersign::Outcome {
            #unused
            #body
        }
    }
}

/// `interest` and `handle_undecoded`, where a handler takes no event.
fn undecoded_methods(args: &Args, handlers: &[Handler]) -> TokenStream {
    let mut patterns = Vec::new();
    let mut arms = TokenStream::new();
    for (number, handler) in handlers.iter().enumerate() {
        if handler.signature.takes(Kind::Event) {
            continue;
        }
        let pattern = match handler.role {
            Role::On(_) => quote!(::core::option::Option::Some(#number)),
            Role::Otherwise { .. } => quote!(::core::option::Option::None),
        };
        let call = call(handler);
        arms.extend(quote!(#pattern => #call,));
        patterns.push(pattern);
    }
    let delivery = binding(Kind::Delivery, Span::mixed_site());
    let shared = shared_params(args);
    let effects = args.effects.as_ref().map(|_| binding(Kind::Effects, Span::mixed_site()));
    let taken =
        handlers.iter().any(|handler| !handler.signature.takes(Kind::Event) && handler.signature.takes(Kind::Effects));
    let unused = effects.filter(|_| !taken).map(|effects| quote!(let _ = #effects;));
    quote! {
        fn interest(&self, __event_type: &::countersign::EventType) -> ::countersign::Interest {
            match __ROUTES.handler(__event_type) {
                #(#patterns)|* => ::countersign::Interest::Delivery,
                _ => ::countersign::Interest::Payload,
            }
        }

        async fn handle_undecoded(&self #shared) -> ::countersign::Outcome {
            #unused
            let ::core::option::Option::Some(__event_type) = ::countersign::Delivery::event_type(#delivery) else {
                return ::countersign::Outcome::Unhandled;
            };
            match __ROUTES.handler(__event_type) {
                #arms
                _ => ::countersign::Outcome::Unhandled,
            }
        }
    }
}

/// `Event::A(A::B(event))` for `A::B`; `Event::A(A::B { .. })`, which fits a variant of any shape, if the handler
/// takes no event.
fn pattern(event: &Path, path: &[Ident], binds: bool) -> TokenStream {
    let mut pattern = TokenStream::new();
    for (depth, variant) in path.iter().enumerate().rev() {
        let parent = match depth.checked_sub(1).and_then(|above| path.get(above)) {
            Some(parent) => quote!(#parent),
            // At the place of the variant: rustc underlines the whole path.
            None => moved(quote!(#event), variant.span()),
        };
        let colons = quote_spanned!(variant.span()=> ::);
        let fields = if depth + 1 < path.len() {
            quote_spanned!(variant.span()=> (#pattern))
        } else if binds {
            let binding = binding(Kind::Event, Span::mixed_site().located_at(variant.span()));
            quote_spanned!(variant.span()=> (#binding))
        } else {
            quote_spanned!(variant.span()=> { .. })
        };
        pattern = quote!(#parent #colons #variant #fields);
    }
    pattern
}

fn call(handler: &Handler) -> TokenStream {
    let signature = &handler.signature;
    let mut name = handler.ident.clone();
    name.set_span(name.span().located_at(signature.output.first));
    let at = |extent: Extent| Span::mixed_site().located_at(extent.first);
    let args = signature.params.iter().map(|(kind, extent)| binding(*kind, at(*extent)));
    let output = signature.output;
    let awaited = quote_spanned!(output.last=> await);
    // `self` means that of the generated method, also where a `macro_rules!` wrote the impl block.
    let this = quote!(self);
    quote_spanned! {output.first=>
        ::countersign::IntoOutcome::into_outcome(Self::#name(#this #(, #args)*).#awaited)
    }
}

/// What the generated methods take. `mixed_site` keeps it apart from the user's names.
fn binding(kind: Kind, span: Span) -> Ident {
    let name = match kind {
        Kind::Delivery => "__delivery",
        Kind::Effects => "__effects",
        Kind::Event => "__event",
    };
    Ident::new(name, span)
}

/// The same tokens, with the same meaning, at another place.
fn moved(tokens: TokenStream, place: Span) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token: TokenTree| {
        token.set_span(token.span().located_at(place));
        token
    });
    moved.collect()
}

/// The constants that fail to compile, as one item.
fn checks(
    event: &Path,
    handlers: &[Handler],
    repeated: &[Repeated<'_>],
    covered: &TokenStream,
    all_needed: bool,
) -> Option<TokenStream> {
    let mut checks = TokenStream::new();
    for repeated in repeated {
        let path = &repeated.events;
        let (first, second) = (&handlers[repeated.first].ident, &handlers[repeated.second].ident);
        let handlers = if repeated.first == repeated.second {
            format!("`{first}` names them twice; remove one path")
        } else {
            format!("`{first}` and `{second}`; an event has one handler, so remove it from one of them")
        };
        checks.extend(Extent::of(PathTokens(repeated.at)).refuse(&quote! {{
            const __TEXT: ::countersign::__private::Text<{
                ::countersign::__private::twice::<0>(__VARIANTS, &[#(#path),*], #handlers).len()
            }> = ::countersign::__private::twice(__VARIANTS, &[#(#path),*], #handlers);
            __TEXT.as_str()
        }}));
    }
    if all_needed {
        checks.extend(Extent::of(event).refuse(&quote! {{
            const __COVERED: &[::countersign::__private::Covered] = #covered;
            const __TEXT: ::countersign::__private::Text<{
                ::countersign::__private::missing::<0>(__VARIANTS, __COVERED).len()
            }> = ::countersign::__private::missing(__VARIANTS, __COVERED);
            __TEXT.as_str()
        }}));
    }
    let checks = (!checks.is_empty()).then_some(checks)?;
    Some(quote! {
        #[allow(long_running_const_eval)]
        const _: () = {
            const __VARIANTS: &[::countersign::Variant] = <#event as ::countersign::WebhookEvent>::VARIANTS;
            #checks
        };
    })
}

/// Which paths the handlers cover, as a tree. A macro can tell from the paths alone where two meet, as a variant's
/// path has one spelling; only the names of the event types must come from the enum.
#[derive(Default)]
struct Tree {
    handler: Option<usize>,
    members: BTreeMap<String, Tree>,
}

/// Events that a second path names again.
struct Repeated<'a> {
    /// The path of all the events that both name.
    events: Vec<String>,
    first: usize,
    second: usize,
    /// The second path.
    at: &'a [Ident],
}

fn cover(handlers: &[Handler]) -> (Tree, Vec<Repeated<'_>>) {
    let mut tree = Tree::default();
    let mut repeated = Vec::new();
    for (second, handler) in handlers.iter().enumerate() {
        let Role::On(paths) = &handler.role else {
            continue;
        };
        for at in paths {
            let path: Vec<String> = at.iter().map(|ident| ident.unraw().to_string()).collect();
            let covered = tree.covered(&path);
            if covered.is_empty() {
                tree.insert(&path, second);
            }
            repeated.extend(covered.into_iter().map(|(events, first)| Repeated { events, first, second, at }));
        }
    }
    (tree, repeated)
}

impl Tree {
    /// What is covered already of the events under `path`.
    fn covered(&self, path: &[String]) -> Vec<(Vec<String>, usize)> {
        let mut node = self;
        for name in path {
            match node.members.get(name) {
                Some(member) => node = member,
                None => return Vec::new(),
            }
            if let Some(handler) = node.handler {
                return vec![(path.to_vec(), handler)];
            }
        }
        let mut found = Vec::new();
        node.all(path, &mut found);
        found
    }

    fn all(&self, path: &[String], found: &mut Vec<(Vec<String>, usize)>) {
        for (name, member) in &self.members {
            let path = [path, std::slice::from_ref(name)].concat();
            match member.handler {
                Some(handler) => found.push((path, handler)),
                None => member.all(&path, found),
            }
        }
    }

    fn insert(&mut self, path: &[String], handler: usize) {
        match path {
            [] => self.handler = Some(handler),
            [first, rest @ ..] => self.members.entry(first.clone()).or_default().insert(rest, handler),
        }
    }

    /// The members, as `__private::Covered`: sorted by name, as the search in constants wants them.
    fn tokens(&self) -> TokenStream {
        let members = self.members.iter().map(|(name, member)| {
            let by = match member.handler {
                Some(handler) => quote!(Handler(#handler)),
                None => {
                    let members = member.tokens();
                    quote!(Members(#members))
                }
            };
            quote! {
                ::countersign::__private::Covered { name: #name, by: ::countersign::__private::By::#by }
            }
        });
        quote!(&[#(#members),*])
    }
}

/// The tokens of a path, for their places.
struct PathTokens<'a>(&'a [Ident]);

impl quote::ToTokens for PathTokens<'_> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.0.iter().map(|ident| TokenTree::Ident(ident.clone())));
    }
}
