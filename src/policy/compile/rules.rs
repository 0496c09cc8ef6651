//! `rules`.

use std::collections::HashMap;

use super::credential_headers;
use super::value::{self, Findings};
use crate::policy::glob::Glob;
use crate::policy::locate::quote;
use crate::policy::place::Place;
use crate::policy::raw::{self, Text};
use crate::policy::rule::{Auth, Escapes, Methods, Mode, Rule, Rules, Selector};

/// The rules of a file that has none.
const DEFAULT_RULES: &str = r#"{ "rules": [
    { "id": "health", "paths": ["/health", "/ready"], "auth": "none" },
    { "id": "grpc",   "paths": ["/agentd.v1.*/**"] },
    { "id": "rest",   "paths": ["/api/v1/**"] },
    { "id": "admin",  "paths": ["/admin/**"], "roles": ["admin"] }
] }"#;

pub(super) fn compile(
    written: Option<&[raw::Rule<'_>]>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Rules {
    let Some(written) = written else { return default_rules(place, findings) };
    if written.is_empty() {
        findings.push(
            place.report("names no rule: nothing would pass (leave it out for the default rules)"),
        );
    }
    let mut selectors: Vec<Selector> = Vec::new();
    let mut places: HashMap<(Vec<&str>, Vec<&str>), usize> = HashMap::new();
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for (index, raw) in written.iter().enumerate() {
        let place = place.index(index);
        let id = raw.id.as_deref().unwrap_or("");
        if raw.id.is_none() {
            findings.push(place.field("id").report("expected a field `id`"));
        } else if let Err(message) = value::name(id) {
            findings.push(place.field("id").report(message));
        } else if let Some(first) = ids.insert(id, index) {
            let message =
                format!("expected an id of its own: rules[{first}] has {} too", quote(id));
            findings.push(place.field("id").report(message));
        }
        let rule = rule(raw, id, place, findings);
        // What the same patterns select is one selector, whatever the order of the patterns.
        let key = (sorted(raw.hosts.as_deref()), sorted(raw.paths.as_deref()));
        let selector = places.get(&key).and_then(|&number| selectors.get_mut(number));
        if let Some(selector) = selector {
            overlap(selector, &rule, raw.methods.is_some(), place, findings);
            selector.rules.push(rule);
        } else {
            places.insert(key, selectors.len());
            let hosts = hosts(raw.hosts.as_deref(), place.field("hosts"), findings);
            let paths = paths(raw.paths.as_deref(), place, findings);
            selectors.push(Selector { hosts, paths, rules: vec![rule] });
        }
    }
    Rules::new(selectors)
}

fn default_rules(place: Place<'_>, findings: &mut Findings) -> Rules {
    match raw::parse::<raw::GatewayFile<'_>>(DEFAULT_RULES) {
        Ok(file) => compile(file.rules.as_deref().or(Some(&[])), place, findings),
        Err(_) => compile(Some(&[]), place, findings),
    }
}

