//! The search: stage by stage, from what most senders do to what hardly any does.

use super::body::{self, Form};
use super::captured::Captured;
use super::fields::{self, Field};
use super::found::{Algorithm, Found};
use super::recipes::{Contents, Cook};
use super::report::{Report, RuledOut, next_steps};
use super::resolve::{Matched, Resolver};
use super::scan::{Stage, plain_digests};
use super::secrets::{self, Candidate};
use super::tags::Tags;
use crate::ids::Source;
use crate::keyring::Secret;
use crate::time::Timestamp;

/// The most bytes that are hashed in one search. The whole space over 1 MiB of body and two secrets needs less.
const BUDGET: u64 = 32 << 30;

/// The most readings of one match that are looked at.
const MAX_READINGS: usize = 16;

/// A search for the scheme of one captured request.
///
/// ```
/// use countersign::identify::{Captured, Search};
/// use countersign::{Scheme, Secret, Timestamp};
///
/// // The published vector of GitHub's documents.
/// let captured = Captured::parse(
///     b"POST /hooks HTTP/1.1\r\n\
///       X-GitHub-Event: ping\r\n\
///       X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\r\n\r\n\
///       Hello, World!",
/// )?;
/// let secret = Secret::new("It's a Secret to Everybody")?;
/// let report = Search::new(&[secret], captured, Timestamp::from_secs(1_790_000_000)).run();
///
/// assert_eq!(report.matches[0].scheme, Some(Scheme::github()));
/// assert_eq!(report.matches[0].preset.as_deref(), Some("Scheme::github()"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a search does nothing until `run` is called"]
pub struct Search {
    secrets: Vec<Secret>,
    captured: Captured,
    now: Timestamp,
    hints: Hints,
    budget: u64,
}

/// What is known already.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    name: Option<Source>,
    header: Option<String>,
}

impl Hints {
    /// Nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The provider's name, for the scheme that is found. Without one it is called `found`.
    #[must_use]
    pub fn named(self, name: Source) -> Self {
        Self { name: Some(name), ..self }
    }

    /// The header with the signature, in either case: no other is looked at.
    #[must_use]
    pub fn signature_header(self, name: impl Into<String>) -> Self {
        Self { header: Some(name.into()), ..self }
    }

    pub(super) fn name(&self) -> Option<&Source> {
        self.name.as_ref()
    }
}

impl Search {
    /// A search for the scheme that `captured` is signed by, with one of `secrets`: several in a rotation. `now` is the
    /// time that the signed time is held against; the search finds old captures as well.
    ///
    /// Secrets may be given as they were copied: [`Secret::from_bytes`] takes them with white space or quotation marks,
    /// which are then told as a mistake.
    pub fn new(secrets: &[Secret], captured: Captured, now: Timestamp) -> Self {
        Self { secrets: secrets.to_vec(), captured, now, hints: Hints::default(), budget: BUDGET }
    }

    /// The same with what is known already.
    pub fn hints(self, hints: Hints) -> Self {
        Self { hints, ..self }
    }

    /// Searches, on all processors. Takes well under a second for a body of 64 KiB, and ends for a body of any size:
    /// after 32 GiB of hashing it stops, and [`RuledOut::skipped`] says what was left.
    ///
    /// Stops after the first stage with a match, so that all matches are about equally likely.
    #[must_use]
    pub fn run(self) -> Report {
        let tags = Tags::collect(&self.captured, self.hints.header.as_deref());
        let holders: Vec<usize> = tags.places.iter().map(|place| place.header).collect();
        let found_fields = fields::collect(&self.captured, &holders, self.now);
        let space = Space {
            keys: secrets::candidates(&self.secrets),
            forms: if tags.values.is_empty() { Vec::new() } else { body::forms(&self.captured) },
            fields: found_fields,
            tags,
        };
        let resolver = Resolver { captured: &self.captured, fields: &space.fields, hints: &self.hints, now: self.now };
        let mut progress = Progress { budget: self.budget, ..Progress::default() };
        let mut matches = space.search(&resolver, &mut progress);
        matches.sort_by_key(rank);
        let ruled_out = RuledOut {
            headers: space.tags.seen,
            candidates: space.tags.values.len(),
            candidates_left_out: space.tags.left_out,
            secrets: self.secrets.len(),
            readings: space.keys.into_iter().map(|key| key.reading).collect(),
            values: space.fields.iter().map(|field| field.origin.placeholder()).collect(),
            bodies: space.forms.into_iter().filter_map(|form| form.change).collect(),
            contents: progress.contents,
            skipped: progress.skipped,
        };
        let notes = self.captured.notes().to_vec();
        let next_steps = next_steps(&matches, &ruled_out, &notes);
        Report { matches, tried: progress.macs, ruled_out, notes, next_steps }
    }
}

