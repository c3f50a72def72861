//! The memory store under the conformance suite, in both of its modes.

mod refusing {
    use countersign::MemoryStore;

    countersign::dedupe_conformance!(MemoryStore::builder().build().expect("sound settings"));
}

mod forgetting {
    use countersign::{MemoryStore, WhenFull};

    countersign::dedupe_conformance!(
        MemoryStore::builder().capacity(1_000).when_full(WhenFull::ForgetOldest).build().expect("sound settings")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_store_passes_all_cases_in_a_row() {
    let store = || async { countersign::MemoryStore::builder().capacity(64).build().expect("sound settings") };
    countersign::testing::dedupe::run_all(store).await;
}
