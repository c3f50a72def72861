//! Words as a shell reads them, in commands that somebody may copy.

use std::ffi::OsStr;

use crate::output::visible;

/// One word, as short as it may be: in quotes only where a shell would not take it as it is.
pub(crate) fn word(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref();
    match text.to_str() {
        Some(plain) if !plain.is_empty() && plain.bytes().all(is_plain) => plain.to_owned(),
        Some(shown) if visible(shown) == shown => quoted(shown),
        _ => escaped(text.as_encoded_bytes()),
    }
}

/// An option with its value, and a space before it.
pub(crate) fn option(name: &str, value: impl AsRef<OsStr>) -> String {
    let value = value.as_ref();
    // What begins with a dash would be another option.
    let between = if value.as_encoded_bytes().starts_with(b"-") { '=' } else { ' ' };
    format!(" --{name}{between}{}", word(value))
}

/// One word of any text, for every POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What would steer a terminal, or is no text, as the shells read it that know `$'…'`: bash, zsh, ksh, and POSIX of 2024.
fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    format!("$'{}'", bytes.iter().map(escape).collect::<String>())
}

/// No shell makes anything else of these, wherever they stand in a word.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"@%+:,./_-".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_for_the_shell_holds_anything() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        for (text, expected) in [
            ("/var/lib/app/inbox-2.sqlite", "/var/lib/app/inbox-2.sqlite"),
            ("screening.completed", "screening.completed"),
            ("", "''"),
            ("a b", "'a b'"),
            ("~/x", "'~/x'"),
            ("=x", "'=x'"),
            ("postgres://app@db/app?a=b&c=$d", "'postgres://app@db/app?a=b&c=$d'"),
            ("it's", r"'it'\''s'"),
            ("Größe", "'Größe'"),
            ("a\u{1b}[2J'\\\n", r"$'a\033[2J\'\\\012'"),
            ("\u{202e}", r"$'\342\200\256'"),
        ] {
            assert_eq!(word(text), expected, "{text:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_word_that_is_no_text_is_told_by_its_bytes() {
        let path: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"in\xffbox");
        assert_eq!(word(path), r"$'in\377box'");
    }

    #[test]
    fn a_value_that_begins_with_a_dash_is_no_option() {
        assert_eq!(option("sqlite", "-x"), " --sqlite=-x");
        assert_eq!(option("sqlite", "a b"), " --sqlite 'a b'");
    }
}
