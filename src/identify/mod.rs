//! Which bytes does a sender sign? Finds the scheme of a captured request, and says why one does not verify.
//!
//! Two questions, and the capture that both are asked of:
//!
//! - [`Captured`] is one request as it was caught, read from a raw HTTP file or made by a receiver that catches it.
//! - [`Search`] has a capture and the secret, and no scheme. It tries every header × spelling × version × signed content ×
//!   reading of the secret, and the usual mistakes: JSON that was written anew, line breaks that were added or lost, a
//!   secret with white space or quotation marks, `whsec_` as text or before base64, clocks that are wrong. Its [`Report`]
//!   holds the [`Scheme`](crate::Scheme) as a value, as TOML and as Rust, or what was ruled out and what to do next.
//! - [`diagnose`] has a capture, the scheme and the keys. Its [`Diagnosis`] says under which key the signature is right and
//!   how old it is, or exactly what is wrong.
//!
//! ```
//! use countersign::identify::{Captured, Hints, Search};
//! use countersign::{Secret, Source, Timestamp};
//!
//! let captured = Captured::parse(
//!     b"POST /webhooks HTTP/1.1\r\n\
//!       Content-Type: application/json\r\n\
//!       Webhook-Id: msg_p5jXN8AQM9LWM0D4loKWxJek\r\n\
//!       Webhook-Timestamp: 1614265330\r\n\
//!       Webhook-Signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\r\n\r\n\
//!       {\"test\": 2432232314}",
//! )?;
//! let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
//! let report = Search::new(&[secret], captured, Timestamp::from_secs(1_614_265_400))
//!     .hints(Hints::new().named(Source::new("acme")?))
//!     .run();
//!
//! let found = report.clean().expect("a scheme that verifies the request as it stands");
//! assert_eq!(found.preset.as_deref(), Some("Scheme::standard_webhooks_of(\"acme\")"));
//! assert_eq!(found.content, "{id}.{timestamp}.{body}");
//! assert_eq!(found.time.expect("a signed time").age_seconds, 70);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A scheme is handed out only after a [`Verifier`](crate::Verifier) has verified the request with it. What a single
//! request cannot prove is listed as [`Guess`]es: a header that is called like an id, the separator of a list with one
//! item, tolerance and retry horizon.
//!
//! `Display` of a report and of a diagnosis is for people, `Serialize` for machines, with the members and `kind`s of these
//! types in snake case. Neither shows a secret, a body, or a MAC, least of all the right one: what is printed may be
//! pasted into an issue. Names of headers are shown, and what stands before a signature (`v1=`).
//!
//! Both are for the operator's terminal. Nothing here may answer a sender: it tells far more than a
//! [`Rejection`](crate::Rejection) does.

mod body;
mod captured;
mod diagnose;
mod diagnosis;
mod explain;
mod fields;
mod found;
mod json;
mod problem;
mod recipes;
mod report;
mod resolve;
mod rust;
mod scan;
mod search;
mod secrets;
mod tags;

pub use body::{BodyChange, Difference};
pub use captured::{CaptureError, CaptureNote, Captured};
pub use diagnose::diagnose;
pub use diagnosis::{Accepted, Covers, Diagnosis, KeyState, PassedOver, Signatures, SpellingFault};
pub use fields::{RequestPart, TimeForm};
pub use found::{Algorithm, Beyond, Found, Guess, Mistake, SignedTime};
pub use problem::{Problem, Role, TimeFault};
pub use report::{Report, RuledOut};
pub use rust::to_rust;
pub use search::{Hints, Search};
pub use secrets::{ReadAs, SecretMistake, SecretReading};
pub use tags::{HeaderSeen, Holds, Spelling};
