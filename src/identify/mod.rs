//! Which bytes does a sender sign? Finds the scheme of a captured request.
mod body;
mod captured;
mod diagnose;
mod diagnosis;
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
pub use diagnosis::{
    Accepted, Covers, Diagnosis, KeyState, PassedOver, Problem, Role, Signatures, SpellingFault, TimeFault,
};
pub use fields::{RequestPart, TimeForm};
pub use found::{Algorithm, Beyond, Found, Guess, Mistake, SignedTime};
pub use report::{Report, RuledOut};
pub use rust::to_rust;
pub use search::{Hints, Search};
pub use secrets::{ReadAs, SecretMistake, SecretReading};
pub use tags::{HeaderSeen, Holds, Spelling};
