//! Step 5 at the egress: the request as the service gets it.

use std::borrow::Cow;

use super::Mutations;
use super::query::survivors;
use crate::authz::authenticate::sandbox::{basic, holds_token};
use crate::authz::authorize::service::Outgoing;
use crate::authz::decode::Request;
use crate::authz::limit::Admitted;
use crate::policy::credential::{Injection, Secret};
use crate::policy::egress::Target;
use crate::policy::header::{COOKIES, ROUTE, folded, is_override};

/// Headers that pass to a service with a credential: they say what is asked for and how, and none of
/// them can carry another credential.
const FORWARDED: [&str; 10] = [
    "accept",
    "user-agent",
    "te",
    "range",
    "cache-control",
    "idempotency-key",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    // Envoy finds no route without it; the route removes it.
    "x-forwarded-proto",
];

/// The same, as the beginnings of names.
const FORWARDED_PREFIXES: [&str; 5] = ["accept-", "content-", "grpc-", "if-", "x-stainless-"];

/// gRPC gateways take what follows for a header of its own, `authorization` included.
const NOT_FORWARDED: &str = "grpc-metadata-";

/// The request of an admitted call: authority, path, route and credential set, and whatever must not
/// reach the service removed.
pub fn mutations<'a>(admitted: &Admitted<Outgoing<'a>>, request: &Request<'a>) -> Mutations<'a> {
    let Outgoing { target, injection, sent, .. } = admitted.permit().grant();
    let mut set: Vec<(&'a str, Cow<'a, str>)> = vec![
        (":authority", Cow::Borrowed(&target.authority)),
        (":path", Cow::Owned(path(target, injection, sent))),
        (ROUTE, Cow::Borrowed(&target.cluster)),
    ];
    match injection {
        Some(injection) => set.extend(
            injection.headers.iter().map(|(name, value)| (&**name, Cow::Borrowed(value.expose()))),
        ),
        // Only a service without a credential may hand its own session to the agent.
        None => set.push((COOKIES, Cow::Borrowed("pass"))),
    }
    let passes = |name: &str| match injection {
        Some(_) => is_forwarded(name, target),
        None => !is_ours(name),
    };
    let mut remove = Vec::with_capacity(16);
    for (name, value) in request.headers.iter() {
        let is_set = set.iter().any(|(other, _)| *other == name);
        if name != "host"
            && !is_set
            && !remove.contains(&name)
            && (!passes(name) || shows_token(value))
        {
            remove.push(name);
        }
    }
    for (name, value) in &target.headers {
        let kept = request.headers.all(name).next().is_some() && !remove.contains(&&**name);
        if !kept {
            remove.retain(|other| **other != **name);
            set.push((name, Cow::Borrowed(value)));
        }
    }
    Mutations { set, remove }
}

fn is_forwarded(name: &str, target: &Target) -> bool {
    let listed = FORWARDED.contains(&name)
        || FORWARDED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || target.forward_headers.iter().any(|other| **other == *name);
    listed && !name.starts_with(NOT_FORWARDED)
}

/// Headers that speak to the proxy, or that would let the service serve another request than the one
/// that was judged.
fn is_ours(name: &str) -> bool {
    const PREFIXES: [&str; 2] = ["x-sandbox-", "x-gatepost-"];
    const NAMES: [&str; 2] = ["proxy-authorization", "x-authz-context"];
    let ours = |name: &str| {
        NAMES.contains(&name)
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || is_override(name, false)
    };
    ours(name) || folded(name).is_some_and(|name| ours(&name))
}

/// Whether a sandbox token stands anywhere in a header, or in what a `Basic` one encodes.
fn shows_token(value: &[u8]) -> bool {
    holds_token(value)
        || basic(value).is_some_and(|(user, password)| holds_token(&user) || holds_token(&password))
}

/// `:path` at the service: its base path, what the agent sent behind the service's name, and the query
/// without whatever could be another credential.
fn path(target: &Target, injection: Option<&Injection>, sent: &str) -> String {
    let (path, query) = sent.split_once('?').unwrap_or((sent, ""));
    let mut out = String::with_capacity(target.base_path.len() + sent.len() + 64);
    out.push_str(&target.base_path);
    out.push_str(path);
    if out.is_empty() {
        out.push('/');
    }
    let own = injection.and_then(|injection| injection.query.as_ref());
    let own = own.map(Secret::expose);
    let mut separator = '?';
    for pair in survivors(query, injection.is_some(), own).chain(own) {
        out.push(separator);
        out.push_str(pair);
        separator = '&';
    }
    out
}
