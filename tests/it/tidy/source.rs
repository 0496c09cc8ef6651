//! The sources as text without comments, literals and tests, and the paths that they name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One file under `src`.
pub(super) struct Source {
    /// Relative to the repository, as in `src/policy/raw.rs`.
    pub(super) path: String,
    /// As it is.
    pub(super) text: String,
    /// Without comments, the contents of literals, and everything under `#[cfg(test)]`; empty for a
    /// file of tests.
    pub(super) code: String,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = if is_test(path) { String::new() } else { without_tests(&bare(text)) };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// The module of the file: `src/policy/raw.rs` is `["policy", "raw"]`, `src/lib.rs` is `[]`.
    pub(super) fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
    }

    /// Every path of this crate that the code names, from the crate's root on.
    pub(super) fn references(&self) -> Vec<Vec<String>> {
        let words = words(&self.code);
        let mut found = Vec::new();
        for (place, &word) in words.iter().enumerate() {
            let (before, after) = (words[..place].last(), words.get(place + 1));
            if after != Some(&"::") || before == Some(&"::") {
                continue;
            }
            let mut base = match word {
                "crate" => Vec::new(),
                "self" | "super" => self.module(),
                _other_crate_or_local_name => continue,
            };
            let mut rest = &words[place..];
            while let ["super", "::", tail @ ..] = rest {
                base.pop();
                rest = tail;
            }
            if let ["crate" | "self", "::", tail @ ..] = rest {
                rest = tail;
            }
            tree(&base, rest, &mut found);
        }
        found
    }

    /// The modules that the file declares, in its order, those for tests left out.
    pub(super) fn declared(&self) -> Vec<String> {
        let words = words(&self.code);
        words
            .windows(3)
            .filter(|three| three[0] == "mod" && three[2] == ";")
            .map(|three| three[1].to_owned())
            .collect()
    }
}

/// Every file under `src`, in the order of their paths.
pub(super) fn sources(root: &Path) -> Vec<Source> {
    let mut found = BTreeMap::new();
    walk(&root.join("src"), &mut |path| {
        let name = path.strip_prefix(root).expect("under the root").to_str().expect("UTF-8");
        if is_rust(name) {
            found.insert(name.to_owned(), fs::read_to_string(path).expect("readable"));
        }
    });
    found.iter().map(|(path, text)| Source::new(path, text)).collect()
}

fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}

pub(super) fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Files of tests alone, by the names that the house gives them.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// Identifiers, `::`, and every other visible character by itself.
pub(super) fn words(code: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = if is_name(first) {
            rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (word, tail) = rest.split_at(len);
        words.push(word);
        rest = tail.trim_start();
    }
    words
}

/// Expands `a::{b, c::d}` below `base`. Returns what follows it.
fn tree<'w, 'c>(
    base: &[String],
    words: &'w [&'c str],
    found: &mut Vec<Vec<String>>,
) -> &'w [&'c str] {
    let mut path = base.to_vec();
    let mut rest = words;
    loop {
        match rest {
            ["{", tail @ ..] => {
                rest = tail;
                while !matches!(rest, ["}", ..] | []) {
                    rest = tree(&path, rest, found);
                    while !matches!(rest, ["," | "}", ..] | []) {
                        rest = &rest[1..]; // `as name`
                    }
                    if let [",", tail @ ..] = rest {
                        rest = tail;
                    }
                }
                return rest.get(1..).unwrap_or_default();
            }
            [name, "::", tail @ ..] => {
                path.push((*name).to_owned());
                rest = tail;
            }
            [name, tail @ ..] => {
                if *name != "self" {
                    path.push((*name).to_owned());
                }
                found.push(path);
                return tail;
            }
            [] => return rest,
        }
    }
}

/// Without comments, and with every literal emptied. Keeps the lines.
fn bare(text: &str) -> String {
    let mut bare = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (kept, len) = if rest.starts_with("//") {
            ("", rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            ("", block_comment(rest))
        } else if c == '"' {
            ("\"\"", string(rest))
        } else if c == '\'' {
            let len = character(rest);
            if len == 1 { ("'", 1) } else { ("''", len) }
        } else if let Some(len) =
            raw_string(rest).filter(|_| !bare.ends_with(char::is_alphanumeric))
        {
            ("\"\"", len)
        } else {
            (&rest[..c.len_utf8()], c.len_utf8())
        };
        bare.push_str(kept);
        let (gone, tail) = rest.split_at(len);
        if kept != gone {
            bare.extend(gone.matches('\n'));
        }
        rest = tail;
    }
    bare
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut len) = (0, 0);
    while len < text.len() {
        let rest = &text.as_bytes()[len..];
        if rest.starts_with(b"/*") {
            (depth, len) = (depth + 1, len + 2);
        } else if rest.starts_with(b"*/") {
            (depth, len) = (depth - 1, len + 2);
            if depth == 0 {
                break;
            }
        } else {
            len += 1;
        }
    }
    len
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal, or 1 for the quote that begins a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((after, _))) => {
            let from = after + 1;
            text[from..].find('\'').map_or(text.len(), |end| from + end + 1)
        }
        (Some(_), Some((place, '\''))) => place + 1,
        _ => 1,
    }
}

/// `r"…"` and `r#"…"#`, also after a `b` or `c`.
fn raw_string(text: &str) -> Option<usize> {
    let open = text.strip_prefix(['b', 'c']).unwrap_or(text).strip_prefix('r')?;
    let hashes = open.len() - open.trim_start_matches('#').len();
    let body = open[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).map_or(body.len(), |end| end + close.len());
    Some(text.len() - body.len() + end)
}

/// Without the item after each `#[cfg(test)]`.
fn without_tests(bare: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::new();
    let mut rest = bare;
    while let Some((before, item)) = rest.split_once(MARK) {
        kept.push_str(before);
        let mut depth = 0_usize;
        let end = item.char_indices().find(|&(_, c)| {
            depth = match c {
                '{' => depth + 1,
                '}' => depth.saturating_sub(1),
                _ => depth,
            };
            depth == 0 && matches!(c, ';' | '}')
        });
        rest = end.map_or("", |(place, _)| &item[place + 1..]);
    }
    kept + rest
}
