//! Snapshots of whole expansions. Here and not in `tests/`, since only this crate can call its own functions.

use proc_macro2::TokenStream;
use quote::quote;

fn pretty(tokens: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(tokens).expect("the expansion is Rust"))
}

#[test]
fn an_enum_with_all_kinds_of_variants() {
    let expansion = crate::event::derive(quote! {
        #[event(tag = "event", content = "data")]
        enum Event {
            #[event("screening.completed")]
            ScreeningCompleted(Screening),
            #[event(group)]
            Onboarding(Onboarding),
            #[event("test")]
            Test,
            #[event(unknown)]
            Unknown(Unknown),
        }
    });
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn an_enum_of_leaves_only() {
    let expansion = crate::event::derive(quote! {
        enum Onboarding {
            #[event("onboarding.created")]
            Created(Onboarded),
        }
    });
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn an_enum_with_a_mistake() {
    let expansion = crate::event::derive(quote! {
        enum Event<T> {
            A(T),
        }
    });
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn handlers_that_all_take_their_event() {
    let expansion = crate::handlers::handlers(
        quote!(Event),
        &quote! {
            impl<D: Db> Compliance<D>
            where
                D: Send + Sync + 'static,
            {
                /// What the provider found.
                #[on(ScreeningCompleted | Screening::Failed)]
                async fn screened(&self, screening: Screening, delivery: &Delivery) -> Result<(), Error> {
                    self.helper()
                }

                #[on(Onboarding)]
                async fn onboarding(&self, event: Onboarding) {}

                #[otherwise]
                async fn rest(&self, event: Event) -> Outcome {
                    Outcome::Handled
                }

                fn helper(&self) {}
            }
        },
    );
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn handlers_without_an_event() {
    let expansion = crate::handlers::handlers(
        quote!(Event),
        &quote! {
            impl Compliance {
                #[on(Group::Deeper::Member)]
                async fn member(&self, delivery: &Delivery) {}

                #[on(Test)]
                async fn test(&self) {}

                #[on(Completed)]
                async fn completed(&self, screening: Screening) {}
            }
        },
    );
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn handlers_with_effects() {
    let expansion = crate::handlers::handlers(
        quote!(Event, effects = SqliteEffects),
        &quote! {
            impl Ledger {
                #[on(Completed)]
                async fn completed(&self, effects: &mut SqliteEffects, screening: Screening) {}

                #[on(Test)]
                async fn test(&self, delivery: &Delivery) {}

                #[otherwise]
                async fn rest(&self, event: Event, delivery: &Delivery, effects: &mut SqliteEffects) -> Outcome {
                    Outcome::Handled
                }
            }
        },
    );
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn handlers_with_effects_and_a_mistake() {
    let expansion = crate::handlers::handlers(
        quote!(Event, effects = SqliteEffects),
        &quote! {
            impl Ledger {
                #[on(Test)]
                async fn test(&self, effects: SqliteEffects) {}
            }
        },
    );
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn one_handler_for_everything() {
    let expansion = crate::handlers::handlers(
        quote!(Event),
        &quote! {
            impl Compliance {
                #[otherwise]
                async fn all(&self) {}
            }
        },
    );
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn two_handlers_for_one_event() {
    let expansion = crate::handlers::handlers(
        quote!(Event),
        &quote! {
            impl Compliance {
                #[on(Onboarding)]
                async fn group(&self, event: Onboarding) {}

                #[on(Onboarding::Created)]
                async fn member(&self, event: Created) {}

                #[otherwise]
                async fn rest(&self, event: Event) {}
            }
        },
    );
    insta::assert_snapshot!(pretty(expansion));
}

#[test]
fn handlers_with_a_mistake() {
    let expansion = crate::handlers::handlers(
        quote!(Event),
        &quote! {
            impl Compliance {
                #[on(Test)]
                fn test(&self) {}
            }
        },
    );
    insta::assert_snapshot!(pretty(expansion));
}
