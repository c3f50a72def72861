//! Bodies and headers: a delivery as the scheme wants it.

use serde_json::{Map, Value};

use crate::encoding::{SecretEncoding, SecretFormat};
use crate::ids::KeyId;
use crate::keyring::{Key, Keyring, Secret};
use crate::request::RequestView;
use crate::sandbox::SandboxError;
use crate::scheme::{EventTypeSource, IdSource, Mistakes, Part, Scheme, TimestampSource};
use crate::time::Timestamp;
use crate::verify::{Message, Signer, Verifier};

/// A scheme that the sandbox can follow.
#[derive(Debug)]
pub(super) struct Signing {
    scheme: Scheme,
    user_agent: String,
    /// Where the id stands in the body; nothing where it does not.
    pointer: Vec<String>,
}

/// What is signed.
pub(super) struct Unsigned<'a> {
    pub(super) id: &'a str,
    pub(super) event_type: &'a str,
    /// The URL's host and port, as the `host` header has them.
    pub(super) host: &'a str,
    pub(super) body: &'a [u8],
    pub(super) at: Timestamp,
}

/// The headers that every delivery has anyway, and that a scheme may sign therefore.
const CONTENT_TYPE: (&str, &str) = ("content-type", "application/json");
const USER_AGENT: &str = "user-agent";
const HOST: &str = "host";

impl Signing {
    /// Checks that deliveries can be signed as `scheme` says.
    ///
    /// # Errors
    ///
    /// Each setting of the scheme that the sandbox cannot supply.
    pub(super) fn new(scheme: &Scheme, user_agent: &str, id_prefix: &str) -> Result<Self, SandboxError> {
        let mut mistakes = Mistakes::default();
        let mut pointer = Vec::new();
        if let IdSource::Pointer(text) = scheme.id() {
            pointer = text.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
            if let [only] = pointer.as_slice()
                && ["event", "data"].contains(&only.as_str())
            {
                mistakes.push(
                    "scheme.id.pointer",
                    "points to what the envelope holds already: take another, such as \"/id\"",
                );
            }
            if pointer.first().is_some_and(|first| first == "event") && pointer.len() > 1 {
                mistakes.push(
                    "scheme.id.pointer",
                    "points into the event's type, which is a text: take another, such as \"/id\"",
                );
            }
        }
        for part in scheme.content().parts() {
            if let Part::Header(name) = part
                && !supplied(scheme, name.as_str())
            {
                mistakes.push(
                    "scheme.content",
                    format!(
                        "signs the header `{}`, which the sandbox does not send: it has content-type, host, user-agent, and \
                         those that the scheme names",
                        name.as_str()
                    ),
                );
            }
        }
        let signing = Self { scheme: scheme.clone(), user_agent: user_agent.to_owned(), pointer };
        if mistakes.is_empty()
            && let Err(mistake) = signing.check_by_a_receiver(&format!("{id_prefix}0123456789abcdef0123456789abcdef"))
        {
            mistakes.push("scheme", mistake);
        }
        if mistakes.is_empty() { Ok(signing) } else { Err(SandboxError::Settings(mistakes)) }
    }

    /// Whether a receiver of this scheme accepts a delivery of ours: what else might be wrong with it shows here.
    fn check_by_a_receiver(&self, id: &str) -> Result<(), String> {
        let at = Timestamp::from_secs(1_790_000_000);
        let secret = Secret::new(self.new_secret()).map_err(|error| error.to_string())?;
        let body = self.body("test", "{}", id).map_err(|error| error.to_string())?;
        let unsigned = Unsigned { id, event_type: "test", host: "localhost:80", body: body.as_bytes(), at };
        let headers = self.headers(&unsigned, std::slice::from_ref(&secret))?;
        let verifier =
            Verifier::new(self.scheme.clone(), Keyring::single(secret)).map_err(|error| error.to_string())?;
        let request = RequestView::new(&headers, body.clone());
        match verifier.verify(&request, at) {
            Ok(_) => Ok(()),
            Err(rejection) => Err(format!(
                "makes deliveries that its receivers would refuse ({}): most often the sandbox's ids, such as `{id}`, hold \
                 the text that parts the id from its neighbour in `content`",
                rejection.as_str()
            )),
        }
    }

