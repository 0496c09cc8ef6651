//! Step 2 at the egress: which sandbox is it.
//!
//! A token proves it, or a certificate that Envoy has verified. The caller's own word, `X-Sandbox-ID`,
//! counts only where `sandbox_identity` has `header`; beside a proof it must say the same.

use std::borrow::Cow;

use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use super::{MAX_CREDENTIAL_BYTES, split_scheme, trim, within};
use crate::authz::decode::Request;
use crate::clock::Now;
use crate::denial::{Denial, Invalid, Outbound};
use crate::policy::egress::{Sandbox, ServiceMap, Token};
use crate::policy::header;
use crate::policy::key::Digest;

/// What every sandbox token begins with. Nothing that holds this goes to any upstream.
pub const TOKEN_PREFIX: &str = "gp_sbx_";

/// Where SDKs put their API key: a token that stands there proves the identity.
const SLOTS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// The URI of a workload's identity (SPIFFE ID, section 2).
const SPIFFE: &str = "spiffe://";

/// The longest name that a caller may give itself.
const MAX_NAME: usize = 128;

/// A sandbox that calls.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its name; of one that is not configured, what it calls itself.
    pub name: &'a str,
    /// `None` where it is not configured: it has the tier `default`.
    pub sandbox: Option<&'a Sandbox>,
    /// What proves it.
    pub proof: Proof<'a>,
}

/// What proves an identity.
#[derive(Clone, Copy, Debug)]
pub enum Proof<'a> {
    /// One of the sandbox's tokens.
    Token(&'a Token),
    /// The SPIFFE ID in a certificate that Envoy has verified.
    Certificate,
    /// Nothing but its own word.
    Word,
}

/// Why nobody was authenticated.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// Why.
    pub denial: Denial,
    /// Who it was, as far as that is proven: for the log, and to count its denials.
    pub caller: Option<Caller<'a>>,
}

impl From<Denial> for Refused<'_> {
    fn from(denial: Denial) -> Self {
        Self { denial, caller: None }
    }
}

/// Which sandbox is calling.
///
/// # Errors
/// [`Denial::CredentialMissing`], [`Denial::CredentialAmbiguous`], [`Denial::CredentialInvalid`], or
/// [`Outbound::Identity`] where what the request claims contradicts what it proves.
pub fn caller<'a>(
    map: &'a ServiceMap,
    request: &Request<'a>,
    now: Now,
) -> Result<Caller<'a>, Refused<'a>> {
    let identity = map.options.identity;
    let by_token = if identity.token { by_token(map, request, now)? } else { None };
    let by_certificate = if identity.mtls { by_certificate(map, request)? } else { None };
    let claimed = claimed(request);
    let contradicted = |caller| {
        let denial = Denial::EgressDenied(Outbound::Identity);
        Refused { denial, caller: Some(caller) }
    };
    let proven = match (by_token, by_certificate) {
        (Some(one), Some(other)) if one.name != other.name => return Err(contradicted(one)),
        (one, other) => one.or(other),
    };
    match (proven, claimed) {
        (Some(caller), Claim::None) => Ok(caller),
        (Some(caller), Claim::Name(name)) if name == caller.name => Ok(caller),
        (Some(caller), Claim::Name(_) | Claim::Unclear) => Err(contradicted(caller)),
        (None, Claim::Name(name)) if identity.header => {
            good(Caller { name, sandbox: map.sandbox(name), proof: Proof::Word }, request)
        }
        (None, Claim::Unclear) if identity.header => Err(Denial::CredentialAmbiguous.into()),
        (None, Claim::None | Claim::Name(_) | Claim::Unclear) => {
            Err(Denial::CredentialMissing.into())
        }
    }
}

/// Every sandbox token of the request. In `X-Sandbox-Token` everything counts as one; elsewhere only
/// what begins like one, since those slots may hold an agent's other credentials.
pub fn presented<'a>(request: &Request<'a>) -> Vec<(&'static str, Cow<'a, [u8]>)> {
    let mut found = Vec::new();
    for value in values(request, header::SANDBOX_TOKEN) {
        found.push((header::SANDBOX_TOKEN, Cow::Borrowed(value)));
    }
    for name in SLOTS {
        for value in values(request, name) {
            let token = if name == "authorization" {
                authorization(value)
            } else {
                Some(Cow::Borrowed(value))
            };
            found.extend(token.filter(|token| is_token(token)).map(|token| (name, token)));
        }
    }
    found
}

/// Whether a text is, or claims to be, a sandbox token.
pub fn is_token(text: &[u8]) -> bool {
    text.starts_with(TOKEN_PREFIX.as_bytes())
}

