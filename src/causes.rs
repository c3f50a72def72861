//! An error with its causes, in one line: what a log needs, since most errors of a network say nothing by themselves. And
//! several mistakes in one line.

use std::error::Error;
use std::fmt;

/// Shows an error and then each of its causes, once.
pub(crate) struct Causes<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_one_line(self.0))
    }
}

/// An error with its causes, in one line.
///
/// Of each the first line: what stands in further ones is detail, and may quote what was sent. A PostgreSQL server names
/// in its `DETAIL` the values that it refused.
pub(crate) fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = first_line(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = first_line(error);
        // Some errors say what their cause says.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// Every mistake of a builder's settings, in one line.
pub(crate) struct Listed<'a, M>(pub(crate) &'a [M]);

impl<M: fmt::Display> fmt::Display for Listed<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

fn first_line(error: &dyn Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Because {
        text: &'static str,
        source: Option<Box<Because>>,
    }

    #[test]
    fn every_cause_is_told_once() {
        let because = |text, source: Option<Because>| Because { text, source: source.map(Box::new) };
        let root = because("connection refused", None);
        let told = because("no answer: connection refused", Some(root));
        let error = because("the store is away", Some(told));
        assert_eq!(Causes(&error).to_string(), "the store is away: no answer: connection refused");
    }

    #[test]
    fn of_each_cause_the_first_line_is_told() {
        let root =
            Because { text: "ERROR: duplicate key\nDETAIL: Key (mail)=(a@example.org) already exists.", source: None };
        let error =
            Because { text: "db error: ERROR: duplicate key\r\nDETAIL: a@example.org", source: Some(root.into()) };
        assert_eq!(in_one_line(&error), "db error: ERROR: duplicate key");
        assert_eq!(in_one_line(&Because { text: "", source: None }), "");
    }
}
