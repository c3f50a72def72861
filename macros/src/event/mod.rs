//! `#[derive(WebhookEvent)]`: attributes → syntax tree → checked arms → expansion, one file a stage.

mod ast;
mod attr;
mod expand;
mod valid;

use proc_macro2::TokenStream;
use syn::DeriveInput;

use crate::errors::Errors;

/// The whole derive.
pub(crate) fn derive(input: TokenStream) -> TokenStream {
    let input = match syn::parse2::<DeriveInput>(input) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let events = ast::read(&input, &mut errors);
    let arms = events.as_ref().map(|events| valid::check(events, &mut errors));
    match (errors.into_compile_errors(), &events, arms) {
        (None, Some(events), Some(arms)) => expand::expand(events, &arms),
        (errors, ..) => expand::fallback(&input, errors.as_ref()),
    }
}
