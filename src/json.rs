//! One member of a JSON object, found without building a tree of the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The value of the member called `name`.
///
/// `None` when `json` is not one JSON object, when there is no such member, and when there are two: another parser may
/// see the other one.
pub(crate) fn member<'a>(json: &'a [u8], name: &str) -> Option<&'a RawValue> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let found = deserializer.deserialize_map(Member(name)).ok()?;
    deserializer.end().ok()?;
    found
}

struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if found.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_once_or_not_at_all() {
        let find = |json: &'static str| member(json.as_bytes(), "id").map(RawValue::get);
        assert_eq!(find(r#"{"a":[{"id":1}],"id": {"x":2} }"#), Some(r#"{"x":2}"#));
        assert_eq!(find(r#"{"\u0069d":7}"#), Some("7"));
        for json in ["", "7", "[]", "{}", "{", r#"{"ID":1}"#, r#"{"id":1,"id":1}"#, r#"{"id":1} x"#, r#"{"id":1"#] {
            assert_eq!(find(json), None, "{json}");
        }
    }
}
