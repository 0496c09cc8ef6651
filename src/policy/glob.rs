//! Anchored patterns over paths and hosts.
//!
//! `*` stands for any text within one segment, `**` as a whole segment for any number of segments,
//! zero included. Segments of a path are parted by `/`, labels of a host by `.`. Matching takes
//! time in the product of both lengths at worst: no pattern and no input makes it explode.

mod cover;

use std::fmt;
use std::net::Ipv6Addr;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Glob {
    separator: char,
    segments: Box<[Segment]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Segment {
    /// Exactly this text.
    Literal(Box<str>),
    /// Text with `*` in it: what stands before the first, between, and after the last.
    Wild { prefix: Box<str>, middle: Box<[Box<str>]>, suffix: Box<str> },
    /// `**`
    AnyNumber,
}

impl Glob {
    /// Compiles a path pattern, such as `/api/v1/**` or `/agentd.v1.*/Get*`.
    ///
    /// # Errors
    /// Says what is wrong where the pattern could never match a canonical path, or does not say
    /// what it seems to say.
    pub fn path(pattern: &str) -> Result<Self, String> {
        let Some(rest) = pattern.strip_prefix('/') else {
            return Err("expected a path pattern that begins with `/`".to_owned());
        };
        if let Some(c) = pattern.chars().find(|&c| matches!(c, '?' | '#' | '\\' | ';')) {
            return Err(format!(
                "`{c}` never stands in a path that is matched (no query, no parameters)"
            ));
        }
        if pattern.chars().any(char::is_control) {
            return Err("a control character never stands in a path that is matched".to_owned());
        }
        let kept = pattern.replace("%2F", "").replace("%25", "");
        if kept.contains('%') {
            return Err(
                "paths are matched decoded: write the character itself; only `%2F` and `%25` \
                        stay escaped, for rules with `allow_encoded`"
                    .to_owned(),
            );
        }
        let segments: Vec<&str> = rest.split('/').collect();
        let (_, inner) = segments.split_last().unwrap_or((&"", &[]));
        if inner.contains(&"") {
            return Err("`//` never stands in a path that is matched".to_owned());
        }
        if segments.iter().any(|s| matches!(*s, "." | "..")) {
            return Err("dot segments never stand in a path that is matched".to_owned());
        }
        Self::compile('/', &segments)
    }

    /// Compiles a host pattern, such as `api.example.com` or `*.example.com`. Case does not count.
    ///
    /// # Errors
    /// Says what is wrong where no host name could match.
    pub fn host(pattern: &str) -> Result<Self, String> {
        let pattern = pattern.to_ascii_lowercase();
        if let Some(inner) = pattern.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let address: Ipv6Addr = inner
                .parse()
                .map_err(|error| format!("expected an IPv6 address in brackets: {error}"))?;
            let text = format!("[{address}]");
            return Self::compile('.', &text.split('.').collect::<Vec<_>>());
        }
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*');
        if let Some(c) = pattern.chars().find(|&c| !known(c)) {
            return Err(format!(
                "`{c}` never stands in a host that is matched (no port, no scheme)"
            ));
        }
        let labels: Vec<&str> = pattern.split('.').collect();
        if labels.contains(&"") {
            return Err("expected a host name without empty labels".to_owned());
        }
        Self::compile('.', &labels)
    }

    fn compile(separator: char, parts: &[&str]) -> Result<Self, String> {
        let mut segments = Vec::with_capacity(parts.len());
        for part in parts {
            let segment = Segment::compile(part)?;
            // `**/**` says nothing that `**` does not.
            if segment != Segment::AnyNumber || segments.last() != Some(&Segment::AnyNumber) {
                segments.push(segment);
            }
        }
        Ok(Self { separator, segments: segments.into() })
    }

    /// Whether a canonical path (with its leading `/`) matches.
    pub fn matches_path(&self, path: &str) -> bool {
        path.strip_prefix('/').is_some_and(|rest| self.matches(rest))
    }

    /// Whether a canonical host (lower case, no port, no final dot) matches.
    pub fn matches_host(&self, host: &str) -> bool {
        self.matches(host)
    }

    fn matches(&self, text: &str) -> bool {
        let mut pattern: &[Segment] = &self.segments;
        let mut rest = Some(text);
        // The last `**` seen: the pattern after it, and the text from which it may yet take one
        // more segment. Only the last can matter: an earlier one taking more changes nothing that
        // the later could not take as well.
        let mut retry: Option<(&[Segment], &str)> = None;
        loop {
            match (pattern.split_first(), rest) {
                (None, None) => return true,
                (Some((Segment::AnyNumber, tail)), _) => {
                    if tail.is_empty() {
                        return true;
                    }
                    retry = rest.map(|from| (tail, from)).or(retry);
                    pattern = tail;
                    continue;
                }
                (Some((segment, tail)), Some(from)) => {
                    let (head, next) = self.cut(from);
                    if segment.matches(head) {
                        pattern = tail;
                        rest = next;
                        continue;
                    }
                }
                (Some(_), None) | (None, Some(_)) => {}
            }
            let Some((tail, from)) = retry else { return false };
            let Some(next) = self.cut(from).1 else { return false };
            retry = Some((tail, next));
            pattern = tail;
            rest = Some(next);
        }
    }

    /// The first segment, and what follows its separator: `None` where there is no separator.
    fn cut<'t>(&self, text: &'t str) -> (&'t str, Option<&'t str>) {
        match text.split_once(self.separator) {
            Some((head, rest)) => (head, Some(rest)),
            None => (text, None),
        }
    }
}

