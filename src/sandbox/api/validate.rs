//! Fields of a request: of which type they are, and whether their values will do. All mistakes are told at once.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use crate::ids::EventType;
use crate::sandbox::Assumptions;
use crate::sandbox::api::ApiError;
use crate::sandbox::api::error::FieldErrors;
use crate::sandbox::deliver::check_url;
use crate::sandbox::event_types::{ALL, EVENT_TYPES, is_group};

/// A field as it came, null included; `None` when it is not there.
#[derive(Default)]
pub(super) struct Field(Option<Value>);

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

/// Gathers what is wrong.
pub(super) struct Validator<'a> {
    assumptions: &'a Assumptions,
    errors: FieldErrors,
}

impl<'a> Validator<'a> {
    pub(super) fn new(assumptions: &'a Assumptions) -> Self {
        Self { assumptions, errors: FieldErrors::new() }
    }

    /// Whether anything was wrong.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(ApiError::Validation(self.errors)) }
    }

    /// It must be there.
    pub(super) fn require(&mut self, name: &'static str, field: &Field) {
        if field.0.is_none() {
            self.refuse::<()>(name, "This field is required.");
        }
    }

    /// A type to subscribe to.
    pub(super) fn event_type(&mut self, field: Field) -> Option<String> {
        let name = "event_type";
        let text = self.text(name, field)?;
        let known = text == ALL
            || EVENT_TYPES.contains(&text.as_str())
            || (self.assumptions.event_groups && is_group(&text))
            || (self.assumptions.unknown_event_types && EventType::new(&text).is_ok());
        self.keep(name, known, text, "This is not an event type of the API reference.")
    }

    /// Where to deliver.
    pub(super) fn webhook_url(&mut self, field: Field) -> Option<String> {
        let name = "webhook_url";
        let text = self.text(name, field)?;
        if text.len() > self.assumptions.max_url_length {
            let most = self.assumptions.max_url_length;
            return self.refuse(name, &format!("Must be at most {most} bytes."));
        }
        match check_url(&text) {
            Ok(()) => Some(text),
            Err(error) => self.refuse(name, &error.to_string()),
        }
    }

    /// The same, or null.
    pub(super) fn webhook_url_or_null(&mut self, field: Field) -> Option<Option<String>> {
        match field {
            Field(Some(Value::Null)) => Some(None),
            field => self.webhook_url(field).map(Some),
        }
    }

    /// A text for people, which may be empty.
    pub(super) fn description(&mut self, field: Field) -> Option<String> {
        let name = "description";
        let text = self.string(name, field)?;
        let most = self.assumptions.max_description_length;
        let fits = text.chars().count() <= most;
        self.keep(name, fits, text, &format!("Must be at most {most} characters."))
    }

    /// A JSON object, as text.
    pub(super) fn filters(&mut self, field: Field) -> Option<String> {
        let name = "filters";
        let value = self.present(name, field)?;
        if !value.is_object() {
            return self.refuse(name, "Must be an object.");
        }
        let (text, most) = (value.to_string(), self.assumptions.max_filters_size);
        let fits = text.len() <= most;
        self.keep(name, fits, text, &format!("Must be at most {most} bytes."))
    }

    /// A flag.
    pub(super) fn is_active(&mut self, field: Field) -> Option<bool> {
        let name = "is_active";
        match self.present(name, field)? {
            Value::Bool(flag) => Some(flag),
            _ => self.refuse(name, "Must be true or false."),
        }
    }

    /// A text of a query that must be a whole number of at least 1.
    pub(super) fn number(&mut self, name: &'static str, text: Option<&str>) -> Option<i64> {
        let number = text?.parse().ok().filter(|number| *number >= 1);
        number.or_else(|| self.refuse(name, "Must be a whole number of at least 1."))
    }

    fn text(&mut self, name: &'static str, field: Field) -> Option<String> {
        let text = self.string(name, field)?;
        let filled = !text.is_empty();
        self.keep(name, filled, text, "Must not be empty.")
    }

    fn string(&mut self, name: &'static str, field: Field) -> Option<String> {
        match self.present(name, field)? {
            Value::String(text) => Some(text),
            _ => self.refuse(name, "Must be a string."),
        }
    }

    fn present(&mut self, name: &'static str, field: Field) -> Option<Value> {
        match field.0? {
            Value::Null => self.refuse(name, "Must not be null."),
            value => Some(value),
        }
    }

    fn keep<T>(&mut self, name: &'static str, good: bool, value: T, message: &str) -> Option<T> {
        if good { Some(value) } else { self.refuse(name, message) }
    }

    fn refuse<T>(&mut self, name: &'static str, message: &str) -> Option<T> {
        self.errors.entry(name).or_default().push(message.to_owned());
        None
    }
}

/// An id as the provider writes it: a UUID with its dashes.
pub(super) fn id(name: &'static str, text: &str) -> Result<Uuid, ApiError> {
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
    id.ok_or_else(|| ApiError::field(name, "Must be a UUID."))
}
