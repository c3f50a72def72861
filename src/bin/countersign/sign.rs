//! `sign`: the headers that make a body a signed delivery.

use std::ffi::OsString;

use clap::Args;
use countersign::{EventType, Message, Signer, Timestamp};
use serde::{Deserialize, Serialize};

use crate::body::Source;
use crate::exit::Failure;
use crate::moment;
use crate::output::Out;
use crate::scheme::SchemeArgs;
use crate::secrets::{Prompt, SecretArgs};
use crate::shell::quoted;

/// Where a receiver of this crate's README listens.
const DEFAULT_URL: &str = "http://127.0.0.1:8080/webhooks/kycgenie";

pub(crate) const EXAMPLES: &str = "\
Examples:
  countersign sign '{\"event\":\"test\",\"data\":{}}'
  countersign sign --scheme github --event-type push @payload.json
  countersign sign --curl --url http://127.0.0.1:8080/hook @payload.json | sh
  generate | countersign sign --secret-file secret.txt --http - > request.http";

/// What is signed, and how.
#[derive(Args, Clone)]
pub(crate) struct Signing {
    /// The body: @FILE, - for standard input, or the text itself
    #[arg(value_name = "BODY")]
    pub(crate) body: OsString,

    /// The delivery's id [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,

    /// The event's type, for schemes that write it into a header [default: what the body says]
    #[arg(long, value_name = "TYPE")]
    pub(crate) event_type: Option<String>,

    /// The time to sign: RFC 3339, seconds since 1970, or an offset such as -10m [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment::moment, allow_hyphen_values = true)]
    pub(crate) time: Option<Timestamp>,

    /// A further header, "Name: value"; may be repeated
    #[arg(long = "header", short = 'H', value_name = "HEADER", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,

    /// Sign with every active key of the key file, as a sender in rotation does
    #[arg(long)]
    pub(crate) all_keys: bool,

    #[command(flatten)]
    pub(crate) scheme: SchemeArgs,

    #[command(flatten)]
    pub(crate) secret: SecretArgs,
}

#[derive(Args)]
pub(crate) struct SignArgs {
    /// Print a curl command that sends the delivery
    #[arg(long, conflicts_with = "http")]
    curl: bool,

    /// Print the whole request, as `verify` and `identify` read it
    #[arg(long)]
    http: bool,

    /// Where the curl command or the request goes
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,

    // Last: what comes after it would stand under its heading.
    #[command(flatten)]
    signing: Signing,
}

/// A body with the headers that sign it.
pub(crate) struct Signed {
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) id: String,
}

impl Signing {
    pub(crate) fn source(&self) -> Source {
        Source::of_argument(self.body.clone())
    }

    /// Makes the signer once; the body is read before anybody is asked for a secret.
    pub(crate) fn prepare(&self, out: &Out) -> Result<Prepared<'_>, Failure> {
        let source = self.source();
        let scheme = self.scheme.scheme()?;
        let prompt = if source.is_stdin() { Prompt::MayNot } else { Prompt::May };
        let body = source.read()?;
        let signer = Signer::new(scheme, self.secret.keyring(prompt, out)?)?;
        Ok(Prepared { signing: self, signer, body })
    }
}

/// A signer, and the body to be signed.
pub(crate) struct Prepared<'a> {
    signing: &'a Signing,
    signer: Signer,
    pub(crate) body: Vec<u8>,
}

impl Prepared<'_> {
    /// Signs, as of now unless another time is given.
    pub(crate) fn sign(&self) -> Result<Signed, Failure> {
        let Signing { id, event_type, time, headers, all_keys, .. } = self.signing;
        let id = id.clone().unwrap_or_else(new_id);
        let event_type = event_type.clone().or_else(|| event_type_of(&self.body).map(|found| found.to_string()));
        let further: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut message = Message::new(&self.body, time.unwrap_or_else(moment::now)).id(&id).headers(&further);
        if let Some(event_type) = &event_type {
            message = message.event_type(event_type);
        }
        let signed = if *all_keys { self.signer.sign_with_all(&message) } else { self.signer.sign(&message) };
        let mut headers = signed?;
        if !headers.iter().any(|(name, _)| name == "content-type") {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        Ok(Signed { headers, body: self.body.clone(), id })
    }
}

