//! Sandboxes that nobody can be, and tokens that are worth a look.

use std::collections::HashSet;

use crate::clock::Now;
use crate::policy::advice::keys::ending;
use crate::policy::advice::{capped, count};
use crate::policy::egress::{Identity, ServiceMap};
use crate::policy::locate::{Finding, Path};
use crate::policy::place::Place;
use crate::policy::raw::EgressFile;

pub(super) fn advise(file: &EgressFile<'_>, map: &ServiceMap, now: Now, advice: &mut Vec<Finding>) {
    advice.extend(capped(nobody(file, map)));
    advice.extend(capped(lifetimes(file, now.unix_seconds())));
    advice.extend(endless(file));
}

/// Sandboxes without any way to prove that one is it.
fn nobody(file: &EgressFile<'_>, map: &ServiceMap) -> Vec<Finding> {
    let Identity { token, mtls, header } = map.options.identity;
    if header {
        // Whoever says so is it.
        return Vec::new();
    }
    let by_token: HashSet<usize> =
        map.tokens.values().filter(|token| token.enabled).map(|token| token.sandbox).collect();
    let by_certificate: HashSet<usize> = map.spiffe_ids.values().copied().collect();
    let ways = match (token, mtls) {
        (true, true) => "has no enabled token and no spiffe_id",
        (true, false) => "has no enabled token (and sandbox_identity takes nothing else)",
        (false, _) => "has no spiffe_id (and sandbox_identity takes nothing else)",
    };
    let place = Place::Root;
    let whole = file.sandboxes.as_ref().map_or(0, |written| written.len());
    let mut found = Vec::new();
    for (number, sandbox) in map.sandboxes.iter().enumerate().filter(|(_, s)| s.enabled) {
        let known = token && by_token.contains(&number) || mtls && by_certificate.contains(&number);
        if !known {
            let field = if number < whole { "sandboxes" } else { "sandbox_policies" };
            let place = place.field(field);
            let path = place.field(&sandbox.name).path();
            found.push(Finding::at_key(path, format!("{ways}: nobody can prove to be it")));
        }
    }
    found
}

/// Tokens that have expired, or soon will.
fn lifetimes(file: &EgressFile<'_>, now: i64) -> Vec<Finding> {
    let place = Place::Root;
    let place = place.field("sandboxes");
    let mut found = Vec::new();
    for (name, raw) in file.sandboxes.iter().flat_map(|written| written.iter()) {
        if raw.enabled == Some(false) {
            continue;
        }
        let place = place.field(name);
        let place = place.field("tokens");
        for (index, token) in raw.tokens.iter().flatten().enumerate() {
            if let Some(ending) = ending(token.expires_at.as_ref(), now)
                && token.enabled != Some(false)
            {
                let place = place.index(index);
                found.push(place.field("expires_at").report(format!("this token {ending}")));
            }
        }
    }
    found
}

/// Tokens that are good until somebody takes them out.
fn endless(file: &EgressFile<'_>) -> Option<Finding> {
    let place = Place::Root;
    let place = place.field("sandboxes");
    let mut first: Option<Path> = None;
    let mut number = 0;
    for (name, raw) in file.sandboxes.iter().flat_map(|written| written.iter()) {
        let place = place.field(name);
        let place = place.field("tokens");
        for (index, token) in raw.tokens.iter().flatten().enumerate() {
            if token.expires_at.is_none() && token.enabled != Some(false) {
                number += 1;
                first = first.or_else(|| Some(place.index(index).path()));
            }
        }
    }
    let message = match number {
        1 => "never expires: one that leaks is good for ever (expires_at)".to_owned(),
        _ => format!(
            "the first of {} that never expire: one that leaks is good for ever (expires_at)",
            count(number, "token")
        ),
    };
    first.map(|path| Finding::new(path, message))
}
