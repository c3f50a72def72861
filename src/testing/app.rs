//! Checks a program's own app from outside: what every sender, and everybody who is none, must be told.
//!
//! It brings no HTTP client: hand it a closure that sends one request and gives the status.
//!
//! ```no_run
//! # use countersign::{Clock, Keyring, Secret, SystemClock, kycgenie, testing::app};
//! # async fn post(headers: Vec<(String, String)>, body: Vec<u8>) -> u16 { 200 }
//! # async fn check() -> Result<(), Box<dyn std::error::Error>> {
//! let keyring = Keyring::single(Secret::new("whsec_dGVzdA==")?); // the app's own
//! let sample = app::Sample::new(br#"{"event":"test","data":{}}"#, SystemClock.now());
//! let report = app::check(&kycgenie::scheme(), &keyring, &sample, |request| post(request.headers, request.body)).await?;
//! report.assert();
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::time::Duration;

use crate::ids::KeyId;
use crate::keyring::{Key, Keyring, Secret};
use crate::scheme::Scheme;
use crate::time::Timestamp;
use crate::verify::{Message, Signer};

/// A delivery that the app handles and answers 2xx.
#[derive(Clone, Copy)]
pub struct Sample<'a> {
    body: &'a [u8],
    event_type: &'a str,
    now: Timestamp,
}

/// A request to send, by POST.
#[derive(Clone)]
pub struct Request {
    /// The header fields, each to be sent as a line of its own.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the app answered, case by case.
#[derive(Clone, Debug)]
pub struct Report {
    cases: Vec<Case>,
}

/// One request, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What was sent, as a sentence.
    pub name: &'static str,
    /// Which status is right; `200` stands for every 2xx.
    pub expected: u16,
    /// Which status came.
    pub status: u16,
}

impl<'a> Sample<'a> {
    /// A delivery with this body, at the app's present time.
    #[must_use]
    pub fn new(body: &'a [u8], now: Timestamp) -> Self {
        Self { body, event_type: "test", now }
    }

    /// The same with an event type for the header of a scheme that has one; `test` unless set.
    #[must_use]
    pub fn event_type(self, event_type: &'a str) -> Self {
        Self { event_type, ..self }
    }
}

/// Sends the sample as it should be, twice, and in every way in which it should not be.
///
/// The sample is handled once: give the app a store and a database of its own.
///
/// # Errors
///
/// When the sample cannot be signed: a secret is not as the scheme says, or no key is active.
pub async fn check<S: Future<Output = u16>>(
    scheme: &Scheme,
    keyring: &Keyring,
    sample: &Sample<'_>,
    mut send: impl FnMut(Request) -> S,
) -> Result<Report, Box<dyn std::error::Error>> {
    let mut cases = Vec::new();
    for (name, expected, request) in requests(scheme, keyring, sample)? {
        let status = send(request).await;
        cases.push(Case { name, expected, status });
    }
    Ok(Report { cases })
}

impl Report {
    /// Every case, in the order of sending.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        &self.cases
    }

    /// Those that were answered wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| !case.is_right())
    }

    /// Does nothing when all is right.
    ///
    /// # Panics
    ///
    /// When a case was answered wrong, with a table of all cases.
    #[allow(clippy::panic, reason = "what a test calls")]
    pub fn assert(&self) {
        assert!(self.wrong().next().is_none(), "the app answers wrong:\n{self}");
    }
}

impl Case {
    /// Whether the answer is the right one.
    #[must_use]
    pub fn is_right(&self) -> bool {
        match self.expected {
            200 => matches!(self.status, 200..=299),
            expected => self.status == expected,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            let mark = if case.is_right() { "    " } else { "!!! " };
            writeln!(f, "{mark}{:<44} expected {}, got {}", case.name, case.expected, case.status)?;
        }
        Ok(())
    }
}

/// The lengths only.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("headers", &self.headers.len()).field("body_len", &self.body.len()).finish()
    }
}

/// The event type, and the body's length.
impl fmt::Debug for Sample<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").field("event_type", &self.event_type).field("body_len", &self.body.len()).finish()
    }
}

type Planned = (&'static str, u16, Request);

fn requests(
    scheme: &Scheme,
    keyring: &Keyring,
    sample: &Sample<'_>,
) -> Result<Vec<Planned>, Box<dyn std::error::Error>> {
    let signer = Signer::new(scheme.clone(), keyring.clone())?;
    let secret = Secret::new("whsec_bm90LXRoZS1hcHAncy1vd24=")?;
    let stranger = Keyring::new([Key::new(KeyId::new("stranger")?, secret)])?;
    let stranger = Signer::new(scheme.clone(), stranger)?;
    let signed = |signer: &Signer, id: &str, at: Timestamp| {
        let message = Message::new(sample.body, at).id(id).event_type(sample.event_type);
        signer.sign(&message).map(|headers| Request { headers, body: sample.body.to_vec() })
    };
    let good = signed(&signer, "msg_check_good", sample.now)?;
    let fresh = signed(&signer, "msg_check_fresh", sample.now)?;
    let signature = scheme.signature().header.as_str();
    let is_signature = |(name, _): &(String, String)| name == signature;

    let mut unsigned = fresh.clone();
    unsigned.headers.retain(|header| !is_signature(header));
    let mut altered = fresh.clone();
    altered.body.push(b' ');
    let mut repeated = fresh.clone();
    repeated.headers.extend(fresh.headers.iter().find(|header| is_signature(header)).cloned());
    let mut encoded = fresh.clone();
    encoded.headers.push(("content-encoding".to_owned(), "gzip".to_owned()));

    let mut planned = vec![
        ("without a signature", 401, unsigned),
        ("signed with a secret that is not the app's", 401, signed(&stranger, "msg_check_fresh", sample.now)?),
        ("altered after it was signed", 401, altered),
        ("with its signature header twice", 400, repeated),
        ("in a content encoding", 415, encoded),
    ];
    if let Some(tolerance) = scheme.tolerance() {
        let off = tolerance.saturating_add(Duration::from_secs(60));
        let stale = signed(&signer, "msg_check_fresh", sample.now.saturating_sub(off))?;
        let early = signed(&signer, "msg_check_fresh", sample.now.saturating_add(off))?;
        planned.push(("a minute older than the tolerance", 401, stale));
        planned.push(("a minute further ahead than the tolerance", 401, early));
    }
    // The good one comes last: had one of those above been taken in, it would be a duplicate by now and tell nothing.
    planned.push(("a good delivery", 200, good.clone()));
    planned.push(("the good delivery again", 200, good));
    Ok(planned)
}
