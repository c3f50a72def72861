//! Moments and lengths of time as they are given on the command line.

use std::time::Duration;

use countersign::{Clock as _, SystemClock, Timestamp};

/// `2026-11-24T10:00:00Z`, seconds since 1970, `now`, or an offset from now such as `-10m` or `+1h30m`.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    moment_from(text, now())
}

/// The present moment.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// A length of time: `500ms`, `90s`, `10m`, `1h30m`, `2d`, `1w`.
pub(crate) fn length(text: &str) -> Result<Duration, String> {
    let refused = || "write it like 500ms, 90s, 10m, 1h30m or 2d".to_owned();
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| refused())?;
        let unit_len = rest[digits..].find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let millis = match &rest[digits..digits + unit_len] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(refused()),
        };
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(refused)?;
        total = total.checked_add(part).ok_or_else(refused)?;
        rest = &rest[digits + unit_len..];
    }
    Ok(total)
}

fn moment_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let refused =
        || "write a moment as 2026-11-24T10:00:00Z, seconds since 1970, `now`, or an offset like -10m".to_owned();
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        return length(ago).map(|ago| now.saturating_sub(ago)).map_err(|_| refused());
    }
    if let Some(ahead) = text.strip_prefix('+') {
        return length(ahead).map(|ahead| now.saturating_add(ahead)).map_err(|_| refused());
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && (1..=12).contains(&text.len()) {
        return text.parse().map(Timestamp::from_secs).map_err(|_| refused());
    }
    Timestamp::parse_rfc3339(text).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_in_their_units() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("1h30m", 5_400), ("2d", 172_800), ("1w1s", 604_801)] {
            assert_eq!(length(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(length("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "5", "m", "1y", "-1s", "1 s", "99999999999999999999s", "9999999999999999d", "1é"] {
            assert!(length(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn moments_are_absolute_or_from_now() {
        let now = Timestamp::from_secs(1_000_000);
        for (text, seconds) in [("now", 1_000_000), ("-10m", 999_400), ("+1s", 1_000_001), ("17", 17)] {
            assert_eq!(moment_from(text, now), Ok(Timestamp::from_secs(seconds)), "{text}");
        }
        assert_eq!(moment_from("1970-01-01T00:00:05Z", now), Ok(Timestamp::from_secs(5)));
        for bad in ["", "-", "-5", "yesterday", "1234567890123", "2026-11-24"] {
            assert!(moment_from(bad, now).is_err(), "{bad:?}");
        }
    }
}
