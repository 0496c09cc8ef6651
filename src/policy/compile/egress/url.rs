//! `base_url`, and hosts alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::compile::value::shown;
use crate::policy::destination::Host;

/// The longest name that DNS can carry (RFC 1035 section 2.3.4), and its longest label.
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// A `base_url`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) tls: bool,
    pub(super) host: Host,
    pub(super) port: u16,
    /// Empty, or with a leading and without a trailing slash.
    pub(super) path: Box<str>,
}

/// Takes a URL apart. What is wrong with one is said without repeating it: a URL is where people put
/// passwords.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let rest = |scheme: &str| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let (tls, rest) = match (rest("https://"), rest("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => {
            return Err("expected a URL that begins with `https://` or `http://`".to_owned());
        }
    };
    if let Some(bad) = rest.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("{bad:?} cannot stand in a URL"));
    }
    for (bad, what) in [
        ('?', "has a query, which each request brings itself"),
        ('#', "has a fragment, which is never sent"),
        ('%', "has encoded characters, which two readers may decode differently"),
    ] {
        if rest.contains(bad) {
            return Err(format!("{what}: expected scheme, host, port and path alone"));
        }
    }
    let (authority, path) = match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
        Some((authority, path)) => (authority, path),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err("names a user: a credential belongs into egress_credentials".to_owned());
    }
    let (name, after) = match authority.find(']') {
        Some(at) => authority.split_at_checked(at.saturating_add(1)).unwrap_or((authority, "")),
        None => match authority.find(':') {
            Some(at) => authority.split_at_checked(at).unwrap_or((authority, "")),
            None => (authority, ""),
        },
    };
    let port = match after.strip_prefix(':') {
        None if after.is_empty() && tls => 443,
        None if after.is_empty() => 80,
        digits => port(digits.unwrap_or(""))?,
    };
    Ok(Url { tls, host: host(name)?, port, path: base_path(path)? })
}

fn port(text: &str) -> Result<u16, &'static str> {
    // `parse` takes a sign too.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(number @ 1..) if digits => Ok(number),
        Ok(_) | Err(_) => Err("expected a port from 1 to 65535 after the host"),
    }
}

/// A host alone: a name in lower case, without a final dot, or an address.
pub(super) fn host(text: &str) -> Result<Host, String> {
    let wrong = || format!("expected the name or the address of a host, found {}", shown(text));
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(wrong)?;
        let address: Ipv6Addr = inner.parse().map_err(|_not_an_address| wrong())?;
        if let Some(address) = address.to_ipv4_mapped() {
            return Err(format!("is an IPv4 address in another form: write {address}"));
        }
        return Ok(Host::Address(IpAddr::V6(address)));
    }
    if text.is_empty() {
        return Err("expected a host, found none".to_owned());
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if let Ok(address) = name.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(plain);
    if name.len() > MAX_HOST || !name.split('.').all(label) {
        return Err(wrong());
    }
    // Resolvers take these for addresses, each in its own way: `127.1`, `0x7f000001`.
    let last = name.rsplit('.').next().unwrap_or("");
    if last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    Ok(Host::Name(name.into()))
}

