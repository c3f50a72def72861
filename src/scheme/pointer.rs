//! A string or a whole number in the body, found by an RFC 6901 pointer.

use crate::json::member;

/// The string that `pointer` finds in `body`, through members of objects only; a whole number as its digits. `None`
/// when there is none.
pub(crate) fn find(body: &[u8], pointer: &str) -> Option<String> {
    let mut here = body;
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        here = member(here, &name)?.get().as_bytes();
    }
    if here.iter().all(u8::is_ascii_digit) {
        return String::from_utf8(here.to_vec()).ok();
    }
    serde_json::from_slice(here).ok()
}

/// Whether `text` is an RFC 6901 pointer to something inside of a body: the empty one means all of it.
pub(crate) fn points_inside(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
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
        assert_eq!(find(br#"{"id": 70 }"#, "/id").as_deref(), Some("70"));
    }

    #[test]
    fn what_is_not_one_string_or_whole_number_is_none() {
        for body in [
            "",
            "7",
            r#"{"id":-7}"#,
            r#"{"id":7.0}"#,
            r#"{"id":7e2}"#,
            r#"{"id":null}"#,
            r#"{"id":["a"]}"#,
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
