//! A JSON text written anew, as the libraries of this world write it: numbers and the order of members are kept.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::IgnoredAny;

/// The deepest nesting that is written anew.
const MAX_DEPTH: usize = 64;

/// How a JSON text is laid out and escaped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) layout: Layout,
    /// Members in the order of their names' code points.
    pub(super) sorted: bool,
    pub(super) escapes: Escapes,
    /// Numbers as JavaScript prints them: `1.0` is `1`.
    pub(super) js_numbers: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Layout {
    #[default]
    Compact,
    /// A line for each member, indented by this text.
    Pretty(&'static str),
    /// `", "` and `": "`, as Python's `json.dumps` writes unless told otherwise.
    Spaced,
}

/// What is written as an escape beyond what RFC 8259 demands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Everything but ASCII, as Python does.
    Ascii,
    /// Everything but ASCII, and `/`, as PHP does.
    AsciiAndSlashes,
    /// `<`, `>`, `&`, U+2028 and U+2029, as Go does.
    Html,
    #[default]
    None,
}

/// A JSON text, read.
pub(super) struct Document<'a>(Node<'a>);

enum Node<'a> {
    Array(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
    /// A number, `true`, `false` or `null`, as it stands.
    Scalar(&'a str),
    Text(Cow<'a, str>),
}

impl<'a> Document<'a> {
    /// `None` when `text` is not JSON, is nested more than 64 deep, or holds half of a surrogate pair.
    pub(super) fn read(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        let mut reader = Reader { text, at: 0 };
        reader.node(MAX_DEPTH).map(Self)
    }

    pub(super) fn write(&self, style: Style) -> Vec<u8> {
        let mut writer = Writer { out: String::new(), style };
        writer.node(&self.0, 0);
        writer.out.into_bytes()
    }
}

/// Reads what serde has checked already.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn node(&mut self, depth: usize) -> Option<Node<'a>> {
        if depth == 0 {
            return None;
        }
        match self.peek()? {
            b'{' => {
                let mut members = Vec::new();
                self.at += 1;
                while self.peek()? != b'}' {
                    let name = self.string()?;
                    self.expect(b':')?;
                    members.push((name, self.node(depth - 1)?));
                    self.skip(b',');
                }
                self.at += 1;
                Some(Node::Object(members))
            }
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                while self.peek()? != b']' {
                    items.push(self.node(depth - 1)?);
                    self.skip(b',');
                }
                self.at += 1;
                Some(Node::Array(items))
            }
            b'"' => self.string().map(Node::Text),
            _ => {
                let rest = &self.text[self.at..];
                let len = rest.find(|char: char| ",]} \t\r\n".contains(char)).unwrap_or(rest.len());
                self.at += len;
                Some(Node::Scalar(&rest[..len]))
            }
        }
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.peek()?;
        let rest = &self.text[self.at..];
        let mut escaped = false;
        let mut plain = true;
        let inside = rest.bytes().enumerate().skip(1).find(|(_, byte)| {
            let ends = *byte == b'"' && !escaped;
            plain &= *byte != b'\\';
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let end = inside?.0;
        self.at += end + 1;
        if plain {
            return Some(Cow::Borrowed(&rest[1..end]));
        }
        serde_json::from_str::<String>(&rest[..=end]).ok().map(Cow::Owned)
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))?;
        Some(self.text.as_bytes()[self.at])
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip(&mut self, byte: u8) {
        if self.peek() == Some(byte) {
            self.at += 1;
        }
    }
}

struct Writer {
    out: String,
    style: Style,
}

