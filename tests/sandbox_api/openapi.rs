//! The OpenAPI document: committed, current, and true of the answers.

use std::path::Path;

use crate::common::{get, start, text};

const DOCUMENT: &str = "src/sandbox/api/openapi.json";

#[test]
fn the_committed_document_is_current() {
    let served = text(&get("/openapi.json").without("authorization").send(&start()));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &served).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == served,
        "{DOCUMENT} is not what the code makes: UPDATE=1 cargo test --all-features --test sandbox_api openapi, and \
         read the difference"
    );
}
