//! Step 2: who is it.

pub mod sandbox;

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

/// Why nobody was authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'s> {
    /// [`Denial::CredentialMissing`], [`Denial::CredentialAmbiguous`] or
    /// [`Denial::CredentialInvalid`].
    pub denial: Denial,
    /// The key that was found and is not good, for the log: the caller is not told that there is one.
    pub key: Option<Key<'s>>,
}

impl From<Denial> for Refused<'_> {
    fn from(denial: Denial) -> Self {
        Self { denial, key: None }
    }
}

/// The identity of whoever calls under `allow_any_key`: they all are one.
pub const ANY_KEY: &str = "any";

impl<'s> Principal<'s> {
    /// The identity that is logged, counted and told to the upstream.
    pub fn id(&self) -> Option<&'s str> {
        match self {
            Self::Anonymous => None,
            Self::Key(key) => Some(key.id()),
            Self::AnyKey(_) => Some(ANY_KEY),
        }
    }

    /// The tier that its requests are counted against.
    pub fn tier(&self) -> Option<&'s Tier> {
        match self {
            Self::Anonymous => None,
            Self::Key(key) => Some(key.tier()),
            Self::AnyKey(tier) => Some(tier),
        }
    }

    /// The configured key, which alone has a role, a tenant and scopes.
    fn key(&self) -> Option<&Key<'s>> {
        match self {
            Self::Key(key) => Some(key),
            Self::Anonymous | Self::AnyKey(_) => None,
        }
    }

    /// The caller's role.
    pub fn role(&self) -> Option<&'s str> {
        self.key().and_then(Key::role)
    }

    /// The caller's tenant.
    pub fn tenant(&self) -> Option<&'s str> {
        self.key().and_then(Key::tenant)
    }

    /// What the caller has been granted.
    pub fn scopes(&self) -> &'s [Box<str>] {
        self.key().map_or(&[], Key::scopes)
    }
}

/// Who is calling, by the credential that the request carries where the rule lets one stand.
///
/// # Errors
/// [`Refused`]
pub fn principal<'s>(
    gateway: &'s Gateway,
    selected: Selected<'s>,
    request: &Request<'_>,
    now: Now,
) -> Result<Principal<'s>, Refused<'s>> {
    // A selector without a rule for the method asks for a credential if any of its rules does.
    if selected.rule().is_some_and(|rule| rule.auth == Auth::None) {
        return Ok(Principal::Anonymous);
    }
    let credential = credential(credential_headers(gateway, selected), request)?;
    if let Some(tier) = &gateway.any_key {
        return Ok(Principal::AnyKey(tier));
    }
    let refused = |invalid, key| Refused { denial: Denial::CredentialInvalid(invalid), key };
    let (key, value) = lookup(gateway, credential).map_err(|invalid| refused(invalid, None))?;
    let client = request.client(gateway.options.trusted_hops);
    good(key, value, client, now).map_err(|invalid| refused(invalid, Some(key)))?;
    Ok(Principal::Key(key))
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
///
/// No `Debug`: it may be a key.
#[derive(Clone, Copy, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "a credential is never printed")]
pub enum Sent<'a> {
    /// What may be a key.
    Token(&'a [u8]),
    /// An `Authorization` of another scheme, or of none: no key, and not nothing either.
    Other(&'a [u8]),
}

/// The one credential of the request. The same one twice is one; values that Envoy has joined with
/// a comma count each for itself.
fn credential<'a>(headers: &CredentialHeaders, request: &Request<'a>) -> Result<Sent<'a>, Denial> {
    let mut found: Option<Sent<'_>> = None;
    for (_, sent) in credentials(headers, request) {
        match found {
            None => found = Some(sent),
            Some(first) if first == sent => {}
            Some(_) => return Err(Denial::CredentialAmbiguous),
        }
    }
    found.ok_or(Denial::CredentialMissing)
}

/// Everything in these headers that is presented as a credential, with the name of its header.
pub fn credentials<'h, 'a>(
    headers: &'h CredentialHeaders,
    request: &'h Request<'a>,
) -> impl Iterator<Item = (&'h str, Sent<'a>)> {
    headers.0.iter().flat_map(|name| {
        let values = request.headers.all(name).flat_map(|value| value.split(|&b| b == b','));
        let sent = values
            .map(trim)
            .filter(|value| !value.is_empty())
            .map(|value| if is_authorization(name) { bearer(value) } else { Sent::Token(value) });
        sent.filter(|sent| *sent != Sent::Token(&[])).map(move |sent| (&**name, sent))
    })
}

fn is_authorization(name: &str) -> bool {
    matches!(name, "authorization" | "proxy-authorization")
}

/// The token of `Bearer TOKEN` (RFC 6750 section 2.1; the scheme in any case, RFC 9110 section
/// 11.1).
fn bearer(value: &[u8]) -> Sent<'_> {
    split_scheme(value, b"bearer").map_or(Sent::Other(value), Sent::Token)
}

/// What follows this scheme in an `Authorization`; `None` where it is another. `scheme` is in lower
/// case.
fn split_scheme<'v>(value: &'v [u8], scheme: &[u8]) -> Option<&'v [u8]> {
    let (first, rest) = value.split_at_checked(scheme.len())?;
    let parted = matches!(rest, [] | [b' ' | b'\t', ..]);
    (parted && first.eq_ignore_ascii_case(scheme)).then(|| trim(rest))
}

/// Without optional white space (RFC 9110 section 5.6.3) at the ends: spaces and tabs alone.
fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or(&[])
}

/// Whether the key, and this value of it, is good now and for this client.
fn good(key: Key<'_>, value: Validity, client: Option<IpAddr>, now: Now) -> Result<(), Invalid> {
    if !key.enabled() {
        return Err(Invalid::Disabled);
    }
    for validity in [key.validity(), value] {
        within(validity, now)?;
    }
    if key.allows(client) { Ok(()) } else { Err(Invalid::WrongNetwork) }
}

/// The key that has this value, good or not, and the dates of the value.
///
/// # Errors
/// [`Invalid::Unknown`]
pub fn lookup<'s>(
    gateway: &'s Gateway,
    credential: Sent<'_>,
) -> Result<(Key<'s>, Validity), Invalid> {
    let Sent::Token(credential) = credential else { return Err(Invalid::Unknown) };
    if credential.len() > MAX_CREDENTIAL_BYTES {
        return Err(Invalid::Unknown);
    }
    let digest: Digest = Sha256::digest(credential).into();
    gateway.keys.find(&digest).ok_or(Invalid::Unknown)
}

/// Whether something with these dates is good now.
///
/// # Errors
/// [`Invalid::Expired`] or [`Invalid::NotYetValid`]
pub fn within(validity: Validity, now: Now) -> Result<(), Invalid> {
    let now = now.unix_seconds();
    if validity.expires_at.is_some_and(|end| now >= end) {
        return Err(Invalid::Expired);
    }
    if validity.not_before.is_some_and(|start| now < start) {
        return Err(Invalid::NotYetValid);
    }
    Ok(())
}
