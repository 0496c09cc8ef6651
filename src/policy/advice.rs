//! What loads, and is all the same worth a look: `gatepost check` shows it as warnings.
//!
//! Each says something true of the file at hand, where it stands, and what may be done about it.
//! Nothing here changes what a policy does.

mod keys;
mod rules;
mod egress;

use std::collections::HashMap;

use super::compile::{self, DEFAULT_TIER, EgressFaults, Strictness};
use super::egress::Egress;
use super::locate::Finding;
use super::place::Place;
use super::raw::{EgressFile, GatewayFile, SecretsFile};
use super::{Gateway, Limit, Limits};
use crate::clock::Now;

/// How many warnings of one kind are shown; the last of them tells how many more there are.
const SHOWN: usize = 10;

/// Everything that is worth a look in a file that has been compiled to `gateway`.
pub fn gateway(
    file: &GatewayFile<'_>,
    gateway: &Gateway,
    strictness: Strictness,
    now: Now,
) -> Vec<Finding> {
    let mut advice = development_only(file, strictness);
    advice.extend(options(file));
    keys::advise(file, gateway, now, &mut advice);
    advice.extend(tiers(file, gateway));
    rules::advise(file, gateway, &mut advice);
    advice
}

/// The two files of the egress.
#[derive(Clone, Copy, Debug)]
pub struct EgressFiles<'a> {
    /// `egress_config.json`
    pub config: &'a EgressFile<'a>,
    /// `egress_secrets.json`, or one that says nothing.
    pub secrets: &'a SecretsFile<'a>,
}

/// Everything that is worth a look in files that have been compiled to `egress`.
pub fn egress(
    files: EgressFiles<'_>,
    egress: &Egress,
    strictness: Strictness,
    now: Now,
) -> EgressFaults {
    egress::advise(files, egress, strictness, now)
}

/// What would not load in production.
fn development_only(file: &GatewayFile<'_>, strictness: Strictness) -> Vec<Finding> {
    if strictness == Strictness::Production {
        return Vec::new();
    }
    // The file loads in development, so whatever is found now is what production refuses.
    let refused = match compile::gateway(file, Strictness::Production) {
        Ok(_gateway) => return Vec::new(),
        Err(refused) => refused,
    };
    for_development(refused)
}

/// What production refuses, as a warning.
fn for_development(refused: Vec<Finding>) -> Vec<Finding> {
    let said = |finding: Finding| {
        let message = format!("for development only: {}", finding.message);
        Finding { message, ..finding }
    };
    capped(refused.into_iter().map(said).collect())
}

fn options(file: &GatewayFile<'_>) -> Vec<Finding> {
    let Some(options) = &file.gateway_config else { return Vec::new() };
    let root = Place::Root;
    let place = root.field("gateway_config");
    let mut advice = Vec::new();
    if options.max_request_body_bytes.is_some() {
        advice.push(place.field("max_request_body_bytes").report(
            "is accepted and not used: gatepost reads no request body; to bound bodies, use \
             Envoy's buffer filter",
        ));
    }
    if options.allow_any_key == Some(true) && file.api_keys.as_ref().is_some_and(|k| !k.is_empty())
    {
        advice.push(
            place
                .field("allow_any_key")
                .report("has no effect while there are api_keys, and would let anybody in without"),
        );
    }
    if options.allow_shrink == Some(true) {
        advice.push(place.field("allow_shrink").report(
            "switches off the guard against an edit that loses most keys: take it out once the \
             edit is loaded",
        ));
    }
    advice
}

fn tiers(file: &GatewayFile<'_>, gateway: &Gateway) -> Vec<Finding> {
    let mut users: HashMap<&str, usize> = HashMap::new();
    for key in gateway.keys.iter() {
        *users.entry(&key.tier().name).or_default() += 1;
    }
    let root = Place::Root;
    let place = root.field("rate_limit_tiers");
    let (mut unused, mut open, mut shut) = (Vec::new(), Vec::new(), Vec::new());
    for tier in &gateway.tiers {
        let name = &*tier.name;
        let place = place.field(name);
        let at_name = |message: String| Finding::at_key(place.path(), message);
        let zero = Limit::AtMost(0);
        match users.get(name) {
            // The next key may well name no tier.
            None if name == DEFAULT_TIER => {}
            None if file.api_keys.is_none() => {}
            None => unused.push(at_name("no key has this tier".to_owned())),
            Some(&keys) if tier.limits == Limits::UNLIMITED => {
                open.push(at_name(format!("sets no limit at all, for {}", count(keys, "key"))));
            }
            Some(&keys) if tier.limits.minute == zero || tier.limits.hour == zero => {
                shut.push(at_name(format!("denies every request of {}", count(keys, "key"))));
            }
            Some(_) => {}
        }
    }
    [unused, open, shut].into_iter().flat_map(capped).collect()
}

/// `1 key`, `2 keys`
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The first warnings of one kind.
fn capped(mut found: Vec<Finding>) -> Vec<Finding> {
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    if more > 0
        && let Some(last) = found.last_mut()
    {
        last.message = format!("{} (and {more} more like this)", last.message);
    }
    found
}

#[cfg(test)]
mod tests;
