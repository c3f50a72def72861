//! `rotate`: a new secret from the provider into a key file, without a delivery being refused.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::Args;
use countersign::kycgenie::client::{Client, Rotated, RotationOptions, WebhookId};
use countersign::{KeyFile, KeyId, KeyringError};
use serde::Serialize;

use crate::api::ApiArgs;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, Out};
use crate::runtime;
use crate::secrets;
use crate::webhooks;

pub(crate) const EXAMPLES: &str = "\
Example:
  countersign rotate 0b8f7c1e-4f7a-4d5e-9b1a-2c3d4e5f6a7b --keys keys.toml --overlap 1d

What happens:
  1. The key file is marked as rotating: receivers that follow it answer 503 instead of 401 to what
     no key matches.
  2. --settle passes, until they have seen the mark.
  3. The provider makes the new secret and signs with it.
  4. The file is replaced by one with the new key first; the old ones are good for --overlap more.

Interrupted before 3, the mark is taken off again. Killed after it, the new secret is lost, since it is shown once: \
run the same command again. Until then deliveries are answered 503 and come back; the mark ends by itself after 15 \
minutes.";

/// More than a file is written in, on the slowest disk.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Args)]
pub(crate) struct RotateArgs {
    /// The subscription's id
    #[arg(value_name = "WEBHOOK_ID")]
    id: String,

    /// The key file that receivers follow; made by `webhooks create --keys`
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,

    /// How long the old keys stay good; longer than the provider's retries last
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = moment::length)]
    overlap: Duration,

    /// How long receivers get to see that the file is marked; they look every second
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = moment::length)]
    settle: Duration,

    /// The new key's name [default: made of the webhook's id and the time]
    #[arg(long, value_name = "NAME")]
    key_id: Option<KeyId>,

    #[command(flatten)]
    api: ApiArgs,
}

/// `{"webhook_id": …, "key_id": …, "keys": file, "old_keys_until": time}`
#[derive(Serialize)]
struct Done<'a> {
    webhook_id: &'a str,
    key_id: &'a str,
    keys: &'a Path,
    old_keys_until: String,
}

pub(crate) fn run(args: &RotateArgs, out: &Out) -> Result<(), Failure> {
    let id = webhooks::id(&args.id)?;
    let client = args.api.client(out)?;
    let marked_before = is_marked(&args.keys)?;
    let until = moment::now().saturating_add(args.settle).saturating_add(args.overlap);
    let rotated = runtime::block_on(async {
        let (told, progress) = (*out, out.progress("rotating, once receivers know"));
        let interrupted = runtime::interruption()?;
        let begun = Instant::now();
        let mut rotating = pin!(rotate(args, &id, &client));
        let rotated = tokio::select! {
            biased;
            rotated = &mut rotating => rotated,
            () = interrupted => {
                // The provider is not asked before that. Nothing stops the thread that makes the mark: what is to be taken
                // off is waited for.
                while begun.elapsed() < args.settle {
                    if marked_before || is_marked(&args.keys)? {
                        return Ok(None);
                    }
                    if let Ok(rotated) = tokio::time::timeout(LOOK_EVERY, &mut rotating).await {
                        return Ok(Some(rotated?));
                    }
                }
                told.note("the rotation is being finished: an interruption would lose the new secret");
                rotating.await
            }
        };
        progress.finish_and_clear();
        Ok(Some(rotated?))
    })?;
    let Some(rotated) = rotated else {
        if !marked_before {
            unmark(&args.keys)?;
        }
        out.note("nothing has changed");
        return Err(Failure::Interrupted);
    };
    let done = Done {
        webhook_id: id.as_str(),
        key_id: rotated.key_id.as_str(),
        keys: &args.keys,
        old_keys_until: until.to_string(),
    };
    out.either(&done, |out| {
        out.fields(&[
            ("webhook", id.to_string()),
            ("new key", rotated.key_id.to_string()),
            ("key file", args.keys.display().to_string()),
            ("old keys", format!("good for another {}, until {until}", output::length(args.overlap))),
        ])?;
        out.note("Receivers that follow the file have the new key within two seconds.");
        Ok(())
    })
}

async fn rotate(args: &RotateArgs, id: &WebhookId, client: &Client) -> Result<Rotated, Failure> {
    let mut options = RotationOptions::new(args.overlap).file_seen_within(args.settle);
    if let Some(key_id) = &args.key_id {
        options = options.key_id(key_id.clone());
    }
    Ok(client.rotate_into_file(id, &args.keys, &options).await?)
}

/// Takes off the mark that this process has made. The thread that made it may still be about to let go of the file.
fn unmark(path: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match KeyFile::begin_rotation(path, Duration::ZERO) {
            Err(KeyringError::File { reason, .. })
                if matches!(*reason, KeyringError::FileInUse) && begun.elapsed() < PATIENCE =>
            {
                std::thread::sleep(LOOK_EVERY);
            }
            rotation => return Ok(rotation?.abandon()?),
        }
    }
}

/// Whether an earlier rotation of the file is in doubt.
fn is_marked(path: &Path) -> Result<bool, Failure> {
    let keyring = secrets::read_keys(path)?;
    Ok(keyring.rotating_until().is_some_and(|until| until > moment::now()))
}
