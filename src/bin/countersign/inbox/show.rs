//! `inbox show`: one entry. Bodies hold personal data and headers hold signatures, so both are printed on request only.

use std::io::IsTerminal as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use countersign::identify::Captured;
use countersign::inbox::{Entry, State, StoredDelivery};
use countersign::{Authenticated, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use super::entry::{Shown, ago, fate, or_dash};
use super::place::Place;
use crate::exit::Failure;
use crate::moment;
use crate::output::{self, Out};
use crate::runtime;

pub(super) const EXAMPLES: &str = "\
Examples:
  countersign inbox show 4711
  countersign inbox show 4711 --body | jq .
  countersign inbox show 4711 --headers
  countersign inbox show 4711 --headers --body --reveal | countersign verify - --any-age

With --headers, --body or both only these are printed, as they came: both together are a request as `countersign \
verify` reads it. Whatever may be a signature is hidden unless --reveal is given. On a terminal, control characters in \
a body are escaped.";

/// What stands in the place of a value that may be a signature.
const HIDDEN: &str = "(hidden; --reveal shows it)";

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The entry's number, as `inbox list` shows it
    number: i64,

    /// Print the headers that were kept: those that the scheme reads
    #[arg(long)]
    headers: bool,

    /// Print the body, byte for byte; it may hold personal data
    #[arg(long)]
    body: bool,

    /// With --headers: print signatures as well. With one, whoever has the body can deliver it again
    #[arg(long, requires = "headers")]
    reveal: bool,
}

/// The entry, and what was kept of its delivery.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    entry: Shown<'a>,
    /// The one of its entity that is pending or running.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<i64>,
    signed_at: Option<String>,
    key_id: &'a str,
    authenticated: Vec<&'static str>,
    body_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    /// In place of `body`, where it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

pub(super) async fn show(args: &ShowArgs, place: &Place, out: &Out) -> Result<(), Failure> {
    let (found, ahead) = runtime::unless_interrupted(async {
        let store = place.open().await?;
        let found = store.show(args.number).await?;
        let waiting = found.as_ref().map(|(entry, _)| entry).filter(|entry| entry.state == State::Waiting);
        let ahead = match waiting.and_then(|entry| entry.entity.as_deref()) {
            Some(entity) => store.at_work_on(entity).await?,
            None => None,
        };
        Ok((found, ahead))
    })
    .await?;
    let ahead = ahead.as_ref();
    let (entry, delivery) = found.ok_or_else(|| {
        Failure::No(Some(format!("there is no entry {}: it has never been there, or it was pruned", args.number)))
    })?;
    if out.json() {
        return out.object(&whole(args, &entry, ahead, &delivery));
    }
    match (args.headers, args.body) {
        (false, false) => {
            out.fields(&fields(&entry, ahead, &delivery, moment::now()))?;
            next_step(&entry, ahead, place, out);
            Ok(())
        }
        (true, false) => headers(&delivery, args.reveal).try_for_each(|(name, value)| {
            out.line(format!("{}: {}", output::visible(name), output::visible(&String::from_utf8_lossy(&value))))
        }),
        (false, true) => bytes(&delivery.raw, out),
        (true, true) => {
            let request = Captured::new(headers(&delivery, args.reveal), delivery.raw.clone());
            bytes(&request.request_line("POST", "/").to_bytes(), out)
        }
    }
}

/// As they are, but on a terminal without what would steer it.
fn bytes(raw: &[u8], out: &Out) -> Result<(), Failure> {
    if std::io::stdout().is_terminal() {
        return out.line(output::visible_lines(&String::from_utf8_lossy(raw)));
    }
    out.raw(raw)
}

fn whole<'a>(args: &ShowArgs, entry: &'a Entry, ahead: Option<&Entry>, delivery: &'a StoredDelivery) -> Whole<'a> {
    let text = std::str::from_utf8(&delivery.raw).ok();
    let header = |(name, value): (&str, Vec<u8>)| {
        let value = String::from_utf8_lossy(&value).into_owned();
        Map::from_iter([("name".to_owned(), name.into()), ("value".to_owned(), value.into())])
    };
    Whole {
        entry: Shown::of(entry),
        waits_for: ahead.map(|ahead| ahead.number),
        signed_at: delivery.timestamp.map(|moment| moment.to_string()),
        key_id: delivery.key_id.as_str(),
        authenticated: signed(delivery.authenticated),
        body_bytes: delivery.raw.len(),
        headers: args.headers.then(|| headers(delivery, args.reveal).map(header).collect()),
        body: text.filter(|_| args.body),
        body_base64: (args.body && text.is_none()).then(|| STANDARD.encode(&delivery.raw)),
    }
}

