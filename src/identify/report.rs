//! What came of a search, for people and for machines.

use std::fmt;

use serde::Serialize;

use super::body::BodyChange;
use super::captured::CaptureNote;
use super::found::{Algorithm, Found};
use super::secrets::SecretReading;
use super::tags::{HeaderSeen, Holds};

/// What came of a [`Search`](super::Search). `Display` is the whole answer for people; `Serialize` the same for machines.
/// Neither ever holds a secret, a MAC that is not in the request, or a byte of the body.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What fits, the best first; empty when nothing does.
    pub matches: Vec<Found>,
    /// How many MACs were computed.
    pub tried: u64,
    /// What was searched.
    pub ruled_out: RuledOut,
    /// What was found or mended while the capture was read.
    pub notes: Vec<CaptureNote>,
    /// What to do next, the most promising first.
    pub next_steps: Vec<String>,
}

/// What was searched: all of it was ruled out where nothing matched.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RuledOut {
    /// Every header, and whether it may hold a signature.
    pub headers: Vec<HeaderSeen>,
    /// How many texts in headers may be signatures.
    pub candidates: usize,
    /// How many more were left out, since no sender lists so many.
    pub candidates_left_out: usize,
    /// How many secrets were given.
    pub secrets: usize,
    /// How they were read.
    pub readings: Vec<SecretReading>,
    /// Which values of the request were tried as parts of the signed content.
    pub values: Vec<String>,
    /// Which changes of the body were tried.
    pub bodies: Vec<BodyChange>,
    /// How many contents were tried with each reading of the secret.
    pub contents: u64,
    /// How many MACs were not computed, because the body is too long for the whole search.
    pub skipped: u64,
}

impl Report {
    /// The best match that verifies as it stands: a scheme, and no mistake.
    #[must_use]
    pub fn clean(&self) -> Option<&Found> {
        self.matches.iter().find(|found| found.is_clean())
    }
}

pub(super) fn next_steps(matches: &[Found], ruled_out: &RuledOut, notes: &[CaptureNote]) -> Vec<String> {
    let mut steps = Vec::new();
    let mut step = |text: &str| steps.push(text.to_owned());
    if let Some(best) = matches.first() {
        step(match (&best.scheme, best.mistakes.is_empty()) {
            (Some(_), true) => "use the scheme, and check it against a second delivery, best of another event type",
            (Some(_), false) => "mend the mistake, capture another delivery, and run the search again",
            (None, _) if best.algorithm == Algorithm::Sha256 => {
                "that value is a plain digest and no signature: look for a signature in the provider's settings"
            }
            (None, _) => "verify it with code of your own, or ask the provider for another way to sign",
        });
        return steps;
    }
    for header in &ruled_out.headers {
        if let (Holds::OtherLength { bytes }, Some(algorithm)) = (header.holds, header.holds.algorithm()) {
            step(&format!(
                "`{}` holds {bytes} bytes ({algorithm}); this crate verifies HMAC-SHA256 only: look for another header or a \
                 setting of the provider",
                header.name
            ));
        }
    }
    if ruled_out.candidates == 0 {
        step(
            "no header holds anything as long as an HMAC-SHA256 (64 characters of hex, 44 of base64): see that the capture \
             holds all headers as they were sent, that a proxy does not take some away, and that signing is turned on",
        );
        return steps;
    }
    if ruled_out.secrets == 0 {
        step("give the secret");
        return steps;
    }
    step(
        "see that it is the signing secret of this very endpoint: not an API key, not that of the test mode, not the one \
         before the last rotation",
    );
    if let Some(note) = notes.iter().find(|note| !matches!(note, CaptureNote::Dechunked)) {
        step(&format!("look at the capture: {note}"));
    }
    step(
        "see that the body is byte for byte what was sent: a proxy, a middleware or a framework that parses, decompresses or \
         trims bodies makes every signature wrong; catch one with `countersign listen --capture`",
    );
    step(
        "ask the provider what is signed: it may be something that does not stand in the request, such as the URL under \
         which they know you, or the header may hold a token and no signature",
    );
    if ruled_out.skipped > 0 {
        step("capture a delivery with a smaller body: the search was cut short");
    }
    steps
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, found) in self.matches.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{found}")?;
            if let (Some(toml), Some(rust)) = (&found.toml, &found.rust) {
                write!(f, "\nAs TOML:\n\n{toml}\nAs Rust:\n\n{rust}")?;
            }
        }
        if self.matches.is_empty() {
            write!(f, "Nothing matches.\n\n{}", self.ruled_out)?;
            writeln!(f, "{} MACs were computed.", self.tried)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        f.write_str("\nWhat to do next:\n")?;
        self.next_steps.iter().try_for_each(|step| writeln!(f, "- {step}"))
    }
}

impl fmt::Display for RuledOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers:\n")?;
        for header in &self.headers {
            writeln!(f, "- {}: {}", header.name, header.holds)?;
        }
        let readings: Vec<String> = self
            .readings
            .iter()
            .filter(|reading| reading.mistake.is_none())
            .map(|reading| format!("secret {} as {reading}", reading.secret + 1))
            .collect();
        writeln!(f, "Secrets: {}", if readings.is_empty() { "none".to_owned() } else { readings.join("; ") })?;
        writeln!(f, "Signed with the body: {}", self.values.join(" "))?;
        writeln!(f, "Changes of the body: {}", self.bodies.len())?;
        writeln!(f, "Contents: {}", self.contents)?;
        if self.skipped > 0 {
            writeln!(f, "{} MACs were left out: the body is too long for the whole search", self.skipped)?;
        }
        if self.candidates_left_out > 0 {
            writeln!(f, "{} texts that may be signatures were left out: there are too many", self.candidates_left_out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Candidates { count: 1 } => f.write_str("may hold a signature; none of all MACs is this one"),
            Self::Candidates { count } => write!(f, "may hold {count} signatures; no MAC is one of them"),
            Self::Empty => f.write_str("empty"),
            Self::NoTag => f.write_str("nothing as long as a signature"),
            Self::OtherLength { bytes } => {
                write!(
                    f,
                    "{bytes} bytes: {}; this crate verifies HMAC-SHA256 only",
                    self.algorithm().unwrap_or("unknown")
                )
            }
            Self::TooLong => f.write_str("longer than 4096 bytes, which is not read"),
        }
    }
}
