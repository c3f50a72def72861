//! The house's rules that a compiler does not check: who may use whom, who may name which crate, how long a file may be.
//!
//! Reads `src/` as tokens, so that a path counts wherever it stands: in a `use`, in an expression, in a macro. What
//! stands under `#[cfg(test)]` may look into any room.

#![allow(clippy::panic, reason = "a test ends so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The floors from the ground up, with their names in the architecture. A room uses only lower floors, and itself.
const FLOORS: [(&str, &[&str]); 11] = [
    ("0", &["causes", "ids", "json", "request", "time"]),
    ("1", &["crypto", "http_date", "meter"]),
    ("1½", &["encoding"]),
    ("2", &["keyring", "scheme"]),
    ("3", &["dedupe", "event", "verify"]),
    ("3½", &["remote"]),
    ("4", &["dispatch", "private", "store"]),
    ("5", &["receiver"]),
    ("6", &["actix", "identify", "inbox", "kycgenie"]),
    ("7", &["sandbox", "testing"]),
    ("8", &["bin"]),
];

/// Crates that only some places name.
const OWNED: [(&str, &[&str]); 15] = [
    ("hmac", &["src/crypto.rs"]),
    ("sha2", &["src/crypto.rs"]),
    ("subtle", &["src/crypto.rs"]),
    // What is served beside the receiver: the provider's API that the sandbox plays, and the command line's listener.
    ("actix_web", &["src/actix/", "src/sandbox/api/", "src/bin/countersign/listen/"]),
    ("actix_http", &["src/actix/"]),
    ("actix_service", &["src/actix/"]),
    ("reqwest", &["src/kycgenie/client/", "src/sandbox/deliver/", "src/bin/countersign/http.rs"]),
    ("rusqlite", &["src/inbox/mod.rs", "src/inbox/sqlite/", "src/sandbox/store/", "src/bin/countersign/exit.rs"]),
    // `store/mod.rs` has a module of that name.
    ("redis", &["src/store/mod.rs", "src/store/redis.rs", "src/store/redis/"]),
    (
        "deadpool_postgres",
        &["src/remote/postgres/", "src/store/postgres.rs", "src/store/postgres/", "src/inbox/postgres/"],
    ),
    (
        "tokio_postgres",
        &[
            "src/remote/postgres/",
            "src/store/postgres.rs",
            "src/store/postgres/",
            "src/inbox/mod.rs",
            "src/inbox/postgres/",
            "src/bin/countersign/inbox/place.rs",
        ],
    ),
    ("utoipa", &["src/sandbox/api/"]),
    ("utoipa_actix_web", &["src/sandbox/api/"]),
    ("clap", &["src/bin/countersign/"]),
    // The library's root has a module of that name.
    ("metrics", &["src/lib.rs", "src/meter/"]),
];

const MAX_LINES: usize = 400;

// What a file holds.

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Ident(String),
    Punct(char),
    Open(Delimiter),
    Close(Delimiter),
    Literal,
}

/// A token and its line.
type Located = (Token, usize);

