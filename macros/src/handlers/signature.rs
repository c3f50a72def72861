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

/// All of them where handlers write with effects.
const ALLOWED_WITH_EFFECTS: &str = "write

    async fn name(&self, event: T, delivery: &Delivery, effects: &mut EFFECTS)

where `T` is what the variant holds; leave out what it does not need, in any order; return `()`, `Result<(), E>` or \
                                    `Outcome`";

/// What a handler can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Delivery,
    Effects,
    Event,
}

/// What a handler takes and gives.
pub(super) struct Signature {
    /// What it takes, in its order, and where the types of that stand.
    pub(super) params: Vec<(Kind, Extent)>,
    /// Where its return type stands; its name, where there is none.
    pub(super) output: Extent,
}

impl Signature {
    /// `None` after a mistake.
    pub(super) fn read(sig: &syn::Signature, effects: Option<&Type>, errors: &mut Errors) -> Option<Self> {
        let mut wrong = Wrong { handler: &sig.ident, effects, errors, any: false };
        qualifiers(sig, &mut wrong);
        let params = params(sig, &mut wrong);
        let kinds = match effects {
            None => without_effects(&params, &mut wrong),
            Some(effects) => with_effects(&params, effects, &mut wrong),
        };
        for param in &params {
            if let Type::ImplTrait(ty) = &*param.ty {
                wrong.push(ty, "is generic");
            }
        }
        let output = match &sig.output {
            ReturnType::Type(_, ty) => Extent::of(ty),
            ReturnType::Default => Extent::of(&sig.ident),
        };
        let params = kinds.into_iter().zip(params).map(|(kind, param)| (kind, Extent::of(&param.ty))).collect();
        (!wrong.any).then_some(Self { params, output })
    }

    pub(super) fn takes(&self, kind: Kind) -> bool {
        self.params.iter().any(|(taken, _)| *taken == kind)
    }
}

fn without_effects(params: &[&PatType], wrong: &mut Wrong<'_>) -> Vec<Kind> {
    if let Some(effects) = params.iter().find(|param| is_mutable(&param.ty, |name| name.ends_with("Effects"))) {
        let what =
            "takes effects, and `#[handlers(..)]` does not say which: write `#[handlers(Event, effects = T)]`, or";
        wrong.push(&effects.ty, what);
        return Vec::new();
    }
    match *params {
        [] => Vec::new(),
        [one] if is_delivery(&one.ty, "takes its event by reference; the event is its own", wrong) => {
            vec![Kind::Delivery]
        }
        [_] => vec![Kind::Event],
        [event, delivery, ref rest @ ..] => {
            two(event, delivery, wrong);
            if let Some(third) = rest.first() {
                wrong.push(third, "takes more than its event and its delivery");
            }
            vec![Kind::Event, Kind::Delivery]
        }
    }
}

/// In whatever order: the types tell them apart.
fn with_effects(params: &[&PatType], effects: &Type, wrong: &mut Wrong<'_>) -> Vec<Kind> {
    let is_effects = |ty: &Type| named(ty).is_some_and(|name| named(effects).is_some_and(|effects| effects == name));
    let mut kinds = Vec::new();
    for param in params {
        let kind = match &*param.ty {
            Type::Reference(reference) if is_effects(&reference.elem) => {
                if reference.mutability.is_none() {
                    wrong.push(&param.ty, "takes its effects by `&`");
                }
                Kind::Effects
            }
            Type::Reference(reference) if names_delivery(&reference.elem) => {
                if let Some(token) = &reference.mutability {
                    wrong.push(token, "takes its delivery by `&mut`");
                }
                Kind::Delivery
            }
            Type::Reference(_) => {
                wrong.push(&param.ty, "takes a reference that is neither to the delivery nor to its effects");
                continue;
            }
            ty if is_effects(ty) => {
                wrong.push(ty, "takes its effects by value");
                Kind::Effects
            }
            ty if names_delivery(ty) => {
                wrong.push(ty, "takes its delivery by value");
                Kind::Delivery
            }
            _ => Kind::Event,
        };
        if kinds.contains(&kind) {
            let what = match kind {
                Kind::Delivery => "takes its delivery twice",
                Kind::Effects => "takes its effects twice",
                Kind::Event => "takes two events",
            };
            wrong.push(&param.ty, what);
        }
        kinds.push(kind);
    }
    kinds
}

/// The mistakes of one handler's signature.
struct Wrong<'a> {
    handler: &'a Ident,
    /// What handlers write with here, for the signature that is allowed.
    effects: Option<&'a Type>,
    errors: &'a mut Errors,
    any: bool,
}

impl Wrong<'_> {
    fn push(&mut self, tokens: impl ToTokens, what: &str) {
        self.any = true;
        let allowed = match self.effects.and_then(named) {
            None => ALLOWED.to_owned(),
            Some(effects) => ALLOWED_WITH_EFFECTS.replace("EFFECTS", &effects.to_string()),
        };
        let colon = if what.ends_with("or") { "" } else { ":" };
        self.errors.push(tokens, format!("handler `{}` {what}{colon} {allowed}", self.handler));
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
    named(ty).is_some_and(|name| name == "Delivery")
}

fn is_mutable(ty: &Type, is: impl FnOnce(&str) -> bool) -> bool {
    match ty {
        Type::Reference(reference) if reference.mutability.is_some() => {
            named(&reference.elem).is_some_and(|name| is(&name.to_string()))
        }
        _ => false,
    }
}

/// The last name of a type that is a path.
fn named(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(ty) => last(&ty.path),
        _ => None,
    }
}
