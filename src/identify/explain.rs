//! What would have to be different for a signature to be right: a key, the body, the spelling.

use super::body::{self, Difference};
use super::captured::Captured;
use super::diagnosis::Diagnosis;
use super::problem::Problem;
use super::tags::Spelling;
use crate::crypto::Tag;
use crate::ids::KeyId;
use crate::keyring::Keyring;
use crate::request::RequestHead;
use crate::scheme::Scheme;
use crate::time::Timestamp;
use crate::verify::RejectionKind;

/// Looks for what would have to be different for the signature to be right.
pub(super) struct Search<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) keyring: &'a Keyring,
    pub(super) captured: &'a Captured,
    pub(super) now: Timestamp,
}

impl Search<'_> {
    /// What is behind a rejection of a head that reads well.
    pub(super) fn problem(&self, kind: RejectionKind, diagnosis: &Diagnosis) -> Vec<Problem> {
        let time = diagnosis.time;
        let seconds = time.map_or(0, |time| time.age_seconds.unsigned_abs());
        let tolerance = time.and_then(|time| time.tolerance_seconds).unwrap_or(0);
        let mut problems = match kind {
            RejectionKind::TooNew => return vec![Problem::TooNew { seconds, tolerance }],
            RejectionKind::TooOld => return vec![Problem::TooOld { seconds, tolerance }],
            RejectionKind::NoActiveKey => vec![Problem::NoActiveKey],
            RejectionKind::Head(_) | RejectionKind::Rotating | RejectionKind::WrongSignature => Vec::new(),
        };
        let body = self.captured.body();
        if let Some(key) = self.inactive_key(body) {
            problems.push(key);
        } else if matches!(kind, RejectionKind::Rotating | RejectionKind::WrongSignature) {
            problems.push(self.altered_body().unwrap_or_else(|| Problem::WrongSignature {
                signatures: diagnosis.signatures.as_ref().map_or(0, |listed| listed.usable),
                keys: diagnosis.keys.iter().filter(|key| key.active).count(),
            }));
        }
        problems
    }

    /// Whether a signature that the scheme cannot read is right.
    pub(super) fn respelt(&self, misspelt: Option<(Spelling, Tag)>) -> Option<Problem> {
        let (found, tag) = misspelt?;
        let expected = self.scheme.signature().encoding;
        let value = expected.encode(&tag);
        let name = self.scheme.signature().header.as_str();
        let headers = self.captured.headers().map(|(key, raw)| {
            let text = String::from_utf8_lossy(raw);
            let ours = key.eq_ignore_ascii_case(name);
            let respelt = || self.respell(&text, &tag, &value);
            (key.to_owned(), if ours { respelt() } else { raw.to_vec() })
        });
        let mended = Captured::new(headers, self.captured.body().clone());
        let search = Search { captured: &mended, ..*self };
        search.matching_key(self.captured.body(), self.now)?;
        Some(Problem::RightInAnotherSpelling { found, expected })
    }

    fn respell(&self, text: &str, tag: &Tag, value: &str) -> Vec<u8> {
        let signature = self.scheme.signature();
        let separator = signature.separator.unwrap_or('\0');
        let items = text.split(separator).map(|item| {
            let rest =
                item.strip_prefix(&*signature.prefix).map(str::trim).and_then(|rest| Spelling::read(rest.as_bytes()));
            match rest {
                Some((_, other)) if other == *tag => format!("{}{value}", signature.prefix),
                _ => item.to_owned(),
            }
        });
        items.collect::<Vec<_>>().join(&separator.to_string()).into_bytes()
    }

    /// The key that does not count now and under which the signature is right.
    fn inactive_key(&self, body: &[u8]) -> Option<Problem> {
        let one = std::time::Duration::from_millis(1);
        self.keyring.keys().into_iter().filter(|key| !key.is_active(self.now)).find_map(|key| {
            let id = key.id().clone();
            let begin = key.not_before().filter(|begin| *begin > self.now);
            let at = begin.or_else(|| key.not_after().map(|end| end.saturating_sub(one)))?;
            (self.matching_keys(body, at).contains(&id)).then(|| match begin {
                Some(begin) => Problem::KeyNotYetActive { id, in_seconds: begin.since(self.now).as_secs() },
                None => {
                    let ended = key.not_after().unwrap_or(self.now);
                    Problem::KeyEnded { id, seconds_ago: self.now.since(ended).as_secs() }
                }
            })
        })
    }

    /// The usual mistake that explains the signature.
    fn altered_body(&self) -> Option<Problem> {
        let forms = body::forms(self.captured);
        forms.into_iter().skip(1).find_map(|form| {
            let change = form.change.filter(|_| self.matching_key(&form.bytes, self.now).is_some())?;
            let difference = Difference::between(self.captured.body(), &form.bytes);
            Some(Problem::AlteredBody { advice: change.advice(), change, difference })
        })
    }

    fn matching_key(&self, body: &[u8], at: Timestamp) -> Option<KeyId> {
        self.matching_keys(body, at).into_iter().next()
    }

    /// The keys that count at `at` and under which one of the signatures is that of `body`, whatever the time says.
    fn matching_keys(&self, body: &[u8], at: Timestamp) -> Vec<KeyId> {
        let head = RequestHead::new(self.captured);
        let Ok(reading) = self.scheme.read(&head) else { return Vec::new() };
        let content = self.scheme.content();
        let keys = self.keyring.snapshot();
        let matching = keys.active(at).filter(|(_, key)| {
            let mut mac = key.start();
            reading.feed(content.before_body(), &head, |bytes| mac.update(bytes));
            mac.update(body);
            reading.feed(content.after_body(), &head, |bytes| mac.update(bytes));
            bool::from(mac.matches_any(&reading.signatures))
        });
        matching.map(|(id, _)| id.clone()).collect()
    }
}