struct Source {
    path: String,
    lines: usize,
    /// Everything.
    tokens: Vec<Located>,
    /// Everything but what stands under `#[cfg(test)]`.
    code: Vec<Located>,
    /// How many lines stand under `#[cfg(test)]`.
    test_lines: usize,
    /// Modules in files of their own that stand under `#[cfg(test)]`.
    test_modules: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let stream: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            code: Vec::new(),
            test_lines: 0,
            test_modules: Vec::new(),
            tokens,
        };
        source.part_from_tests();
        source
    }

    fn part_from_tests(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            let Some(item) = after_cfg_test(&self.tokens[at..]).map(|len| at + len) else {
                self.code.push(self.tokens[at].clone());
                at += 1;
                continue;
            };
            let end = item + item_len(&self.tokens[item..]);
            let item = &self.tokens[item..end];
            if let [head @ .., (Token::Ident(name), _), (Token::Punct(';'), _)] = item
                && head.last().is_some_and(|(token, _)| is_ident(token, "mod"))
            {
                self.test_modules.push(name.clone());
            }
            self.test_lines += self.tokens[end - 1].1 - self.tokens[at].1 + 1;
            at = end;
        }
    }

    /// The room that the file belongs to; `None` for `lib.rs`.
    fn room(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        match path.split_once('/') {
            Some((room, _)) => Some(room),
            None if path == "lib.rs" => None,
            None if path == "main.rs" => Some("bin"),
            None => path.strip_suffix(".rs"),
        }
    }

    /// The path of the file's own module: `["store", "memory"]` for `src/store/memory.rs`.
    fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = path.split('/').map(ToOwned::to_owned).collect();
        if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
            module.pop();
        }
        module
    }

    fn owns(&self, place: &str) -> bool {
        if place.ends_with('/') { self.path.starts_with(place) } else { self.path == place }
    }

    fn idents(&self) -> impl Iterator<Item = (&str, usize)> {
        self.code.iter().filter_map(|(token, line)| match token {
            Token::Ident(name) => Some((name.as_str(), *line)),
            _ => None,
        })
    }
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Located>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                tokens.push((Token::Open(group.delimiter()), group.span_open().start().line));
                flatten(group.stream(), tokens);
                tokens.push((Token::Close(group.delimiter()), group.span_close().end().line));
            }
            TokenTree::Ident(ident) => {
                let name = ident.to_string().trim_start_matches("r#").to_owned();
                tokens.push((Token::Ident(name), ident.span().start().line));
            }
            TokenTree::Punct(punct) => tokens.push((Token::Punct(punct.as_char()), punct.span().start().line)),
            TokenTree::Literal(literal) => tokens.push((Token::Literal, literal.span().end().line)),
        }
    }
}

fn is_ident(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Ident(name) if name == expected)
}

/// The length of the attributes at the beginning, where `#[cfg(test)]` or `#[cfg(all(test, …))]` is among them.
fn after_cfg_test(tokens: &[Located]) -> Option<usize> {
    let mut at = 0;
    let mut found = false;
    while let [(Token::Punct('#'), _), (Token::Open(Delimiter::Bracket), _), rest @ ..] = &tokens[at..] {
        let words = rest.iter().map_while(|(token, _)| match token {
            Token::Ident(name) => Some(name.as_str()),
            Token::Open(Delimiter::Parenthesis) => Some("("),
            _ => None,
        });
        let words: Vec<&str> = words.collect();
        found |= words.starts_with(&["cfg", "(", "test"]) || words.starts_with(&["cfg", "(", "all", "(", "test"]);
        at += 1 + group_len(&tokens[at + 1..]);
    }
    found.then_some(at)
}

/// The length of the group that begins here.
fn group_len(tokens: &[Located]) -> usize {
    let mut depth = 0;
    for (at, (token, _)) in tokens.iter().enumerate() {
        match token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The length of the item that begins here: to its semicolon, or to the end of its braces.
fn item_len(tokens: &[Located]) -> usize {
    let mut at = 0;
    while let Some((token, _)) = tokens.get(at) {
        match token {
            Token::Punct(';') => return at + 1,
            Token::Open(Delimiter::Brace) => {
                at += group_len(&tokens[at..]);
                // `use a::{b, c};` ends behind its braces.
                let semicolon = matches!(tokens.get(at), Some((Token::Punct(';'), _)));
                return at + usize::from(semicolon);
            }
            Token::Open(_) => at += group_len(&tokens[at..]),
            _ => at += 1,
        }
    }
    at
}

// What a file uses.

/// The names that stand directly under the crate's root in the paths of `source`, with their lines.
fn used(source: &Source) -> Vec<(String, usize)> {
    let tokens = &source.code;
    let mut used = Vec::new();
    let mut module = source.module();
    // How deep each inline module's braces are.
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at].0 {
            Token::Open(_) => depth += 1,
            Token::Close(_) => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                    module.pop();
                }
            }
            Token::Ident(word) if word == "mod" => {
                if let [(Token::Ident(name), _), (Token::Open(Delimiter::Brace), _), ..] = &tokens[at + 1..] {
                    module.push(name.clone());
                    inline.push(depth);
                }
            }
            Token::Ident(_) if is_continued(tokens, at) => {}
            // A program is a crate of its own, which uses the library by its name.
            Token::Ident(word) if word == "crate" && source.path.starts_with("src/bin/") => {}
            Token::Ident(word) if word == "crate" || word == "countersign" => {
                heads(tokens, at + 1, &mut used);
            }
            Token::Ident(word) if word == "super" || word == "self" => {
                let mut up = usize::from(word == "super");
                while starts_path(tokens, at + 1) && tokens.get(at + 3).is_some_and(|(next, _)| is_ident(next, "super"))
                {
                    up += 1;
                    at += 3;
                }
                // Out of the room altogether: what follows is as if it followed `crate`.
                if up > 0 && up >= module.len() {
                    heads(tokens, at + 1, &mut used);
                }
            }
            _ => {}
        }
        at += 1;
    }
    used
}

