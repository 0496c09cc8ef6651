//! `api_keys`.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::value::{self, Findings, MIN_KEY_CHARACTERS, shown};
use super::{DEFAULT_TIER, Strictness};
use crate::policy::Tier;
use crate::policy::key::{Builder, Digest, Keys, NewKey, Validity};
use crate::policy::locate::Finding;
use crate::policy::place::Place;
use crate::policy::raw::{self, ApiKey, KeySlot, Secret, Text};

/// What a request may carry: `authenticate` looks up nothing longer.
const MAX_KEY_BYTES: usize = 1024;
/// The key of the sample policy: everybody knows it.
const DEVELOPMENT_KEY: &str = "dev-api-key-change-in-production";

pub(super) fn compile(
    written: &[ApiKey<'_>],
    place: Place<'_>,
    tiers: &[Tier],
    strictness: Strictness,
    findings: &mut Findings,
) -> Keys {
    let context = Context {
        strictness,
        development: Sha256::digest(DEVELOPMENT_KEY).into(),
        tiers: tiers.iter().zip(0..).map(|(tier, number)| (&*tier.name, number)).collect(),
    };
    let mut builder = Builder::new(written.len(), tiers.to_vec());
    let mut ids: HashMap<&str, usize> = HashMap::with_capacity(written.len());
    for (index, key) in written.iter().enumerate() {
        let place = place.index(index);
        let id = key.id.as_deref().unwrap_or("");
        if key.id.is_none() {
            findings.push(place.field("id").report("expected a field `id`"));
        } else if let Err(message) = value::name(id) {
            findings.push(place.field("id").report(message));
        } else if let Some(first) = ids.insert(id, index) {
            let message =
                format!("expected an id of its own: api_keys[{first}] has {} too", shown(id));
            findings.push(place.field("id").report(message));
        }
        add(&mut builder, key, id, place, &context, findings);
    }
    builder.finish()
}

struct Context<'a> {
    strictness: Strictness,
    development: Digest,
    tiers: HashMap<&'a str, u16>,
}

fn add(
    builder: &mut Builder,
    key: &ApiKey<'_>,
    id: &str,
    place: Place<'_>,
    context: &Context<'_>,
    findings: &mut Findings,
) {
    let values = values(key, place, context, findings);
    let mut checked = |field: &str, text: &Option<Text<'_>>| {
        if let Some(text) = text
            && let Err(message) = value::name(text)
        {
            findings.push(place.field(field).report(message));
        }
    };
    checked("role", &key.role);
    checked("tenant", &key.tenant);
    let scopes = names(key.scopes.as_deref(), place.field("scopes"), findings);
    let new = NewKey {
        id,
        values: &values,
        enabled: key.enabled.unwrap_or(true),
        tier: tier(key, place, context, findings),
        role: key.role.as_deref(),
        tenant: key.tenant.as_deref(),
        scopes: &scopes,
        validity: value::validity(
            key.not_before.as_deref(),
            key.expires_at.as_deref(),
            place,
            findings,
        ),
        networks: value::networks(
            key.allowed_cidrs.as_deref(),
            place.field("allowed_cidrs"),
            findings,
        ),
    };
    if let Err(taken) = builder.add(&new) {
        let message = match &taken.by {
            None => "expected two different values: both are the same key".to_owned(),
            Some(other) => format!("expected a key of its own: {} has the same", shown(other)),
        };
        let keys = place.field("keys");
        let slot = keys.index(taken.value);
        let at = match (&key.keys, &key.key) {
            (Some(_), _) => slot,
            (None, Some(_)) => place.field("key"),
            (None, None) => place.field("key_sha256"),
        };
        findings.push(at.report(message));
    }
}