/// Whether a sandbox token stands anywhere in a text: it is a secret between agent and proxy.
pub fn holds_token(text: &[u8]) -> bool {
    let prefix = TOKEN_PREFIX.as_bytes();
    text.windows(prefix.len()).any(|part| part.eq_ignore_ascii_case(prefix))
}

/// The user and the password of `Basic BASE64` (RFC 7617 section 2).
pub fn basic(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let encoded = split_scheme(value, b"basic")?;
    let decoded = BASE64.decode(encoded).unwrap_or_default();
    let colon = decoded.iter().position(|&b| b == b':')?;
    let (user, password) = decoded.split_at_checked(colon)?;
    Some((user.to_vec(), password.get(1..)?.to_vec()))
}

fn values<'a>(request: &Request<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let values: Vec<_> = request.headers.all(name).collect();
    let parts = values.into_iter().flat_map(|value| value.split(|&b| b == b','));
    parts.map(trim).filter(|value| !value.is_empty())
}

/// The token of `Bearer TOKEN`, or the password of `Basic`: git and pip send theirs that way. Where
/// the user is a token too, as some tools have it, the password speaks only if it is one.
fn authorization(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    if let Some(token) = split_scheme(value, b"bearer") {
        return Some(Cow::Borrowed(token));
    }
    let (user, password) = basic(value)?;
    Some(Cow::Owned(if is_token(&password) { password } else { user }))
}

fn by_token<'a>(
    map: &'a ServiceMap,
    request: &Request<'a>,
    now: Now,
) -> Result<Option<Caller<'a>>, Refused<'a>> {
    let presented = presented(request);
    let Some((_, token)) = presented.first() else { return Ok(None) };
    if presented.iter().any(|(_, other)| other != token) {
        return Err(Denial::CredentialAmbiguous.into());
    }
    let invalid = |invalid| Denial::CredentialInvalid(invalid);
    let (token, sandbox) = lookup(map, token).ok_or(invalid(Invalid::Unknown))?;
    let caller = Caller { name: &sandbox.name, sandbox: Some(sandbox), proof: Proof::Token(token) };
    let refused = |reason| Refused { denial: invalid(reason), caller: Some(caller) };
    if !token.enabled {
        return Err(refused(Invalid::Disabled));
    }
    within(token.validity, now).map_err(refused)?;
    good(caller, request).map(Some)
}

/// The configured token with this text, good or not.
pub fn lookup<'s>(map: &'s ServiceMap, token: &[u8]) -> Option<(&'s Token, &'s Sandbox)> {
    if token.len() > MAX_CREDENTIAL_BYTES {
        return None;
    }
    let digest: Digest = Sha256::digest(token).into();
    map.token(&digest)
}

/// A certificate without a SPIFFE ID names no sandbox.
fn by_certificate<'a>(
    map: &'a ServiceMap,
    request: &Request<'a>,
) -> Result<Option<Caller<'a>>, Refused<'a>> {
    let Some(id) = request.principal.filter(|name| name.starts_with(SPIFFE)) else {
        return Ok(None);
    };
    let sandbox = map.spiffe(id);
    let name = sandbox.map_or(id, |sandbox| &sandbox.name);
    good(Caller { name, sandbox, proof: Proof::Certificate }, request).map(Some)
}

/// Whether the sandbox may call at all, and from here.
fn good<'a>(caller: Caller<'a>, request: &Request<'_>) -> Result<Caller<'a>, Refused<'a>> {
    let refused =
        |invalid| Refused { denial: Denial::CredentialInvalid(invalid), caller: Some(caller) };
    match caller.sandbox {
        Some(sandbox) if !sandbox.enabled => Err(refused(Invalid::Disabled)),
        Some(sandbox) if !sandbox.networks.contain(request.peer) => {
            Err(refused(Invalid::WrongNetwork))
        }
        Some(_) | None => Ok(caller),
    }
}

/// What the request says in `X-Sandbox-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim<'a> {
    None,
    Name(&'a str),
    /// Two names, or what is no name.
    Unclear,
}

fn claimed<'a>(request: &Request<'a>) -> Claim<'a> {
    let mut claim = Claim::None;
    for value in values(request, header::SANDBOX_ID) {
        let name = std::str::from_utf8(value).unwrap_or("");
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
        let plain = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain);
        claim = match claim {
            Claim::None if plain => Claim::Name(name),
            Claim::Name(first) if first == name => claim,
            Claim::None | Claim::Name(_) | Claim::Unclear => Claim::Unclear,
        };
    }
    claim
}