/// Whether the name at `at` goes on from another: `std::crate` is nothing, `$crate` and `::countersign` are beginnings.
fn is_continued(tokens: &[Located], at: usize) -> bool {
    at >= 3 && starts_path(tokens, at - 2) && matches!(tokens[at - 3].0, Token::Ident(_)) && {
        // `impl Trait for ::countersign::X` and `as ::countersign::X` begin anew.
        let Token::Ident(before) = &tokens[at - 3].0 else {
            return false;
        };
        !["as", "dyn", "for", "impl", "in", "mut", "return", "use"].contains(&before.as_str())
    }
}

fn starts_path(tokens: &[Located], at: usize) -> bool {
    matches!(tokens.get(at..at + 2), Some([(Token::Punct(':'), _), (Token::Punct(':'), _)]))
}

/// The names that follow the root: `::a::b` has `a`, and `::{a::b, c}` has `a` and `c`.
fn heads(tokens: &[Located], at: usize, heads: &mut Vec<(String, usize)>) {
    if !starts_path(tokens, at) {
        return;
    }
    match tokens.get(at + 2) {
        Some((Token::Ident(name), line)) => heads.push((name.clone(), *line)),
        Some((Token::Punct('*'), line)) => heads.push(("*".to_owned(), *line)),
        Some((Token::Open(Delimiter::Brace), _)) => {
            let mut inner = at + 3;
            let end = at + 2 + group_len(&tokens[at + 2..]) - 1;
            let mut begins = true;
            while inner < end {
                match &tokens[inner] {
                    (Token::Ident(name), line) if begins => heads.push((name.clone(), *line)),
                    (Token::Punct('*'), line) if begins => heads.push(("*".to_owned(), *line)),
                    (Token::Open(_), _) => {
                        inner += group_len(&tokens[inner..]);
                        continue;
                    }
                    _ => {}
                }
                begins = matches!(tokens[inner].0, Token::Punct(','));
                inner += 1;
            }
        }
        _ => {}
    }
}

// What the rules say.

struct House {
    sources: Vec<Source>,
    /// Names at the crate's root that are not rooms, and the rooms or crates that they come from.
    root: BTreeMap<String, BTreeSet<String>>,
}

impl House {
    fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let sources: Vec<Source> = files.into_iter().map(|(path, text)| Source::new(&path, &text)).collect();
        let mut root: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in &sources {
            match source.room() {
                None => exported(&source.tokens, &mut root),
                Some(room) => {
                    for name in macros(&source.tokens) {
                        root.entry(name).or_default().insert(room.to_owned());
                    }
                }
            }
        }
        let tests: BTreeSet<String> = sources.iter().flat_map(test_files).collect();
        let is_test = |path: &str| {
            let stem = path.trim_end_matches(".rs");
            tests.iter().any(|test| stem == test || stem.starts_with(&format!("{test}/")))
        };
        Self { sources: sources.into_iter().filter(|source| !is_test(&source.path)).collect(), root }
    }

    fn breaches(&self) -> Vec<String> {
        let rules = [layering, owned_crates, whole_tags, one_clock, one_assertion, short_files];
        let mut breaches: Vec<String> = rules.iter().flat_map(|rule| rule(self)).collect();
        breaches.sort();
        breaches
    }

    /// The sources of the library itself.
    fn library(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.path.starts_with("src/"))
    }
}

fn floor_of(room: &str) -> Option<usize> {
    let room = room.trim_start_matches("__");
    FLOORS.iter().position(|(_, rooms)| rooms.contains(&room))
}

