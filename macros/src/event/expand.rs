//! The implementation of `WebhookEvent`, and the checks that only constants can make: those across groups.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{DeriveInput, LitStr, parse_quote};

use crate::errors::Extent;
use crate::event::ast::EventEnum;
use crate::event::valid::Arm;

/// The implementation.
pub(super) fn expand(events: &EventEnum<'_>, arms: &[Arm<'_>]) -> TokenStream {
    let ident = events.ident;
    let tag = option(events.container.tag.as_ref());
    let content = option(events.container.content.as_ref());
    let variants = arms.iter().map(variant);
    let decode = decode(arms);
    let checks = checks(events, arms);
    quote! {
        #[automatically_derived]
        impl ::countersign::WebhookEvent for #ident {
            const ENVELOPE: ::countersign::Envelope = ::countersign::Envelope {
                tag: #tag,
                content: #content,
            };

            const VARIANTS: &'static [::countersign::Variant] = &[#(#variants),*];

            fn decode(
                __event_type: &::countersign::EventType,
                __payload: ::countersign::RawPayload<'_>,
            ) -> ::core::result::Result<::core::option::Option<Self>, ::countersign::PayloadError> {
                #decode
            }
        }
        #checks
    }
}

/// What stands in for the implementation after a mistake, so that its users do not fail as well.
pub(super) fn fallback(input: &DeriveInput, errors: Option<&TokenStream>) -> TokenStream {
    let ident = &input.ident;
    let mut generics = input.generics.clone();
    if !generics.params.is_empty() {
        let (_, names, _) = input.generics.split_for_impl();
        let bound = parse_quote!(#ident #names: ::core::marker::Send + 'static);
        generics.make_where_clause().predicates.push(bound);
    }
    let (params, names, bounds) = generics.split_for_impl();
    quote! {
        #errors
        #[automatically_derived]
        impl #params ::countersign::WebhookEvent for #ident #names #bounds {
            const ENVELOPE: ::countersign::Envelope = ::countersign::Envelope {
                tag: ::core::option::Option::None,
                content: ::core::option::Option::None,
            };

            const VARIANTS: &'static [::countersign::Variant] = &[];

            fn decode(
                _: &::countersign::EventType,
                _: ::countersign::RawPayload<'_>,
            ) -> ::core::result::Result<::core::option::Option<Self>, ::countersign::PayloadError> {
                ::core::result::Result::Ok(::core::option::Option::None)
            }
        }
    }
}

fn variant(arm: &Arm<'_>) -> TokenStream {
    match arm {
        Arm::Leaf { ident, event_type, .. } => {
            let name = ident.unraw().to_string();
            quote!(::countersign::Variant::event(#name, #event_type))
        }
        Arm::Group { ident, events } => {
            let name = ident.unraw().to_string();
            // With the span of the user's type, so that rustc points there when it is no event enum.
            let variants = quote_spanned!(place(events)=> <#events as ::countersign::WebhookEvent>::VARIANTS);
            quote!(::countersign::Variant::group(#name, #variants))
        }
        Arm::Unknown { ident, .. } => {
            let name = ident.unraw().to_string();
            quote!(::countersign::Variant::unknown(#name))
        }
    }
}

/// The leaves in one `match`, then the groups in order, then the unknown arm.
fn decode(arms: &[Arm<'_>]) -> TokenStream {
    let leaves = arms.iter().filter_map(|arm| match arm {
        Arm::Leaf { ident, event_type, payload } => {
            let event = match payload {
                Some(payload) => {
                    let at = place(payload);
                    let decoded = quote_spanned!(at=> ::countersign::RawPayload::decode::<#payload>(__payload)?);
                    quote!(Self::#ident(#decoded))
                }
                None => quote!(Self::#ident),
            };
            Some(quote!(#event_type => ::core::result::Result::Ok(::core::option::Option::Some(#event)),))
        }
        _ => None,
    });
    let leaves: TokenStream = leaves.collect();
    let groups = arms.iter().filter_map(|arm| match arm {
        Arm::Group { ident, events } => {
            let decoded = quote_spanned! {place(events)=>
                <#events as ::countersign::WebhookEvent>::decode(__event_type, __payload)?
            };
            Some(quote! {
                if let ::core::option::Option::Some(__event) = #decoded {
                    return ::core::result::Result::Ok(::core::option::Option::Some(Self::#ident(__event)));
                }
            })
        }
        _ => None,
    });
    let groups: TokenStream = groups.collect();
    let unknown = arms.iter().find_map(|arm| match arm {
        Arm::Unknown { ident, payload } => {
            let event = quote_spanned! {place(payload)=>
                ::countersign::Unknown::new(::core::clone::Clone::clone(__event_type), __payload)
            };
            Some(quote!(::core::option::Option::Some(Self::#ident(#event))))
        }
        _ => None,
    });
    let unknown = unknown.unwrap_or_else(|| quote!(::core::option::Option::None));
    let rest = quote!(#groups ::core::result::Result::Ok(#unknown));
    if leaves.is_empty() {
        return quote!(let _ = (__event_type, __payload); #rest);
    }
    let unused = arms.iter().all(|arm| matches!(arm, Arm::Leaf { payload: None, .. }));
    let unused = unused.then(|| quote!(let _ = __payload;));
    quote! {
        #unused
        match ::countersign::EventType::as_str(__event_type) {
            #leaves
            _ => { #rest }
        }
    }
}

/// One constant for each group, which fails where the group holds what stands elsewhere too.
fn checks(events: &EventEnum<'_>, arms: &[Arm<'_>]) -> TokenStream {
    let ident = events.ident;
    let mut checks = TokenStream::new();
    for (index, arm) in arms.iter().enumerate() {
        if let Arm::Group { ident: name, .. } = arm {
            checks.extend(Extent::of(name).refuse(&quote! {{
                const __TEXT: ::countersign::__private::Text<{
                    ::countersign::__private::clash::<0>(__VARIANTS, &__LEAVES, #index).len()
                }> = ::countersign::__private::clash(__VARIANTS, &__LEAVES, #index);
                __TEXT.as_str()
            }}));
        }
    }
    if checks.is_empty() {
        return checks;
    }
    // The sorting ends, however large the enum is.
    quote! {
        #[allow(long_running_const_eval)]
        const _: () = {
            const __VARIANTS: &[::countersign::Variant] = <#ident as ::countersign::WebhookEvent>::VARIANTS;
            const __LEAVES: [::countersign::__private::Leaf; ::countersign::__private::count(__VARIANTS)] =
                ::countersign::__private::leaves_by_variant(__VARIANTS);
            #checks
        };
    }
}

fn option(text: Option<&LitStr>) -> TokenStream {
    match text {
        Some(text) => {
            let text = text.to_token_stream();
            quote!(::core::option::Option::Some(#text))
        }
        None => quote!(::core::option::Option::None),
    }
}

/// Where rustc shall point when something is wrong with the user's `tokens`. Names mean what they mean in the rest of
/// the expansion, also where the tokens come from a macro of the user's.
fn place(tokens: &impl Spanned) -> Span {
    Span::call_site().located_at(tokens.span())
}
