//! A tag that matched becomes a scheme, and the scheme is put to the test.

use super::body::{Difference, Form};
use super::captured::Captured;
use super::fields::{self, Field, Origin, Role, TimeForm};
use super::found::{Algorithm, Beyond, Found, Guess, Mistake, SignedTime};
use super::recipes::Piece;
use super::rust::{preset_call, to_rust};
use super::search::Hints;
use super::secrets::{Candidate, ReadAs, SecretMistake};
use super::tags::{self, LaidOut, Place};
use crate::keyring::{Keyring, Secret};
use crate::request::RequestView;
use crate::scheme::{Scheme, SchemeBuilder, find_by_pointer};
use crate::time::Timestamp;
use crate::verify::Verifier;

/// What every hit of a search is resolved with.
pub(super) struct Resolver<'a> {
    pub(super) captured: &'a Captured,
    pub(super) fields: &'a [Field],
    pub(super) hints: &'a Hints,
    pub(super) now: Timestamp,
}

/// A tag that matched, and what it is of.
pub(super) struct Matched<'a> {
    pub(super) key: &'a Candidate,
    pub(super) form: &'a Form,
    pub(super) before: &'a [Piece],
    pub(super) after: &'a [Piece],
    pub(super) place: Place,
    pub(super) algorithm: Algorithm,
}

/// Which pieces of the content get a name of their own; all others are headers.
#[derive(Clone, Debug, Default)]
struct Names {
    time: Option<(usize, Origin)>,
    id: Option<(usize, String)>,
    event_type: Option<(usize, String)>,
}

/// What is put into a scheme without being signed.
#[derive(Clone, Debug, Default)]
struct Labels {
    id: Option<String>,
    event_type: Option<String>,
}

