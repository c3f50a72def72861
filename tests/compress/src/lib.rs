//! Nothing but tests: those of the edge's bodies once more, in a program whose actix-web decompresses.
//!
//! Any crate of a program can turn actix-web's `compress-*` features on, and then its body extractors decompress
//! whatever they get. Cargo unifies features among the packages that it builds together, so these tests have a package
//! of their own; `cargo test -p countersign` builds without compression, `cargo test -p countersign-tests-compress`
//! with it, and `cargo test --workspace` everything with it.