fn base_path(path: &str) -> Result<Box<str>, String> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok("".into());
    }
    // RFC 3986 section 3.3, without `;`, at which some readers cut a path.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/".contains(&b);
    if let Some(bad) = path.bytes().find(|&b| !plain(b)) {
        return Err(format!("{:?} cannot stand in the path", char::from(bad)));
    }
    let mut segments = path.split('/').skip(1);
    if segments.any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(
            "has `//` or a dot segment, which two readers may resolve differently".to_owned()
        );
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls() {
        let name = |text: &str| Host::Name(text.into());
        let address = |text: &str| Host::Address(text.parse().unwrap());
        for (text, tls, host, port, path) in [
            ("https://api.openai.com", true, name("api.openai.com"), 443, ""),
            ("https://api.openai.com/", true, name("api.openai.com"), 443, ""),
            ("HTTPS://API.OpenAI.com./v1/", true, name("api.openai.com"), 443, "/v1"),
            ("https://slack.com/api", true, name("slack.com"), 443, "/api"),
            ("http://a:8080/x/y", false, name("a"), 8080, "/x/y"),
            ("http://a", false, name("a"), 80, ""),
            ("https://192.0.2.1", true, address("192.0.2.1"), 443, ""),
            ("https://[2001:DB8::1]:8443", true, address("2001:db8::1"), 8443, ""),
            ("https://under_score.test/@me:x", true, name("under_score.test"), 443, "/@me:x"),
        ] {
            let url = Url { tls, host, port, path: path.into() };
            assert_eq!(parse(text), Ok(url), "{text}");
        }
    }

    #[test]
    fn urls_that_are_refused() {
        for (text, expected) in [
            ("", "begins with"),
            ("api.openai.com", "begins with"),
            ("ftp://a", "begins with"),
            ("https:/a", "begins with"),
            ("https://", "expected a host, found none"),
            ("https:///x", "expected a host, found none"),
            ("https://:443", "expected a host, found none"),
            ("https://a?", "has a query"),
            ("https://a/x?y=z", "has a query"),
            ("https://a#x", "has a fragment"),
            ("https://a/%41", "has encoded"),
            ("https://%61", "has encoded"),
            ("https://user@a", "names a user"),
            ("https://user:password@a", "names a user"),
            ("https://a:0", "a port from 1"),
            ("https://a:", "a port from 1"),
            ("https://a:+1", "a port from 1"),
            ("https://a:65536", "a port from 1"),
            ("https://a:80:80", "a port from 1"),
            ("https://[::1]x", "a port from 1"),
            ("https://::1", "a port from 1"),
            ("https://[::1", "a port from 1"),
            ("https://[a]", "the address of a host"),
            ("https://[::ffff:10.0.0.1]", "write 10.0.0.1"),
            ("https://a..b", "the address of a host"),
            ("https://.", "the address of a host"),
            ("https://a*b", "the address of a host"),
            ("https://127.1", "the address of a host"),
            ("https://2130706433", "the address of a host"),
            ("https://0x7f000001", "the address of a host"),
            ("https://a.0x1", "the address of a host"),
            ("https://a/..", "dot segment"),
            ("https://a/./b", "dot segment"),
            ("https://a//b", "dot segment"),
            ("https://a/b//", "dot segment"),
            ("https://a/b;c", "';' cannot stand"),
            ("https://a\\b", "the address of a host"),
            ("https://a/b\\c", "'\\\\' cannot stand"),
            ("https://a b", "' ' cannot stand"),
            ("https://bücher.example", "'ü' cannot stand"),
            ("https://a\n", "'\\n' cannot stand"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(expected), "{text}\n  expected {expected}\n  found {message}");
            assert!(!message.contains("password"), "{message}");
        }
        assert!(parse(&format!("https://{}", "a".repeat(64))).is_err());
        assert!(parse(&format!("https://{}a", "a.".repeat(127))).is_err());
    }

    proptest! {
        /// What is accepted means one thing: written out again, it is the same destination.
        #[test]
        fn accepted_urls_say_what_they_mean(text in "https?://[a-z0-9.:/@%?#;\\[\\]-]{0,24}") {
            if let Ok(Url { tls, host, port, path }) = parse(&text) {
                let scheme = if tls { "https" } else { "http" };
                let again = format!("{scheme}://{host}:{port}{path}");
                prop_assert_eq!(parse(&again), Ok(Url { tls, host, port, path: path.clone() }));
                prop_assert!(path.is_empty() || (path.starts_with('/') && !path.ends_with('/')));
                prop_assert!(!again.contains(['?', '#', '%', ';']));
            }
        }
    }
}
