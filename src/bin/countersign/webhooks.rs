//! `webhooks`: subscriptions and the URL for everything else.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use countersign::kycgenie::client::{Client, NewWebhook, Webhook, WebhookChanges, WebhookId};
use countersign::{Key, KeyFile, KeyId, Secret};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::ApiArgs;
use crate::exit::Failure;
use crate::moment;
use crate::output::{BAD, GOOD, Out, STRONG};
use crate::runtime;

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign webhooks list
  countersign webhooks create screening.completed https://example.com/hooks --keys keys.toml
  countersign webhooks update 0b8f7c1e-4f7a-4d5e-9b1a-2c3d4e5f6a7b --inactive
  countersign webhooks test https://example.com/hooks
  countersign webhooks config set https://example.com/fallback
  countersign --json webhooks list --sandbox | jq -r '.webhooks[].id'";

#[derive(Args)]
pub(crate) struct WebhooksArgs {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Subcommand)]
enum Action {
    /// All subscriptions
    #[command(after_help = "Example:\n  countersign --json webhooks list | jq -r '.webhooks[].id'")]
    List,

    /// Subscribe a URL to an event type; the secret is shown once
    #[command(after_help = "\
Example:
  countersign webhooks create screening.completed https://example.com/hooks --keys keys.toml

With --keys the secret goes into a new file of mode 0600 and is not printed. Receivers follow the file: \
Keyring::watch(\"keys.toml\"), or `countersign listen --keys keys.toml`.")]
    Create(CreateArgs),

    /// One subscription with its statistics
    #[command(after_help = "Example:\n  countersign webhooks get 0b8f7c1e-4f7a-4d5e-9b1a-2c3d4e5f6a7b")]
    Get(IdArgs),

    /// Change a subscription; what is not given stays as it is
    #[command(after_help = "Example:\n  countersign webhooks update 0b8f7c1e-4f7a-4d5e-9b1a-2c3d4e5f6a7b --url https://example.com/new --active")]
    Update(UpdateArgs),

    /// Delete a subscription
    #[command(after_help = "Example:\n  countersign webhooks delete 0b8f7c1e-4f7a-4d5e-9b1a-2c3d4e5f6a7b")]
    Delete(IdArgs),

    /// Have the provider make a new secret, and print it once; `countersign rotate` puts it into a key file instead
    #[command(after_help = "Example:\n  countersign webhooks rotate-secret 0b8f7c1e-4f7a-4d5e-9b1a-2c3d4e5f6a7b")]
    RotateSecret(IdArgs),

    /// Have the provider send a test event to a URL, and tell what came of it
    #[command(after_help = "\
Example:
  countersign webhooks test https://example.com/hooks

The exit code is 0 when it was delivered, and 1 when it was not.")]
    Test(UrlArgs),

    /// The URL that gets what no subscription matches
    #[command(after_help = "Example:\n  countersign webhooks config set https://example.com/fallback")]
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
}

#[derive(Subcommand)]
enum ConfigAction {
    /// The URL that is set
    #[command(after_help = "Example:\n  countersign webhooks config get")]
    Get,
    /// Set the URL
    #[command(after_help = "Example:\n  countersign webhooks config set https://example.com/fallback")]
    Set(UrlArgs),
    /// Unset the URL
    #[command(after_help = "Example:\n  countersign webhooks config delete")]
    Delete,
}

#[derive(Args)]
struct IdArgs {
    /// The subscription's id
    #[arg(value_name = "WEBHOOK_ID")]
    id: String,
}

#[derive(Args)]
struct UrlArgs {
    /// The URL
    url: String,
}

#[derive(Args)]
struct CreateArgs {
    /// Which events: a type such as screening.completed, or `all`
    event_type: String,

    /// Where to deliver them
    url: String,

    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// A JSON object; the provider keeps it for future use
    #[arg(long, value_name = "JSON", value_parser = object)]
    filters: Option<Map<String, Value>>,

