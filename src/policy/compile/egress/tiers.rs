//! `egress_policies`.

use std::collections::{HashMap, HashSet};

use super::{Known, ServiceIds};
use crate::policy::Limits;
use crate::policy::compile::DEFAULT_TIER;
use crate::policy::compile::value::{self, Findings};
use crate::policy::destination::ServiceId;
use crate::policy::egress::{DEFAULT_LIMITS, Reach, Tier};
use crate::policy::locate::Finding;
use crate::policy::place::Place;
use crate::policy::raw::{EgressTier, RateLimit, Text};

/// Among `rate_limits`: the limits of the services that are not named.
const OTHERS: &str = "default";
/// Among `allowed_services`: every one.
const ALL: &str = "*";

pub(super) fn compile(
    written: &[(Text<'_>, EgressTier<'_>)],
    ids: &ServiceIds,
    known: &Known,
    place: Place<'_>,
    findings: &mut Findings,
) -> Vec<Tier> {
    let mut tiers = Vec::with_capacity(written.len());
    for (name, raw) in written {
        let place = place.field(name);
        if let Err(message) = value::name(name) {
            findings.push(Finding::at_key(place.path(), message));
        }
        let list = raw.allowed_services.as_deref().unwrap_or(&[]);
        let services = reach(list, ids, known, place.field("allowed_services"), findings);
        let mut by_service = HashMap::new();
        let mut default_limits = DEFAULT_LIMITS;
        let place = place.field("rate_limits");
        for (service, raw) in raw.rate_limits.iter().flat_map(|limits| limits.iter()) {
            let place = place.field(service);
            let limits = limits(raw, place, findings);
            if &**service == OTHERS {
                default_limits = limits;
            } else if let Some(&id) = ids.get(&**service) {
                by_service.insert(id, limits);
            } else {
                findings.push(Finding { at_key: true, ..known.unknown(service, place) });
            }
        }
        tiers.push(Tier { name: (**name).into(), services, limits: by_service, default_limits });
    }
    tiers
}

/// The place of the tier that unknown sandboxes have.
pub(super) fn default(tiers: &[Tier]) -> Option<usize> {
    tiers.iter().position(|tier| &*tier.name == DEFAULT_TIER)
}

fn reach(
    written: &[Text<'_>],
    ids: &ServiceIds,
    known: &Known,
    place: Place<'_>,
    findings: &mut Findings,
) -> Reach {
    if let [all] = written
        && &**all == ALL
    {
        return Reach::All;
    }
    let mut services: HashSet<ServiceId> = HashSet::with_capacity(written.len());
    for (index, name) in written.iter().enumerate() {
        let place = place.index(index);
        match ids.get(&**name) {
            Some(&id) if !services.insert(id) => {
                findings.push(place.report(format!("`{}` stands here twice", &**name)));
            }
            Some(_) => {}
            None if &**name == ALL => {
                findings.push(place.report("`*` is every service: expected it alone"));
            }
            None => findings.push(known.unknown(name, place)),
        }
    }
    Reach::Listed(services)
}

fn limits(raw: &RateLimit<'_>, place: Place<'_>, findings: &mut Findings) -> Limits {
    let mut window = |field: &str, number: Option<i64>, old: &str, by_old_name: Option<i64>| {
        if number.is_some() && by_old_name.is_some() {
            let message = format!("is the older name of `{field}`, which stands here too");
            findings.push(Finding::at_key(place.field(old).path(), message));
        }
        let field = if number.is_some() { field } else { old };
        value::limit(number.or(by_old_name), place.field(field), findings)
    };
    let RateLimit {
        requests_per_minute,
        tokens_per_minute,
        requests_per_hour,
        tokens_per_hour,
        description: _,
    } = raw;
    Limits {
        minute: window(
            "requests_per_minute",
            *requests_per_minute,
            "tokens_per_minute",
            *tokens_per_minute,
        ),
        hour: window("requests_per_hour", *requests_per_hour, "tokens_per_hour", *tokens_per_hour),
    }
}