fn layering(house: &House) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in house.library() {
        let Some(room) = source.room() else { continue };
        let Some(floor) = floor_of(room) else {
            breaches.push(format!("{}: `{room}` stands on no floor", source.path));
            continue;
        };
        for (name, line) in used(source) {
            let at = format!("{}:{line}", source.path);
            let one = BTreeSet::from([name.clone()]);
            let origins = if floor_of(&name).is_some() { &one } else { house.root.get(&name).unwrap_or(&one) };
            for origin in origins {
                let own = origin.trim_start_matches("__") == room;
                match floor_of(origin) {
                    Some(other) if other < floor || own => {}
                    Some(other) => breaches.push(format!(
                        "{at}: `{room}` (floor {}) uses `{origin}` (floor {})",
                        FLOORS[floor].0, FLOORS[other].0
                    )),
                    // Re-exported from another crate.
                    None if house.root.contains_key(&name) => {}
                    None => breaches.push(format!("{at}: `{room}` uses `{name}`, which stands on no floor")),
                }
            }
        }
    }
    breaches
}

fn owned_crates(house: &House) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in house.library() {
        for (name, line) in source.idents() {
            for (owned, places) in OWNED {
                if name == owned && !places.iter().any(|place| source.owns(place)) {
                    breaches.push(format!("{}:{line}: only {} names `{owned}`", source.path, places.join(", ")));
                }
            }
        }
    }
    breaches
}

/// A comparison of part of a tag accepts what nobody signed: not even a test may use one.
fn whole_tags(house: &House) -> Vec<String> {
    let named = |source: &Source| {
        let found = source.tokens.iter().filter_map(|(token, line)| match token {
            Token::Ident(name) if name.starts_with("verify_truncated") => Some((name.clone(), *line)),
            _ => None,
        });
        let breach = |(name, line)| format!("{}:{line}: `{name}` compares part of a tag", source.path);
        found.map(breach).collect::<Vec<_>>()
    };
    house.sources.iter().flat_map(named).collect()
}

fn one_clock(house: &House) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in house.library().filter(|source| source.path != "src/time.rs") {
        for (at, (token, line)) in source.code.iter().enumerate() {
            let now = source.code.get(at + 3).is_some_and(|(next, _)| is_ident(next, "now"));
            if is_ident(token, "SystemTime") && starts_path(&source.code, at + 1) && now {
                breaches.push(format!("{}:{line}: only src/time.rs asks the system for the time", source.path));
            }
        }
    }
    breaches
}

/// Trust is created in one place, and called by its name in one room.
fn one_assertion(house: &House) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut constructors = 0;
    for source in house.library() {
        for (at, (token, line)) in source.code.iter().enumerate() {
            let before = |word: &str| at > 0 && is_ident(&source.code[at - 1].0, word);
            let braces = matches!(source.code.get(at + 1), Some((Token::Open(Delimiter::Brace), _)));
            if is_ident(token, "Verified") && braces && source.path != "src/verify/verified.rs" {
                breaches.push(format!("{}:{line}: `Verified` is made by its `assertion` alone", source.path));
            }
            let restores = ["trusted_again", "verify_stored"].iter().any(|name| is_ident(token, name));
            if restores && !["src/verify/", "src/inbox/"].iter().any(|room| source.path.starts_with(room)) {
                breaches
                    .push(format!("{}:{line}: only src/inbox/ makes deliveries of what it has stored", source.path));
            }
            if is_ident(token, "assertion") {
                constructors += usize::from(before("fn"));
                if !source.path.starts_with("src/verify/") {
                    breaches.push(format!("{}:{line}: only src/verify/ asserts that a signature matched", source.path));
                }
            }
        }
    }
    if constructors != 1 {
        breaches.push(format!("src/verify/verified.rs: {constructors} functions are called `assertion`, not one"));
    }
    breaches
}

fn short_files(house: &House) -> Vec<String> {
    let too_long = house.sources.iter().filter_map(|source| {
        let lines = source.lines - source.test_lines;
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines without its tests, more than {MAX_LINES}", source.path))
    });
    too_long.collect()
}

