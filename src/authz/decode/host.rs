//! The one canonical form of a host.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::denial::{Denial, Malformed};

/// The longest name that DNS can carry (RFC 1035 section 2.3.4).
const MAX_LENGTH: usize = 253;

/// A host or authority as lower-case host name or address: no port, no final dot.
///
/// # Errors
/// [`Malformed::HostInvalid`] for whatever is no host: empty, with user information, with two
/// values, with characters that no name has.
pub fn canonical(authority: &str) -> Result<Cow<'_, str>, Denial> {
    parse(authority).ok_or(Denial::RequestMalformed(Malformed::HostInvalid))
}

fn parse(authority: &str) -> Option<Cow<'_, str>> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (inner, after) = rest.split_once(']')?;
        if !(after.is_empty() || is_port(after.strip_prefix(':')?)) {
            return None;
        }
        let address: Result<Ipv6Addr, _> = inner.parse();
        return address.map_or(None, |address| Some(Cow::Owned(format!("[{address}]"))));
    }
    let name = match authority.split_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) => return None,
        None => authority,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > MAX_LENGTH || name.split('.').any(str::is_empty) {
        return None;
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return None;
    }
    Some(if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    })
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let cases = [
            ("example.com", Some("example.com")),
            ("EXAMPLE.com", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("example.com:443", Some("example.com")),
            ("Example.com.:00443", Some("example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("under_score", Some("under_score")),
            ("127.0.0.1:80", Some("127.0.0.1")),
            ("[::1]", Some("[::1]")),
            ("[0:0:0:0:0:0:0:1]:80", Some("[::1]")),
            ("", None),
            (".", None),
            (":80", None),
            ("*", None),
            ("example.com..", None),
            ("a..b", None),
            ("user@example.com", None),
            ("a,b", None),
            ("a b", None),
            ("a/b", None),
            ("bücher.example", None),
            ("example.com:", None),
            ("example.com:x", None),
            ("example.com:65536", None),
            ("example.com:80:80", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[::1]:", None),
            ("[example.com]", None),
        ];
        for (authority, expected) in cases {
            assert_eq!(parse(authority).as_deref(), expected, "{authority:?}");
        }
        assert!(canonical(&"a".repeat(254)).is_err());
    }
}
