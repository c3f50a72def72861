//! Why a request does not verify: more than a sender may ever be told.

use super::captured::Captured;
use super::diagnosis::{Accepted, Covers, Diagnosis, KeyState, PassedOver, Signatures, SpellingFault};
use super::explain::Search;
use super::fields::{TimeForm, time_form};
use super::found::SignedTime;
use super::problem::{Problem, Role, TimeFault};
use super::tags::{self, Spelling};
use crate::encoding::MacEncoding;
use crate::ids::{DeliveryId, EventType};
use crate::keyring::Keyring;
use crate::request::{FieldLine, Headers as _};
use crate::scheme::{
    EventTypeSource, HeaderName, IdSource, MAX_HEADER_LEN, MAX_SIGNATURES, Part, Scheme, TimestampSource,
    find_by_pointer, parse_timestamp,
};
use crate::time::Timestamp;
use crate::verify::{RejectionKind, Verified, Verifier};

/// Says whether a receiver of `scheme` with the keys of `keyring` accepts `captured` at `now`, and if not, exactly why.
///
/// The verdict is that of a [`Verifier`]; the reasons go further than its [`Rejection`](crate::Rejection) does, since they
/// are for the operator: which header, how often, how long; which signatures were passed over and why; how many seconds
/// the time is off; under which key that does not count the signature is right; with which change of the body it is.
///
/// ```
/// use countersign::identify::{Captured, Problem, diagnose};
/// use countersign::{Keyring, Scheme, Secret, Timestamp};
///
/// let captured = Captured::parse(
///     b"X-GitHub-Event: ping\r\n\
///       X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\r\n\r\n\
///       Hello, World!\n",
/// )?;
/// let keyring = Keyring::single(Secret::new("It's a Secret to Everybody")?);
/// let diagnosis = diagnose(&Scheme::github(), &keyring, &captured, Timestamp::from_secs(1_790_000_000));
///
/// assert_eq!(diagnosis.reason, Some("wrong_signature"));
/// assert!(matches!(diagnosis.problems[..], [Problem::AlteredBody { .. }])); // a line break too many
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn diagnose(scheme: &Scheme, keyring: &Keyring, captured: &Captured, now: Timestamp) -> Diagnosis {
    let keys = keyring.keys().into_iter().map(|key| KeyState {
        id: key.id().clone(),
        active: key.is_active(now),
        not_before: key.not_before(),
        not_after: key.not_after(),
    });
    let mut diagnosis = Diagnosis {
        scheme: scheme.name().to_string(),
        accepted: None,
        reason: None,
        problems: Vec::new(),
        signatures: None,
        time: None,
        keys: keys.collect(),
        notes: captured.notes().to_vec(),
    };
    let mut reader = Reader { scheme, captured, problems: Vec::new(), misspelt: None };
    diagnosis.signatures = reader.signatures();
    diagnosis.time = reader.time(now);
    reader.other_headers();
    let verifier = match Verifier::new(scheme.clone(), keyring.clone()) {
        Ok(verifier) => verifier,
        Err(error) => {
            diagnosis.reason = Some("unusable_keys");
            diagnosis.problems = vec![Problem::UnusableKeys { reason: error.to_string() }];
            diagnosis.problems.append(&mut reader.problems);
            return diagnosis;
        }
    };
    match verifier.verify(&captured.request_view(), now) {
        Ok(verified) => diagnosis.accepted = Some(accepted(&verified, &diagnosis.keys)),
        Err(rejection) => {
            diagnosis.reason = Some(rejection.as_str());
            diagnosis.problems = reader.problems;
            let search = Search { scheme, keyring, captured, now };
            match rejection.kind() {
                RejectionKind::Head(_) => diagnosis.problems.extend(search.respelt(reader.misspelt)),
                kind => diagnosis.problems.extend(search.problem(kind, &diagnosis)),
            }
        }
    }
    diagnosis
}

