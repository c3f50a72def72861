//! What the macros say: one situation a file, see `tests/ui/README.md`.
#![cfg(feature = "macros")]

#[test]
fn macro_messages() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
