//! What a sender may sign beside the body: every header's value, times within them, pieces of the request line.

use serde::Serialize;

use super::captured::Captured;
use crate::time::Timestamp;

/// The longest value that is tried as a piece of the signed content.
const MAX_VALUE: usize = 1024;

/// The most values that are tried.
const MAX_FIELDS: usize = 64;

/// Ten years: a number of seconds this far from now is no time of a delivery.
const PLAUSIBLE: u64 = 10 * 366 * 24 * 60 * 60;

/// Headers that describe the connection or the way, and are signed by next to nobody.
const BORING: [&str; 42] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "cdn-loop",
    "cf-connecting-ip",
    "cf-ipcountry",
    "cf-ray",
    "cf-visitor",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "from",
    "host",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "proxy-connection",
    "referer",
    "te",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "user-agent",
    "via",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-scheme",
];

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// An item of a header, behind `prefix`.
    Element {
        header: usize,
        name: String,
        separator: char,
        prefix: String,
    },
    /// A field line of this lower-case name.
    Header {
        name: String,
    },
    Request(RequestPart),
}

/// A piece of the request line, which a [`Scheme`](crate::Scheme) does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestPart {
    /// The method.
    Method,
    /// The target without its query.
    Path,
    /// The query, without the `?`.
    Query,
    /// The target as it stands in the request line.
    Target,
    /// `https://`, the host, the target.
    Url,
    /// `http://`, the host, the target.
    UrlHttp,
}

/// What a value is, as far as its name and its form tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Time,
    Id,
    EventType,
    Other,
    Boring,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TimeForm {
    /// Milliseconds since the Unix epoch.
    Milliseconds,
    /// RFC 3339, such as `2026-11-22T20:30:00Z`.
    Rfc3339,
    /// Seconds since the Unix epoch, 1 to 12 digits: the one form that a [`Scheme`](crate::Scheme) checks.
    Seconds,
}

/// A value that may be signed.
pub(super) struct Field {
    pub(super) origin: Origin,
    pub(super) value: Vec<u8>,
    pub(super) role: Role,
    pub(super) time: Option<(TimeForm, Timestamp)>,
    /// Where else the same value stands.
    pub(super) also: Vec<Origin>,
}

/// All values of `captured`, the likely ones first, each value once. `signature_headers` are those that hold tags.
pub(super) fn collect(captured: &Captured, signature_headers: &[usize], now: Timestamp) -> Vec<Field> {
    let mut fields = Vec::new();
    for (index, (name, value)) in captured.headers().enumerate() {
        let name = name.to_ascii_lowercase();
        if signature_headers.contains(&index) {
            elements(index, &name, value, now, &mut fields);
        }
        let time = time_form(value);
        let role = role_of_header(&name, value, time, signature_headers.contains(&index), now);
        fields.push(Field { origin: Origin::Header { name }, value: value.to_vec(), role, time, also: Vec::new() });
    }
    request_line(captured, &mut fields);
    fields.retain(|field| !field.value.is_empty() && field.value.len() <= MAX_VALUE);
    fields.sort_by_key(|field| field.role);
    let mut distinct: Vec<Field> = Vec::new();
    for field in fields {
        let same = distinct.iter().position(|other| other.value == field.value);
        match same {
            Some(at) if distinct[at].also.len() < 8 => distinct[at].also.push(field.origin),
            None if distinct.len() < MAX_FIELDS => distinct.push(field),
            _ => {}
        }
    }
    distinct
}

/// Whether `name` is that of a header with a delivery's id; smaller is likelier.
pub(super) fn sounds_like_an_id(name: &str) -> Option<u8> {
    let likely =
        ["webhook-id", "webhookid", "delivery", "message-id", "msg-id", "event-id", "svix-id", "notification-id"];
    if likely.iter().any(|word| name.contains(word)) {
        return Some(0);
    }
    let maybe = name.ends_with("-id") || name == "id" || name.contains("uuid") || name.contains("idempotency");
    if maybe || name.contains("nonce") { Some(if name.contains("request") { 2 } else { 1 }) } else { None }
}

/// Whether `name` is that of a header with an event's type.
pub(super) fn sounds_like_an_event_type(name: &str) -> bool {
    let named = ["event", "topic", "event-type", "event-name", "event-key", "webhook-type", "-type"];
    name != "content-type" && named.iter().any(|word| name.ends_with(word))
}

fn role_of_header(name: &str, value: &[u8], time: Option<(TimeForm, Timestamp)>, signs: bool, now: Timestamp) -> Role {
    let timely = ["time", "-ts", "date", "sent-at"].iter().any(|word| name.contains(word));
    match time {
        _ if BORING.contains(&name) || signs => Role::Boring,
        Some((TimeForm::Seconds, at)) if timely || is_plausible(at, now) => Role::Time,
        Some((TimeForm::Milliseconds | TimeForm::Rfc3339, _)) => Role::Time,
        _ if name == "date" => Role::Time,
        _ if !value.iter().all(u8::is_ascii_graphic) => Role::Other,
        _ if sounds_like_an_id(name).is_some() => Role::Id,
        _ if sounds_like_an_event_type(name) => Role::EventType,
        _ => Role::Other,
    }
}

fn is_plausible(at: Timestamp, now: Timestamp) -> bool {
    at.abs_diff(now).as_secs() <= PLAUSIBLE
}