/// The one or two values of a key.
fn values(
    key: &ApiKey<'_>,
    place: Place<'_>,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Vec<(Digest, Validity)> {
    let given = [key.key.is_some(), key.key_sha256.is_some(), key.keys.is_some()];
    if given.into_iter().filter(|&given| given).count() != 1 {
        let finding = place.report("expected exactly one of `key`, `key_sha256` and `keys`");
        findings.push(unless_mistyped(finding, place, &["key", "key_sha256", "keys"]));
        return Vec::new();
    }
    let Some(slots) = &key.keys else {
        let digest = digest(key.key.as_ref(), key.key_sha256.as_ref(), place, context, findings);
        return digest.map(|digest| (digest, Validity::default())).into_iter().collect();
    };
    let place = place.field("keys");
    if !(1..=2).contains(&slots.len()) {
        findings.push(place.report(format!("expected one or two keys, found {}", slots.len())));
    }
    let mut values = Vec::with_capacity(slots.len());
    for (index, slot) in slots.iter().enumerate() {
        let KeySlot { key, key_sha256, not_before, expires_at, description: _ } = slot;
        let place = place.index(index);
        if key.is_some() == key_sha256.is_some() {
            let finding = place.report("expected exactly one of `key` and `key_sha256`");
            findings.push(unless_mistyped(finding, place, &["key", "key_sha256"]));
            continue;
        }
        let validity =
            value::validity(not_before.as_deref(), expires_at.as_deref(), place, findings);
        let digest = digest(key.as_ref(), key_sha256.as_ref(), place, context, findings);
        values.extend(digest.map(|digest| (digest, validity)));
    }
    values
}

/// What a field of the wrong type would only repeat.
fn unless_mistyped(finding: Finding, place: Place<'_>, fields: &[&str]) -> Finding {
    fields.iter().fold(finding, |finding, field| finding.given(place.field(field).path()))
}

fn digest(
    plain: Option<&Secret<'_>>,
    hashed: Option<&raw::Digest<'_>>,
    place: Place<'_>,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Digest> {
    let field = if plain.is_some() { "key" } else { "key_sha256" };
    let result = match (plain, hashed) {
        (Some(plain), _) => from_plain(plain.expose(), context.strictness),
        (None, Some(hashed)) => from_hex(hashed.expose()),
        (None, None) => return None,
    };
    let place = place.field(field);
    match result {
        Ok(digest)
            if digest == context.development && context.strictness == Strictness::Production =>
        {
            findings.push(place.report(
                "is the development key, which everybody knows: allowed only with \
                 GATEPOST_ENV=development (make one with `gatepost keys new`)",
            ));
            None
        }
        Ok(digest) => Some(digest),
        Err(message) => {
            findings.push(place.report(message));
            None
        }
    }
}

fn from_plain(key: &str, strictness: Strictness) -> Result<Digest, String> {
    // What a header can carry and `authenticate` reads as one value.
    let plain = |b: u8| (0x21..0x7f).contains(&b) && b != b',';
    if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(plain) {
        return Err(format!(
            "expected 1 to {MAX_KEY_BYTES} visible ASCII characters without spaces and commas"
        ));
    }
    if key.len() < MIN_KEY_CHARACTERS && strictness == Strictness::Production {
        return Err(format!(
            "has {} characters, which can be guessed: expected at least {MIN_KEY_CHARACTERS} (128 bits); \
             shorter ones only with GATEPOST_ENV=development",
            key.len()
        ));
    }
    Ok(Sha256::digest(key).into())
}

fn from_hex(text: &str) -> Result<Digest, String> {
    value::sha256(
        text,
        "expected the SHA-256 of a key, 64 hexadecimal digits (`gatepost keys hash`)",
    )
}

fn tier(key: &ApiKey<'_>, place: Place<'_>, context: &Context<'_>, findings: &mut Findings) -> u16 {
    let name = key.rate_limit_tier.as_deref().unwrap_or(DEFAULT_TIER);
    if let Some(&number) = context.tiers.get(name) {
        return number;
    }
    let tiers = Place::Root;
    let tiers = tiers.field("rate_limit_tiers");
    let finding = if key.rate_limit_tier.is_some() {
        let known = value::known(context.tiers.keys().copied());
        let message =
            format!("expected a tier of rate_limit_tiers ({known}), found {}", shown(name));
        place.field("rate_limit_tier").report(message)
    } else {
        place.report(format!("names no tier, and rate_limit_tiers has no `{DEFAULT_TIER}`"))
    };
    findings.push(finding.given(tiers.field(name).path()));
    u16::MAX
}

fn names(written: Option<&[Text<'_>]>, place: Place<'_>, findings: &mut Findings) -> Vec<Box<str>> {
    let mut names = Vec::new();
    for (index, text) in written.unwrap_or(&[]).iter().enumerate() {
        match value::name(text) {
            Ok(()) => names.push((**text).into()),
            Err(message) => findings.push(place.index(index).report(message)),
        }
    }
    names
}
