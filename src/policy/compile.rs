//! From the files as written to the policy as used. Every error is collected, none is repaired.

mod value;
mod keys;
mod rules;
mod egress;

use super::egress::ServiceMap;
use super::locate::{Finding, quote};
use super::place::Place;
use super::raw::{self, Text};
use super::rule::CredentialHeaders;
use super::{Gateway, Limits, Options, RateLimitHeaders, Tier};
use value::Findings;

/// How much a policy may get away with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// Weak settings are errors.
    Production,
    /// `GATEPOST_ENV=development`: keys that everybody knows, short keys and `allow_any_key` load.
    Development,
}

/// The tier of a key that names none.
pub const DEFAULT_TIER: &str = "default";

/// Where a credential may stand unless the file says otherwise.
const CREDENTIAL_HEADERS: [&str; 2] = ["x-api-key", "authorization"];

/// Proxies in a row. More is a typing error, not a network.
const MAX_TRUSTED_HOPS: i64 = 32;

/// Compiles `gateway_config.json`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn gateway(
    file: &raw::GatewayFile<'_>,
    strictness: Strictness,
) -> Result<Gateway, Vec<Finding>> {
    let mut findings = Findings::default();
    let root = Place::Root;
    let tiers = tiers(file, root, &mut findings);
    let empty = raw::Options::default();
    let written = file.gateway_config.as_ref().unwrap_or(&empty);
    let place = root.field("gateway_config");
    let options = options(written, place, &mut findings);
    let raw_keys = file.api_keys.as_deref().unwrap_or(&[]);
    let any_key = any_key(written, place, raw_keys.is_empty(), strictness, &tiers, &mut findings);
    let keys = keys::compile(raw_keys, root.field("api_keys"), &tiers, strictness, &mut findings);
    let rules = rules::compile(file.rules.as_deref(), root.field("rules"), &mut findings);
    findings.none_or(Gateway { options, keys, tiers, any_key, rules })
}

/// Everything that is wrong with the files of the egress, each at its place in its own file.
#[derive(Debug, Default)]
pub struct EgressFaults {
    /// In `egress_config.json`.
    pub config: Vec<Finding>,
    /// In `egress_secrets.json`.
    pub secrets: Vec<Finding>,
}

/// Compiles `egress_config.json`, and `egress_secrets.json` where there is one. Variables of the
/// environment are read here where a `${VARIABLE}` names them.
///
/// # Errors
/// Everything that is wrong with them.
pub fn egress(
    file: &raw::EgressFile<'_>,
    secrets: Option<&raw::SecretsFile<'_>>,
    strictness: Strictness,
) -> Result<ServiceMap, EgressFaults> {
    egress::compile(file, secrets, strictness)
}

fn options(written: &raw::Options<'_>, place: Place<'_>, findings: &mut Findings) -> Options {
    let hops = written.trusted_hops.unwrap_or(0);
    let trusted_hops = match usize::try_from(hops) {
        Ok(number) if hops <= MAX_TRUSTED_HOPS => number,
        Ok(_) | Err(_) => {
            let message =
                format!("expected a number of proxies from 0 to {MAX_TRUSTED_HOPS}, found {hops}");
            findings.push(place.field("trusted_hops").report(message));
            0
        }
    };
    if written.max_request_body_bytes.is_some_and(|bytes| bytes < 0) {
        findings.push(
            place.field("max_request_body_bytes").report("expected a number of bytes, 0 or more"),
        );
    }
    let credential_headers = credential_headers(
        written.credential_headers.as_deref(),
        place.field("credential_headers"),
        findings,
    )
    .unwrap_or_else(|| CredentialHeaders(CREDENTIAL_HEADERS.map(Into::into).into()));
    let ratelimit_headers = match written.ratelimit_headers.as_deref() {
        None | Some("ietf") => RateLimitHeaders::Ietf,
        Some("legacy") => RateLimitHeaders::Legacy,
        Some("both") => RateLimitHeaders::Both,
        Some("off") => RateLimitHeaders::Off,
        Some(other) => {
            let place = place.field("ratelimit_headers");
            findings.push(place.report(format!(
                "expected \"ietf\", \"legacy\", \"both\" or \"off\", found {}",
                quote(other)
            )));
            RateLimitHeaders::Ietf
        }
    };
    Options {
        require_https: written.require_https.unwrap_or(false),
        trusted_hops,
        credential_headers,
        ratelimit_headers,
        allow_shrink: written.allow_shrink.unwrap_or(false),
    }
}

/// The tier of everybody, where any credential will do.
fn any_key(
    written: &raw::Options<'_>,
    place: Place<'_>,
    no_keys: bool,
    strictness: Strictness,
    tiers: &[Tier],
    findings: &mut Findings,
) -> Option<Tier> {
    if !written.allow_any_key.unwrap_or(false) {
        return None;
    }
    let place = place.field("allow_any_key");
    if strictness == Strictness::Production {
        findings
            .push(place.report(
                "lets anybody in with any key: allowed only with GATEPOST_ENV=development",
            ));
    }
    if !no_keys {
        return None;
    }
    let tier = tiers.iter().find(|tier| &*tier.name == DEFAULT_TIER);
    if tier.is_none() {
        findings.push(place.report(format!("needs a tier `{DEFAULT_TIER}` in rate_limit_tiers")));
    }
    tier.cloned()
}

fn tiers(file: &raw::GatewayFile<'_>, root: Place<'_>, findings: &mut Findings) -> Vec<Tier> {
    let place = root.field("rate_limit_tiers");
    let written = file.rate_limit_tiers.as_deref().unwrap_or(&[]);
    let mut tiers: Vec<Tier> = Vec::with_capacity(written.len());
    for (name, tier) in written {
        let place = place.field(name);
        if let Err(message) = value::name(name) {
            findings.push(place.report(message));
        }
        let mut limit = |field: &str, number| value::limit(number, place.field(field), findings);
        let limits = Limits {
            minute: limit("requests_per_minute", tier.requests_per_minute),
            hour: limit("requests_per_hour", tier.requests_per_hour),
        };
        tiers.push(Tier { name: (**name).into(), limits });
    }
    if tiers.len() > usize::from(u16::MAX) {
        findings.push(place.report(format!("expected at most {} tiers", u16::MAX)));
    }
    tiers
}

/// The headers named, in lower case; `None` where the field is absent.
fn credential_headers(
    written: Option<&[Text<'_>]>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<CredentialHeaders> {
    let written = written?;
    if written.is_empty() {
        findings.push(place.report("names no header: no request could ever be authenticated"));
    }
    let mut names: Vec<Box<str>> = Vec::with_capacity(written.len());
    for (index, name) in written.iter().enumerate() {
        match value::header_name(name) {
            Ok(name) if names.contains(&name) => {
                findings.push(place.index(index).report(format!("`{name}` stands here twice")));
            }
            Ok(name) => names.push(name),
            Err(message) => findings.push(place.index(index).report(message)),
        }
    }
    Some(CredentialHeaders(names.into()))
}

#[cfg(test)]
mod tests;