impl Segment {
    fn compile(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Self::AnyNumber);
        }
        if text.contains("**") {
            return Err("`**` must be a whole segment".to_owned());
        }
        let mut pieces = text.split('*');
        let prefix = pieces.next().unwrap_or("");
        let mut middle: Vec<&str> = pieces.collect();
        Ok(match middle.pop() {
            None => Self::Literal(prefix.into()),
            Some(suffix) => Self::Wild {
                prefix: prefix.into(),
                middle: middle.into_iter().map(Into::into).collect(),
                suffix: suffix.into(),
            },
        })
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Wild { prefix, middle, suffix } => {
                let Some(rest) = text.strip_prefix(&**prefix) else { return false };
                let Some(mut rest) = rest.strip_suffix(&**suffix) else { return false };
                for piece in middle {
                    match rest.split_once(&**piece) {
                        Some((_, after)) => rest = after,
                        None => return false,
                    }
                }
                true
            }
            Self::AnyNumber => true,
        }
    }
}

impl fmt::Display for Glob {
    /// The pattern, as it is matched: a host in lower case, `**/**` as `**`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A path begins with its separator, a host does not.
        let mut separate = self.separator == '/';
        for segment in &self.segments {
            if separate {
                write!(f, "{}", self.separator)?;
            }
            separate = true;
            match segment {
                Segment::Literal(text) => f.write_str(text)?,
                Segment::Wild { prefix, middle, suffix } => {
                    write!(f, "{prefix}*")?;
                    for piece in middle {
                        write!(f, "{piece}*")?;
                    }
                    f.write_str(suffix)?;
                }
                Segment::AnyNumber => f.write_str("**")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn path_patterns() {
        let cases = [
            ("/health", "/health", true),
            ("/health", "/health/", false),
            ("/health", "/Health", false),
            ("/health", "/healthz", false),
            ("/", "/", true),
            ("/**", "/", true),
            ("/**", "/a/b/c", true),
            ("/api/v1/**", "/api/v1", true),
            ("/api/v1/**", "/api/v1/", true),
            ("/api/v1/**", "/api/v1/a/b", true),
            ("/api/v1/**", "/api/v10", false),
            ("/api/v1/**", "/x/api/v1/a", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("/a/*", "/a/b/c", false),
            ("/agentd.v1.*/**", "/agentd.v1.Agents/Get", true),
            ("/agentd.v1.*/**", "/agentd.v1/Get", false),
            ("/agentd.v1.*/**", "/agentd.v2.Agents/Get", false),
            ("/**/b", "/b", true),
            ("/**/b", "/a/a/b", true),
            ("/**/b", "/a/b/c", false),
            ("/**/a/**/b", "/x/a/a/y/b", true),
            ("/**/a/*/b", "/a/a/x/b", true),
            ("/a*b*c", "/abc", true),
            ("/a*b*c", "/axxbyyc", true),
            ("/a*b*c", "/ac", false),
            ("/a*a", "/a", false),
        ];
        for (pattern, path, expected) in cases {
            let glob = Glob::path(pattern).unwrap();
            assert_eq!(glob.to_string(), pattern);
            assert_eq!(glob.matches_path(path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn host_patterns() {
        let cases = [
            ("api.example.com", "api.example.com", true),
            ("API.example.com", "api.example.com", true),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "a.b.example.com", false),
            ("**.example.com", "a.b.example.com", true),
            ("**.example.com", "example.com", true),
            ("*.example.com", "api.example.com.evil.org", false),
            ("[::1]", "[::1]", true),
            ("[0:0::1]", "[::1]", true),
            ("[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", true),
        ];
        for (pattern, host, expected) in cases {
            assert_eq!(
                Glob::host(pattern).unwrap().matches_host(host),
                expected,
                "{pattern} on {host}"
            );
        }
    }

    #[test]
    fn patterns_that_could_never_match_are_refused() {
        for pattern in
            ["", "health", "/a//b", "/a/../b", "/a?b", "/a#b", "/a;b", "/a\\b", "/a**", "/%41"]
        {
            assert!(Glob::path(pattern).is_err(), "{pattern}");
        }
        for pattern in ["", "a..b", "http://a", "a:80", "a b", "é", "[x]", "[::1"] {
            assert!(Glob::host(pattern).is_err(), "{pattern}");
        }
    }

    /// The plain recursive definition, exponential but obviously right.
    fn reference(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", tail)), _) => {
                reference(tail, path) || (!path.is_empty() && reference(pattern, &path[1..]))
            }
            (Some((&"*", tail)), Some((_, rest))) => reference(tail, rest),
            (Some((a, tail)), Some((b, rest))) => a == b && reference(tail, rest),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            pattern in prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "**"]), 1..7),
            path in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..8),
        ) {
            let glob = Glob::path(&format!("/{}", pattern.join("/"))).unwrap();
            prop_assert_eq!(glob.matches_path(&format!("/{}", path.join("/"))), reference(&pattern, &path));
        }
    }
}
