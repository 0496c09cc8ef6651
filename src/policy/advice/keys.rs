//! Keys that are worth a look.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{SHOWN, capped, count};
use crate::clock::Now;
use crate::policy::Gateway;
use crate::policy::locate::{Finding, quote};
use crate::policy::place::Place;
use crate::policy::raw::{ApiKey, GatewayFile, KeySlot, Text};
use crate::policy::rule::Auth;

/// Long enough to replace a key without haste.
const NOTICE_DAYS: i64 = 30;
const DAY: i64 = 86_400;

/// A text this long in a key's object may be a key, and no message repeats it.
const KEY_CHARACTERS: usize = 22;

pub(super) fn advise(
    file: &GatewayFile<'_>,
    gateway: &Gateway,
    now: Now,
    advice: &mut Vec<Finding>,
) {
    let root = Place::Root;
    let place = root.field("api_keys");
    let keys = file.api_keys.as_deref().unwrap_or(&[]);
    if keys.is_empty() {
        advice.extend(none(gateway, place));
        return;
    }
    advice.extend(plain(keys, place));
    advice.extend(disabled(keys, place));
    advice.extend(networks(keys, place, gateway.options.trusted_hops));
    advice.extend(capped(lifetimes(keys, place, now.unix_seconds())));
}

fn none(gateway: &Gateway, place: Place<'_>) -> Option<Finding> {
    if let Some(tier) = &gateway.any_key {
        let message = format!("there is none: whoever sends any key passes, as tier {}", tier.name);
        return Some(place.report(message));
    }
    let mut rules = gateway.rules.selectors().iter().flat_map(|selector| &selector.rules);
    let asked = rules.any(|rule| rule.auth == Auth::Key);
    asked.then(|| {
        place.report("there is none: every request that needs a key is denied (gatepost keys new)")
    })
}

/// Keys that whoever reads the file can use.
fn plain(keys: &[ApiKey<'_>], place: Place<'_>) -> Option<Finding> {
    let mut first = None;
    let mut number = 0;
    for (index, key) in keys.iter().enumerate() {
        let place = place.index(index);
        if key.key.is_some() {
            number += 1;
            first = first.or_else(|| Some(place.field("key").path()));
        }
        let list = place.field("keys");
        for (slot, value) in key.keys.iter().flatten().enumerate() {
            if value.key.is_some() {
                number += 1;
                let slot = list.index(slot);
                first = first.or_else(|| Some(slot.field("key").path()));
            }
        }
    }
    let message = match number {
        1 => "stands here in plain text, for every reader of the file to use".to_owned(),
        _ => {
            format!("the first of {number} keys in plain text, for every reader of the file to use")
        }
    };
    let message = format!("{message}: write `key_sha256` instead (gatepost keys hash)");
    first.map(|path| Finding::new(path, message))
}

fn disabled(keys: &[ApiKey<'_>], place: Place<'_>) -> Option<Finding> {
    let number = keys.iter().filter(|key| key.enabled == Some(false)).count();
    let index = keys.iter().position(|key| key.enabled == Some(false))?;
    let place = place.index(index);
    let all = count(keys.len(), "key");
    Some(place.field("enabled").report(match number {
        1 => format!("{} is the one disabled key of {all}", named(keys.get(index)?, index)),
        _ => format!("the first of {number} disabled keys, of {all}"),
    }))
}

/// Which address the networks are compared with.
fn networks(keys: &[ApiKey<'_>], place: Place<'_>, hops: usize) -> Option<Finding> {
    let bound: Vec<_> =
        keys.iter().enumerate().filter(|(_, key)| key.allowed_cidrs.is_some()).collect();
    let &(first, _) = bound.first()?;
    let names: Vec<_> = bound.iter().take(SHOWN).map(|&(index, key)| named(key, index)).collect();
    let more = match bound.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let address = if hops == 0 {
        "the TCP peer of Envoy (trusted_hops is 0); behind another proxy that is the proxy"
            .to_owned()
    } else {
        format!(
            "address {} from the right of x-forwarded-for, to which Envoy appends its TCP peer \
             (trusted_hops is {hops})",
            hops.saturating_add(1)
        )
    };
    let place = place.index(first);
    let message = format!("for {}{more}, compared with {address}", names.join(", "));
    Some(place.field("allowed_cidrs").report(message))
}

/// What has expired, or soon will. A key that is switched off is old news.
fn lifetimes(keys: &[ApiKey<'_>], place: Place<'_>, now: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| key.enabled != Some(false)) {
        let place = place.index(index);
        let name = named(key, index);
        let whole = ending(key.expires_at.as_ref(), now);
        if let Some(ending) = &whole {
            let message = format!("{name} {ending}");
            found.push(place.field("expires_at").report(message));
        }
        let slots = key.keys.as_deref().unwrap_or(&[]);
        let list = place.field("keys");
        for (number, slot) in slots.iter().enumerate() {
            let KeySlot { expires_at, .. } = slot;
            if let (None, Some(ending)) = (&whole, ending(expires_at.as_ref(), now)) {
                let which = if slots.len() > 1 { "this value of " } else { "" };
                let place = list.index(number);
                found.push(place.field("expires_at").report(format!("{which}{name} {ending}")));
            }
        }
    }
    found
}

/// What is to be said of a date that has passed, or soon will.
pub(super) fn ending(date: Option<&Text<'_>>, now: i64) -> Option<String> {
    let date = date?;
    // The file has been compiled, so its dates are dates.
    let end =
        OffsetDateTime::parse(date, &Rfc3339).map_or(i64::MAX, OffsetDateTime::unix_timestamp);
    let left = end.saturating_sub(now);
    if left <= 0 {
        Some(format!("has expired: since {} it is refused", &**date))
    } else if left <= NOTICE_DAYS * DAY {
        Some(match left / DAY {
            0 => "expires in less than a day".to_owned(),
            days => format!("expires in {}", count(usize::try_from(days).unwrap_or(0), "day")),
        })
    } else {
        None
    }
}

fn named(key: &ApiKey<'_>, index: usize) -> String {
    match key.id.as_deref() {
        Some(id) if id.chars().count() < KEY_CHARACTERS => quote(id),
        Some(_) | None => format!("api_keys[{index}]"),
    }
}
