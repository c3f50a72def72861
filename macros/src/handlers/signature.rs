//! Which signatures a handler may have.

use proc_macro2::Ident;
use quote::ToTokens;
use syn::{FnArg, PatType, Receiver, ReceiverKind, ReturnType, Safety, Type};

use crate::errors::{Errors, Extent};
use crate::handlers::last;

/// All of them; shown with every mistake.
const ALLOWED: &str = "write one of

    async fn name(&self)
    async fn name(&self, event: T)
    async fn name(&self, delivery: &Delivery)
    async fn name(&self, event: T, delivery: &Delivery)

where `T` is what the variant holds; return `()`, `Result<(), E>` or `Outcome`";

/// What a handler takes and gives.
pub(super) struct Signature {
    /// Where the type of its event stands, if it takes one.
    pub(super) event: Option<Extent>,
    /// Where the reference to the delivery stands, if it takes it.
    pub(super) delivery: Option<Extent>,
    /// Where its return type stands; its name, where there is none.
    pub(super) output: Extent,
}

impl Signature {
    /// `None` after a mistake.
    pub(super) fn read(sig: &syn::Signature, errors: &mut Errors) -> Option<Self> {
        let mut wrong = Wrong { handler: &sig.ident, errors, any: false };
        qualifiers(sig, &mut wrong);
        let params = params(sig, &mut wrong);
        let (event, delivery) = match *params.as_slice() {
            [] => (None, None),
            [one] if is_delivery(&one.ty, "takes its event by reference; the event is its own", &mut wrong) => {
                (None, Some(one))
            }
            [one] => (Some(one), None),
            [event, delivery, ref rest @ ..] => {
                two(event, delivery, &mut wrong);
                if let Some(third) = rest.first() {
                    wrong.push(third, "takes more than its event and its delivery");
                }
                (Some(event), Some(delivery))
            }
        };
        for param in &params {
            if let Type::ImplTrait(ty) = &*param.ty {
                wrong.push(ty, "is generic");
            }
        }
        let extent = |param: &PatType| Extent::of(&param.ty);
        let output = match &sig.output {
            ReturnType::Type(_, ty) => Extent::of(ty),
            ReturnType::Default => Extent::of(&sig.ident),
        };
        (!wrong.any).then(|| Self { event: event.map(extent), delivery: delivery.map(extent), output })
    }
}

/// The mistakes of one handler's signature.
struct Wrong<'a> {
    handler: &'a Ident,
    errors: &'a mut Errors,
    any: bool,
}

impl Wrong<'_> {
    fn push(&mut self, tokens: impl ToTokens, what: &str) {
        self.any = true;
        self.errors.push(tokens, format!("handler `{}` {what}: {ALLOWED}", self.handler));
    }
}

fn qualifiers(sig: &syn::Signature, wrong: &mut Wrong<'_>) {
    if sig.asyncness.is_none() {
        wrong.push(sig.fn_token, "is not async");
    }
    if let Some(token) = sig.constness {
        wrong.push(token, "is const");
    }
    if let Safety::Unsafe(token) = sig.safety {
        wrong.push(token, "is unsafe");
    }
    if let Some(abi) = &sig.abi {
        wrong.push(abi, "has an ABI");
    }
    if !sig.generics.params.is_empty() {
        wrong.push(&sig.generics, "is generic");
    } else if let Some(clause) = &sig.generics.where_clause {
        wrong.push(clause.where_token, "has a `where` clause");
    }
}

/// The parameters but for `&self`.
fn params<'a>(sig: &'a syn::Signature, wrong: &mut Wrong<'_>) -> Vec<&'a PatType> {
    match sig.receiver() {
        Some(receiver) => self_by_reference(receiver, wrong),
        None => wrong.push(&sig.ident, "does not take `&self`"),
    }
    let typed = sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(param) => Some(param),
        FnArg::Receiver(_) => None,
    });
    typed.collect()
}

fn self_by_reference(receiver: &Receiver, wrong: &mut Wrong<'_>) {
    match &receiver.kind {
        ReceiverKind::Reference(_, _, None) => {}
        ReceiverKind::Reference(_, _, Some(token)) => {
            wrong.push(token, "takes `&mut self`, but handlers run at the same time");
        }
        ReceiverKind::Typed(_, ty) => wrong.push(ty, "does not take `&self`"),
        _ => wrong.push(receiver.self_token, "takes `self`, but it runs more than once"),
    }
}

fn two(event: &PatType, delivery: &PatType, wrong: &mut Wrong<'_>) {
    if !matches!(&*delivery.ty, Type::Reference(_)) {
        let what = if matches!(&*event.ty, Type::Reference(_)) {
            return wrong.push(&event.ty, "takes the delivery before the event");
        } else if names_delivery(&delivery.ty) {
            "takes its delivery by value"
        } else {
            "takes two events"
        };
        return wrong.push(&delivery.ty, what);
    }
    is_delivery(&delivery.ty, "takes a reference that is not to the delivery", wrong);
    if matches!(&*event.ty, Type::Reference(_)) {
        wrong.push(&event.ty, "takes its event by reference; the event is its own");
    }
}

/// Whether the parameter is the delivery. A reference to anything else is a mistake; so is a delivery by value.
fn is_delivery(ty: &Type, what: &str, wrong: &mut Wrong<'_>) -> bool {
    match ty {
        Type::Reference(reference) => {
            if !names_delivery(&reference.elem) {
                wrong.push(ty, what);
            } else if let Some(token) = &reference.mutability {
                wrong.push(token, "takes its delivery by `&mut`");
            }
            true
        }
        _ if names_delivery(ty) => {
            wrong.push(ty, "takes its delivery by value");
            true
        }
        _ => false,
    }
}

fn names_delivery(ty: &Type) -> bool {
    matches!(ty, Type::Path(ty) if last(&ty.path).is_some_and(|ident| ident == "Delivery"))
}
