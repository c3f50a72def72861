//! Dates and waits as HTTP writes them.

use std::time::Duration;

use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;

use crate::time::Timestamp;

/// The two obsolete forms of a date that a recipient must read as well (RFC 9110, 5.6.7).
const OBSOLETE: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// What `Retry-After` asks for at `now`: seconds, or a date (RFC 9110, 10.2.3). Anything else is nothing.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a wait that is longer than any.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    http_date(value).map(|at| at.since(now))
}

/// An HTTP date, in whole seconds: `Sun, 06 Nov 1994 08:49:37 GMT`, or one of the obsolete forms.
///
/// A year of two digits is one from 1969 to 2068.
pub(crate) fn http_date(value: &str) -> Option<Timestamp> {
    let value = value.trim();
    let preferred = rfc2822::DateTimeParser::new().parse_timestamp(value).ok();
    let at = preferred.or_else(|| OBSOLETE.iter().find_map(|form| in_form(form, value)))?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

fn in_form(form: &str, value: &str) -> Option<jiff::Timestamp> {
    let date = strtime::parse(form, value).ok()?.to_datetime().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_in_each_of_the_three_forms() {
        let at = Timestamp::parse_rfc3339("1994-11-06T08:49:37Z").expect("a moment");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(http_date(text), Some(at), "{text:?}");
        }
        for text in ["", "Sun", "06-Nov-94", "Sun, 06 Nov 1994 08:49:37", "Sun, 31 Feb 1994 08:49:37 GMT", "\u{661}"] {
            assert_eq!(http_date(text), None, "{text:?}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp::parse_rfc3339("2015-10-21T07:28:00Z").expect("a moment");
        let seconds = |count| Some(Duration::from_secs(count));
        for (value, expected) in [
            ("120", seconds(120)),
            (" 0 ", seconds(0)),
            ("99999999999999999999999", seconds(u64::MAX)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", seconds(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", seconds(0)),
            ("Wednesday, 21-Oct-15 07:28:30 GMT", seconds(30)),
            ("Wed Oct 21 07:28:30 2015", seconds(30)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        }
    }
}
