//! `rotate`: a new secret from the provider into a key file, without a delivery being refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use countersign::kycgenie::client::{Client, WebhookId};
use countersign::{Key, KeyFile, KeyFileRotation, KeyId};
use serde::Serialize;

use crate::api::ApiArgs;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, Out};
use crate::runtime;
use crate::webhooks;

/// For how long receivers answer 503 to what no key matches, should nobody finish the rotation.
const LIMIT: Duration = Duration::from_secs(15 * 60);

pub(crate) const EXAMPLES: &str = "\
Example:
  countersign rotate 0b8f7c1e-… --keys keys.toml --overlap 1d

What happens:
  1. The key file is marked as rotating: receivers that follow it answer 503 instead of 401 to what
     no key matches.
  2. --settle passes, until they have seen the mark.
  3. The provider makes the new secret and signs with it.
  4. The file is replaced by one with the new key first; the old ones are good for --overlap more.

Interrupted before 3, the mark is taken off again. Killed after it, the new secret is lost, since it is shown once: \
run the same command again. Until then deliveries are answered 503 and come back; the mark ends by itself after 15 \
minutes.";

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

    /// The new key's name [default: the present time]
    #[arg(long, value_name = "NAME")]
    key_id: Option<KeyId>,

    #[command(flatten)]
    api: ApiArgs,
}

/// `{"webhook_id": …, "key_id": …, "keys": file, "old_keys_until": time}`
#[derive(Serialize)]
struct Rotated<'a> {
    webhook_id: &'a str,
    key_id: &'a str,
    keys: &'a Path,
    old_keys_until: String,
}

pub(crate) fn run(args: &RotateArgs, out: &Out) -> Result<(), Failure> {
    let id = webhooks::id(&args.id)?;
    let key_id = args.key_id.clone().map_or_else(webhooks::fresh_key_id, Ok)?;
    let client = args.api.client(out)?;
    let rotation = KeyFile::begin_rotation(&args.keys, LIMIT)?;
    runtime::block_on(rotate(args, &id, key_id, &client, rotation, out))
}

async fn rotate(
    args: &RotateArgs,
    id: &WebhookId,
    key_id: KeyId,
    client: &Client,
    rotation: KeyFileRotation,
    out: &Out,
) -> Result<(), Failure> {
    let progress = out.progress("waiting until receivers know");
    tokio::select! {
        biased;
        () = runtime::interrupted() => {
            rotation.abandon()?;
            return Err(Failure::Interrupted);
        }
        () = tokio::time::sleep(args.settle) => {}
    }
    progress.finish_and_clear();
    // From here on an interruption would lose the secret, and it takes no longer than one request.
    let told = *out;
    let deaf = tokio::spawn(async move {
        loop {
            runtime::interrupted().await;
            told.note("the rotation is being finished");
        }
    });
    let rotated = match client.rotate_secret(id).await {
        Ok(rotated) => rotated,
        Err(error) if error.may_have_been_done() => {
            out.warn(
                "the provider may have made a new secret, which nobody knows: run this command again; deliveries are \
                 answered 503 meanwhile and come back",
            );
            return Err(error.into());
        }
        Err(error) => {
            rotation.abandon()?;
            return Err(error.into());
        }
    };
    let until = moment::now().saturating_add(args.overlap);
    if let Err(error) = rotation.install(Key::new(key_id.clone(), rotated.secret), args.overlap) {
        out.warn("the provider has made a new secret, which could not be kept: mend this and run the command again");
        return Err(error.into());
    }
    deaf.abort();
    let done = Rotated {
        webhook_id: id.as_str(),
        key_id: key_id.as_str(),
        keys: &args.keys,
        old_keys_until: until.to_string(),
    };
    out.either(&done, |out| {
        out.fields(&[
            ("webhook", id.to_string()),
            ("new key", key_id.to_string()),
            ("key file", args.keys.display().to_string()),
            ("old keys", format!("good until {until} ({})", output::length(args.overlap))),
        ])
    })
}
