//! The headers that Envoy shows.

use super::text;
use crate::denial::{Denial, Malformed};
use crate::policy::header::{folded, is_owned};

/// Envoy's own limits are lower (`max_request_headers_kb`, at most 8 MiB, by default 60 KiB with 100
/// headers). These bound what one request can cost us whatever Envoy's are.
pub(super) const MAX_HEADERS: usize = 1000;
const MAX_HEADER_BYTES: usize = 256 * 1024;

/// The request headers, in the order of the `CheckRequest`. Names are in lower case; pseudo-headers
/// are left out.
#[derive(Debug, Default)]
pub struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Headers<'a> {
    pub(super) fn judge(all: Vec<(&'a [u8], &'a [u8])>) -> Result<Self, Denial> {
        let invalid = Denial::RequestMalformed(Malformed::HeaderInvalid);
        let bytes: usize = all.iter().map(|(name, value)| name.len() + value.len()).sum();
        // Every request has pseudo-headers, so none at all means that Envoy shows us none.
        if all.is_empty() || all.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
            return Err(invalid);
        }
        let mut headers = Vec::with_capacity(all.len());
        for (name, value) in all {
            let name = text(name, Malformed::HeaderInvalid)?;
            if name.starts_with(':') {
                continue;
            }
            // Envoy's names are in lower case. A name that is not would slip past every comparison.
            if name.is_empty()
                || name.bytes().any(|b| b.is_ascii_uppercase() || !(0x21..0x7f).contains(&b))
            {
                return Err(invalid);
            }
            if folded(name).is_some_and(|folded| is_owned(&folded)) {
                return Err(invalid);
            }
            // What `Connection` names, the next hop drops: not what we vouch for.
            if name == "connection" && nominates(value, is_owned) {
                return Err(invalid);
            }
            headers.push((name, value));
        }
        Ok(Self(headers))
    }

    /// All values of a header; a value may hold several, joined by commas.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'_, 'a, 'n> {
        self.0.iter().filter(move |(other, _)| *other == name).map(|&(_, value)| value)
    }

    /// The value of a header that is there exactly once.
    pub fn one(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.all(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// Names and values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'_, 'a> {
        self.0.iter().copied()
    }

    /// The names, repeated where the header is.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + use<'_, 'a> {
        self.0.iter().map(|&(name, _)| name)
    }
}

/// Whether a list of header names (RFC 9110 section 7.6.1) has one of these.
fn nominates(value: &[u8], these: impl Fn(&str) -> bool) -> bool {
    String::from_utf8_lossy(value).split(',').any(|name| these(&name.trim().to_ascii_lowercase()))
}
