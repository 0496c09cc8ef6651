//! Step 2: who is it.

use std::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::decode::Request;
use crate::clock::Now;
use crate::denial::{Denial, Invalid};
use crate::policy::key::{Digest, Key, Validity};
use crate::policy::rule::{Auth, CredentialHeaders, Selected};
use crate::policy::{Gateway, Tier};

/// The longest credential that is looked up; what is longer is nobody's, and hashing it would only
/// cost. The loader refuses longer keys.
pub const MAX_CREDENTIAL_BYTES: usize = 1024;

/// Whoever is calling.
#[derive(Clone, Copy, Debug)]
pub enum Principal<'s> {
    /// The rule asks for no credential, and none was read.
    Anonymous,
    /// The holder of a configured key.
    Key(Key<'s>),
    /// Somebody with some credential, under `allow_any_key`.
    AnyKey(&'s Tier),
}

/// Who is calling, by the credential that the request carries where the rule lets one stand.
///
/// # Errors
/// [`Denial::CredentialMissing`], [`Denial::CredentialAmbiguous`] or [`Denial::CredentialInvalid`].
pub fn principal<'s>(
    gateway: &'s Gateway,
    selected: Selected<'s>,
    request: &Request<'_>,
    now: Now,
) -> Result<Principal<'s>, Denial> {
    // A selector without a rule for the method asks for a credential if any of its rules does.
    if selected.rule().is_some_and(|rule| rule.auth == Auth::None) {
        return Ok(Principal::Anonymous);
    }
    let credential = credential(credential_headers(gateway, selected), request)?;
    if let Some(tier) = &gateway.any_key {
        return Ok(Principal::AnyKey(tier));
    }
    let key = key(gateway, credential, request.client(gateway.options.trusted_hops), now);
    key.map(Principal::Key).map_err(Denial::CredentialInvalid)
}

/// The headers that are ours for this request: read here, removed from what goes upstream.
pub fn credential_headers<'s>(
    gateway: &'s Gateway,
    selected: Selected<'s>,
) -> &'s CredentialHeaders {
    selected
        .rule()
        .and_then(|rule| rule.credential_headers.as_ref())
        .unwrap_or(&gateway.options.credential_headers)
}

/// What stands where a credential may.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent<'a> {
    /// What may be a key.
    Token(&'a [u8]),
    /// An `Authorization` of another scheme, or of none: no key, and not nothing either.
    Other(&'a [u8]),
}

/// The one credential of the request. The same one twice is one; values that Envoy has joined with
/// a comma count each for itself.
fn credential<'a>(headers: &CredentialHeaders, request: &Request<'a>) -> Result<Sent<'a>, Denial> {
    let mut found: Option<Sent<'_>> = None;
    for name in &headers.0 {
        let values = request.headers.all(name).flat_map(|value| value.split(|&b| b == b','));
        for value in values {
            let value = trim(value);
            let sent = if is_authorization(name) { bearer(value) } else { Sent::Token(value) };
            match found {
                _ if sent == Sent::Token(&[]) || sent == Sent::Other(&[]) => {}
                None => found = Some(sent),
                Some(first) if first == sent => {}
                Some(_) => return Err(Denial::CredentialAmbiguous),
            }
        }
    }
    found.ok_or(Denial::CredentialMissing)
}

fn is_authorization(name: &str) -> bool {
    matches!(name, "authorization" | "proxy-authorization")
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1; the scheme in any case, RFC 9110 section
/// 11.1).
fn bearer(value: &[u8]) -> Sent<'_> {
    const SCHEME: &[u8] = b"bearer";
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => match token {
            [] | [b' ' | b'\t', ..] => Sent::Token(trim(token)),
            _ => Sent::Other(value),
        },
        _ => Sent::Other(value),
    }
}

/// Without optional white space (RFC 9110 section 5.6.3) at the ends: spaces and tabs alone.
fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or(&[])
}

/// The key that the credential is, if it is good now and for this client.
fn key<'s>(
    gateway: &'s Gateway,
    credential: Sent<'_>,
    client: Option<IpAddr>,
    now: Now,
) -> Result<Key<'s>, Invalid> {
    let Sent::Token(credential) = credential else { return Err(Invalid::Unknown) };
    if credential.len() > MAX_CREDENTIAL_BYTES {
        return Err(Invalid::Unknown);
    }
    let digest: Digest = Sha256::digest(credential).into();
    let (key, value) = gateway.keys.find(&digest).ok_or(Invalid::Unknown)?;
    if !key.enabled() {
        return Err(Invalid::Disabled);
    }
    for validity in [key.validity(), value] {
        within(validity, now)?;
    }
    if key.allows(client) { Ok(key) } else { Err(Invalid::WrongNetwork) }
}

fn within(validity: Validity, now: Now) -> Result<(), Invalid> {
    let now = now.unix_seconds();
    if validity.expires_at.is_some_and(|end| now >= end) {
        return Err(Invalid::Expired);
    }
    if validity.not_before.is_some_and(|start| now < start) {
        return Err(Invalid::NotYetValid);
    }
    Ok(())
}