/// The names that `lib.rs` re-exports, and the first name of the paths that they come from.
fn exported(tokens: &[Located], root: &mut BTreeMap<String, BTreeSet<String>>) {
    for at in 0..tokens.len() {
        if !is_ident(&tokens[at].0, "use") {
            continue;
        }
        let end = at + item_len(&tokens[at..]);
        let Some((Token::Ident(origin), _)) = tokens.get(at + 1) else {
            continue;
        };
        // The last name before each `,`, `}` or `;` is the one by which it is known here.
        for pair in tokens[at + 1..end].windows(2) {
            if let [(Token::Ident(name), _), (next, _)] = pair
                && matches!(next, Token::Punct(',' | ';') | Token::Close(_))
            {
                root.entry(name.clone()).or_default().insert(origin.clone());
            }
        }
    }
}

/// The macros that are defined here: all of the crate's that are exported stand at its root.
fn macros(tokens: &[Located]) -> Vec<String> {
    let defined = tokens.windows(3).filter_map(|three| match three {
        [(Token::Ident(word), _), (Token::Punct('!'), _), (Token::Ident(name), _)] if word == "macro_rules" => {
            Some(name.clone())
        }
        _ => None,
    });
    defined.collect()
}

/// The files of modules that `source` declares under `#[cfg(test)]`, without `.rs`.
fn test_files(source: &Source) -> Vec<String> {
    let (folder, file) = source.path.rsplit_once('/').expect("a path with a folder");
    let folder = match file {
        "lib.rs" | "main.rs" | "mod.rs" => folder.to_owned(),
        _ => source.path.trim_end_matches(".rs").to_owned(),
    };
    source.test_modules.iter().map(|name| format!("{folder}/{name}")).collect()
}

// The house as it stands.

fn read_into(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_into(&path, root, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("a path inside").to_string_lossy().replace('\\', "/");
            files.push((name, std::fs::read_to_string(&path).expect("a file in UTF-8")));
        }
    }
}

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "macros/src"] {
        read_into(&root.join(folder), root, &mut files);
    }
    assert!(files.len() > 40, "the sources are where they were");
    let breaches = House::new(files).breaches();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

// The checker itself, on planted sources.

const PROOF: (&str, &str) = ("src/verify/verified.rs", "pub(super) fn assertion() {}");

fn breaches(planted: &[(&str, &str)]) -> Vec<String> {
    let files = planted.iter().chain([&PROOF]).map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    House::new(files).breaches()
}

#[track_caller]
fn breach(path: &str, text: &str) -> String {
    let mut found = breaches(&[(path, text)]);
    assert_eq!(found.len(), 1, "{text}: {found:?}");
    found.remove(0)
}

#[track_caller]
fn sound(path: &str, text: &str) {
    assert_eq!(breaches(&[(path, text)]), [""; 0], "{text}");
}

#[test]
fn an_upward_or_sideways_path_is_found_wherever_it_stands() {
    let upward = "src/scheme/read.rs:2: `scheme` (floor 2) uses `verify` (floor 3)";
    for text in [
        "\nuse crate::verify::Verifier;",
        "\nuse crate::{verify::Verifier};",
        "use crate::{ids::Source,\n verify};",
        "use crate::{time::{self, Timestamp},\n verify::{A, B}};",
        "\nfn f() { crate::verify::f() }",
        "\nfn f(_: &dyn crate::verify::A) {}",
        "\nfn f(_: Vec<crate::verify::A>) {}",
        "\nmacro_rules! m { () => { $crate::verify::f() } }",
        "\nuse super::super::verify::Verifier;",
        "\nuse self::super::super::verify::Verifier;",
        "mod inner {\n use super::super::super::verify::Verifier; }",
        "\nuse ::countersign::verify::Verifier;",
        "\nimpl A for ::countersign::verify::Verifier {}",
        "#[cfg(any(test, feature = \"testing\"))]\nuse crate::verify::Verifier;",
        "#[cfg(not(test))]\nuse crate::verify::Verifier;",
        "#[cfg(test)] mod tests {}\nuse crate::verify::Verifier;",
    ] {
        assert_eq!(breach("src/scheme/read.rs", text), upward, "{text}");
    }
    let sideways = "src/scheme/mod.rs:1: `scheme` (floor 2) uses `keyring` (floor 2)";
    assert_eq!(breach("src/scheme/mod.rs", "use crate::keyring::Key;"), sideways);
    assert_eq!(breach("src/scheme/mod.rs", "use super::keyring::Key;"), sideways);
    let crypto = "src/crypto.rs:1: `crypto` (floor 1) uses `encoding` (floor 1½)";
    assert_eq!(breach("src/crypto.rs", "use crate::encoding::MacEncoding;"), crypto);
}

