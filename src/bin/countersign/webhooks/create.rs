//! A new subscription, and where its secret goes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use countersign::kycgenie::client::{Client, NewWebhook, WebhookId};
use countersign::{Key, KeyFile, KeyId, Secret, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::Failure;
use crate::moment;
use crate::output::Out;

#[derive(Args)]
pub(super) struct CreateArgs {
    /// Which events: a type such as screening.completed, or `all`
    event_type: String,

    /// Where to deliver them
    url: String,

    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// A JSON object; the provider keeps it for future use
    #[arg(long, value_name = "JSON", value_parser = super::object)]
    filters: Option<Map<String, Value>>,

    /// Put the secret into this new key file instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(super) keys: Option<PathBuf>,

    /// The key's name in the file [default: made of the webhook's id and the time]
    #[arg(long, value_name = "NAME", requires = "keys")]
    key_id: Option<KeyId>,
}

pub(super) async fn create(args: &CreateArgs, client: &Client, out: &Out) -> Result<(), Failure> {
    let mut wanted = NewWebhook::new(&args.event_type, &args.url);
    if let Some(description) = &args.description {
        wanted = wanted.description(description);
    }
    if let Some(filters) = &args.filters {
        wanted = wanted.filters(filters.clone());
    }
    let created = client.create(&wanted).await?;
    let facts = [("id", created.id.to_string()), ("event type", created.event_type), ("url", created.webhook_url)];
    let Some(path) = &args.keys else {
        return show_secret(&created.secret, &facts, out);
    };
    let key_id = args.key_id.clone().map_or_else(|| fresh_key_id(&created.id), Ok)?;
    if let Err(error) = KeyFile::create(path, Key::new(key_id.clone(), created.secret)) {
        out.warn(format!(
            "the subscription {} exists, and its secret could not be kept: make a new one with `countersign webhooks \
             rotate-secret {0}`",
            created.id
        ));
        return Err(error.into());
    }
    let kept = Kept { id: &facts[0].1, event_type: &facts[1].1, webhook_url: &facts[2].1, keys: path, key_id: &key_id };
    out.either(&kept, |out| {
        let file = [("key", key_id.to_string()), ("key file", path.display().to_string())];
        out.fields(&facts.iter().cloned().chain(file).collect::<Vec<_>>())
    })
}

/// With `--keys`: where the secret is, and not the secret.
#[derive(Serialize)]
struct Kept<'a> {
    id: &'a str,
    event_type: &'a str,
    webhook_url: &'a str,
    keys: &'a Path,
    #[serde(serialize_with = "shown")]
    key_id: &'a KeyId,
}

fn shown<S: serde::Serializer>(id: &KeyId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

/// The one time that a secret is printed: on standard output, where it was asked for.
pub(super) fn show_secret(secret: &Secret, facts: &[(&str, String)], out: &Out) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(secret.expose_secret());
    if out.json() {
        let names = facts.iter().map(|(name, value)| (name.replace(' ', "_"), Value::from(value.as_str())));
        let object: Map<_, _> = names.chain([("secret".to_owned(), Value::from(&*text))]).collect();
        out.object(&object)?;
    } else {
        let secret = ("secret", text.into_owned());
        out.fields(&facts.iter().cloned().chain([secret]).collect::<Vec<_>>())?;
    }
    out.note("The provider shows this secret once. Put it where your receiver reads it, and nowhere else.");
    Ok(())
}

/// A name that no earlier key has, made as a rotation makes it: the webhook's id in short, and the present second.
pub(crate) fn fresh_key_id(webhook: &WebhookId) -> Result<KeyId, Failure> {
    let short: String = webhook.as_str().chars().take(8).collect();
    let second = Timestamp::from_secs(moment::now().as_secs()).to_string().replace(".000", "");
    KeyId::new(&format!("{short}-{second}"))
        .map_err(|reason| Failure::usage(format!("the new key's name: {reason}"), "give one with --key-id"))
}

/// Before the provider makes a secret that is shown once: whether there will be a place for it.
pub(super) fn check_new(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        let what = format!("{} exists already", path.display());
        return Err(Failure::unusable(what, "give another file, or change its secret with `countersign rotate`"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = parent.join(format!(".countersign-{}", std::process::id()));
    fs::write(&probe, []).and_then(|()| fs::remove_file(&probe)).map_err(Failure::file(parent))
}