fn fields(
    entry: &Entry,
    ahead: Option<&Entry>,
    delivery: &StoredDelivery,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let at = |moment: Timestamp| format!("{moment}, {}", ago(moment, now));
    let mut fields = vec![
        ("number", entry.number.to_string()),
        ("state", format!("{}, {}", entry.state.as_str(), fate(entry, now))),
        ("source", entry.source.to_string()),
        ("event type", or_dash(entry.event_type.as_ref())),
        ("delivery id", or_dash(entry.delivery_id.as_ref())),
        ("received", at(entry.received_at)),
        ("signed", delivery.timestamp.map_or_else(|| "no time is signed".to_owned(), at)),
        ("key", format!("{}, its signature covers {}", delivery.key_id, signed(delivery.authenticated).join(", "))),
        ("body", format!("{}, shown by --body", output::size(delivery.raw.len()))),
        ("headers", format!("{}, shown by --headers", delivery.headers.len())),
        ("tries", entry.attempts.to_string()),
    ];
    let mut add = |name, text: Option<String>| fields.extend(text.map(|text| (name, text)));
    add("tenant", entry.tenant.as_ref().map(ToString::to_string));
    add("entity", entry.entity.clone());
    add("waits for", ahead.map(|ahead| format!("{}, {}, {}", ahead.number, ahead.state.as_str(), fate(ahead, now))));
    add("due", entry.due_at.filter(|_| entry.state == State::Pending).map(|due| due.to_string()));
    add("leased until", entry.due_at.filter(|_| entry.state == State::Running).map(|end| end.to_string()));
    add("finished", entry.finished_at.map(at));
    add("last error", entry.last_error.clone());
    fields
}

fn next_step(entry: &Entry, ahead: Option<&Entry>, place: &Place, out: &Out) {
    if let Some(ahead) = ahead {
        out.note(format!("`countersign inbox show {}{}` tells what holds it up", ahead.number, place.option()));
    }
    if entry.state == State::Dead {
        out.note(format!("`countersign inbox replay {}{}` has it worked on again", entry.number, place.option()));
    }
}

fn signed(authenticated: Authenticated) -> Vec<&'static str> {
    let Authenticated { body, id, timestamp, event_type, .. } = authenticated;
    let all = [(body, "body"), (id, "id"), (timestamp, "time"), (event_type, "event type")];
    all.into_iter().filter_map(|(covered, name)| covered.then_some(name)).collect()
}

/// The headers that were kept; without `reveal` only values that cannot be a signature.
fn headers(delivery: &StoredDelivery, reveal: bool) -> impl Iterator<Item = (&str, Vec<u8>)> {
    delivery.headers.iter().map(move |(name, value)| {
        let shown = reveal || is_harmless(name, value, delivery);
        (name.as_str(), if shown { value.clone() } else { HIDDEN.as_bytes().to_vec() })
    })
}

/// Which header is the signature only the scheme knows, and it is not kept. So a value is hidden unless it is one that
/// is shown anyway, or a number that is too short to be a signature.
fn is_harmless(name: &str, value: &[u8], delivery: &StoredDelivery) -> bool {
    const LONGEST_TIME: usize = 13;
    let is = |known: Option<&str>| known.is_some_and(|known| known.as_bytes() == value);
    is(delivery.id.as_ref().map(AsRef::as_ref))
        || is(delivery.event_type.as_ref().map(AsRef::as_ref))
        || (value.len() <= LONGEST_TIME && value.iter().all(u8::is_ascii_digit))
        || name == "content-type"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(headers: &[(&str, &str)]) -> StoredDelivery {
        StoredDelivery {
            source: countersign::Source::new("test").expect("a source"),
            tenant: None,
            id: Some(countersign::DeliveryId::new("msg_1").expect("an id")),
            event_type: None,
            timestamp: None,
            received_at: Timestamp::from_secs(0),
            key_id: countersign::KeyId::new("key").expect("an id"),
            authenticated: Authenticated::from_bits(1),
            content_digest: None,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect(),
            raw: bytes::Bytes::new(),
        }
    }

    #[test]
    fn whatever_may_be_a_signature_is_hidden() {
        for (name, value, hidden) in [
            ("webhook-id", "msg_1", false),
            ("webhook-timestamp", "1795526774", false),
            ("x-time", "1795526774000", false),
            ("content-type", "application/json", false),
            ("webhook-signature", "v1,c2lnbmVk", true),
            ("stripe-signature", "t=1795526774,v1=5257", true),
            ("x-unheard-of", "c2lnbmVk", true),
            ("x-digits", "17955267740001", true),
        ] {
            let delivery = delivery(&[(name, value)]);
            let shown = |reveal| headers(&delivery, reveal).map(|(_, value)| value).next().expect("a header");
            assert_eq!(shown(false) != value.as_bytes(), hidden, "{name}");
            assert_eq!(shown(true), value.as_bytes(), "{name}");
        }
    }
}
