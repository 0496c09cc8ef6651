//! Who is calling: where a credential was looked for and found, and what became of it. Its value is
//! never told.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authz::Decision;
use crate::authz::authenticate::{credential_headers, credentials, lookup, within};
use crate::authz::decode::Request;
use crate::clock::Now;
use crate::denial::Invalid;
use crate::policy::Gateway;
use crate::policy::key::{Key, Networks, Validity};
use crate::policy::rule::Auth;

pub(super) fn notes(
    decision: &Decision<'_>,
    gateway: &Gateway,
    request: &Request<'_>,
    now: Now,
) -> Vec<String> {
    if let Some(rule) = decision.selected.rule().filter(|rule| rule.auth == Auth::None) {
        return vec![format!("the rule {} asks for no credential, and none is read", rule.id)];
    }
    let headers = credential_headers(gateway, decision.selected);
    let found: Vec<_> = credentials(headers, request).collect();
    let mut notes: Vec<String> = headers
        .0
        .iter()
        .map(|name| {
            let number = found.iter().filter(|(header, _)| *header == &**name).count();
            let sent = request.headers.all(name).next().is_some();
            format!("{name}: {}", presented(number, sent))
        })
        .collect();
    let Some((_, credential)) = found.first() else {
        notes.push("no credential is presented".to_owned());
        return notes;
    };
    if found.iter().any(|(_, other)| other != credential) {
        notes.push("they differ, and which one is meant would be a guess".to_owned());
        return notes;
    }
    if gateway.any_key.is_some() {
        notes.push("allow_any_key: there are no keys, so any credential will do".to_owned());
        return notes;
    }
    match lookup(gateway, *credential) {
        Ok((key, value)) => notes.extend(state(gateway, key, value, request, now)),
        Err(_unknown) => {
            notes.push(format!("none of the {} keys has this value", gateway.keys.len()));
        }
    }
    notes
}

fn presented(number: usize, sent: bool) -> String {
    match number {
        0 if sent => "sent, and empty".to_owned(),
        0 => "not sent".to_owned(),
        1 => "presents a credential".to_owned(),
        number => format!("presents {number} credentials"),
    }
}

/// The key that was found, good or not.
fn state(
    gateway: &Gateway,
    key: Key<'_>,
    value: Validity,
    request: &Request<'_>,
    now: Now,
) -> Vec<String> {
    let who = [("role", key.role()), ("tenant", key.tenant())];
    let mut facts: Vec<String> =
        who.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?))).collect();
    if !key.scopes().is_empty() {
        facts.push(format!("scopes {}", key.scopes().join(" ")));
    }
    facts.push(format!("tier {}", key.tier().name));
    let mut notes = vec![format!("it is the key {}: {}", key.id(), facts.join(", "))];
    notes.push(if key.enabled() { "enabled" } else { "disabled: refused" }.to_owned());
    for (what, validity) in [("the key", key.validity()), ("this value of it", value)] {
        notes.extend(dates(what, validity, now));
    }
    notes.push(network(gateway, key, request));
    notes
}

fn dates(what: &str, validity: Validity, now: Now) -> Option<String> {
    if validity == Validity::default() {
        return None;
    }
    let date = |seconds: Option<i64>| seconds.map_or("ever".to_owned(), date);
    let (start, end) = (date(validity.not_before), date(validity.expires_at));
    let verdict = match within(validity, now) {
        Ok(()) => "good now",
        Err(Invalid::Expired) => "expired: refused",
        Err(Invalid::NotYetValid) => "not yet good: refused",
        Err(Invalid::Unknown | Invalid::Disabled | Invalid::WrongNetwork) => "refused",
    };
    Some(format!("{what} is good from {start} to {end}: {verdict}"))
}

fn date(seconds: i64) -> String {
    let date = OffsetDateTime::from_unix_timestamp(seconds).map(|date| date.format(&Rfc3339));
    match date {
        Ok(Ok(text)) => text,
        Ok(Err(_)) | Err(_) => format!("{seconds} s after 1970"),
    }
}

fn network(gateway: &Gateway, key: Key<'_>, request: &Request<'_>) -> String {
    let hops = gateway.options.trusted_hops;
    let client = request.client(hops);
    let source = if hops == 0 {
        "the TCP peer".to_owned()
    } else {
        format!("number {} from the right of x-forwarded-for", hops.saturating_add(1))
    };
    let address = client.map_or("unknown".to_owned(), |address| address.to_string());
    match key.networks() {
        Networks::Listed(networks) => {
            let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
            let verdict = if key.allows(client) { "within" } else { "not within, refused:" };
            format!("the client address {address} ({source}) is {verdict} {}", networks.join(", "))
        }
        Networks::Any => "may be used from anywhere".to_owned(),
    }
}
