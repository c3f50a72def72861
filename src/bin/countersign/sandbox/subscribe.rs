//! A subscription from the start, so that a receiver can be served without a further command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign::kycgenie::client::{ApiKey, Client, NewWebhook};
use countersign::sandbox::Sandbox;
use countersign::{Key, KeyFile, Secret};

use crate::exit::Failure;
use crate::webhooks::fresh_key_id;

/// For how long the keys of an earlier sandbox stay good, so that what follows the file is not cut off.
const OVERLAP: Duration = Duration::from_secs(10 * 60);

/// What there is now.
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) event_type: String,
    pub(super) url: String,
    pub(super) secret: Kept,
}

/// Where its secret is.
pub(super) enum Kept {
    /// It was made by an earlier run with the same state file, which has shown it or put it into the key file.
    Before,
    File(PathBuf),
    /// It is to be printed.
    Here(Secret),
}

pub(super) async fn subscribe(
    sandbox: &Sandbox,
    url: &str,
    event_type: &str,
    keys: Option<&Path>,
) -> Result<Subscription, Failure> {
    let client = Client::builder(ApiKey::new(sandbox.test_key())?).base_url(sandbox.url()).build()?;
    let there = client.list().await?.into_iter().find(|webhook| {
        webhook.webhook_url == url && webhook.event_type == event_type && webhook.is_active == Some(true)
    });
    if let Some(there) = there {
        let id = there.id.to_string();
        let secret = match keys {
            Some(path) if path.exists() => Kept::File(path.to_owned()),
            Some(path) => return Err(shown_before(path, &id)),
            None => Kept::Before,
        };
        return Ok(Subscription { id, event_type: there.event_type, url: there.webhook_url, secret });
    }
    let created = client.create(&NewWebhook::new(event_type, url)).await?;
    let secret = match keys {
        None => Kept::Here(created.secret),
        Some(path) => {
            let key = Key::new(fresh_key_id(&created.id)?, created.secret);
            if path.exists() {
                KeyFile::begin_rotation(path, OVERLAP)?.install(key, OVERLAP)?;
            } else {
                KeyFile::create(path, key)?;
            }
            Kept::File(path.to_owned())
        }
    };
    Ok(Subscription { id: created.id.to_string(), event_type: created.event_type, url: created.webhook_url, secret })
}

/// A secret is shown once: without the file that an earlier run made, nobody could receive.
fn shown_before(path: &Path, id: &str) -> Failure {
    Failure::unusable(
        format!(
            "{} is not there, and the secret of subscription {id} was shown to an earlier run only",
            path.display()
        ),
        "bring the file back, begin with another --state, or leave out --keys-out and have a new secret made with \
         `countersign webhooks rotate-secret`",
    )
}
