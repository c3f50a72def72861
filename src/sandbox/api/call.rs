//! What a handler is given: who asks, and what they sent.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::web::{Bytes, Data, Query};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::sandbox::api::{Api, ApiError, validate};
use crate::sandbox::store::Tenant;

/// What the gate found out about a request that it let in.
#[derive(Clone)]
pub(super) struct Admitted {
    /// Whose key it came with; `None` where none is needed.
    pub(super) tenant: Option<Tenant>,
    pub(super) body: Bytes,
}

/// A request that the gate let in.
pub(super) struct Call {
    pub(super) api: Data<Api>,
    request: HttpRequest,
    admitted: Admitted,
}

impl FromRequest for Call {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let admitted = request.extensions().get::<Admitted>().cloned();
        let call = request.app_data::<Data<Api>>().zip(admitted);
        ready(match call {
            Some((api, admitted)) => Ok(Self { api: api.clone(), request: request.clone(), admitted }),
            None => Err(ApiError::internal(&"a request passed the gate unseen")),
        })
    }
}

impl Call {
    /// Whose key it came with.
    pub(super) fn tenant(&self) -> Result<&Tenant, ApiError> {
        self.admitted.tenant.as_ref().ok_or(ApiError::Unauthenticated)
    }

    /// The id in the path.
    pub(super) fn id(&self, name: &'static str) -> Result<Uuid, ApiError> {
        validate::id(name, self.request.match_info().query(name))
    }

    /// The query; a parameter that stands there twice is refused.
    pub(super) fn query<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let query = Query::from_query(self.request.query_string());
        query.map(Query::into_inner).map_err(|error| ApiError::Invalid(format!("The query cannot be read: {error}.")))
    }

    /// The body, a JSON object; an empty one is an object without members.
    pub(super) fn body<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let object = if self.admitted.body.is_empty() {
            Map::new()
        } else {
            self.check_type()?;
            serde_json::from_slice(&self.admitted.body)
                .map_err(|error| ApiError::Invalid(format!("The body is not a JSON object: {error}.")))?
        };
        T::deserialize(Value::Object(object)).map_err(|error| ApiError::Invalid(format!("The body is wrong: {error}.")))
    }

    fn check_type(&self) -> Result<(), ApiError> {
        let content_type = self.request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            Ok(())
        } else {
            Err(ApiError::Invalid("The body must be JSON, with Content-Type: application/json.".to_owned()))
        }
    }
}