fn sorted<'a>(texts: Option<&'a [Text<'_>]>) -> Vec<&'a str> {
    let mut texts: Vec<&str> = texts.unwrap_or(&[]).iter().map(|text| &**text).collect();
    texts.sort_unstable();
    texts
}

/// Two rules of one selector must not answer for the same method: which one is meant?
fn overlap(
    selector: &Selector,
    rule: &Rule,
    named: bool,
    place: Place<'_>,
    findings: &mut Findings,
) {
    for other in &selector.rules {
        if let Some(method) = rule.methods.iter().find(|method| other.methods.contains(method)) {
            let methods = place.field("methods");
            let at = if named { methods } else { place };
            findings.push(at.report(format!(
                "rule {} has the same hosts and paths and answers for {method} already; \
                 give each its own methods",
                quote(&other.id)
            )));
        }
    }
}

fn rule(raw: &raw::Rule<'_>, id: &str, place: Place<'_>, findings: &mut Findings) -> Rule {
    let auth = match raw.auth.as_deref() {
        None | Some("api_key") => Auth::Key,
        Some("none") => Auth::None,
        Some(other) => {
            let message = format!("expected \"api_key\" or \"none\", found {}", quote(other));
            findings.push(place.field("auth").report(message));
            Auth::Key
        }
    };
    let requirements = [("roles", &raw.roles), ("tenants", &raw.tenants), ("scopes", &raw.scopes)];
    let mut required = requirements.map(|(field, texts)| {
        let place = place.field(field);
        if auth == Auth::None && texts.is_some() {
            findings.push(
                place.report("asks something of a caller whom `auth: \"none\"` does not know"),
            );
        }
        names(texts.as_deref(), place, findings)
    });
    let [roles, tenants, scopes] = &mut required;
    Rule {
        id: id.into(),
        methods: methods(
            raw.methods.as_deref(),
            Methods::standard(auth),
            place.field("methods"),
            findings,
        ),
        auth,
        roles: roles.take(),
        tenants: tenants.take(),
        scopes: scopes.take().unwrap_or_default(),
        mode: mode(raw.mode.as_deref(), place.field("mode"), findings),
        credential_headers: credential_headers(
            raw.credential_headers.as_deref(),
            place.field("credential_headers"),
            findings,
        ),
        allow_encoded: escapes(
            raw.allow_encoded.as_deref(),
            place.field("allow_encoded"),
            findings,
        ),
    }
}

pub(super) fn mode(written: Option<&str>, place: Place<'_>, findings: &mut Findings) -> Mode {
    match written {
        None | Some("enforce") => Mode::Enforce,
        Some("shadow") => Mode::Shadow,
        Some(other) => {
            let message = format!("expected \"enforce\" or \"shadow\", found {}", quote(other));
            findings.push(place.report(message));
            Mode::Enforce
        }
    }
}

/// A list that asks for something asks for at least one thing.
fn names(
    written: Option<&[Text<'_>]>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<Box<[Box<str>]>> {
    let written = written?;
    if written.is_empty() {
        findings.push(place.report("is empty: leave it out to require nothing"));
    }
    for (index, text) in written.iter().enumerate() {
        if let Err(message) = value::name(text) {
            findings.push(place.index(index).report(message));
        }
    }
    Some(written.iter().map(|text| (**text).into()).collect())
}

/// The methods named, or else the usual ones.
pub(super) fn methods(
    written: Option<&[Text<'_>]>,
    usual: Methods,
    place: Place<'_>,
    findings: &mut Findings,
) -> Methods {
    let Some(written) = written else { return usual };
    if written.is_empty() {
        findings.push(place.report("is empty: leave it out for the usual methods"));
    }
    let mut methods: Vec<Box<str>> = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match Methods::parse(text) {
            Ok(method) if methods.contains(&method) => {
                findings.push(place.index(index).report(format!("{method} stands here twice")));
            }
            Ok(method) => methods.push(method),
            Err(message) => {
                findings
                    .push(place.index(index).report(format!("{message}, found {}", quote(text))));
            }
        }
    }
    Methods::new(methods.into())
}

fn hosts(
    written: Option<&[Text<'_>]>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Option<Box<[Glob]>> {
    let written = written?;
    if written.is_empty() {
        findings.push(place.report("names no host: leave it out to select every host"));
    }
    Some(globs(written, Glob::host, place, findings))
}

fn paths(written: Option<&[Text<'_>]>, place: Place<'_>, findings: &mut Findings) -> Box<[Glob]> {
    match written {
        None => findings.push(place.field("paths").report("expected a field `paths`")),
        Some([]) => {
            findings.push(place.field("paths").report("names no path: the rule selects nothing"));
        }
        Some(_) => {}
    }
    globs(written.unwrap_or(&[]), Glob::path, place.field("paths"), findings)
}

pub(super) fn globs(
    written: &[Text<'_>],
    compile: fn(&str) -> Result<Glob, String>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Box<[Glob]> {
    let mut globs = Vec::with_capacity(written.len());
    for (index, text) in written.iter().enumerate() {
        match compile(text) {
            Ok(glob) => globs.push(glob),
            Err(message) => {
                findings
                    .push(place.index(index).report(format!("{message}, found {}", quote(text))));
            }
        }
    }
    globs.into()
}

pub(super) fn escapes(
    written: Option<&[Text<'_>]>,
    place: Place<'_>,
    findings: &mut Findings,
) -> Escapes {
    let mut escapes = Escapes::default();
    for (index, text) in written.unwrap_or(&[]).iter().enumerate() {
        match &**text {
            "/" => escapes.slash = true,
            "%" => escapes.percent = true,
            other => {
                let message = format!("expected \"/\" or \"%\", found {}", quote(other));
                findings.push(place.index(index).report(message));
            }
        }
    }
    escapes
}