    /// The body of an event: the envelope with `data`, and the id where the scheme has it in the body.
    ///
    /// `{"event":…,"data":…}` is the one sample that is published.
    pub(super) fn body(&self, event_type: &str, data: &str, id: &str) -> Result<String, SandboxError> {
        let event = Value::from(event_type);
        match self.pointer.split_first() {
            None => Ok(format!(r#"{{"event":{event},"data":{data}}}"#)),
            Some((first, rest)) if first == "data" => {
                let mut data: Value = serde_json::from_str(data).unwrap_or_default();
                if !data.is_object() {
                    return Err(SandboxError::Invalid(
                        "data must be an object: the scheme has the delivery's id in it".into(),
                    ));
                }
                set(&mut data, rest, id);
                Ok(format!(r#"{{"event":{event},"data":{data}}}"#))
            }
            Some((first, rest)) => {
                let mut value = Value::Null;
                set(&mut value, rest, id);
                Ok(format!(r#"{{{}:{value},"event":{event},"data":{data}}}"#, Value::from(first.as_str())))
            }
        }
    }

    /// The headers of a delivery: with one signature under each secret where the scheme can list them, the first one's
    /// otherwise; without any where there are no secrets.
    pub(super) fn headers(&self, delivery: &Unsigned<'_>, secrets: &[Secret]) -> Result<Vec<(String, String)>, String> {
        let plain = [CONTENT_TYPE, (USER_AGENT, self.user_agent.as_str())];
        let signs_host = self.signs(HOST);
        let own: Vec<(&str, &str)> = plain
            .into_iter()
            .chain(signs_host.then_some((HOST, delivery.host)))
            .filter(|(name, _)| !self.names().any(|named| named == *name))
            .collect();
        if secrets.is_empty() {
            return Ok(own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
        }
        let listable = self.scheme.signature().separator.is_some();
        let secrets = &secrets[..if listable { secrets.len() } else { 1 }];
        let unfit = |_| "not sent: the secret is not written as the scheme says secrets are".to_owned();
        let keys = secrets.iter().enumerate().map(|(at, secret)| {
            let id = KeyId::new(&format!("key-{at}")).map_err(|error| error.to_string())?;
            Ok(Key::new(id, secret.clone()))
        });
        let keyring = Keyring::new(keys.collect::<Result<Vec<_>, String>>()?).map_err(|error| error.to_string())?;
        let signer = Signer::new(self.scheme.clone(), keyring).map_err(unfit)?;
        let message =
            Message::new(delivery.body, delivery.at).id(delivery.id).event_type(delivery.event_type).headers(&own);
        signer.sign_with_all(&message).map_err(|error| format!("not sent: {error}"))
    }

    /// The headers without which a delivery is not a signed one.
    pub(super) fn needed(&self) -> Vec<&str> {
        // An id that is not signed is a label, and may be missing.
        let label = match self.scheme.id() {
            IdSource::Header(name) if !self.scheme.signs_id() => Some(name.as_str()),
            _ => None,
        };
        self.names().filter(|name| Some(*name) != label).collect()
    }

    /// The headers that the scheme reads.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        names(&self.scheme)
    }

    /// Whether a time is signed.
    pub(super) fn has_time(&self) -> bool {
        self.scheme.signs_timestamp()
    }

    /// A secret that fits the scheme: `whsec_` and 52 letters and digits (260 random bits), which is the published form,
    /// where that can be decoded as the scheme says.
    pub(super) fn new_secret(&self) -> String {
        let mut random = [0; 64];
        if getrandom::fill(&mut random).is_err() {
            // What a sandbox signs with protects nothing.
            fastrand::fill(&mut random);
        }
        self.spell(&random)
    }

    /// A secret of the same form that nobody has.
    pub(super) fn strange_secret(&self, mut chance: fastrand::Rng) -> Option<Secret> {
        let mut random = [0; 64];
        chance.fill(&mut random);
        Secret::new(self.spell(&random)).ok()
    }

    fn spell(&self, random: &[u8; 64]) -> String {
        let SecretFormat { strip_prefix, encoding } = self.scheme.secret_format();
        let own = strip_prefix.as_deref().unwrap_or_default();
        // Of two things at once: text, and base64 without padding.
        const LETTERS: [u8; 32] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let (prefix, letters, len): (_, &[u8], _) = match encoding {
            SecretEncoding::Text => ("whsec_", &LETTERS, 52),
            SecretEncoding::Base64 => (own, &LETTERS, 52),
            SecretEncoding::Hex => (own, b"0123456789abcdef", 64),
        };
        let letters = random.iter().take(len).map(|byte| char::from(letters[usize::from(*byte) % letters.len()]));
        prefix.chars().chain(letters).collect()
    }

    fn signs(&self, header: &str) -> bool {
        let signs = |part: &Part| matches!(part, Part::Header(name) if name.as_str() == header);
        self.scheme.content().parts().iter().any(signs)
    }
}

/// The headers that `scheme` names: the signature's first.
fn names(scheme: &Scheme) -> impl Iterator<Item = &str> {
    let timestamp = match scheme.timestamp() {
        TimestampSource::Header(name) => Some(name.as_str()),
        TimestampSource::Element(_) | TimestampSource::None => None,
    };
    let id = match scheme.id() {
        IdSource::Header(name) => Some(name.as_str()),
        IdSource::None | IdSource::Pointer(_) => None,
    };
    let event_type = match scheme.event_type() {
        EventTypeSource::Header(name) => Some(name.as_str()),
        EventTypeSource::Envelope => None,
    };
    std::iter::once(scheme.signature().header.as_str()).chain(timestamp).chain(id).chain(event_type)
}

fn supplied(scheme: &Scheme, header: &str) -> bool {
    [CONTENT_TYPE.0, USER_AGENT, HOST].contains(&header) || names(scheme).any(|name| name == header)
}

/// Puts `id` where `steps` lead, through objects that are made where there are none.
fn set(value: &mut Value, steps: &[String], id: &str) {
    let Some((step, rest)) = steps.split_first() else {
        *value = Value::from(id);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(members) = value {
        set(members.entry(step.as_str()).or_insert(Value::Null), rest, id);
    }
}
