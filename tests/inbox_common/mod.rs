//! What the tests of the inbox share: folders of their own, and deliveries that need no HTTP.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "not every test uses all of it")]

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign::inbox::{Accepted, InboxStore, Incoming, State, StoredDelivery, Wanted};
use countersign::{
    Authenticated, ClaimKey, Clock, DeliveryId, EventType, Fingerprint, KeyId, Settled, Source, SystemClock, Timestamp,
};

/// A new folder; gone when it is dropped.
pub struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir(), false)
    }

    /// One that stays until the end of this process, for what has no place to keep it in.
    pub fn kept() -> Self {
        static SWEEPER: OnceLock<Option<ChildStdin>> = OnceLock::new();
        let root = std::env::temp_dir().join(format!("countersign-test-{}", std::process::id()));
        // A shell that waits for the end of this process, however it comes, and sweeps up.
        SWEEPER.get_or_init(|| {
            let mut shell = Command::new("sh");
            shell.args(["-c", r#"trap '' HUP INT TERM; cat >/dev/null; rm -rf "$1""#, "sweeper"]).arg(&root);
            shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            shell.spawn().ok().and_then(|mut shell| shell.stdin.take())
        });
        Self::within(&root, true)
    }

    fn within(root: &Path, kept: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "countersign-test-{}-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed),
            SystemClock.now().as_millis()
        );
        let path = root.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self { path, kept }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self) -> PathBuf {
        self.path.join("inbox.sqlite")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}

pub fn incoming(id: &str) -> Incoming {
    let source = Source::new("test").unwrap();
    let delivery_id = DeliveryId::new(id).unwrap();
    let raw = bytes::Bytes::from(format!(r#"{{"event":"job","data":{{"entity":"{id}"}}}}"#));
    Incoming {
        key: ClaimKey::for_id(&source, None, &delivery_id),
        fingerprint: Fingerprint::of(&raw),
        entity: None,
        delivery: StoredDelivery {
            source,
            tenant: None,
            id: Some(delivery_id),
            event_type: Some(EventType::from_static("job")),
            timestamp: None,
            received_at: Timestamp::from_secs(1_790_000_000),
            key_id: KeyId::new("test").unwrap(),
            authenticated: Authenticated::from_bits(3),
            content_digest: None,
            headers: vec![("x-signature".to_owned(), b"v1,abc".to_vec())],
            raw,
        },
    }
}

/// Asks until it is so. A test that waits in vain fails after half a minute.
pub async fn until(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !ask().await {
        assert!(std::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Three handles, as three processes have them: `short` remembers for 80 hours and keeps the dead as long, `long`, which was
/// opened later, remembers for 11 days, and `tool` looks in with an hour for both.
pub async fn what_the_longest_remembers_nobody_forgets<S: InboxStore>(short: S, long: S, tool: S) {
    let now = SystemClock.now();
    let mut leases = Vec::new();
    for id in ["done", "again", "dead"] {
        assert_eq!(short.accept(incoming(id), now).await.unwrap(), Accepted::New);
        let wanted = Wanted { limit: 1, lease: Duration::from_secs(30), max_attempts: 3 };
        leases.push(short.claim(wanted, now).await.unwrap().leased[0].lease);
    }
    for lease in &leases[..2] {
        assert_eq!(long.complete(lease, now).await.unwrap(), Settled::Current);
    }
    assert_eq!(short.dead(&leases[2], "x", now).await.unwrap(), Settled::Current);
    let days = Duration::from_hours(11 * 24);
    let last = now.saturating_add(days).saturating_sub(Duration::from_millis(1));
    // Whoever promised it need not run any more.
    drop(long);
    for at in [now.saturating_add(Duration::from_hours(81)), last] {
        assert_eq!(tool.prune(10, at).await.unwrap(), 0, "by a tool");
        assert_eq!(short.prune(10, at).await.unwrap(), 0, "by workers");
        for (id, state) in [("done", State::Done), ("again", State::Done), ("dead", State::Dead)] {
            assert_eq!(short.accept(incoming(id), at).await.unwrap(), Accepted::Duplicate(state), "{id}");
        }
    }
    let end: Timestamp = now.saturating_add(days);
    assert_eq!(short.accept(incoming("again"), end).await.unwrap(), Accepted::New, "and then it is free");
    assert_eq!(short.prune(10, end).await.unwrap(), 2);
}