    /// Put the secret into this new key file instead of printing it
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    /// The key's name in the file [default: the present time]
    #[arg(long, value_name = "NAME", requires = "keys")]
    key_id: Option<KeyId>,
}

#[derive(Args)]
struct UpdateArgs {
    /// The subscription's id
    #[arg(value_name = "WEBHOOK_ID")]
    id: String,

    /// Another event type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,

    /// Another URL
    #[arg(long)]
    url: Option<String>,

    /// Deliver again
    #[arg(long, conflicts_with = "inactive")]
    active: bool,

    /// Deliver no more
    #[arg(long)]
    inactive: bool,

    /// Another note
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Other filters, a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    filters: Option<Map<String, Value>>,
}

pub(crate) fn run(args: &WebhooksArgs, out: &Out) -> Result<(), Failure> {
    if let Action::Create(CreateArgs { keys: Some(path), .. }) = &args.action {
        check_new(path)?;
    }
    let client = args.api.client(out)?;
    runtime::block_on(runtime::unless_interrupted(act(&args.action, &client, out)))
}

async fn act(action: &Action, client: &Client, out: &Out) -> Result<(), Failure> {
    match action {
        Action::List => list(client, out).await,
        Action::Create(args) => create(args, client, out).await,
        Action::Get(args) => {
            let webhook = client.get(&id(&args.id)?).await?;
            out.either(&webhook, |out| out.fields(&described(&webhook)))
        }
        Action::Update(args) => {
            let id = id(&args.id)?;
            let changes = changes(args);
            if changes == WebhookChanges::new() {
                return Err(Failure::usage("there is nothing to change", "see `countersign webhooks update --help`"));
            }
            let updated = client.update(&id, &changes).await?;
            say(id.as_str(), &updated.message, out)
        }
        Action::Delete(args) => {
            let id = id(&args.id)?;
            let message = client.delete(&id).await?;
            say(id.as_str(), &message, out)
        }
        Action::RotateSecret(args) => {
            let id = id(&args.id)?;
            let rotated = client.rotate_secret(&id).await?;
            show_secret(&rotated.secret, &[("id", id.to_string())], out)
        }
        Action::Test(args) => test(&args.url, client, out).await,
        Action::Config { action } => config(action, client, out).await,
    }
}

/// `{"count": n, "webhooks": […]}`
#[derive(Serialize)]
struct List<'a> {
    count: usize,
    webhooks: &'a [Webhook],
}

async fn list(client: &Client, out: &Out) -> Result<(), Failure> {
    let webhooks = client.list().await?;
    out.either(&List { count: webhooks.len(), webhooks: &webhooks }, |out| {
        if webhooks.is_empty() {
            return out.line("no subscriptions");
        }
        let row = |webhook: &Webhook| {
            let stats = webhook.stats.unwrap_or_default();
            let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            vec![
                webhook.id.to_string(),
                webhook.event_type.clone(),
                active(webhook.is_active).to_owned(),
                number(stats.successful_deliveries),
                number(stats.failed_deliveries),
                webhook.webhook_url.clone(),
            ]
        };
        let rows: Vec<_> = webhooks.iter().map(row).collect();
        out.table(&["id", "event type", "active", "delivered", "failed", "url"], &rows)
    })
}

fn described(webhook: &Webhook) -> Vec<(&'static str, String)> {
    let moment = |moment: Option<countersign::Timestamp>| moment.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let stats = webhook.stats.unwrap_or_default();
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let filters = webhook.filters.clone().unwrap_or_default();
    vec![
        ("id", webhook.id.to_string()),
        ("event type", webhook.event_type.clone()),
        ("url", webhook.webhook_url.clone()),
        ("active", active(webhook.is_active).to_owned()),
        ("description", webhook.description.clone().unwrap_or_default()),
        ("filters", Value::Object(filters).to_string()),
        ("deliveries", number(stats.total_deliveries)),
        ("delivered", number(stats.successful_deliveries)),
        ("failed", number(stats.failed_deliveries)),
        ("created", moment(webhook.created_at)),
        ("updated", moment(webhook.updated_at)),
        ("triggered", moment(webhook.last_triggered_at)),
    ]
}

