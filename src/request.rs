//! What a receiver needs to see of an HTTP request, without any framework's types.

use std::fmt;

use bytes::Bytes;

/// How often a header stands in a request, and with which value.
///
/// A signature scheme reads single headers only. Two field lines of one name are an attack on the difference between
/// two parsers, so they have a variant of their own and are never merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldLine<'a> {
    /// No field line of that name.
    Absent,
    /// Exactly one, with its raw value.
    One(&'a [u8]),
    /// Two or more.
    Several,
}

/// The header fields of a request.
pub trait Headers {
    /// The field lines called `name`; `name` is lower case, field names compare without regard to case.
    fn line(&self, name: &str) -> FieldLine<'_>;
}

/// Pairs of name and value, as a test or another framework has them at hand.
impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn line(&self, name: &str) -> FieldLine<'_> {
        let mut lines = self.iter().filter(|(key, _)| key.as_ref().eq_ignore_ascii_case(name));
        match (lines.next(), lines.next()) {
            (None, _) => FieldLine::Absent,
            (Some((_, value)), None) => FieldLine::One(value.as_ref()),
            (Some(_), Some(_)) => FieldLine::Several,
        }
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for Vec<(N, V)> {
    fn line(&self, name: &str) -> FieldLine<'_> {
        self.as_slice().line(name)
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>, const LEN: usize> Headers for [(N, V); LEN] {
    fn line(&self, name: &str) -> FieldLine<'_> {
        self.as_slice().line(name)
    }
}

/// Named parts of the request's path, such as `tenant` in `/webhooks/{tenant}`.
pub trait PathParams {
    /// The part called `name`.
    fn param(&self, name: &str) -> Option<&str>;
}

/// A path without named parts.
impl PathParams for () {
    fn param(&self, _name: &str) -> Option<&str> {
        None
    }
}

/// Pairs of name and value, as a test or another framework has them at hand.
impl<N: AsRef<str>, V: AsRef<str>> PathParams for [(N, V)] {
    fn param(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| key.as_ref() == name).map(|(_, value)| value.as_ref())
    }
}

impl<N: AsRef<str>, V: AsRef<str>> PathParams for Vec<(N, V)> {
    fn param(&self, name: &str) -> Option<&str> {
        self.as_slice().param(name)
    }
}

impl<N: AsRef<str>, V: AsRef<str>, const LEN: usize> PathParams for [(N, V); LEN] {
    fn param(&self, name: &str) -> Option<&str> {
        self.as_slice().param(name)
    }
}

/// All of a request but its body: enough to choose keys by.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    headers: &'a dyn Headers,
    params: &'a dyn PathParams,
}

impl<'a> RequestHead<'a> {
    /// A head with these header fields and no path parameters.
    #[must_use]
    pub fn new(headers: &'a dyn Headers) -> Self {
        Self { headers, params: &() }
    }

    /// The same head with path parameters.
    #[must_use]
    pub fn with_params(self, params: &'a dyn PathParams) -> Self {
        Self { params, ..self }
    }

    /// The field lines called `name` (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> FieldLine<'a> {
        self.headers.line(name)
    }

    /// The path parameter called `name`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.param(name)
    }
}

/// Names only: header values may be signatures.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead").finish_non_exhaustive()
    }
}

/// A whole request: borrowed headers, and the body's bytes exactly as they came.
#[derive(Clone)]
pub struct RequestView<'a> {
    head: RequestHead<'a>,
    body: Bytes,
}

impl<'a> RequestView<'a> {
    /// A request with these headers and this body.
    #[must_use]
    pub fn new(headers: &'a dyn Headers, body: impl Into<Bytes>) -> Self {
        Self::from_head(RequestHead::new(headers), body)
    }

    /// A request with this head and this body.
    #[must_use]
    pub fn from_head(head: RequestHead<'a>, body: impl Into<Bytes>) -> Self {
        Self { head, body: body.into() }
    }

    /// All but the body.
    #[must_use]
    pub fn head(&self) -> RequestHead<'a> {
        self.head
    }

    /// The body, byte for byte.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// The body's length, never its content.
impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView").field("body_len", &self.body.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_an_array_or_a_vector_are_headers_and_path_parameters() {
        let array = [("tenant", "acme"), ("x", "1"), ("X", "2")];
        let vec = array.to_vec();
        let (headers, params): ([&dyn Headers; 2], [&dyn PathParams; 2]) = ([&array, &vec], [&array, &vec]);
        for (headers, params) in headers.into_iter().zip(params) {
            let head = RequestHead::new(headers).with_params(params);
            assert_eq!(head.header("tenant"), FieldLine::One(b"acme"));
            assert_eq!(head.header("x"), FieldLine::Several);
            assert_eq!(head.header("y"), FieldLine::Absent);
            assert_eq!((head.param("tenant"), head.param("y")), (Some("acme"), None));
        }
    }
}
