//! A string in the body, found without building a tree of the body.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The string that the RFC 6901 `pointer` finds in `body`.
///
/// Members of objects only. `None` when the body is not JSON, when nothing or no string is there, and when a member on
/// the way stands twice, since another parser may see the other one.
pub(crate) fn find(body: &[u8], pointer: &str) -> Option<String> {
    let mut here: &RawValue = serde_json::from_slice(body).ok()?;
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        let mut json = serde_json::Deserializer::from_str(here.get());
        here = json.deserialize_map(Member(&name)).ok()??;
    }
    serde_json::from_str(here.get()).ok()
}

struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<std::borrow::Cow<'_, str>>()? {
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
    fn strings_are_found_along_the_pointer() {
        let body = br#"{"id":"evt_1","a":{"b/c":{"~":"deep"}},"esc":"\u0041"}"#;
        assert_eq!(find(body, "/id").as_deref(), Some("evt_1"));
        assert_eq!(find(body, "/a/b~1c/~0").as_deref(), Some("deep"));
        assert_eq!(find(body, "/esc").as_deref(), Some("A"));
    }

    #[test]
    fn what_is_not_one_string_is_none() {
        for body in [
            "",
            "7",
            r#"{"id":7}"#,
            r#"{"id":"a","id":"b"}"#,
            r#"{"id":"a"} x"#,
            r#"{"ID":"a"}"#,
            "[1",
        ] {
            assert_eq!(find(body.as_bytes(), "/id"), None, "{body}");
        }
        assert_eq!(find(b"\xff", "/id"), None);
    }
}
