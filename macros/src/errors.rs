//! Mistakes, collected so that the user sees all of them at once.
//!
//! A message names the item, says what is wrong, then what to write, and underlines the user's own token.

use std::fmt::Display;

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Reports `message` under `tokens`.
    pub(crate) fn push(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.add(syn::Error::new_spanned(tokens, message));
    }

    /// Reports `message` at `span`.
    pub(crate) fn push_at(&mut self, span: Span, message: impl Display) {
        self.add(syn::Error::new(span, message));
    }

    fn add(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// The `compile_error!`s, if there are any.
    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.0.map(syn::Error::into_compile_error)
    }
}

/// The first and the last token of something that the user wrote, since the span between is not to be had.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) first: Span,
    pub(crate) last: Span,
}

impl Extent {
    pub(crate) fn of(tokens: impl ToTokens) -> Self {
        let mut spans = tokens.into_token_stream().into_iter().map(|token| edges(&token));
        let (first, mut last) = spans.next().unwrap_or((Span::call_site(), Span::call_site()));
        if let Some((_, end)) = spans.last() {
            last = end;
        }
        Self { first, last }
    }

    /// A constant that fails to compile with the text of the expression `message`, unless that is empty. rustc
    /// underlines the extent, and nothing else, as all of it has the user's spans.
    pub(crate) fn refuse(self, message: &TokenStream) -> TokenStream {
        let panic = quote_spanned! {self.first=> ::core::panic! };
        let args = quote_spanned! {self.last=> ("{}", __MESSAGE) };
        quote_spanned! {self.first=>
            const _: () = {
                const __MESSAGE: &::core::primitive::str = #message;
                if !__MESSAGE.is_empty() {
                    #panic #args
                }
            };
        }
    }
}

fn edges(token: &TokenTree) -> (Span, Span) {
    match token {
        TokenTree::Group(group) => (Group::span_open(group), Group::span_close(group)),
        other => (other.span(), other.span()),
    }
}
