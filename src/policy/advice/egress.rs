//! What is worth a look on the egress side.

mod services;
mod credentials;
mod sandboxes;

use super::{EgressFiles, capped, for_development};
use crate::clock::Now;
use crate::policy::compile::{self, DEFAULT_TIER, EgressFaults, Strictness};
use crate::policy::egress::{Egress, ServiceMap};
use crate::policy::locate::Finding;
use crate::policy::place::Place;
use crate::policy::raw::EgressFile;

pub(super) fn advise(
    files: EgressFiles<'_>,
    egress: &Egress,
    strictness: Strictness,
    now: Now,
) -> EgressFaults {
    let map = &*egress.map;
    let mut advice = development_only(files, strictness);
    let config = &mut advice.config;
    config.extend(options(files.config));
    services::advise(files.config, map, config);
    tiers(files.config, map, config);
    sandboxes::advise(files.config, map, now, config);
    credentials::advise(files, egress, &mut advice);
    advice
}

/// What would not load in production.
fn development_only(files: EgressFiles<'_>, strictness: Strictness) -> EgressFaults {
    if strictness == Strictness::Production {
        return EgressFaults::default();
    }
    // The files load in development, so whatever is found now is what production refuses.
    match compile::egress(files.config, Some(files.secrets), Strictness::Production) {
        Ok(_map) => EgressFaults::default(),
        Err(EgressFaults { config, secrets }) => {
            EgressFaults { config: for_development(config), secrets: for_development(secrets) }
        }
    }
}

fn options(file: &EgressFile<'_>) -> Option<Finding> {
    let options = file.egress_config.as_ref()?;
    let place = Place::Root;
    let place = place.field("egress_config");
    (options.allow_shrink == Some(true)).then(|| {
        place.field("allow_shrink").report(
            "switches off the guard against an edit that loses most sandboxes or services: take it \
             out once the edit is loaded",
        )
    })
}

/// Tiers that nobody has, and limits of what a tier has not.
fn tiers(file: &EgressFile<'_>, map: &ServiceMap, advice: &mut Vec<Finding>) {
    let mut users = vec![0_usize; map.tiers.len()];
    for sandbox in &map.sandboxes {
        if let Some(number) = users.get_mut(sandbox.tier) {
            *number += 1;
        }
    }
    let place = Place::Root;
    let place = place.field("egress_policies");
    let written = file.egress_policies.iter().flat_map(|written| written.iter());
    let (mut unused, mut void) = (Vec::new(), Vec::new());
    for ((tier, users), (name, raw)) in map.tiers.iter().zip(users).zip(written) {
        let place = place.field(name);
        // Whoever is not named has the tier `default`.
        if users == 0 && &**name != DEFAULT_TIER {
            unused.push(Finding::at_key(place.path(), "no sandbox has this tier"));
        }
        let limits = place.field("rate_limits");
        for (service, _) in raw.rate_limits.iter().flat_map(|limits| limits.iter()) {
            if map.service(service).is_some_and(|(id, _)| !tier.has(id)) {
                let message = "limits nothing: the service is not among the tier's \
                               allowed_services";
                void.push(Finding::at_key(limits.field(service).path(), message));
            }
        }
    }
    advice.extend(capped(unused));
    advice.extend(capped(void));
}

#[cfg(test)]
mod tests;
