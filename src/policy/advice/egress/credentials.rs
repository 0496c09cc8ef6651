//! Credentials that are in the wrong place, or that cannot be had.

use std::collections::HashSet;

use crate::denial::Unavailable;
use crate::policy::advice::{EgressFiles, capped};
use crate::policy::compile::EgressFaults;
use crate::policy::credential::{Credential, Source};
use crate::policy::egress::Egress;
use crate::policy::locate::{Finding, Path};
use crate::policy::place::Place;
use crate::policy::raw::{self, Secret};

const FIELD: &str = "egress_credentials";

pub(super) fn advise(files: EgressFiles<'_>, egress: &Egress, advice: &mut EgressFaults) {
    advice.config.extend(capped(plain(files)));
    let used: HashSet<&str> = egress.map.credentials.iter().map(|known| &*known.name).collect();
    let place = Place::Root;
    let place = place.field(FIELD);
    let in_secrets = files.secrets.egress_credentials.iter().flat_map(|written| written.iter());
    let orphans = in_secrets.filter(|(name, _)| !used.contains(&**name)).map(|(name, _)| {
        Finding::at_key(place.field(name).path(), "belongs to no service, and is not used")
    });
    advice.secrets.extend(capped(orphans.collect()));
    let in_config: HashSet<&str> =
        files.config.egress_credentials.iter().flat_map(|w| w.iter()).map(|(n, _)| &**n).collect();
    let (mut config, mut secrets) = (Vec::new(), Vec::new());
    for credential in &egress.map.credentials {
        let Some(message) = missing(credential, egress) else { continue };
        let at = if in_config.contains(&*credential.name) { &mut config } else { &mut secrets };
        at.push(place.field(&credential.name).report(message));
    }
    advice.config.extend(capped(config));
    advice.secrets.extend(capped(secrets));
}

/// Why the credential cannot be had here, and what follows.
fn missing(credential: &Credential, egress: &Egress) -> Option<String> {
    let target = egress.wanted.get(credential.service.0)?;
    let why = match target.credentials.get(&credential.name).map(|supply| &**supply) {
        Some(Ok(_injection)) => return None,
        Some(Err(why)) => *why,
        None => Unavailable::Unresolved,
    };
    let sources = credential.kind.sources();
    let said: Vec<String> = sources.iter().map(ToString::to_string).collect();
    let (from, several) = (said.join(", "), sources.len() > 1);
    let what = match (why, sources.first()) {
        (Unavailable::Unresolved, Some(Source::Nowhere)) if !several => {
            "has neither a source nor a value".to_owned()
        }
        (Unavailable::Unresolved, Some(Source::File(_))) if !several => {
            format!("{from} cannot be read here")
        }
        (Unavailable::Unresolved, Some(Source::Environment(_) | Source::Unset(_))) if !several => {
            format!("{from} is not set here")
        }
        (Unavailable::Unresolved, _) => format!("not all of it is here ({from})"),
        (Unavailable::Empty, _) => format!("{from} is empty"),
        (Unavailable::Malformed, _) => format!(
            "{from} holds what no request can carry (control characters, spaces at the ends)"
        ),
        (Unavailable::Stale, _) => format!("{from} cannot be read any more"),
    };
    Some(format!("{what}: the service {} would answer 503", target.service))
}

/// Credentials that whoever reads `egress_config.json` can use.
fn plain(files: EgressFiles<'_>) -> Vec<Finding> {
    let place = Place::Root;
    let place = place.field(FIELD);
    let mut found = Vec::new();
    for (name, raw) in files.config.egress_credentials.iter().flat_map(|written| written.iter()) {
        let place = place.field(name);
        let raw::Credential { token, password, headers, .. } = raw;
        let mut look = |text: &Option<Secret<'_>>, path: Path| {
            if text.as_ref().is_some_and(|text| is_plain(text.expose())) {
                found.push(Finding::new(
                    path,
                    "stands here in plain text, for every reader of the file to use: it belongs \
                     into egress_secrets.json, or behind a `source`",
                ));
            }
        };
        look(token, place.field("token").path());
        look(password, place.field("password").path());
        let place = place.field("headers");
        for (header, part) in headers.iter().flat_map(|headers| headers.iter()) {
            let place = place.field(header);
            look(&part.token, place.field("token").path());
        }
    }
    found
}

fn is_plain(text: &str) -> bool {
    !(text.is_empty() || text.contains("${"))
}
