//! The contents that are tried: what stands before the body, and what behind it.

use std::collections::HashSet;

use super::fields::{Field, Origin, RequestPart, Role};

/// A piece of the signed content beside the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The field at this index.
    Field(usize),
    Text(&'static str),
}

/// Pieces, and the bytes that they stand for.
pub(super) struct Recipe {
    pub(super) pieces: Vec<Piece>,
    pub(super) bytes: Vec<u8>,
}

/// What is put before the body, and every ending that is tried with it.
pub(super) struct Beginning {
    pub(super) recipe: Recipe,
    /// Of a stage's endings, how many are tried: the first is always no ending.
    pub(super) endings: usize,
}

/// The contents of one stage.
pub(super) struct Contents {
    pub(super) beginnings: Vec<Beginning>,
    pub(super) endings: Vec<Recipe>,
}

/// What stands between two values, the usual first.
const BETWEEN: [&str; 16] = [".", ":", "", "|", ",", "\n", "-", "_", " ", "/", ";", "&", "\r\n", "=", "+", "#"];
/// Those that are tried between several values.
const USUAL: usize = 8;

/// The most times that are combined with others.
const MAX_TIMES: usize = 4;
/// The most values that are combined with each other.
const MAX_LIKELY: usize = 8;

/// Collects recipes, each content once.
pub(super) struct Cook<'a> {
    fields: &'a [Field],
    seen: HashSet<Vec<u8>>,
}

impl<'a> Cook<'a> {
    pub(super) fn new(fields: &'a [Field]) -> Self {
        Self { fields, seen: HashSet::new() }
    }

    /// The contents that most senders sign: the body, with times, ids, event types and versions around it.
    pub(super) fn likely(&mut self) -> Contents {
        let mut beginnings = Vec::new();
        let (times, likely) = (self.times(), self.likely_fields());
        let mut endings = Endings::new(self.fields);
        for between in &BETWEEN[..USUAL] {
            likely.iter().for_each(|field| endings.add(&[(between, *field)]));
        }
        let single = endings.list.len();
        for between in &BETWEEN[..USUAL] {
            pairs(&likely, &likely, |one, other| endings.add(&[(between, one), (between, other)]));
        }
        for between in BETWEEN {
            (0..self.fields.len()).for_each(|field| endings.add(&[(between, field)]));
        }
        self.begin(&mut beginnings, vec![], endings.list.len());
        for between in &BETWEEN[..USUAL] {
            for field in &likely {
                self.begin(&mut beginnings, joined(&[*field], between), single);
            }
            pairs(&likely, &likely, |one, other| self.begin(&mut beginnings, joined(&[one, other], between), 1));
        }
        for version in ["v0", "v1"] {
            for between in &BETWEEN[..4] {
                self.begin(&mut beginnings, vec![Piece::Text(version), Piece::Text(between)], 1);
                for time in &times {
                    let mut pieces = vec![Piece::Text(version), Piece::Text(between)];
                    pieces.extend(joined(&[*time], between));
                    self.begin(&mut beginnings, pieces, 1);
                }
            }
        }
        let parts: Vec<usize> = self.request_parts(&[]);
        for between in &BETWEEN[..USUAL] {
            for part in &parts {
                self.begin(&mut beginnings, joined(&[*part], between), single);
            }
            self.begin_with_the_line(&mut beginnings, between, &times);
        }
        Contents { beginnings, endings: endings.list }
    }

    /// The few that are tried with every form of the body.
    pub(super) fn usual(&self) -> Contents {
        let mut cook = Cook::new(self.fields);
        let mut beginnings = Vec::new();
        let times: Vec<usize> = cook.times().into_iter().take(2).collect();
        let ids: Vec<usize> = cook.of_role(Role::Id).into_iter().take(3).collect();
        let mut endings = Endings::new(self.fields);
        for between in &BETWEEN[..3] {
            times.iter().chain(&ids).for_each(|field| endings.add(&[(between, *field)]));
        }
        cook.begin(&mut beginnings, vec![], endings.list.len());
        for between in &BETWEEN[..4] {
            for field in times.iter().chain(&ids) {
                cook.begin(&mut beginnings, joined(&[*field], between), 1);
            }
            pairs(&times, &ids, |time, id| {
                cook.begin(&mut beginnings, joined(&[id, time], between), 1);
                cook.begin(&mut beginnings, joined(&[time, id], between), 1);
            });
        }
        for (version, between) in [("v0", ":"), ("v1", ":"), ("v1", ".")] {
            for time in &times {
                let mut pieces = vec![Piece::Text(version), Piece::Text(between)];
                pieces.extend(joined(&[*time], between));
                cook.begin(&mut beginnings, pieces, 1);
            }
        }
        if let [url] = cook.request_parts(&[RequestPart::Url])[..] {
            cook.begin(&mut beginnings, vec![Piece::Field(url)], 1);
        }
        Contents { beginnings, endings: endings.list }
    }

