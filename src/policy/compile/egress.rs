//! `egress_config.json` and `egress_secrets.json`.

mod url;
mod options;
mod header;
mod services;
mod source;
mod credentials;
mod tiers;
mod sandboxes;

use std::collections::HashMap;

use super::value::{self, Findings, shown};
use super::{EgressFaults, Strictness};
use crate::policy::destination::ServiceId;
use crate::policy::egress::ServiceMap;
use crate::policy::locate::{Finding, Path};
use crate::policy::place::Place;
use crate::policy::raw::{EgressFile, EgressOptions, SecretsFile};

pub(super) fn compile(
    file: &EgressFile<'_>,
    secrets: Option<&SecretsFile<'_>>,
    strictness: Strictness,
) -> Result<ServiceMap, EgressFaults> {
    let mut both = Both::default();
    let findings = &mut both.config;
    let root = Place::Root;
    let empty = EgressOptions::default();
    let written = file.egress_config.as_ref().unwrap_or(&empty);
    let options = options::compile(written, root.field("egress_config"), strictness, findings);
    let written = file.egress_services.as_deref().unwrap_or(&[]);
    let services = services::compile(written, &options.proxy_hosts, root.field(SERVICES), findings);
    let service_ids = services::ids(&services);
    let known = Known::new(SERVICES, service_ids.keys().map(|name| &**name));
    let credentials = credentials::compile(file, secrets, &services, &service_ids, &mut both);
    let findings = &mut both.config;
    services::check_credentials(written, &services, &credentials, root.field(SERVICES), findings);
    let written = file.egress_policies.as_deref().unwrap_or(&[]);
    let tiers = tiers::compile(written, &service_ids, &known, root.field(TIERS), findings);
    let around = sandboxes::Around {
        services: &service_ids,
        known_services: &known,
        credentials: &credentials,
        tiers: &tiers,
    };
    let sandboxes = sandboxes::compile(file, &around, root, findings);
    let Both { config, secrets } = both;
    let faults = EgressFaults { config: config.into_vec(), secrets: secrets.into_vec() };
    if !(faults.config.is_empty() && faults.secrets.is_empty()) {
        return Err(faults);
    }
    Ok(ServiceMap {
        options,
        services: services.into_iter().map(|draft| draft.service).collect(),
        default_tier: tiers::default(&tiers),
        tiers,
        sandboxes: sandboxes.all,
        credentials,
        service_ids,
        sandbox_places: sandboxes.places,
        spiffe_ids: sandboxes.spiffe_ids,
        tokens: sandboxes.tokens,
    })
}

/// What is wrong with each of the two files.
#[derive(Debug, Default)]
struct Both {
    config: Findings,
    secrets: Findings,
}

/// The file in which something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Config,
    Secrets,
}

impl Both {
    fn push(&mut self, origin: Origin, finding: Finding) {
        match origin {
            Origin::Config => self.config.push(finding),
            Origin::Secrets => self.secrets.push(finding),
        }
    }
}

const SERVICES: &str = "egress_services";
const TIERS: &str = "egress_policies";
const CREDENTIALS: &str = "egress_credentials";

/// The names of one map of the file, for the message about one that is not among them.
#[derive(Debug)]
struct Known {
    map: &'static str,
    names: String,
}

impl Known {
    fn new<'a>(map: &'static str, names: impl Iterator<Item = &'a str>) -> Self {
        Self { map, names: value::known(names) }
    }

    /// `name` stands at `place`, and nothing has it.
    fn unknown(&self, name: &str, place: Place<'_>) -> Finding {
        let Self { map, names } = self;
        let message = format!("expected a name out of {map} ({names}), found {}", shown(name));
        // A mistake where it is defined is told there.
        place.report(message).given(Path::root().field(*map).field(name.to_owned()))
    }
}

type ServiceIds = HashMap<Box<str>, ServiceId>;

#[cfg(test)]
mod tests;
