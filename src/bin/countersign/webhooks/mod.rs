//! `webhooks`: subscriptions and the URL for everything else.

mod create;

use clap::{Args, Subcommand};
use countersign::kycgenie::client::{Client, Webhook, WebhookChanges, WebhookId};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::ApiArgs;
use crate::exit::Failure;
use crate::output::{BAD, GOOD, Out, STRONG};
use crate::runtime;

pub(crate) use self::create::fresh_key_id;
use self::create::{CreateArgs, check_new, create, show_secret};

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
    #[command(
        after_help = "Example:\n  countersign webhooks update 0b8f7c1e-4f7a-4d5e-9b1a-2c3d4e5f6a7b --url https://example.com/new --active"
    )]
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
    if let Action::Create(args) = &args.action {
        args.keys.as_deref().map_or(Ok(()), check_new)?;
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
    let moment =
        |moment: Option<countersign::Timestamp>| moment.map_or_else(|| "never".to_owned(), |at| at.to_string());
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

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|_| "write a JSON object such as {\"country\":\"CH\"}".to_owned())
}