pub(super) fn time_form(value: &[u8]) -> Option<(TimeForm, Timestamp)> {
    if let Some(at) = crate::scheme::parse_timestamp(value) {
        return Some((TimeForm::Seconds, at));
    }
    let text = std::str::from_utf8(value).ok()?;
    if (13..=14).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some((TimeForm::Milliseconds, Timestamp::from_millis(text.parse().ok()?)));
    }
    Timestamp::parse_rfc3339(text).ok().map(|at| (TimeForm::Rfc3339, at))
}

/// The items of a signature header that are not signatures, such as `t=1750000000`.
fn elements(header: usize, name: &str, value: &[u8], now: Timestamp, fields: &mut Vec<Field>) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    if text.len() > super::tags::MAX_VALUE {
        return;
    }
    for separator in [',', ';', ' ', '&', '|', '.', ':', '/'].into_iter().filter(|separator| text.contains(*separator))
    {
        for item in text.split(separator).take(32) {
            let split = item.find(['=', ':', '@']).map(|at| item.split_at(at + 1));
            let split = split.or_else(|| Some(item.split_at(item.find(|char: char| char.is_ascii_digit())?)));
            let Some((prefix, value)) = split else { continue };
            let time = time_form(value.as_bytes());
            let marked = prefix.ends_with(['=', ':', '@']);
            let is_time = match time {
                Some((TimeForm::Seconds, at)) => marked || is_plausible(at, now),
                Some(_) => true,
                None => false,
            };
            let named = prefix.len() <= 32 && value.len() <= 128 && prefix.bytes().all(|byte| byte.is_ascii_graphic());
            if !named || (!is_time && !marked) || super::tags::Spelling::read(value.as_bytes()).is_some() {
                continue;
            }
            let origin = Origin::Element { header, name: name.to_owned(), separator, prefix: prefix.to_owned() };
            let role = if is_time { Role::Time } else { Role::Other };
            fields.push(Field { origin, value: value.as_bytes().to_vec(), role, time, also: Vec::new() });
        }
    }
}

fn request_line(captured: &Captured, fields: &mut Vec<Field>) {
    let (Some(method), Some(target)) = (captured.method(), captured.target()) else { return };
    let host = captured.headers().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value);
    let mut add = |part, value: Vec<u8>| {
        let origin = Origin::Request(part);
        fields.push(Field { origin, value, role: Role::Boring, time: None, also: Vec::new() });
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    add(RequestPart::Method, method.as_bytes().to_vec());
    add(RequestPart::Path, path.as_bytes().to_vec());
    add(RequestPart::Target, target.as_bytes().to_vec());
    add(RequestPart::Query, query.as_bytes().to_vec());
    if target.starts_with('/')
        && let Some(host) = host
    {
        add(RequestPart::Url, [b"https://", host, target.as_bytes()].concat());
        add(RequestPart::UrlHttp, [b"http://", host, target.as_bytes()].concat());
    }
}

impl Origin {
    /// How the value is named in a template; `known` names it where a scheme has a name for it.
    pub(super) fn placeholder(&self) -> String {
        match self {
            Self::Element { prefix, .. } => format!("{{element:{prefix}}}"),
            Self::Header { name } => format!("{{header:{name}}}"),
            Self::Request(part) => format!("{{{}}}", part.as_str()),
        }
    }
}

impl RequestPart {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Path => "path",
            Self::Query => "query",
            Self::Target => "target",
            Self::Url => "url",
            Self::UrlHttp => "url_http",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);

    fn roles(headers: &[(&str, &str)]) -> Vec<(String, Role)> {
        let captured = Captured::new(headers.iter().copied(), "");
        let fields = collect(&captured, &[0], NOW);
        fields.iter().map(|field| (field.origin.placeholder(), field.role)).collect()
    }

    #[test]
    fn names_and_forms_tell_what_a_value_is() {
        let roles = roles(&[
            ("x-sig", "t=1790000001,id=abc,v1=00"),
            ("Webhook-Id", "msg_1"),
            ("x-topic", "orders/create"),
            ("x-when", "1790000002"),
            ("x-at", "2026-11-22T20:30:00Z"),
            ("x-ms", "1790000000000"),
            ("x-count", "12"),
            ("content-length", "1790000003"),
            ("user-agent", "x"),
        ]);
        for (placeholder, role) in [
            ("{element:t=}", Role::Time),
            ("{element:id=}", Role::Other),
            ("{header:webhook-id}", Role::Id),
            ("{header:x-topic}", Role::EventType),
            ("{header:x-when}", Role::Time),
            ("{header:x-at}", Role::Time),
            ("{header:x-ms}", Role::Time),
            ("{header:x-count}", Role::Other),
            ("{header:content-length}", Role::Boring),
            ("{header:user-agent}", Role::Boring),
        ] {
            assert!(roles.contains(&(placeholder.to_owned(), role)), "{placeholder}: {roles:?}");
        }
    }

    #[test]
    fn a_value_that_stands_twice_is_tried_once_and_told() {
        let captured = Captured::new([("webhook-id", "msg_1"), ("x-request-id", "msg_1")], "");
        let fields = collect(&captured, &[], NOW);
        let other = Origin::Header { name: "x-request-id".to_owned() };
        assert_eq!((fields.len(), fields[0].also.as_slice()), (1, &[other][..]));
    }
}
