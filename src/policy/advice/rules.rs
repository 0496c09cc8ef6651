//! Rules that are worth a look.

use std::collections::{HashMap, HashSet};

use super::capped;
use crate::policy::Gateway;
use crate::policy::glob::Glob;
use crate::policy::key::Key;
use crate::policy::locate::{Finding, quote};
use crate::policy::place::Place;
use crate::policy::raw::{GatewayFile, Text};
use crate::policy::rule::{Auth, Mode, Rule, Selector};

pub(super) fn advise(file: &GatewayFile<'_>, gateway: &Gateway, advice: &mut Vec<Finding>) {
    // The default rules stand in no file.
    let Some(written) = &file.rules else { return };
    let root = Place::Root;
    let place = root.field("rules");
    let places: HashMap<&str, usize> = written
        .iter()
        .enumerate()
        .filter_map(|(index, rule)| Some((rule.id.as_deref()?, index)))
        .collect();
    let at = |rule: &Rule| places.get(&*rule.id).map(|&index| place.index(index).path());
    let (mut shadow, mut open) = (Vec::new(), Vec::new());
    for selector in gateway.rules.selectors() {
        for rule in &selector.rules {
            let Some(path) = at(rule) else { continue };
            if rule.mode == Mode::Shadow {
                shadow.push(Finding::new(
                    path.field("mode"),
                    "only watches: what methods, roles, tenants, scopes and limits would deny is \
                     logged, and passes",
                ));
            }
            if rule.auth == Auth::None && selects_every_path(selector) {
                open.push(Finding::new(path.field("auth"), "lets everybody in on every path"));
            }
        }
    }
    advice.extend(capped(shadow));
    advice.extend(capped(open));
    advice.extend(capped(unreachable(gateway.rules.selectors(), at)));
    if !gateway.keys.is_empty() {
        advice.extend(capped(unheld(file, gateway, place)));
    }
}

fn selects_every_path(selector: &Selector) -> bool {
    Glob::path("/**").is_ok_and(|all| selector.paths.iter().any(|path| path.covers(&all)))
}

/// Rules behind one that selects, for every method, whatever they select.
fn unreachable(
    selectors: &[Selector],
    at: impl Fn(&Rule) -> Option<crate::policy::locate::Path>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (place, selector) in selectors.iter().enumerate() {
        let earlier = selectors.iter().take(place).find(|earlier| takes_all(earlier, selector));
        let Some(first) = earlier.and_then(|earlier| earlier.rules.first()) else { continue };
        for rule in &selector.rules {
            let message = format!(
                "never decides: rule {} stands before it and selects everything that it selects \
                 (only a route that names it can use it)",
                quote(&first.id)
            );
            found.extend(at(rule).map(|path| Finding::new(path, message)));
        }
    }
    found
}

/// Whether the earlier selector surely selects whatever the later one does.
fn takes_all(earlier: &Selector, later: &Selector) -> bool {
    let all = |wide: &[Glob], narrow: &[Glob]| {
        narrow.iter().all(|glob| wide.iter().any(|other| other.covers(glob)))
    };
    let hosts = match (&earlier.hosts, &later.hosts) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(earlier), Some(later)) => all(earlier, later),
    };
    hosts && all(&earlier.paths, &later.paths)
}

/// What rules ask for and no enabled key has.
fn unheld(file: &GatewayFile<'_>, gateway: &Gateway, place: Place<'_>) -> Vec<Finding> {
    let keys = || gateway.keys.iter().filter(Key::enabled);
    let roles: HashSet<&str> = keys().filter_map(|key| key.role()).collect();
    let tenants: HashSet<&str> = keys().filter_map(|key| key.tenant()).collect();
    let scopes: HashSet<&str> = keys().flat_map(|key| key.scopes()).map(|scope| &**scope).collect();
    let mut found = Vec::new();
    for (index, rule) in file.rules.iter().flatten().enumerate() {
        let place = place.index(index);
        let mut held = |field, names: Option<&Vec<Text<'_>>>, known: &HashSet<&str>, what| {
            let place = place.field(field);
            for (index, name) in names.into_iter().flatten().enumerate() {
                if !known.contains(&**name) {
                    let message = format!("no enabled key has the {what} {}", quote(name));
                    found.push(place.index(index).report(message));
                }
            }
        };
        held("roles", rule.roles.as_ref(), &roles, "role");
        held("tenants", rule.tenants.as_ref(), &tenants, "tenant");
        held("scopes", rule.scopes.as_ref(), &scopes, "scope");
    }
    found
}
