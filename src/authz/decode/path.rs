//! The one canonical form of a path.
//!
//! Envoy's own normalisation comes first where it is configured, and this holds without it. A path
//! that two readers could read in two ways is refused before anything is matched: `//`, dot
//! segments, `\`, `;`, `#`, control and non-ASCII bytes, percent-encoded `/`, `\`, `.` and `%`, and
//! escapes that are not UTF-8. Every other escape is decoded for matching.

use std::borrow::Cow;

use super::host;
use crate::denial::{Denial, Malformed};
use crate::policy::rule::Escapes;

/// A path to match and to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// Begins with `/`, percent-decoded but for the escapes below, no query.
    pub text: Cow<'a, str>,
    /// The escapes that most rules refuse: they stand in `text` as `%2F` and `%25`.
    pub escapes: Escapes,
    /// The same as it was sent: from the first `/` on, not decoded, with its query.
    pub sent: &'a str,
}

/// The canonical form of a request target (`:path`, with its query). `host` is the canonical host,
/// which an absolute form must repeat.
///
/// # Errors
/// [`Malformed::PathAmbiguous`]
pub fn canonical<'a>(target: &'a str, host: &str) -> Result<Path<'a>, Denial> {
    parse(target, host).ok_or(Denial::RequestMalformed(Malformed::PathAmbiguous))
}

fn parse<'a>(target: &'a str, host: &str) -> Option<Path<'a>> {
    let origin = origin_form(target, host)?;
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    // The query is never matched, but neither of these ever stands in one.
    if query.bytes().any(|b| b < 0x21 || b == 0x7f || b == b'#') {
        return None;
    }
    let refused = |b: u8| !(0x21..0x7f).contains(&b) || matches!(b, b'\\' | b';' | b'#');
    if path.bytes().any(refused) || path.contains("//") {
        return None;
    }
    let (text, escapes) =
        if path.contains('%') { decode(path)? } else { (Cow::Borrowed(path), Escapes::default()) };
    let path = Path { text, escapes, sent: origin };
    if has_dot_segments(&path) {
        return None;
    }
    Some(path)
}

/// Whether a reader who decodes `%2F`, or takes what follows a decoded `;` for a parameter, finds a
/// dot segment.
fn has_dot_segments(path: &Path<'_>) -> bool {
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    path.text.split('/').any(dots)
        || path.escapes.slash && path.text.split("%2F").any(|part| part.split('/').any(dots))
}

/// The part of the target that begins with `/`.
fn origin_form<'a>(target: &'a str, host: &str) -> Option<&'a str> {
    if target.starts_with('/') {
        return Some(target);
    }
    // Absolute form (RFC 9112 section 3.2.2).
    let (scheme, rest) = target.split_once("://")?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return None;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let same = host::canonical(authority).is_ok_and(|other| other == host);
    match path {
        "" if same => Some("/"),
        path if same && path.starts_with('/') => Some(path),
        _ => None,
    }
}

fn decode(path: &str) -> Option<(Cow<'static, str>, Escapes)> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut escapes = Escapes::default();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let decoded = hex(rest.next()?)? << 4 | hex(rest.next()?)?;
        match decoded {
            b'/' => {
                escapes.slash = true;
                bytes.extend_from_slice(b"%2F");
            }
            b'%' => {
                escapes.percent = true;
                bytes.extend_from_slice(b"%25");
            }
            b'\\' | b'.' => return None,
            other => bytes.push(other),
        }
    }
    // Refuses overlong forms, surrogates and what is no UTF-8 at all.
    let text = String::from_utf8(bytes).unwrap_or_default();
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    Some((Cow::Owned(text), escapes))
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(target: &str) -> Option<String> {
        parse(target, "example.com").map(|path| path.text.into_owned())
    }

    #[test]
    fn paths_that_mean_one_thing() {
        let cases = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a?b=//../%2e;", "/a"),
            ("/a?", "/a"),
            ("/%41pi", "/Api"),
            ("/a%20b", "/a b"),
            ("/caf%C3%A9", "/café"),
            ("/a%3Fb", "/a?b"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a..b", "/a..b"),
            ("http://example.com/a", "/a"),
            ("HTTP://EXAMPLE.com:80/a?b", "/a"),
            ("https://example.com", "/"),
        ];
        for (target, expected) in cases {
            assert_eq!(text(target).as_deref(), Some(expected), "{target:?}");
        }
    }

    #[test]
    fn ambiguous_paths() {
        let cases = [
            "",
            "*",
            "a",
            "?a",
            "//",
            "//a/b",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/a\\b",
            "/a%5Cb",
            "/a%5cb",
            "/a;b",
            "/a/..;/b",
            "/a;x=y/b",
            "/a#b",
            "/a?b#c",
            "/%2e%2e/b",
            "/%2E/b",
            "/.%2e/b",
            "/a%2eb",
            "/a%00b",
            "/a%0ab",
            "/a%7fb",
            "/a b",
            "/a\tb",
            "/a\0b",
            "/é",
            "/%",
            "/%4",
            "/%zz",
            "/%c0%af",
            "/%c0%ae",
            "/%e0%80%af",
            "/%ff",
            "/%ed%a0%80",
            "/a%C2%80b",
            "/a?b c",
            "/a/..%3B/b",
            "/a/.%3bx/b",
            "/a/..%2Fb",
            "/a%2F..%2Fb",
            "/a%2f.",
            "http://evil.example/a",
            "https://example.com@evil.example/a",
            "ftp://example.com/a",
            "http://example.com?x",
            "http:///a",
            "http://example.com//a",
        ];
        for target in cases {
            assert_eq!(text(target), None, "{target:?}");
        }
    }

    #[test]
    fn escapes_that_a_rule_may_allow_are_kept_and_named() {
        let cases = [
            ("/a%2fb", "/a%2Fb", true, false),
            ("/a%2Fb", "/a%2Fb", true, false),
            ("/a%252fb", "/a%252fb", false, true),
            ("/%2F%25", "/%2F%25", true, true),
        ];
        for (target, expected, slash, percent) in cases {
            let path = canonical(target, "example.com").unwrap();
            assert_eq!(
                (&*path.text, path.escapes),
                (expected, Escapes { slash, percent }),
                "{target}"
            );
        }
    }

    proptest! {
        /// What passes has no segment that any reader resolves, however often it decodes.
        #[test]
        fn what_passes_is_plain(target in "/[a.%/;\\\\25eEfF#?]{0,12}") {
            if let Ok(path) = canonical(&target, "example.com") {
                prop_assert!(path.text.starts_with('/'));
                prop_assert!(!path.text.contains("//") && !path.text.contains(['\\', ';', '#']));
                prop_assert!(path.text.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert_eq!(path.escapes.percent, path.text.contains("%25"));
                prop_assert_eq!(path.escapes.slash, path.text.replace("%25", "").contains("%2F"));
            }
        }
    }
}