pub(crate) fn run(args: &SignArgs, out: &Out) -> Result<(), Failure> {
    let signed = args.signing.prepare(out)?.sign()?;
    if args.http {
        return out.raw(&raw_request(&args.url, &signed)?);
    }
    if args.curl {
        return out.line(curl(&args.url, &signed, &args.signing.source())?);
    }
    // What is printed is what was signed; the content type is not part of it.
    let headers: Vec<_> = signed.headers.iter().filter(|(name, _)| name != "content-type").collect();
    let headers = headers.iter().map(|(name, value)| Header { name, value }).collect();
    out.either(&Printed { headers }, |out| {
        signed
            .headers
            .iter()
            .filter(|(name, _)| name != "content-type" || args.signing.headers.iter().any(|(given, _)| given == name))
            .try_for_each(|(name, value)| out.line(format!("{name}: {value}")))
    })
}

/// `{"headers": [{"name": …, "value": …}]}`
#[derive(Serialize)]
struct Printed<'a> {
    headers: Vec<Header<'a>>,
}

#[derive(Serialize)]
struct Header<'a> {
    name: &'a str,
    value: &'a str,
}

fn curl(url: &str, signed: &Signed, source: &Source) -> Result<String, Failure> {
    let mut command = format!("curl --silent --show-error --write-out '%{{http_code}}\\n' {}", quoted(url));
    for (name, value) in &signed.headers {
        command.push_str(" \\\n  --header ");
        command.push_str(&quoted(&format!("{name}: {value}")));
    }
    command.push_str(" \\\n  --data-binary ");
    let body = match source {
        Source::File(path) => path.to_str().map(|path| format!("@{path}")),
        // Curl reads a file where a body begins with @.
        Source::Literal(_) | Source::Stdin => {
            String::from_utf8(signed.body.clone()).ok().filter(|body| !body.contains('\0') && !body.starts_with('@'))
        }
    };
    let body = body.ok_or_else(|| {
        Failure::usage("the body cannot stand in a shell command", "write it to a file, and give @FILE")
    })?;
    command.push_str(&quoted(&body));
    Ok(command)
}

fn raw_request(url: &str, signed: &Signed) -> Result<Vec<u8>, Failure> {
    let wrong = || Failure::usage(format!("`{url}` is not an http:// or https:// URL"), "");
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut request = format!("POST /{path} HTTP/1.1\r\nhost: {host}\r\n").into_bytes();
    for (name, value) in &signed.headers {
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    request.extend_from_slice(format!("content-length: {}\r\n\r\n", signed.body.len()).as_bytes());
    request.extend_from_slice(&signed.body);
    Ok(request)
}

/// `Name: value`.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write a header as \"Name: value\"")?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("a header's name is letters, digits and dashes".to_owned());
    }
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err("a header's value is one line".to_owned());
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn new_id() -> String {
    format!("msg_{}", uuid::Uuid::now_v7().simple())
}

/// The event's type as bodies of well-known providers say it: `event`, `type`, or Slack's `event.type`.
pub(crate) fn event_type_of(body: &[u8]) -> Option<EventType> {
    #[derive(Deserialize)]
    struct Envelope {
        event: Option<serde_json::Value>,
        #[serde(rename = "type")]
        kind: Option<serde_json::Value>,
    }

    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let event = envelope.event.as_ref();
    let named = event.and_then(serde_json::Value::as_str).or_else(|| event?.get("type")?.as_str());
    EventType::new(named.or_else(|| envelope.kind.as_ref()?.as_str())?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_found_where_providers_put_it() {
        let found = |body: &str| event_type_of(body.as_bytes()).map(|found| found.to_string());
        assert_eq!(found(r#"{"event":"case.opened","data":{}}"#).as_deref(), Some("case.opened"));
        assert_eq!(found(r#"{"type":"charge.succeeded"}"#).as_deref(), Some("charge.succeeded"));
        assert_eq!(found(r#"{"type":"event_callback","event":{"type":"message"}}"#).as_deref(), Some("message"));
        for none in ["", "[]", "{}", r#"{"event":7}"#, r#"{"event":"a b"}"#, "\u{1b}"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn headers_are_one_line() {
        assert_eq!(header("X-Kind:  a b "), Ok(("x-kind".to_owned(), "a b".to_owned())));
        for bad in ["x", ": v", "a b: c", "x: a\nb"] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }
}