fn accepted(verified: &Verified<bytes::Bytes>, keys: &[KeyState]) -> Accepted {
    let covered = verified.authenticated();
    let in_body = || {
        let members = ["/event", "/type", "/event_type"];
        members.iter().find_map(|member| find_by_pointer(verified.raw(), member))
    };
    Accepted {
        key_id: verified.key_id().clone(),
        primary: keys.iter().find(|key| key.active).is_some_and(|key| key.id == *verified.key_id()),
        covers: Covers {
            body: covered.body,
            id: covered.id,
            timestamp: covered.timestamp,
            event_type: covered.event_type,
        },
        id: verified.id().map(ToString::to_string),
        event_type: verified.event_type().map(ToString::to_string).or_else(in_body),
    }
}

/// Reads the head as the scheme does, but goes on after a mistake.
struct Reader<'a> {
    scheme: &'a Scheme,
    captured: &'a Captured,
    problems: Vec<Problem>,
    /// A whole signature in another spelling, and what stands before it in the header's value.
    misspelt: Option<(Spelling, crate::crypto::Tag)>,
}

impl<'a> Reader<'a> {
    fn signatures(&mut self) -> Option<Signatures> {
        let signature = self.scheme.signature();
        let name = &signature.header;
        let value = self.header(name, Role::Signature)?;
        let is_separator = |byte: &u8| signature.separator.is_some_and(|separator| char::from(*byte) == separator);
        let mut listed = Signatures { header: name.as_str().to_owned(), items: 0, usable: 0, passed_over: Vec::new() };
        let (mut times, mut tried) = (0, 0);
        for item in value.split(is_separator) {
            listed.items += 1;
            if let TimestampSource::Element(element) = self.scheme.timestamp()
                && item.starts_with(element.as_bytes())
            {
                times += 1;
                continue;
            }
            let Some(text) = item.strip_prefix(signature.prefix.as_bytes()) else {
                listed.passed_over.push(PassedOver::OtherVersion { begins: begins(item) });
                continue;
            };
            tried += 1;
            match fault(text, signature.encoding) {
                None => listed.usable += 1,
                Some(fault) => {
                    if let Some(found) = Spelling::read(text.trim_ascii()) {
                        self.misspelt = Some(found);
                    }
                    listed.passed_over.push(PassedOver::Misspelt { fault });
                }
            }
        }
        let header = listed.header.clone();
        if let TimestampSource::Element(element) = self.scheme.timestamp() {
            let (element, header) = (element.to_string(), header.clone());
            match times {
                0 => self.problems.push(Problem::MissingTimestampItem { header, element }),
                1 => {}
                _ => self.problems.push(Problem::RepeatedTimestampItem { header, element, times }),
            }
        }
        if tried > MAX_SIGNATURES {
            self.problems.push(Problem::TooManySignatures { count: tried, limit: MAX_SIGNATURES });
        } else if listed.usable == 0 {
            self.problems.push(Problem::NoSignature { header, prefix: signature.prefix.to_string() });
        }
        Some(listed)
    }

    fn time(&mut self, now: Timestamp) -> Option<SignedTime> {
        let signature = self.scheme.signature();
        let (name, raw) = match self.scheme.timestamp() {
            TimestampSource::None => return None,
            TimestampSource::Header(name) => (name, self.header(name, Role::Timestamp)?),
            TimestampSource::Element(element) => {
                let FieldLine::One(value) = self.captured.line(signature.header.as_str()) else { return None };
                let mut items =
                    value.split(|byte| signature.separator.is_some_and(|separator| char::from(*byte) == separator));
                (&signature.header, items.find_map(|item| item.strip_prefix(element.as_bytes()))?)
            }
        };
        let Some(at) = parse_timestamp(raw) else {
            let fault = match time_form(raw) {
                _ if raw.is_empty() => TimeFault::Empty,
                Some((TimeForm::Rfc3339, _)) => TimeFault::Rfc3339,
                _ if raw.iter().all(u8::is_ascii_digit) => TimeFault::Milliseconds,
                _ => TimeFault::NotDigits,
            };
            self.problems.push(Problem::InvalidTimestamp { header: name.as_str().to_owned(), fault });
            return None;
        };
        let age = now.as_secs().saturating_sub(at.as_secs());
        let tolerance = self.scheme.tolerance().map(|tolerance| tolerance.as_secs());
        Some(SignedTime {
            seconds: at.as_secs(),
            form: TimeForm::Seconds,
            age_seconds: age,
            tolerance_seconds: tolerance,
            within_tolerance: tolerance.is_none_or(|tolerance| age.unsigned_abs() <= tolerance),
        })
    }