fn active(is_active: Option<bool>) -> &'static str {
    match is_active {
        Some(true) => "yes",
        Some(false) => "no",
        None => "-",
    }
}

async fn create(args: &CreateArgs, client: &Client, out: &Out) -> Result<(), Failure> {
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
    let key_id = args.key_id.clone().map_or_else(fresh_key_id, Ok)?;
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
fn show_secret(secret: &Secret, facts: &[(&str, String)], out: &Out) -> Result<(), Failure> {
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

async fn test(url: &str, client: &Client, out: &Out) -> Result<(), Failure> {
    let delivery = client.test(url).await?;
    out.either(&delivery, |out| {
        let (style, word) = if delivery.success { (GOOD, "delivered") } else { (BAD, "not delivered") };
        let status = delivery.http_status_code.map_or_else(|| "no answer".to_owned(), |code| format!("HTTP {code}"));
        out.line(format!("{}  {status}  {}", out.styled(style, word), crate::output::visible(&delivery.message)))
    })?;
    if delivery.success { Ok(()) } else { Err(Failure::No(None)) }
}

async fn config(action: &ConfigAction, client: &Client, out: &Out) -> Result<(), Failure> {
    match action {
        ConfigAction::Get => {
            let config = client.config().await?;
            out.either(&config, |out| match &config.webhook_url {
                Some(url) => out.line(out.styled(STRONG, crate::output::visible(url))),
                None => out.line("no URL is set: what no subscription matches is not delivered"),
            })
        }
        ConfigAction::Set(args) => {
            client.update_config(Some(&args.url)).await?;
            say(&args.url, "what no subscription matches goes there now", out)
        }
        ConfigAction::Delete => {
            client.delete_config().await?;
            say("", "no URL is set any more", out)
        }
    }
}

/// `{"id": …, "message": …}`
#[derive(Serialize)]
struct Said<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    message: &'a str,
}

fn say(id: &str, message: &str, out: &Out) -> Result<(), Failure> {
    out.either(&Said { id, message }, |out| out.line(crate::output::visible(format!("{id}  {message}").trim())))
}

fn changes(args: &UpdateArgs) -> WebhookChanges {
    let mut changes = WebhookChanges::new();
    if let Some(event_type) = &args.event_type {
        changes = changes.event_type(event_type);
    }
    if let Some(url) = &args.url {
        changes = changes.webhook_url(url);
    }
    if args.active || args.inactive {
        changes = changes.is_active(args.active);
    }
    if let Some(description) = &args.description {
        changes = changes.description(description);
    }
    if let Some(filters) = &args.filters {
        changes = changes.filters(filters.clone());
    }
    changes
}

pub(crate) fn id(text: &str) -> Result<WebhookId, Failure> {
    WebhookId::new(text).map_err(|reason| Failure::usage(format!("the webhook's id: {reason}"), "see `webhooks list`"))
}

/// A name that no earlier key has: the present second.
pub(crate) fn fresh_key_id() -> Result<KeyId, Failure> {
    let now = moment::now().to_string();
    let second = now.split_once('.').map_or(now.as_str(), |(second, _)| second);
    KeyId::new(&format!("{second}Z")).map_err(|reason| Failure::usage(reason.to_string(), "give one with --key-id"))
}

/// Before the provider makes a secret that is shown once: whether there will be a place for it.
pub(crate) fn check_new(path: &Path) -> Result<(), Failure> {
    if path.exists() {
        let what = format!("{} exists already", path.display());
        return Err(Failure::unusable(what, "give another file, or change its secret with `countersign rotate`"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = parent.join(format!(".countersign-{}", std::process::id()));
    fs::write(&probe, []).and_then(|()| fs::remove_file(&probe)).map_err(Failure::file(parent))
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|_| "write a JSON object such as {\"country\":\"CH\"}".to_owned())
}
