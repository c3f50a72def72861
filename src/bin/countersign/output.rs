//! What is printed: results on standard output, everything else on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use crate::exit::{Exit, Failure};

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    // Without documentation, which would make each help two pages long.
    #[default]
    Auto,
    Always,
    Never,
}

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const ODD: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

/// How many spaces stand between two columns.
const GAP: usize = 2;

/// What a column is never cut below.
const SHORTEST_CELL: usize = 20;

/// Where output goes and how it looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    json: bool,
    results: bool,
    notes: bool,
}

impl Out {
    pub(crate) fn new(json: bool, colour: Colour) -> Self {
        let on = |terminal: bool| match colour {
            Colour::Always => true,
            Colour::Auto => terminal && wants_colour(),
            Colour::Never => false,
        };
        Self { json, results: on(io::stdout().is_terminal()), notes: on(io::stderr().is_terminal()) }
    }

    /// Whether results are for machines.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) fn colours_errors(&self) -> bool {
        self.notes
    }

    /// `text` in `style`, on standard output.
    pub(crate) fn styled(&self, style: Style, text: impl Display) -> String {
        paint(self.results, style, text)
    }

    /// One line of a result.
    pub(crate) fn line(&self, text: impl Display) -> Result<(), Failure> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// One object on one line.
    pub(crate) fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::System { what: "writing JSON".to_owned(), reason: error.into() })?;
        self.line(tame(text))
    }

    /// The object for machines, or what `human` prints.
    pub(crate) fn either(
        &self,
        value: &impl Serialize,
        human: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.json { self.object(value) } else { human(self) }
    }

    /// Bytes of a result, as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::System { what: "writing the output".to_owned(), reason: error },
        })
    }

    /// Names and values below each other. Further lines of a value stand below its first one, so none passes for a field.
    pub(crate) fn fields(&self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (name, value) in fields {
            let name = self.styled(FAINT, format!("{name:<width$}"));
            let below = format!("\n{}", " ".repeat(width + GAP));
            let value = visible_lines(value).lines().collect::<Vec<_>>().join(&below);
            self.line(format!("{name}{}{value}", " ".repeat(GAP)))?;
        }
        Ok(())
    }

    /// Columns under their names. On a terminal the last one, which may be long, is cut to the width.
    pub(crate) fn table(&self, names: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let mut rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| visible(cell)).collect()).collect();
        if let (Some(room), [others @ .., _]) = (terminal_width(), names) {
            let others = others.iter().enumerate().map(|(at, name)| {
                let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
                cells.chain([name.len()]).max().unwrap_or_default() + GAP
            });
            let room = room.saturating_sub(others.sum()).max(SHORTEST_CELL);
            rows.iter_mut().filter_map(|row| row.get_mut(names.len() - 1)).for_each(|cell| *cell = cut(cell, room));
        }
        let width = |at: usize| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain(names.get(at).map(|name| name.len())).max().unwrap_or_default()
        };
        let laid_out = |cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.enumerate().map(|(at, cell)| format!("{cell:<width$}", width = width(at)));
            cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        self.line(self.styled(FAINT, laid_out(&mut names.iter().copied())))?;
        rows.iter().try_for_each(|row| self.line(laid_out(&mut row.iter().map(String::as_str))))
    }

    /// Something that is not the result. A standard error that is gone is nothing to fail of.
    pub(crate) fn note(&self, text: impl Display) {
        self.aside("note", &text.to_string(), ToOwned::to_owned);
    }

    /// Something to be careful about.
    pub(crate) fn warn(&self, text: impl Display) {
        self.aside("warning", &text.to_string(), |text| {
            format!("{} {text}", paint(self.notes, ODD.bold(), "warning:"))
        });
    }

    /// What went wrong, and what to do.
    pub(crate) fn failure(&self, failure: &Failure, code: Exit) {
        if !matches!(failure, Failure::BrokenPipe | Failure::No(None)) {
            self.wrong(&failure.to_string(), failure.help(), code);
        }
    }

    /// What clap says of a command line.
    pub(crate) fn usage(&self, text: &str, code: Exit) {
        let text = text.trim_end();
        match (self.json, text.strip_prefix("error:")) {
            (true, rest) => {
                let (message, help) = rest.unwrap_or(text).split_once("\n\n").unwrap_or((rest.unwrap_or(text), ""));
                self.wrong(message.trim(), Some(help.trim()).filter(|help| !help.is_empty()), code);
            }
            (false, Some(rest)) => self.aside(
                "",
                &format!("{}{}", paint(self.notes, BAD.bold(), "error:"), masked(rest)),
                ToOwned::to_owned,
            ),
            (false, None) => self.note(masked(text)),
        }
    }

    fn wrong(&self, message: &str, help: Option<&str>, code: Exit) {
        let message = masked(message);
        if self.json {
            let error = json!({ "message": message, "help": help.map(masked), "exit_code": code as u8 });
            let _ = writeln!(io::stderr().lock(), "{}", tame(json!({ "error": error }).to_string()));
            return;
        }
        self.note(format!("{} {}", paint(self.notes, BAD.bold(), "error:"), visible_lines(&message)));
        if let Some(help) = help {
            self.note(format!("{} {}", paint(self.notes, STRONG, "help:"), visible_lines(help)));
        }
    }

    /// A line beside the result: for machines an object too, so that all that they read is JSON.
    fn aside(&self, kind: &str, text: &str, human: impl FnOnce(&str) -> String) {
        let line = if self.json { tame(json!({ kind: text.trim() }).to_string()) } else { human(text) };
        let _ = writeln!(io::stderr().lock(), "{line}");
    }

    /// Progress of work that may take long: shown where somebody watches.
    pub(crate) fn progress(&self, what: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if io::stderr().is_terminal() && !self.json {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {pos} [{elapsed}]") {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        bar
    }

    /// The same where it is known how much there is.
    pub(crate) fn counted(&self, what: &str, all: u64) -> ProgressBar {
        let bar = self.progress(what);
        bar.set_length(all);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {pos} of {len} [{elapsed}]") {
            bar.set_style(style);
        }
        bar
    }
}

