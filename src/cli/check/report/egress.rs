//! The egress side of a report: above all, which credential can reach which host.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{counted, listed};
use crate::denial::Unavailable;
use crate::policy::credential::Credential;
use crate::policy::destination::ServiceId;
use crate::policy::egress::{Egress, Reach, ServiceMap, Tier};

/// What the egress holds.
#[derive(Debug)]
pub(super) struct Outside {
    services: Vec<String>,
    tiers: Vec<Has>,
    sandboxes: usize,
    enabled: usize,
    tokens: usize,
    credentials: Vec<Reaches>,
}

/// A tier, and the services it has.
#[derive(Debug)]
struct Has {
    tier: String,
    /// `None` for all.
    services: Option<Vec<String>>,
}

/// A credential: its value is nowhere in here.
#[derive(Debug)]
struct Reaches {
    name: String,
    service: String,
    /// `HOST:PORT` each.
    hosts: Vec<String>,
    sources: Vec<String>,
    /// Why it cannot be had here.
    missing: Option<Unavailable>,
}

impl Outside {
    pub(super) fn of(egress: &Egress) -> Self {
        let map = &*egress.map;
        Self {
            services: map.services.iter().map(|service| service.name.to_string()).collect(),
            tiers: map.tiers.iter().map(|tier| Has::of(tier, map)).collect(),
            sandboxes: map.sandboxes.len(),
            enabled: map.sandboxes.iter().filter(|sandbox| sandbox.enabled).count(),
            tokens: map.tokens.len(),
            credentials: map.credentials.iter().map(|known| Reaches::of(known, egress)).collect(),
        }
    }

    pub(super) fn counts(&self) -> [String; 3] {
        let sandboxes = self.sandboxes;
        [
            counted(self.services.len(), "service"),
            format!("{sandboxes} sandbox{}", if sandboxes == 1 { "" } else { "es" }),
            counted(self.credentials.len(), "credential"),
        ]
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { services, tiers, sandboxes, enabled, tokens, credentials } = self;
        let tokens = counted(*tokens, "token");
        writeln!(out, "  services:  {}", listed(services))?;
        writeln!(out, "  sandboxes: {sandboxes}, {enabled} of them enabled, with {tokens}")?;
        for Has { tier, services } in tiers {
            let services = services.as_ref().map_or("every service".to_owned(), |s| listed(s));
            writeln!(out, "  tier {tier}: {services}")?;
        }
        for Reaches { name, service, hosts, sources, missing } in credentials {
            let state = match missing {
                None => "found here".to_owned(),
                Some(why) => format!("not here ({})", why.detail()),
            };
            let (hosts, sources) = (hosts.join(", "), sources.join(", "));
            writeln!(
                out,
                "  credential {name}: reaches {hosts} (service {service}), from {sources}, {state}"
            )?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        let Self { services, tiers, sandboxes, enabled, tokens, credentials } = self;
        let tiers = tiers.iter().map(|Has { tier, services }| {
            let services = services.clone().unwrap_or_else(|| vec!["*".to_owned()]);
            json!({ "name": tier, "services": services })
        });
        let credentials = credentials.iter().map(|credential| {
            let Reaches { name, service, hosts, sources, missing } = credential;
            json!({
                "name": name, "service": service, "hosts": hosts, "sources": sources,
                "resolved": missing.is_none(), "missing": missing.map(Unavailable::detail),
            })
        });
        json!({
            "services": services, "tiers": tiers.collect::<Vec<_>>(), "sandboxes": sandboxes,
            "enabled": enabled, "tokens": tokens, "credentials": credentials.collect::<Vec<_>>(),
        })
    }
}

impl Has {
    fn of(tier: &Tier, map: &ServiceMap) -> Self {
        let services = match &tier.services {
            Reach::All => None,
            // In the order of the file, as everything else.
            Reach::Listed(ids) => Some(
                map.services
                    .iter()
                    .zip((0..).map(ServiceId))
                    .filter(|(_, id)| ids.contains(id))
                    .map(|(service, _)| service.name.to_string())
                    .collect(),
            ),
        };
        Self { tier: tier.name.to_string(), services }
    }
}

impl Reaches {
    fn of(credential: &Credential, egress: &Egress) -> Self {
        // A credential goes nowhere but to its service, and that is at one destination.
        let target = egress.wanted.get(credential.service.0);
        let supply = target.and_then(|target| target.credentials.get(&credential.name));
        let destination = target.map(|target| &target.destination);
        Self {
            name: credential.name.to_string(),
            service: target.map_or(String::new(), |target| target.service.to_string()),
            hosts: destination.iter().map(|d| format!("{}:{}", d.host, d.port)).collect(),
            sources: credential.kind.sources().iter().map(ToString::to_string).collect(),
            missing: match supply.map(|supply| &**supply) {
                Some(Ok(_injection)) => None,
                Some(Err(why)) => Some(*why),
                None => Some(Unavailable::Unresolved),
            },
        }
    }
}