impl Writer {
    fn node(&mut self, node: &Node<'_>, depth: usize) {
        match node {
            Node::Array(items) => {
                self.out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.begin_item(index, depth + 1);
                    self.node(item, depth + 1);
                }
                self.end_items(items.len(), depth);
                self.out.push(']');
            }
            Node::Object(members) => {
                self.out.push('{');
                let mut members: Vec<_> = members.iter().collect();
                if self.style.sorted {
                    members.sort_by(|one, other| one.0.cmp(&other.0));
                }
                for (index, (name, value)) in members.iter().enumerate() {
                    self.begin_item(index, depth + 1);
                    self.text(name);
                    self.out.push_str(if self.style.layout == Layout::Compact { ":" } else { ": " });
                    self.node(value, depth + 1);
                }
                self.end_items(members.len(), depth);
                self.out.push('}');
            }
            Node::Scalar(text) => match text.parse::<f64>() {
                // From 1e21 on JavaScript writes an exponent, and below 2^53 every whole number is exact.
                Ok(number) if self.style.js_numbers && number.abs() < 1e21 => {
                    let _ = write!(self.out, "{number}");
                }
                _ => self.out.push_str(text),
            },
            Node::Text(text) => self.text(text),
        }
    }

    fn begin_item(&mut self, index: usize, depth: usize) {
        match self.style.layout {
            Layout::Compact if index > 0 => self.out.push(','),
            Layout::Spaced if index > 0 => self.out.push_str(", "),
            Layout::Compact | Layout::Spaced => {}
            Layout::Pretty(_) => {
                if index > 0 {
                    self.out.push(',');
                }
                self.new_line(depth);
            }
        }
    }

    fn end_items(&mut self, len: usize, depth: usize) {
        if len > 0 {
            self.new_line(depth);
        }
    }

    fn new_line(&mut self, depth: usize) {
        if let Layout::Pretty(indent) = self.style.layout {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            let escapes = self.style.escapes;
            let ascii = matches!(escapes, Escapes::Ascii | Escapes::AsciiAndSlashes);
            match char {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '/' if escapes == Escapes::AsciiAndSlashes => self.out.push_str("\\/"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' if escapes == Escapes::Html => self.escape(char),
                '\0'..='\u{1f}' => self.escape(char),
                _ if ascii && !char.is_ascii() => self.escape(char),
                _ => self.out.push(char),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, char: char) {
        for unit in char.encode_utf16(&mut [0; 2]) {
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: &str, style: Style) -> String {
        String::from_utf8(Document::read(text.as_bytes()).unwrap().write(style)).unwrap()
    }

    const TEXT: &str = "{ \"b\" : [1.0,\n-2e3 , []], \"a\":{\"x\":{}},\"\u{e9}/\" : \"\\u00e9\\\"<\u{1f512}\\\\\" }";

    #[test]
    fn layouts_are_those_of_the_libraries() {
        let style = Style::default();
        let compact = "{\"b\":[1.0,-2e3,[]],\"a\":{\"x\":{}},\"\u{e9}/\":\"\u{e9}\\\"<\u{1f512}\\\\\"}";
        assert_eq!(write(TEXT, style), compact);
        let sorted = Style { sorted: true, layout: Layout::Spaced, escapes: Escapes::Ascii, ..style };
        let python = r#"{"a": {"x": {}}, "b": [1.0, -2e3, []], "\u00e9/": "\u00e9\"<\ud83d\udd12\\"}"#;
        assert_eq!(write(TEXT, sorted), python);
        let pretty = Style { layout: Layout::Pretty("  "), ..style };
        assert_eq!(write("{\"b\":[1,{}],\"a\":[]}", pretty), "{\n  \"b\": [\n    1,\n    {}\n  ],\n  \"a\": []\n}");
        assert_eq!(write("{\"b\":[1,{}],\"a\":[]}", pretty), {
            let value: serde_json::Value = serde_json::from_str("{\"b\":[1,{}]}").unwrap();
            serde_json::to_string_pretty(&value).unwrap().replace("\n}", ",\n  \"a\": []\n}")
        });
        let php = Style { escapes: Escapes::AsciiAndSlashes, ..style };
        assert_eq!(write("\"a/\u{e9}\"", php), r#""a\/\u00e9""#);
        let go = Style { escapes: Escapes::Html, ..style };
        assert_eq!(write("\"<&\"", go), r#""\u003c\u0026""#);
        let js = Style { js_numbers: true, ..style };
        assert_eq!(write("[1.0,1.50,-2e3,true,null]", js), "[1,1.5,-2000,true,null]");
    }

    #[test]
    fn what_is_not_json_is_not_written() {
        let deep = "[".repeat(65) + &"]".repeat(65);
        for text in ["", "{", "{}x", "a=b", "\"\\ud800\"", deep.as_str()] {
            assert!(Document::read(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Document::read(b"\xff").is_none());
        assert!(Document::read(b" \"a\" ").is_some());
    }
}