/// Everything that is combined.
struct Space {
    keys: Vec<Candidate>,
    forms: Vec<Form>,
    fields: Vec<Field>,
    tags: Tags,
}

#[derive(Default)]
struct Progress {
    budget: u64,
    macs: u64,
    contents: u64,
    skipped: u64,
}

impl Space {
    fn search(&self, resolver: &Resolver<'_>, progress: &mut Progress) -> Vec<Found> {
        let [captured, others @ ..] = self.forms.as_slice() else { return Vec::new() };
        let every: Vec<&Candidate> = self.keys.iter().collect();
        let plain: Vec<&Candidate> = every.iter().copied().filter(|key| key.reading.mistake.is_none()).collect();
        let captured = std::slice::from_ref(captured);
        let mut cook = Cook::new(&self.fields);
        let likely = cook.likely();
        let found = self.stage(resolver, progress, &every, captured, &likely);
        if !found.is_empty() {
            return found;
        }
        let usual = cook.usual();
        let found = self.stage(resolver, progress, &plain, others, &usual);
        if !found.is_empty() {
            return found;
        }
        let all = cook.all();
        let found = self.stage(resolver, progress, &plain, captured, &all);
        if !found.is_empty() {
            return found;
        }
        self.digests(resolver, progress, &plain, &captured[0])
    }

    fn stage(
        &self,
        resolver: &Resolver<'_>,
        progress: &mut Progress,
        keys: &[&Candidate],
        forms: &[Form],
        contents: &Contents,
    ) -> Vec<Found> {
        let stage = Stage { keys: keys.to_vec(), forms, contents, tags: &self.tags.values };
        let scanned = stage.scan(&mut progress.budget);
        progress.macs += scanned.macs;
        progress.skipped += scanned.skipped;
        let contents_of_stage: usize = contents.beginnings.iter().map(|begin| begin.endings).sum();
        progress.contents += (contents_of_stage * forms.len()) as u64;
        // One tag may be hit by several readings of the same bytes, above all where the body is empty.
        let mut hits = scanned.hits;
        hits.sort_by_key(|hit| hit.tag);
        let of_one_tag = hits.chunk_by(|one, other| one.tag == other.tag).map(|hits| {
            let resolved = hits.iter().take(MAX_READINGS).map(|hit| {
                resolver.resolve(&Matched {
                    key: keys[hit.key],
                    form: &forms[hit.form],
                    before: &contents.beginnings[hit.beginning].recipe.pieces,
                    after: &contents.endings[hit.ending].pieces,
                    place: self.tags.places[hit.tag],
                    algorithm: Algorithm::HmacSha256,
                })
            });
            best_of(resolved.collect())
        });
        of_one_tag.flatten().collect()
    }

    fn digests(
        &self,
        resolver: &Resolver<'_>,
        progress: &mut Progress,
        keys: &[&Candidate],
        form: &Form,
    ) -> Vec<Found> {
        let Some(first) = keys.first() else { return Vec::new() };
        let size = (form.bytes.len() * (2 * keys.len() + 1)) as u64;
        if size > progress.budget {
            return Vec::new();
        }
        let hits = plain_digests(form, keys, &self.tags.values);
        let matched = hits.into_iter().map(|(key, tag, before)| Matched {
            key: key.map_or(first, |key| keys[key]),
            form,
            before: &[],
            after: &[],
            place: self.tags.places[tag],
            algorithm: match (key, before) {
                (None, _) => Algorithm::Sha256,
                (Some(_), true) => Algorithm::Sha256SecretBefore,
                (Some(_), false) => Algorithm::Sha256SecretBehind,
            },
        });
        matched.map(|matched| resolver.resolve(&matched)).collect()
    }
}

/// Lower is better.
fn rank(found: &Found) -> (bool, usize, bool) {
    (found.scheme.is_none(), found.mistakes.len(), found.preset.is_none())
}

/// The best reading of a match; the others are told as ambiguities.
fn best_of(mut readings: Vec<Found>) -> Option<Found> {
    readings.sort_by_key(rank);
    let mut readings = readings.into_iter();
    let mut best = readings.next()?;
    for other in readings.filter(|other| other.content != best.content).collect::<Vec<_>>() {
        best.ambiguities.push(format!("{:?} is the same content for this body", other.content));
    }
    best.ambiguities.dedup();
    Some(best)
}
