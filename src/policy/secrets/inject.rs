//! From values to what goes into a request.

use std::sync::Arc;

use data_encoding::BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::value::Fault;
use crate::denial::Unavailable;
use crate::policy::credential::{Header, Injection, Kind, Secret, Source};

/// Everything outside the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Puts a credential together from the values that `value` has for its sources.
///
/// # Errors
/// The first part that is unavailable: a credential is whole or not at all.
pub(super) fn build(
    kind: &Kind,
    mut value: impl FnMut(&Source) -> Result<Arc<Secret>, Fault>,
) -> Result<Injection, Fault> {
    match kind {
        Kind::Headers(headers) => {
            if headers.is_empty() {
                // It would change nothing in a request, and so be a call without a credential.
                return Err(Fault::new(Unavailable::Unresolved, "has no header"));
            }
            let header = |Header { name, prefix, value: source }: &Header| {
                let secret = joined(&[prefix, value(source)?.expose()]);
                Ok((name.clone(), secret))
            };
            let headers = headers.iter().map(header).collect::<Result<_, _>>()?;
            Ok(Injection { headers, query: None })
        }
        Kind::Basic { username, password } => {
            let password = value(password)?;
            let pair = joined(&[username, ":", password.expose()]);
            let encoded = Zeroizing::new(BASE64.encode(pair.expose().as_bytes()));
            let header = ("authorization".into(), joined(&["Basic ", &encoded]));
            Ok(Injection { headers: Box::new([header]), query: None })
        }
        Kind::Query { name, value: source } => {
            let secret = value(source)?;
            let pieces: Vec<&str> = [&**name, "="]
                .into_iter()
                .chain(utf8_percent_encode(secret.expose(), RESERVED))
                .collect();
            Ok(Injection { headers: Box::default(), query: Some(joined(&pieces)) })
        }
    }
}

/// The pieces as one text, which is written once: what grows leaves copies behind.
pub(super) fn joined(pieces: &[&str]) -> Secret {
    let length = pieces.iter().map(|piece| piece.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    for piece in pieces {
        text.push_str(piece);
    }
    Secret::new(text.as_str())
}
