//! The provider's errors: two published shapes, and whatever stands in front of it, as one type.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::error::clip;
use super::key::ApiKey;

/// An error answer of the provider, or of what stands in front of it.
///
/// Two shapes are published, `{"error": text, "code", "request_id", "details", "errors"}` ("Errors") and
/// `{"error": code, "message", "details"}` ("Test Webhook"); both read into this. Anything else, such as a gateway's HTML
/// page, has [`ErrorCode::Unstated`] and no message. `Display` shows all texts in part and never the details.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The provider's code.
    pub code: ErrorCode,
    /// The provider's text, for people; empty where there is none.
    pub message: String,
    /// The provider's name for the request: `request_id` in the body, else the header `X-Request-ID`.
    pub request_id: Option<String>,
    /// What the code's documents say, such as `current_status`.
    pub details: Option<Value>,
    /// What is wrong with which field; with `validation_error` only.
    pub errors: Vec<FieldError>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
}

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldError {
    /// The field; `None` where the provider lists errors without one.
    pub field: Option<String>,
    /// The provider's texts.
    pub messages: Vec<String>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The provider's code for an error: "stable and safe to switch on" ("Errors").
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code that is not published.
            Other(String),
            /// The answer has no code. A 404 without one says that the address is wrong, not that the id is.
            Unstated,
        }

        impl ErrorCode {
            /// The code as the provider writes it; empty for [`ErrorCode::Unstated`].
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                    Self::Unstated => "",
                }
            }
        }

        impl From<&str> for ErrorCode {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    "" => Self::Unstated,
                    other => Self::Other(other.to_owned()),
                }
            }
        }
    };
}

codes! {
    /// `authentication_failed`: 401.
    AuthenticationFailed = "authentication_failed",
    /// `conflict`: 409.
    Conflict = "conflict",
    /// `insufficient_credits`: 402.
    InsufficientCredits = "insufficient_credits",
    /// `invalid_request`: 400.
    InvalidRequest = "invalid_request",
    /// `not_found`: 404.
    NotFound = "not_found",
    /// `permission_denied`: 403.
    PermissionDenied = "permission_denied",
    /// `precondition_failed`: 412.
    PreconditionFailed = "precondition_failed",
    /// `precondition_required`: 428.
    PreconditionRequired = "precondition_required",
    /// `rate_limited`: 429.
    RateLimited = "rate_limited",
    /// `server_error`: 500.
    ServerError = "server_error",
    /// `upstream_error`: 502, 503 or 504.
    UpstreamError = "upstream_error",
    /// `validation_error`: 400.
    ValidationError = "validation_error",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clip(self.as_str()))
    }
}

impl ApiError {
    /// Reads the body of an error answer, whatever it is.
    pub(super) fn read(
        status: u16,
        body: &[u8],
        header_request_id: Option<String>,
        retry_after: Option<Duration>,
        key: &ApiKey,
    ) -> Self {
        let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
        key.scrub_json(&mut body);
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let error = text("error");
        let said = text("message").or_else(|| text("detail"));
        let (code, message) = match (text("code"), error) {
            (Some(code), error) => (ErrorCode::from(code), error.or(said)),
            // The other shape: the code stands where the text stands otherwise.
            (None, Some(code)) if said.is_some() => (ErrorCode::from(code), said),
            (None, Some(either)) => match ErrorCode::from(either) {
                ErrorCode::Other(_) => (ErrorCode::Unstated, error),
                code => (code, None),
            },
            (None, None) => (ErrorCode::Unstated, said),
        };
        Self {
            status,
            code,
            message: message.unwrap_or_default().to_owned(),
            request_id: text("request_id").map(ToOwned::to_owned).or(header_request_id),
            details: body.get("details").filter(|details| !details.is_null()).cloned(),
            errors: body.get("errors").map(field_errors).unwrap_or_default(),
            retry_after,
        }
    }

    /// What the reader of the message can do.
    fn advice(&self) -> &'static str {
        match (self.status, &self.code) {
            (401, _) | (_, ErrorCode::AuthenticationFailed) => {
                "check the API key: that it is whole, neither revoked nor expired, and of the right environment"
            }
            (402, _) => "the account has too few credits",
            (403, _) => {
                "the API key may not do this: check its scopes and addresses, and that it does not enforce HMAC signing"
            }
            (404, ErrorCode::Unstated) => "this is not an answer of the API: check the base URL and the version",
            (404, _) => "check the id, and that it belongs to the account and the mode (test or live) of the API key",
            (409, _) => "something else is being done with it: look at its present state, then decide",
            (429, _) => "wait, and ask less often",
            (_, ErrorCode::ValidationError) => "correct what is named",
            (400..=499, ErrorCode::Unstated) => {
                "this is not an answer of the API: check the base URL, and what stands in front of it"
            }
            (400..=499, _) => "correct the request; trying it again as it is will not help",
            _ => "try again later, and give the provider the request id if it lasts",
        }
    }
}

/// A map from fields to lists of texts, or a list of objects that have a text each ("Errors", and SDK 1.1).
fn field_errors(errors: &Value) -> Vec<FieldError> {
    match errors {
        Value::Object(fields) => fields
            .iter()
            .map(|(field, messages)| FieldError { field: Some(field.clone()), messages: texts(messages) })
            .collect(),
        Value::Array(items) => items
            .iter()
            .map(|item| {
                let text = |name: &str| item.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
                let messages = item.get("error").map_or_else(|| texts(item), texts);
                FieldError { field: text("file_question_id").or_else(|| text("file")), messages }
            })
            .collect(),
        Value::Null => Vec::new(),
        other => vec![FieldError { field: None, messages: texts(other) }],
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

impl std::error::Error for ApiError {}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if self.code != ErrorCode::Unstated {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ", \"{}\"", clip(&self.message))?;
        }
        for error in self.errors.iter().take(5) {
            let field = error.field.as_deref().unwrap_or("-");
            write!(f, "; `{}`: {}", clip(field), clip(&error.messages.join(" ")))?;
        }
        if self.errors.len() > 5 {
            write!(f, "; and {} more", self.errors.len() - 5)?;
        }
        write!(f, ": {}", self.advice())
    }
}

/// Texts in part; of the details only how long they are.
impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiError")
            .field("status", &self.status)
            .field("code", &clip(self.code.as_str()))
            .field("message", &clip(&self.message))
            .field("request_id", &self.request_id.as_deref().map(clip))
            .field("details", &self.details.as_ref().map(|details| details.to_string().len()))
            .field("errors", &self.errors.len())
            .field("retry_after", &self.retry_after)
            .finish()
    }
}