impl Resolver<'_> {
    pub(super) fn resolve(&self, matched: &Matched<'_>) -> Found {
        let mut found = self.describe(matched);
        if found.beyond.is_empty() {
            match self.scheme(matched) {
                Ok((scheme, guesses)) => {
                    found.guesses.extend(guesses);
                    found.content = scheme.content().to_string();
                    found.preset = preset_call(&scheme);
                    found.toml = Some(scheme.to_toml());
                    found.rust = Some(to_rust(&scheme));
                    found.scheme = Some(scheme);
                }
                Err(reason) => found.beyond.push(Beyond::Refused { reason }),
            }
        }
        self.tell_time(matched, &mut found);
        if found.preset.is_some() {
            found.guesses.clear();
        }
        found
    }

    /// All but the scheme.
    fn describe(&self, matched: &Matched<'_>) -> Found {
        let Matched { key, form, place, .. } = matched;
        let name = self.captured.headers().nth(place.header).map(|(name, _)| name.to_ascii_lowercase());
        let mut found = Found {
            scheme: None,
            preset: None,
            toml: None,
            rust: None,
            header: name.unwrap_or_default(),
            spelling: place.spelling,
            algorithm: matched.algorithm,
            content: self.template(matched, &Names::default()),
            secret: key.reading.clone(),
            time: None,
            mistakes: Vec::new(),
            beyond: Vec::new(),
            guesses: Vec::new(),
            ambiguities: Vec::new(),
        };
        if matched.algorithm != Algorithm::HmacSha256 {
            found.beyond.push(Beyond::Algorithm);
        }
        if let Some(change) = &form.change {
            if change.is_by_design() {
                found.beyond.push(Beyond::Body { change: change.clone() });
            } else {
                let difference = Difference::between(self.captured.body(), &form.bytes);
                let advice = change.advice();
                found.mistakes.push(Mistake::Body { change: change.clone(), difference, advice });
            }
        }
        if let Some(mistake) = key.reading.mistake {
            let secret = key.reading.secret;
            found.mistakes.push(Mistake::Secret { secret, mistake, advice: mistake.advice() });
        }
        if place.spelling.encoding().is_none() {
            found.beyond.push(Beyond::Spelling { spelling: place.spelling });
        }
        if key.reading.read_as == ReadAs::Base64Url {
            let (secret, mistake) = (key.reading.secret, SecretMistake::Base64Url);
            found.mistakes.push(Mistake::Secret { secret, mistake, advice: mistake.advice() });
        }
        for field in self.signed(matched).map(|at| &self.fields[at]) {
            let seconds = matches!(field.time, Some((TimeForm::Seconds, _)));
            match &field.origin {
                Origin::Request(part) => found.beyond.push(Beyond::RequestLine { part: *part }),
                Origin::Element { prefix, .. } if !seconds => {
                    found.beyond.push(Beyond::Element { prefix: prefix.clone() });
                }
                Origin::Element { .. } | Origin::Header { .. } => {}
            }
            if !field.also.is_empty() {
                let others: Vec<_> = field.also.iter().map(Origin::placeholder).collect();
                let this = field.origin.placeholder();
                found.ambiguities.push(format!("the value of {this} also stands in {}", others.join(", ")));
            }
        }
        found
    }

    /// The scheme that verifies the request, or why there is none.
    fn scheme(&self, matched: &Matched<'_>) -> Result<(Scheme, Vec<Guess>), String> {
        let Some((header, value)) = self.captured.headers().nth(matched.place.header) else {
            return Err(String::new());
        };
        for preset in Scheme::presets() {
            let ours = preset.signature().header.as_str().eq_ignore_ascii_case(header);
            if ours && self.verifies(&preset, matched).is_ok() {
                let named = self.hints.name().filter(|_| preset == Scheme::standard_webhooks());
                return Ok((named.map_or(preset.clone(), |name| preset.renamed(name.clone())), Vec::new()));
            }
        }
        let Some(encoding) = matched.place.spelling.encoding() else { return Err(String::new()) };
        let layouts = tags::layouts(value, matched.place.start, matched.place.end, encoding);
        let (mut first_reason, mut built) = (None, false);
        let labels = self.labels(matched);
        for names in self.names(matched) {
            for labels in [&labels, &Labels::default()] {
                for layout in &layouts {
                    let scheme = match self.build(matched, layout, &names, labels) {
                        None => continue,
                        Some(Err(reason)) => Err(reason),
                        Some(Ok(scheme)) => {
                            built = true;
                            self.verifies(&scheme, matched).map(|()| scheme)
                        }
                    };
                    match scheme {
                        Ok(scheme) => return Ok((scheme, self.guesses(matched, layout, &names, labels))),
                        Err(reason) => drop(first_reason.get_or_insert(reason)),
                    }
                }
            }
        }
        let mut signed = self.signed(matched);
        if !built && signed.any(|at| matches!(self.fields[at].origin, Origin::Element { .. })) {
            return Err(
                "the time stands beside the signature in a way that cannot be read: a Scheme reads items that one \
                        character parts, the time's with a prefix such as `t=`"
                    .to_owned(),
            );
        }
        Err(first_reason.unwrap_or_else(|| {
            "the signature header cannot be read as a prefix and a signature, or a list of them".to_owned()
        }))
    }

    /// `None` when the layout does not go with where the time stands.
    fn build(
        &self,
        matched: &Matched<'_>,
        layout: &LaidOut,
        names: &Names,
        labels: &Labels,
    ) -> Option<Result<Scheme, String>> {
        let (header, _) = self.captured.headers().nth(matched.place.header)?;
        let name = self.hints.name().map_or("found", |name| name.as_str());
        let mut builder: SchemeBuilder = Scheme::builder(name)
            .signature_header(header)
            .prefix(layout.prefix.clone())
            .encoding(matched.place.spelling.encoding()?)
            .content(&self.template(matched, names))
            .secret(matched.key.format.clone());
        if let Some(separator) = layout.separator {
            builder = builder.separator(separator);
        }
        builder = match &names.time {
            Some((_, Origin::Header { name })) => builder.timestamp_header(name),
            Some((_, Origin::Element { header, separator, prefix, .. })) => {
                if *header != matched.place.header || layout.separator != Some(*separator) {
                    return None;
                }
                builder.timestamp_element(prefix)
            }
            Some((_, Origin::Request(_))) | None => builder,
        };
        let id = names.id.as_ref().map(|(_, name)| name).or(labels.id.as_ref());
        if let Some(name) = id {
            builder = builder.id_header(name);
        }
        let event_type = names.event_type.as_ref().map(|(_, name)| name).or(labels.event_type.as_ref());
        if let Some(name) = event_type {
            builder = builder.event_type_header(name);
        }
        Some(builder.build().map_err(|error| error.to_string()))
    }

    /// Whether a receiver with this scheme accepts the request, at the moment at which it was signed.
    fn verifies(&self, scheme: &Scheme, matched: &Matched<'_>) -> Result<(), String> {
        let secret = Secret::from_bytes(matched.key.text.to_vec()).map_err(|error| error.to_string())?;
        let verifier = Verifier::new(scheme.clone(), Keyring::single(secret)).map_err(|error| error.to_string())?;
        let request = RequestView::new(self.captured, matched.form.bytes.clone());
        let times = self.signed(matched).filter_map(|at| self.fields[at].time);
        let seconds = times.filter(|(form, _)| *form == TimeForm::Seconds).map(|(_, at)| at);
        // A number may be a time in one reading of the content and not in another.
        let mut result = Err(String::new());
        for now in seconds.chain([self.now]) {
            result = verifier.verify(&request, now).map(drop).map_err(|rejection| {
                let why = match rejection.as_str() {
                    "invalid_header" => ": a value that is signed before another one holds the text that parts them",
                    _ => "",
                };
                format!("a scheme that says so refuses this very delivery, as {}{why}", rejection.as_str())
            });
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// The ways to name the pieces of the content, the most telling first.
    fn names(&self, matched: &Matched<'_>) -> Vec<Names> {
        let mut times = vec![];
        for at in self.signed(matched) {
            let field = &self.fields[at];
            let is_seconds = matches!(field.time, Some((TimeForm::Seconds, _)));
            if is_seconds && (field.role == Role::Time || matches!(field.origin, Origin::Element { .. })) {
                let origins = std::iter::once(&field.origin).chain(&field.also);
                times.extend(origins.map(|origin| Some((at, origin.clone()))));
            }
        }
        times.push(None);
        let mut all = Vec::new();
        for time in times {
            let header_of = |role: Role| {
                self.signed(matched).filter(|at| time.as_ref().is_none_or(|(time, _)| time != at)).find_map(|at| {
                    let field = &self.fields[at];
                    let name = match &field.origin {
                        Origin::Header { name } if field.role == role => name.clone(),
                        _ => return None,
                    };
                    Some((at, name))
                })
            };
            let (id, event_type) = (header_of(Role::Id), header_of(Role::EventType));
            all.push(Names { time: time.clone(), id: id.clone(), event_type });
            all.push(Names { time: time.clone(), id, event_type: None });
            all.push(Names { time, id: None, event_type: None });
        }
        all
    }

    /// What is signed; a value that is signed twice has its name once.
    fn template(&self, matched: &Matched<'_>, names: &Names) -> String {
        let mut named = names.clone();
        let mut text = |pieces: &[Piece]| -> String {
            let text = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => text.replace('{', "{{").replace('}', "}}"),
                Piece::Field(at) if named.time.take_if(|(time, _)| time == at).is_some() => "{timestamp}".to_owned(),
                Piece::Field(at) if named.id.take_if(|(id, _)| id == at).is_some() => "{id}".to_owned(),
                Piece::Field(at) => self.fields[*at].origin.placeholder(),
            });
            text.collect()
        };
        let before = text(matched.before);
        let after = text(matched.after);
        format!("{before}{{body}}{after}")
    }

    /// The headers with an id and an event type that are not signed, by their names.
    fn labels(&self, matched: &Matched<'_>) -> Labels {
        let signed: Vec<usize> = self.signed(matched).collect();
        let named = |at: usize, field: &Field, role: Role| match &field.origin {
            Origin::Header { name } if field.role == role && !signed.contains(&at) => Some(name.clone()),
            _ => None,
        };
        let of_role = |role| -> Vec<String> {
            self.fields.iter().enumerate().filter_map(|(at, field)| named(at, field, role)).collect()
        };
        let has_role = |role| signed.iter().any(|at| self.fields[*at].role == role);
        let mut ids = of_role(Role::Id);
        ids.retain(|name| fields::sounds_like_an_id(name).is_some_and(|rank| rank < 2));
        ids.sort_by_key(|name| fields::sounds_like_an_id(name));
        let in_envelope = ["type", "event", "event_type"]
            .iter()
            .any(|name| find_by_pointer(&matched.form.bytes, &format!("/{name}")).is_some());
        let event_type = of_role(Role::EventType).into_iter().next();
        Labels {
            id: ids.into_iter().next().filter(|_| !has_role(Role::Id)),
            event_type: event_type.filter(|_| !in_envelope && !has_role(Role::EventType)),
        }
    }

    fn guesses(&self, matched: &Matched<'_>, layout: &LaidOut, names: &Names, labels: &Labels) -> Vec<Guess> {
        let mut guesses = Vec::new();
        if let Some(header) = labels.id.clone() {
            guesses.push(Guess::IdHeader { header });
        }
        if let Some(header) = labels.event_type.clone() {
            guesses.push(Guess::EventTypeHeader { header });
        }
        let pointers = ["/id", "/event_id", "/webhook_id", "/delivery_id", "/message_id"];
        if names.id.is_none()
            && let Some(pointer) = pointers.iter().find(|at| find_by_pointer(&matched.form.bytes, at).is_some())
        {
            guesses.push(Guess::IdPointer { pointer: (*pointer).to_owned() });
        }
        if layout.guessed || layout.separator.is_none() {
            guesses.push(Guess::Separator { separator: layout.separator });
        }
        let unchecked = self.signed(matched).find_map(|at| match self.fields[at].time {
            Some((form @ (TimeForm::Milliseconds | TimeForm::Rfc3339), _)) => Some(form),
            _ => None,
        });
        match unchecked {
            _ if names.time.is_some() => {}
            Some(form) => guesses.push(Guess::TimeNotChecked { form }),
            None => guesses.push(Guess::NoTime),
        }
        guesses.push(Guess::Defaults);
        guesses
    }

    fn tell_time(&self, matched: &Matched<'_>, found: &mut Found) {
        let times = self.signed(matched).filter(|at| {
            let field = &self.fields[*at];
            field.role == Role::Time || matches!(field.origin, Origin::Element { .. })
        });
        let Some((form, at)) = times.filter_map(|at| self.fields[at].time).next() else { return };
        let age = self.now.as_secs().saturating_sub(at.as_secs());
        let tolerance = found.scheme.as_ref().and_then(Scheme::tolerance).map(|tolerance| tolerance.as_secs());
        found.time = Some(SignedTime {
            seconds: at.as_secs(),
            form,
            age_seconds: age,
            tolerance_seconds: tolerance,
            within_tolerance: tolerance.is_none_or(|tolerance| age.unsigned_abs() <= tolerance),
        });
    }

    /// The fields among the pieces, in order.
    fn signed<'m>(&self, matched: &Matched<'m>) -> impl Iterator<Item = usize> + use<'m> {
        matched.before.iter().chain(matched.after).filter_map(|piece| match piece {
            Piece::Field(at) => Some(*at),
            Piece::Text(_) => None,
        })
    }
}