/// How many columns the terminal has that results go to; `None` where they go elsewhere, and whole.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    said.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))).filter(|width| *width > 0)
}

/// The beginning of `text`, in at most `room` characters.
fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

/// A word to whoever sits at the terminal.
pub(crate) fn hint(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn wants_colour() -> bool {
    let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    unset("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn paint(on: bool, style: Style, text: impl Display) -> String {
    if on { format!("{style}{text}{style:#}") } else { text.to_string() }
}

/// A text of somebody else's on one line: what would steer the terminal is escaped.
pub(crate) fn visible(text: &str) -> String {
    escaped(text, |_| false)
}

/// The same with its line breaks and tabs.
pub(crate) fn visible_lines(text: &str) -> String {
    escaped(text, |character| matches!(character, '\n' | '\t'))
}

/// JSON in which no string steers the terminal: what JSON itself leaves as it is, is escaped as well.
fn tame(json: String) -> String {
    if !json.contains(steers) {
        return json;
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if steers(character) {
            // All of them are below U+10000, and stand in strings alone.
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Direction marks reorder what is shown; they are no control characters by class.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) && !keep(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The text without what looks like a secret or an API key: whoever gave one in a wrong place reads it back otherwise.
pub(crate) fn masked(text: &str) -> String {
    const SHORTEST: usize = 8;
    let of_a_secret = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = ["whsec_", "kycg_"].iter().filter_map(|prefix| rest.find(prefix)).min() {
        let (before, found) = rest.split_at(at);
        let len = found.bytes().take_while(|byte| of_a_secret(*byte)).count();
        let prefix = found.find('_').map_or(0, |at| at + 1);
        shown.push_str(before);
        shown.push_str(if len >= prefix + SHORTEST { "(hidden)" } else { &found[..len] });
        rest = &found[len..];
    }
    without_setting(&without_password(&(shown + rest)))
}

/// The text without what stands behind `password=`, as PostgreSQL has it in a URL's query and in a list of settings, where
/// there may be spaces around the `=`.
fn without_setting(text: &str) -> String {
    const SETTING: &str = "password";
    let lower = text.to_ascii_lowercase();
    let (mut shown, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(found) = lower[at..].find(SETTING) {
        let name = at + found + SETTING.len();
        let Some(value) = text[name..].trim_start().strip_prefix('=').map(str::trim_start) else {
            shown.push_str(&text[at..name]);
            at = name;
            continue;
        };
        shown.push_str(&text[at..text.len() - value.len()]);
        shown.push_str("(hidden)");
        at = text.len() - value.len() + length_of_value(value);
    }
    shown + &text[at..]
}

fn length_of_value(text: &str) -> usize {
    let Some(quoted) = text.strip_prefix('\'') else {
        return text.find([' ', '\t', '\n', '&']).unwrap_or(text.len());
    };
    let mut escaped = false;
    let end = quoted.find(|letter| {
        let ends = letter == '\'' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| 1 + end + 1)
}

/// The text without the passwords of URLs in it.
fn without_password(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        shown.push_str(before);
        // A password that is written as it is may hold anything; better too much is hidden than too little.
        let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
        rest = match behind[..end].rsplit_once('@').map(|(user, _)| user) {
            Some(user) => {
                shown.push_str(user.split_once(':').map_or(user, |(name, _)| name));
                if user.contains(':') {
                    shown.push_str(":(hidden)");
                }
                &behind[user.len()..]
            }
            None => behind,
        };
    }
    shown + rest
}

/// A number of bytes for people.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

/// A length of time for people, in its two largest units.
pub(crate) fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let two = |large: u64, name: &str, small: u64, small_name: &str| {
        if small == 0 { format!("{large} {name}") } else { format!("{large} {name} {small} {small_name}") }
    };
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3_600 => two(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_the_terminal_is_escaped() {
        assert_eq!(visible("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
        assert_eq!(visible_lines("a\n\tb\r"), "a\n\tb\\r");
        let json = tame(json!("\u{9b}2J\u{7f}\u{202e}é").to_string());
        assert_eq!(json, r#""\u009b2J\u007f\u202eé""#);
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), "\u{9b}2J\u{7f}\u{202e}é");
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden() {
        let text = "no 'whsec_aGVsbG8gd29ybGQ=' and kycg_0123456789, but whsec_ and kycg_x";
        assert_eq!(masked(text), "no '(hidden)' and (hidden), but whsec_ and kycg_x");
        assert_eq!(masked("nothing"), "nothing");
        let text = "postgres://app:se:c@r/et@db:5432/app and http://host/a@b, https://user@host";
        let hidden = "postgres://app:(hidden)@db:5432/app and http://host/a@b, https://user@host";
        assert_eq!(masked(text), hidden);
        let text = "host=db PASSWORD='a b' user=x password=c, postgres://h/d?password=e&x=1";
        assert_eq!(
            masked(text),
            "host=db PASSWORD=(hidden) user=x password=(hidden) postgres://h/d?password=(hidden)&x=1"
        );
        assert_eq!(masked(r"password = 'a\' b' user=x"), "password = (hidden) user=x");
        assert_eq!(
            masked("password\t=  a user=x; a password without"),
            "password\t=  (hidden) user=x; a password without"
        );
    }

    #[test]
    fn sizes_and_lengths_are_short() {
        assert_eq!([0, 1023, 1536, 5 << 20].map(size), ["0 B", "1023 B", "1.5 KiB", "5.0 MiB"]);
        let shown = [0, 59, 60, 90, 3_600, 90_000].map(|seconds| length(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0 ms", "59 s", "1 min", "1 min 30 s", "1 h", "1 d 1 h"]);
    }
}
