//! Which paths there are, which methods they take and which of them need a key: as the OpenAPI document says.

use actix_web::http::Method;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};

use crate::sandbox::api::ApiError;

/// Every path of the document.
pub(super) struct Routes(Vec<Route>);

struct Route {
    segments: Vec<Segment>,
    methods: Vec<(Method, Secured)>,
}

#[derive(PartialEq)]
enum Segment {
    Fixed(String),
    Any,
}

type Secured = bool;

/// The route of a request.
pub(super) struct Found<'a>(&'a Route);

impl Routes {
    pub(super) fn of(document: &OpenApi) -> Self {
        let mut routes: Vec<_> = document.paths.paths.iter().map(|(path, item)| Route::new(path, item)).collect();
        // `/webhooks/config/` goes before `/webhooks/{webhook_id}/`.
        routes.sort_by_key(|route| route.segments.iter().filter(|segment| **segment == Segment::Any).count());
        Self(routes)
    }

    /// The route of `path`, or that there is none.
    pub(super) fn find(&self, path: &str) -> Result<Found<'_>, ApiError> {
        if let Some(route) = self.matching(path).filter(|route| !self.is_only_in_v2(path, route)) {
            return Ok(Found(route));
        }
        let text = match self.matching(&format!("{path}/")) {
            Some(_) => "There is nothing at this path: it must end in a slash.",
            None => "There is nothing at this path.",
        };
        Err(ApiError::NotFound(text.to_owned()))
    }

    /// Whether `path` is a word of v2 (`config`) that in v1 would be taken for an id.
    fn is_only_in_v2(&self, path: &str, route: &Route) -> bool {
        let in_v2 = || self.matching(&format!("/api/v2/{}", path.strip_prefix("/api/v1/")?));
        !route.is_fixed() && in_v2().is_some_and(Route::is_fixed)
    }

    fn matching(&self, path: &str) -> Option<&Route> {
        let segments: Vec<_> = path.split('/').collect();
        self.0.iter().find(|route| route.matches(&segments))
    }
}

impl Found<'_> {
    /// Whether any of its operations needs a key: then a method that it does not have needs one too.
    pub(super) fn needs_key(&self) -> bool {
        self.0.methods.iter().any(|(_, secured)| *secured)
    }

    /// Whether it takes `method`.
    pub(super) fn check(&self, method: &Method) -> Result<(), ApiError> {
        let methods = &self.0.methods;
        if methods.iter().any(|(taken, _)| taken == method) {
            return Ok(());
        }
        Err(ApiError::Method(methods.iter().map(|(method, _)| method.clone()).collect()))
    }
}

impl Route {
    fn new(path: &str, item: &PathItem) -> Self {
        let segment = |text: &str| if text.starts_with('{') { Segment::Any } else { Segment::Fixed(text.to_owned()) };
        let method = |method: Method, operation: &Option<Operation>| {
            operation
                .as_ref()
                .map(|operation| (method, operation.security.as_ref().is_some_and(|keys| !keys.is_empty())))
        };
        let methods = [
            method(Method::GET, &item.get),
            method(Method::POST, &item.post),
            method(Method::PUT, &item.put),
            method(Method::PATCH, &item.patch),
            method(Method::DELETE, &item.delete),
        ];
        Self { segments: path.split('/').map(segment).collect(), methods: methods.into_iter().flatten().collect() }
    }

    fn is_fixed(&self) -> bool {
        !self.segments.contains(&Segment::Any)
    }

    fn matches(&self, segments: &[&str]) -> bool {
        let fits = |(segment, text): (&Segment, &&str)| match segment {
            Segment::Any => !text.is_empty(),
            Segment::Fixed(fixed) => fixed == text,
        };
        self.segments.len() == segments.len() && self.segments.iter().zip(segments).all(fits)
    }
}
