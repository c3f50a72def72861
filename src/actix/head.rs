//! actix's heads as the framework-free parts see them.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderMap;

use crate::request::{FieldLine, Headers, PathParams};

pub(super) struct Fields<'a>(pub(super) &'a HeaderMap);

impl Headers for Fields<'_> {
    fn line(&self, name: &str) -> FieldLine<'_> {
        // A look-up by text would copy the name into a `HeaderName` first; heads are short.
        let Some(key) = self.0.keys().find(|key| key.as_str() == name) else {
            return FieldLine::Absent;
        };
        let mut lines = self.0.get_all(key);
        match (lines.next(), lines.next()) {
            (None, _) => FieldLine::Absent,
            (Some(value), None) => FieldLine::One(value.as_bytes()),
            (Some(_), Some(_)) => FieldLine::Several,
        }
    }
}

pub(super) struct Params<'a>(pub(super) &'a HttpRequest);

impl PathParams for Params<'_> {
    fn param(&self, name: &str) -> Option<&str> {
        self.0.match_info().get(name)
    }
}