#[test]
fn lower_floors_and_the_own_room_may_be_used() {
    for text in [
        "use crate::crypto::Tag; use crate::encoding::MacEncoding; use crate::ids::Source;",
        "use crate::scheme::Part; use super::Part; use super::super::scheme::Part; use self::inner::A;",
        "//! See [`Verifier`](crate::verify::Verifier).\n/// And [`crate::receiver`].\nfn f() {}",
        "const TEXT: &str = \"use crate::verify::Verifier;\";",
        "// use crate::verify::Verifier;",
        "use other::verify::Verifier; fn f() { other::crate_::verify() }",
        "#[cfg(test)]\nmod tests { use crate::verify::Verifier; use super::super::super::receiver::A; }",
        "#[cfg(all(test, feature = \"x\"))] #[allow(dead_code)] mod tests { use crate::verify::Verifier; }",
        "#[cfg(test)]\nuse crate::verify::{A, B};\nfn f() {}",
    ] {
        sound("src/scheme/read.rs", text);
    }
    sound("src/lib.rs", "pub use verify::Verifier; use crate::receiver::A;");
}

#[test]
fn a_name_at_the_root_is_followed_to_its_room() {
    let library = ("src/lib.rs", "pub use verify::{Rejection as Refusal, Verifier};\npub use outside::Derive;");
    let found = |text| breaches(&[library, ("src/scheme/mod.rs", text)]);
    let upward = ["src/scheme/mod.rs:1: `scheme` (floor 2) uses `verify` (floor 3)"];
    assert_eq!(found("use crate::Verifier;"), upward);
    assert_eq!(found("use crate::Refusal;"), upward);
    assert_eq!(found("use crate::Derive;"), [""; 0]);
    let nowhere = ["src/scheme/mod.rs:1: `scheme` uses `Nobody`, which stands on no floor"];
    assert_eq!(found("use crate::Nobody;"), nowhere);
    let everything = ["src/scheme/mod.rs:1: `scheme` uses `*`, which stands on no floor"];
    assert_eq!(found("use crate::*;"), everything);
    let store = ("src/store/mod.rs", "macro_rules! planted { () => {} }");
    let found = breaches(&[store, ("src/scheme/mod.rs", "crate::planted! {}")]);
    assert_eq!(found, ["src/scheme/mod.rs:1: `scheme` (floor 2) uses `store` (floor 4)"]);
}

#[test]
fn a_program_is_a_crate_of_its_own() {
    sound("src/bin/countersign/send.rs", "use crate::output::Out; use countersign::verify::Signer;");
    let found = breach("src/bin/countersign/send.rs", "use countersign::output::Out;");
    assert_eq!(found, "src/bin/countersign/send.rs:1: `bin` uses `output`, which stands on no floor");
}

#[test]
fn a_room_that_no_floor_knows_is_found() {
    assert_eq!(breach("src/attic/mod.rs", ""), "src/attic/mod.rs: `attic` stands on no floor");
    assert_eq!(breach("src/attic.rs", ""), "src/attic.rs: `attic` stands on no floor");
}

#[test]
fn a_file_that_is_only_for_tests_may_look_anywhere() {
    let planted = "use crate::receiver::A;\n".repeat(MAX_LINES + 1);
    let files = |declared: &str| {
        let module = ("src/scheme/mod.rs", declared);
        let files = [module, ("src/scheme/tests.rs", &planted), ("src/scheme/tests/more.rs", &planted)];
        breaches(&files).len()
    };
    assert_eq!(files("#[cfg(test)]\nmod tests;"), 0);
    assert_eq!(files("mod tests;"), 2 * (MAX_LINES + 1) + 2);
}

#[test]
fn crates_of_the_trade_are_named_in_one_room() {
    for name in ["hmac", "sha2", "subtle"] {
        let text = format!("use {name}::A;");
        assert_eq!(
            breach("src/verify/mod.rs", &text),
            format!("src/verify/mod.rs:1: only src/crypto.rs names `{name}`")
        );
        sound("src/crypto.rs", &text);
    }
    for name in ["actix_http", "actix_service"] {
        let text = format!("fn f(_: &{name}::A) {{}}");
        assert_eq!(
            breach("src/receiver/mod.rs", &text),
            format!("src/receiver/mod.rs:1: only src/actix/ names `{name}`")
        );
        sound("src/actix/service.rs", &text);
    }
}

