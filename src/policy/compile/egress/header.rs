//! Headers that go out by order of the file.

use crate::policy::compile::value;
use crate::policy::header::folded;

/// What belongs to HTTP itself or to Envoy. Set by us, these would change which request is sent, or
/// where it ends.
const TAKEN: [&str; 13] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
    "forwarded",
    "x-request-id",
];
const TAKEN_PREFIXES: [&str; 4] = ["x-gatepost-", "x-sandbox-", "x-envoy-", "x-forwarded-"];

/// The name of a header that the file may set or let pass, in lower case.
pub(super) fn name(text: &str) -> Result<Box<str>, String> {
    if text.starts_with(':') {
        return Err("is a pseudo-header, which only the decision sets".to_owned());
    }
    let name = value::token(text)?;
    let read = folded(&name).unwrap_or_else(|| name.to_string());
    if TAKEN.contains(&&*read) || TAKEN_PREFIXES.iter().any(|prefix| read.starts_with(prefix)) {
        return Err(format!("`{name}` belongs to HTTP, to Envoy or to gatepost"));
    }
    Ok(name)
}

/// A whole header value. It may be a credential that somebody put here, and is not shown.
pub(super) fn value(text: &str) -> Result<(), &'static str> {
    if !text.bytes().all(printable) || text.is_empty() || text.trim() != text {
        return Err("expected a text of printable ASCII characters without spaces at its ends");
    }
    Ok(())
}

/// What stands before a value: a space at its end is meant.
pub(super) fn prefix(text: &str) -> Result<(), &'static str> {
    if !text.bytes().all(printable) || text.starts_with(' ') {
        return Err(
            "expected a text of printable ASCII characters that does not begin with a space",
        );
    }
    Ok(())
}

fn printable(byte: u8) -> bool {
    (0x20..0x7f).contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for text in ["authorization", "X-API-Key", "anthropic-version", "x_api_key", "cookie"] {
            assert_eq!(name(text).as_deref(), Ok(&*text.to_ascii_lowercase()), "{text}");
        }
        for text in [
            "",
            ":path",
            "a b",
            "a:",
            "é",
            "Host",
            "connection",
            "TE",
            "transfer-encoding",
            "transfer_encoding",
            "content-length",
            "X-Gatepost-Route",
            "x_gatepost_route",
            "x-sandbox-id",
            "x-envoy-retry-on",
            "x-forwarded-host",
        ] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values() {
        for (text, whole, before) in [
            ("2023-06-01", true, true),
            ("a b", true, true),
            ("Bearer ", false, true),
            ("", false, true),
            (" a", false, false),
            ("a\r\nb: c", false, false),
            ("a\tb", false, false),
            ("a\u{7f}", false, false),
            ("é", false, false),
        ] {
            assert_eq!((value(text).is_ok(), prefix(text).is_ok()), (whole, before), "{text:?}");
        }
    }
}