    /// All others: any one header, two with a time or of the sender's own, three of the likely, mixed separators.
    pub(super) fn all(&mut self) -> Contents {
        let mut beginnings = Vec::new();
        let (times, likely) = (self.times(), self.likely_fields());
        let every: Vec<usize> = (0..self.fields.len()).collect();
        let own: Vec<usize> =
            every.iter().copied().filter(|at| self.fields[*at].role < Role::Boring).take(12).collect();
        let mut endings = Endings::new(self.fields);
        for between in &BETWEEN[..USUAL] {
            likely.iter().take(3).for_each(|field| endings.add(&[(between, *field)]));
        }
        let single = endings.list.len();
        for between in BETWEEN {
            for field in &every {
                self.begin(&mut beginnings, joined(&[*field], between), single);
            }
        }
        for between in &BETWEEN[..USUAL] {
            for (one, others) in [(&times, &every), (&every, &times), (&own, &own)] {
                pairs(one, others, |one, other| self.begin(&mut beginnings, joined(&[one, other], between), 1));
            }
            let few: Vec<usize> = likely.iter().copied().take(6).collect();
            pairs(&few, &few, |one, other| {
                for third in few.iter().filter(|third| **third != one && **third != other) {
                    self.begin(&mut beginnings, joined(&[one, other, *third], between), 1);
                }
            });
        }
        for first in &BETWEEN[..6] {
            for second in &BETWEEN[..6] {
                pairs(&likely, &likely, |one, other| {
                    let pieces = [Piece::Field(one), Piece::Text(first), Piece::Field(other), Piece::Text(second)];
                    self.begin(&mut beginnings, pieces.to_vec(), 1);
                });
            }
        }
        Contents { beginnings, endings: endings.list }
    }

    fn begin(&mut self, beginnings: &mut Vec<Beginning>, pieces: Vec<Piece>, endings: usize) {
        let recipe = Recipe::new(pieces, self.fields);
        if self.seen.insert(recipe.bytes.clone()) {
            beginnings.push(Beginning { recipe, endings });
        }
    }

    /// Method, path and time in the orders that are in use.
    fn begin_with_the_line(&mut self, beginnings: &mut Vec<Beginning>, between: &'static str, times: &[usize]) {
        let methods = self.request_parts(&[RequestPart::Method]);
        let [method] = methods[..] else { return };
        for place in self.request_parts(&[RequestPart::Path, RequestPart::Target, RequestPart::Url]) {
            self.begin(beginnings, joined(&[method, place], between), 1);
            for time in times {
                for order in [[*time, method, place], [method, place, *time], [method, *time, place]] {
                    self.begin(beginnings, joined(&order, between), 1);
                }
                for order in [[*time, place], [place, *time]] {
                    self.begin(beginnings, joined(&order, between), 1);
                }
            }
        }
    }

    fn times(&self) -> Vec<usize> {
        let mut times = self.of_role(Role::Time);
        times.truncate(MAX_TIMES);
        times
    }

    /// Times, ids and event types.
    fn likely_fields(&self) -> Vec<usize> {
        let mut likely = self.times();
        likely.extend(self.of_role(Role::Id));
        likely.extend(self.of_role(Role::EventType));
        likely.truncate(MAX_LIKELY);
        likely
    }

    fn of_role(&self, role: Role) -> Vec<usize> {
        (0..self.fields.len()).filter(|at| self.fields[*at].role == role).collect()
    }

    /// The pieces of the request line that are among `parts`; all of them where none is named.
    fn request_parts(&self, parts: &[RequestPart]) -> Vec<usize> {
        let wanted = |origin: &Origin| match origin {
            Origin::Request(part) => parts.is_empty() || parts.contains(part),
            Origin::Element { .. } | Origin::Header { .. } => false,
        };
        (0..self.fields.len()).filter(|at| wanted(&self.fields[*at].origin)).collect()
    }
}

impl Recipe {
    fn new(mut pieces: Vec<Piece>, fields: &[Field]) -> Self {
        pieces.retain(|piece| *piece != Piece::Text(""));
        let mut bytes = Vec::new();
        for piece in &pieces {
            match piece {
                Piece::Field(at) => bytes.extend_from_slice(&fields[*at].value),
                Piece::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            }
        }
        Self { pieces, bytes }
    }
}

struct Endings<'a> {
    fields: &'a [Field],
    seen: HashSet<Vec<u8>>,
    list: Vec<Recipe>,
}

impl<'a> Endings<'a> {
    /// With no ending as the first.
    fn new(fields: &'a [Field]) -> Self {
        let none = Recipe { pieces: Vec::new(), bytes: Vec::new() };
        Self { fields, seen: HashSet::from([Vec::new()]), list: vec![none] }
    }

    fn add(&mut self, parts: &[(&'static str, usize)]) {
        let pieces = parts.iter().flat_map(|(between, field)| [Piece::Text(between), Piece::Field(*field)]);
        let recipe = Recipe::new(pieces.collect(), self.fields);
        if self.seen.insert(recipe.bytes.clone()) {
            self.list.push(recipe);
        }
    }
}

/// `fields`, with `between` behind each.
fn joined(fields: &[usize], between: &'static str) -> Vec<Piece> {
    fields.iter().flat_map(|field| [Piece::Field(*field), Piece::Text(between)]).collect()
}

fn pairs(ones: &[usize], others: &[usize], mut each: impl FnMut(usize, usize)) {
    for one in ones {
        for other in others.iter().filter(|other| *other != one) {
            each(*one, *other);
        }
    }
}