#[test]
fn part_of_a_tag_is_compared_nowhere_and_not_in_tests() {
    for path in ["src/crypto.rs", "macros/src/lib.rs"] {
        let text = "#[cfg(test)] mod tests { fn f() { mac.verify_truncated_left(tag) } }";
        assert_eq!(breach(path, text), format!("{path}:1: `verify_truncated_left` compares part of a tag"));
    }
}

#[test]
fn the_system_is_asked_for_the_time_in_one_place() {
    let text = "fn f() { std::time::SystemTime::now() }";
    let expected = "src/receiver/mod.rs:1: only src/time.rs asks the system for the time";
    assert_eq!(breach("src/receiver/mod.rs", text), expected);
    sound("src/time.rs", text);
    sound("src/receiver/mod.rs", "#[cfg(test)] mod tests { fn f() { SystemTime::now() } }");
}

#[test]
fn trust_is_created_in_one_place() {
    let made = "src/verify/sign.rs:1: `Verified` is made by its `assertion` alone";
    assert_eq!(breach("src/verify/sign.rs", "fn f() { Verified { value, delivery } }"), made);
    let asserted = "src/receiver/mod.rs:1: only src/verify/ asserts that a signature matched";
    assert_eq!(breach("src/receiver/mod.rs", "fn f() { Verified::assertion(a, b) }"), asserted);
    sound("src/verify/mod.rs", "fn f() -> Verified<Bytes> { Verified::assertion(a, b) }");
    let restored = "src/receiver/mod.rs:1: only src/inbox/ makes deliveries of what it has stored";
    assert_eq!(breach("src/receiver/mod.rs", "fn f() { stored.trusted_again() }"), restored);
    assert_eq!(breach("src/receiver/mod.rs", "fn f() { verifier.verify_stored(a) }"), restored);
    sound("src/inbox/mod.rs", "fn f() { stored.trusted_again() }");
    let two = "src/verify/verified.rs: 2 functions are called `assertion`, not one";
    assert_eq!(breach("src/verify/mod.rs", "fn assertion() {}"), two);
}

#[test]
fn a_file_is_measured_without_its_tests() {
    let code = "fn f() {}\n".repeat(MAX_LINES);
    let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
    sound("src/time.rs", &format!("{code}{tests}"));
    let expected = "src/time.rs: 401 lines without its tests, more than 400";
    assert_eq!(breach("src/time.rs", &format!("{code}// one more\n{tests}")), expected);
    assert_eq!(breach("src/time.rs", &format!("{tests}{code}\n")), expected);
}

/// A target without its features is left out in silence where nobody has said which they are; so `Cargo.toml` says of each
/// what its file says.
#[test]
fn a_test_asks_for_the_features_that_its_file_needs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("it is there");
    let manifest: toml::Table = toml::from_str(&manifest).expect("a manifest");
    let mut asked = BTreeMap::<String, BTreeSet<String>>::new();
    for target in manifest["test"].as_array().expect("a list") {
        let features = target["required-features"].as_array().expect("a list").iter();
        let features = features.map(|feature| feature.as_str().expect("a name").to_owned()).collect();
        asked.insert(target["name"].as_str().expect("a name").to_owned(), features);
    }
    let mut needed = BTreeMap::new();
    for entry in std::fs::read_dir(root.join("tests")).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.path().with_extension(""));
        let file = if path.is_dir() { path.join("main.rs") } else { path };
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let Some((_, condition)) = text.split_once("\n#![cfg(") else { continue };
        let (condition, _) = condition.split_once(")]\n").expect("its end");
        let features = condition.split("feature = \"").skip(1);
        let features: BTreeSet<String> = features.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
        if !features.is_empty() {
            needed.insert(name.file_name().expect("a name").to_string_lossy().into_owned(), features);
        }
    }
    assert_eq!(asked, needed, "what `required-features` in Cargo.toml say, and what the files say");
}