    fn other_headers(&mut self) {
        if let IdSource::Header(name) = self.scheme.id()
            && (self.scheme.signs_id() || self.captured.line(name.as_str()) != FieldLine::Absent)
            && let Some(value) = self.header(name, Role::Id)
            && DeliveryId::from_bytes(value).is_err()
        {
            self.problems.push(Problem::InvalidId { header: name.as_str().to_owned(), bytes: value.len() });
        }
        if let EventTypeSource::Header(name) = self.scheme.event_type()
            && let Some(value) = self.header(name, Role::EventType)
            && EventType::from_bytes(value).is_err()
        {
            self.problems.push(Problem::InvalidEventType { header: name.as_str().to_owned(), bytes: value.len() });
        }
        let content = self.scheme.content();
        for (index, part) in content.parts().iter().enumerate() {
            let (name, value) = match (part, self.scheme.id()) {
                (Part::Header(name), _) => (name, self.header(name, Role::Signed)),
                (Part::Id, IdSource::Header(name)) => match self.captured.line(name.as_str()) {
                    FieldLine::One(value) if DeliveryId::from_bytes(value).is_ok() => (name, Some(value)),
                    _ => continue,
                },
                _ => continue,
            };
            if value.is_some_and(|value| content.blurs_the_edge_of(index, value)) {
                self.problems.push(Problem::EdgeInValue { header: name.as_str().to_owned() });
            }
        }
    }

    /// The one value of a header, or a note of what is wrong with it, once for each header.
    fn header(&mut self, name: &HeaderName, role: Role) -> Option<&'a [u8]> {
        let header = || name.as_str().to_owned();
        let problem = match self.captured.line(name.as_str()) {
            FieldLine::One(value) if value.len() <= MAX_HEADER_LEN => return Some(value),
            FieldLine::One(value) => Problem::HeaderTooLong { header: header(), role, bytes: value.len() },
            FieldLine::Absent => Problem::MissingHeader { header: header(), role, others: self.others(role) },
            FieldLine::Several => {
                let times = self.captured.headers().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_str())).count();
                Problem::RepeatedHeader { header: header(), role, times }
            }
        };
        let told = self.problems.iter().any(|other| match other {
            Problem::HeaderTooLong { header, .. }
            | Problem::MissingHeader { header, .. }
            | Problem::RepeatedHeader { header, .. } => header == name.as_str(),
            _ => false,
        });
        if !told {
            self.problems.push(problem);
        }
        None
    }

    fn others(&self, role: Role) -> Vec<String> {
        if role != Role::Signature {
            return Vec::new();
        }
        let holds = |value: &[u8]| value.len() <= tags::MAX_VALUE && !tags::whole_tags(value).is_empty();
        let others = self.captured.headers().filter(|(_, value)| holds(value));
        others.map(|(name, _)| name.to_ascii_lowercase()).take(8).collect()
    }
}

/// What an item begins with, where that is short and looks like a version: `v0=`, `v1a,`, `sha1=`.
fn begins(item: &[u8]) -> Option<String> {
    let end = item.iter().take(9).position(|byte| matches!(byte, b'=' | b',' | b':'))?;
    std::str::from_utf8(&item[..=end])
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_owned)
}

fn fault(text: &[u8], encoding: MacEncoding) -> Option<SpellingFault> {
    if encoding.decode(text).is_some() {
        return None;
    }
    let expected = match encoding {
        MacEncoding::Base64 => 44,
        MacEncoding::Base64Url => 43,
        MacEncoding::Hex | MacEncoding::HexUpper => 64,
    };
    Some(match Spelling::read(text) {
        _ if text.is_empty() => SpellingFault::Empty,
        _ if encoding.decode(text.trim_ascii()).is_some() => SpellingFault::WhiteSpace,
        Some((found, _)) => SpellingFault::OtherSpelling { found, expected: encoding },
        None if text.len() != expected => SpellingFault::WrongLength { found: text.len(), expected },
        None => SpellingFault::NotInAlphabet,
    })
}
