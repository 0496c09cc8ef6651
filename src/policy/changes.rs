//! What an edit changed, in one line.

mod egress;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Gateway, Snapshot};

/// How many of something came, went and changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    added: usize,
    removed: usize,
    changed: usize,
}

/// The difference between two snapshots, such as `api_keys +1 -0 ~2, rules reordered`; empty where
/// nothing that matters has changed.
pub fn describe(old: &Snapshot, new: &Snapshot) -> String {
    let map = |snapshot: &Snapshot| snapshot.egress.as_ref().map(|egress| egress.map.clone());
    let mut parts = gateway(old.gateway.as_deref(), new.gateway.as_deref());
    parts.extend(egress::parts(map(old).as_deref(), map(new).as_deref()));
    parts.join(", ")
}

/// `NAME +1 -0 ~2`, unless nothing came, went or changed.
fn counted(name: &str, count: Count) -> Option<String> {
    let Count { added, removed, changed } = count;
    (count != Count::default()).then(|| format!("{name} +{added} -{removed} ~{changed}"))
}

fn gateway(old: Option<&Gateway>, new: Option<&Gateway>) -> Vec<String> {
    let mut parts = Vec::new();
    let mut count = |name, count| parts.extend(counted(name, count));
    count("api_keys", compare(&keys(old), &keys(new)));
    count("rate_limit_tiers", compare(&tiers(old), &tiers(new)));
    let (before, after) = (rules(old), rules(new));
    let rules = compare(&before.iter().copied().collect(), &after.iter().copied().collect());
    count("rules", rules);
    if rules == Count::default() && before != after {
        parts.push("rules reordered".to_owned());
    }
    if old.map(|gateway| (&gateway.options, &gateway.any_key))
        != new.map(|gateway| (&gateway.options, &gateway.any_key))
    {
        parts.push("gateway_config changed".to_owned());
    }
    parts
}

fn compare(old: &HashMap<&str, u64>, new: &HashMap<&str, u64>) -> Count {
    Count {
        added: new.keys().filter(|name| !old.contains_key(*name)).count(),
        removed: old.keys().filter(|name| !new.contains_key(*name)).count(),
        changed: new
            .iter()
            .filter(|(name, print)| old.get(*name).is_some_and(|other| other != *print))
            .count(),
    }
}

fn keys(gateway: Option<&Gateway>) -> HashMap<&str, u64> {
    gateway
        .into_iter()
        .flat_map(|g| g.keys.iter())
        .map(|key| (key.id(), key.fingerprint()))
        .collect()
}

fn tiers(gateway: Option<&Gateway>) -> HashMap<&str, u64> {
    gateway
        .into_iter()
        .flat_map(|g| &g.tiers)
        .map(|tier| (&*tier.name, fingerprint(&tier.limits)))
        .collect()
}

fn rules(gateway: Option<&Gateway>) -> Vec<(&str, u64)> {
    let selectors = gateway.into_iter().flat_map(|g| g.rules.selectors());
    selectors
        .flat_map(|selector| {
            let selects = fingerprint(&(&selector.hosts, &selector.paths));
            selector.rules.iter().map(move |rule| (&*rule.id, fingerprint(&(selects, rule))))
        })
        .collect()
}

fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
