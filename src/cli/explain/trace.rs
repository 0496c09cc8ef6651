//! The steps of a decision, in order, each with what it saw.

use super::caller;
use crate::authz::Decision;
use crate::authz::authorize::{has_role, has_scopes, has_tenant};
use crate::authz::decode::{Request, host, path};
use crate::clock::Now;
use crate::denial::{Denial, Forbidden, Malformed, Window};
use crate::policy::rule::{Auth, Escapes, Mode, Rule, Selected, Selector};
use crate::policy::{Gateway, Limit, Limits};

/// The steps, in the order in which `authz::decide` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Decode,
    Rule,
    Caller,
    Requirements,
    Limits,
}

/// How far a step let the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Passed,
    /// Passed, because the rule is in shadow mode.
    Shadowed,
    Refused,
    NotReached,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) stage: &'static str,
    pub(super) passage: Passage,
    pub(super) notes: Vec<String>,
}

impl Stage {
    const ALL: [Self; 5] =
        [Self::Decode, Self::Rule, Self::Caller, Self::Requirements, Self::Limits];

    const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Rule => "rule",
            Self::Caller => "caller",
            Self::Requirements => "requirements",
            Self::Limits => "limits",
        }
    }

    /// The step that says this. `judged`: the request had got through decoding.
    fn of(denial: Denial, judged: bool) -> Self {
        match denial {
            Denial::RequestMalformed(_) | Denial::Forbidden(_) | Denial::NotConfigured
                if !judged =>
            {
                Self::Decode
            }
            Denial::RequestMalformed(_) | Denial::NotConfigured => Self::Rule,
            Denial::CredentialMissing
            | Denial::CredentialAmbiguous
            | Denial::CredentialInvalid(_) => Self::Caller,
            Denial::Forbidden(_) | Denial::EgressDenied(_) => Self::Requirements,
            Denial::RateLimited(_) | Denial::DenialsLimited | Denial::CredentialUnavailable(_) => {
                Self::Limits
            }
        }
    }
}

impl Passage {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Shadowed => "passed, being only watched",
            Self::Refused => "refused",
            Self::NotReached => "not reached",
        }
    }
}

/// How far a step let the request, given the one that objected, if any did.
pub(super) fn passage<S: Ord + Copy>(stage: S, objection: Option<S>, refused: bool) -> Passage {
    match objection {
        Some(at) if at == stage && refused => Passage::Refused,
        Some(at) if at == stage => Passage::Shadowed,
        Some(at) if at < stage && refused => Passage::NotReached,
        Some(_) | None => Passage::Passed,
    }
}

/// What each step saw of the request.
pub(super) fn steps(decision: &Decision<'_>, now: Now) -> Vec<Step> {
    let judged = decision.request.is_some();
    let objection = decision.denial().map(|denial| Stage::of(denial, judged));
    let refused = decision.outcome.is_err();
    let step = |stage| {
        let passage = passage(stage, objection, refused);
        let notes = match (passage, &decision.snapshot.gateway, &decision.request) {
            (Passage::NotReached, _, _) | (_, None, _) => Vec::new(),
            (_, Some(gateway), Some(request)) => match stage {
                Stage::Decode => decoded(request),
                Stage::Rule => rule(decision, gateway, request),
                Stage::Caller => caller::notes(decision, gateway, request, now),
                Stage::Requirements => requirements(decision),
                Stage::Limits => limits(decision),
            },
            (_, Some(_), None) => refused_to_decode(decision),
        };
        Step { stage: stage.name(), passage, notes }
    };
    Stage::ALL.map(step).into()
}

pub(super) fn decoded(request: &Request<'_>) -> Vec<String> {
    let mut notes = vec![
        format!("host {} (lower case, without port and final dot)", request.host),
        format!("path {} (decoded, without its query)", request.path.text),
    ];
    let Escapes { slash, percent } = request.path.escapes;
    for (escape, found) in [("%2F", slash), ("%25", percent)] {
        if found {
            notes.push(format!("the path holds {escape}, which a rule must allow"));
        }
    }
    notes
}

/// Why nothing could be judged, by the functions that refused it.
pub(super) fn refused_to_decode(decision: &Decision<'_>) -> Vec<String> {
    let Err(denial) = decision.outcome else { return Vec::new() };
    let facts = &decision.facts;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let why = match denial {
        Denial::Forbidden(Forbidden::Method) => {
            format!("{} is never allowed", text(facts.method))
        }
        Denial::RequestMalformed(Malformed::HostInvalid) => {
            "the host is no host name or address (with a port, perhaps)".to_owned()
        }
        Denial::RequestMalformed(Malformed::PathAmbiguous) => {
            "the path may mean one thing here and another to the upstream: it does not begin \
             with /, or holds //, a dot segment, \\, ;, #, a control or non-ASCII character, an \
             encoded backslash or dot, or an escape that is no UTF-8"
                .to_owned()
        }
        Denial::RequestMalformed(Malformed::HeaderInvalid) => {
            "there are too many headers, or one whose name reads as one that gatepost vouches \
             for (_ and . read as -)"
                .to_owned()
        }
        Denial::RequestMalformed(
            Malformed::Undecodable | Malformed::NoHttp | Malformed::HttpsRequired,
        )
        | Denial::CredentialMissing
        | Denial::CredentialInvalid(_)
        | Denial::CredentialAmbiguous
        | Denial::Forbidden(_)
        | Denial::EgressDenied(_)
        | Denial::RateLimited(_)
        | Denial::DenialsLimited
        | Denial::CredentialUnavailable(_)
        | Denial::NotConfigured => denial.title(decision.side).to_owned(),
    };
    let mut notes = Vec::new();
    if let Ok(host) = host::canonical(&text(facts.host)) {
        notes.push(format!("host {host}"));
        if let Ok(path) = path::canonical(&text(facts.path), &host) {
            notes.push(format!("path {}", path.text));
        }
    }
    notes.push(why);
    notes
}

fn rule(decision: &Decision<'_>, gateway: &Gateway, request: &Request<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let (host, path) = (&*request.host, &*request.path.text);
    if let Some(id) = request.rule {
        notes.push(format!("the route names the rule {id}: no other is tried"));
    } else {
        for selector in gateway.rules.selectors() {
            let ids: Vec<&str> = selector.rules.iter().map(|rule| &*rule.id).collect();
            let covers = selector.covers(host, path);
            let why = why(selector, host, path);
            notes.push(format!("{}: {}{why}", ids.join(", "), if covers { "" } else { "no, " }));
            if covers {
                break;
            }
        }
    }
    let method = request.method;
    notes.push(match decision.selected {
        Selected::Rule(rule) => {
            format!("the rule {} decides about {method}{}", rule.id, mode(rule))
        }
        Selected::NoMethod { rule, shadow: _ } => {
            format!("{method} is not among the methods of the rule {}{}", rule.id, mode(rule))
        }
        Selected::Nothing => {
            "no rule covers this: 403 to whoever has a valid key, 401 to others".to_owned()
        }
        Selected::Unknown => "there is no such rule, or it does not cover this request".to_owned(),
    });
    if gateway.options.require_https {
        let proto = if request.is_https() { "https" } else { "not https" };
        notes.push(format!("require_https: x-forwarded-proto is {proto}"));
    }
    let allowed = decision.selected.rule().map(|rule| rule.allow_encoded).unwrap_or_default();
    if !request.path.escapes.within(allowed) {
        notes.push("the path holds an escape that allow_encoded does not allow".to_owned());
    }
    notes
}

fn mode(rule: &Rule) -> &'static str {
    match rule.mode {
        Mode::Enforce => "",
        Mode::Shadow => ", which is in shadow mode: it only watches",
    }
}

/// Which patterns match, or which do not.
fn why(selector: &Selector, host: &str, path: &str) -> String {
    if let Some(hosts) = &selector.hosts
        && !hosts.iter().any(|glob| glob.matches_host(host))
    {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        return format!("the host matches none of {}", hosts.join(", "));
    }
    if let Some(glob) = selector.paths.iter().find(|glob| glob.matches_path(path)) {
        return format!("{glob} matches");
    }
    let paths: Vec<_> = selector.paths.iter().map(ToString::to_string).collect();
    format!("the path matches none of {}", paths.join(", "))
}

fn requirements(decision: &Decision<'_>) -> Vec<String> {
    let (rule, principal) = match (decision.selected, decision.principal) {
        (Selected::Rule(rule), Some(principal)) => (rule, principal),
        (Selected::NoMethod { rule, shadow: _ }, _) => {
            let methods: Vec<_> = rule.methods.iter().collect();
            return vec![format!("the rule {} allows {}", rule.id, methods.join(", "))];
        }
        (Selected::Nothing | Selected::Unknown, _) => return vec!["no rule allows it".to_owned()],
        (Selected::Rule(_), None) => return Vec::new(),
    };
    let met = |met: bool| if met { "met" } else { "not met" };
    let mut notes = Vec::new();
    if let Some(roles) = &rule.roles {
        let met = met(has_role(rule, principal));
        notes.push(format!(
            "{met}: a role of {}; the caller has {}",
            roles.join(", "),
            held(principal.role())
        ));
    }
    if let Some(tenants) = &rule.tenants {
        let met = met(has_tenant(rule, principal));
        let tenants = tenants.join(", ");
        notes.push(format!(
            "{met}: a tenant of {tenants}; the caller has {}",
            held(principal.tenant())
        ));
    }
    if !rule.scopes.is_empty() {
        let met = met(has_scopes(rule, principal));
        notes.push(format!("{met}: all scopes of {}", rule.scopes.join(", ")));
    }
    if notes.is_empty() {
        notes.push("the rule asks for no role, tenant or scope".to_owned());
    }
    notes
}

fn held(name: Option<&str>) -> &str {
    name.unwrap_or("none")
}

fn limits(decision: &Decision<'_>) -> Vec<String> {
    let asks = decision.selected.rule().is_none_or(|rule| rule.auth == Auth::Key);
    let Some(limits) = decision.limits() else {
        let why = if asks { "nothing is counted" } else { "auth is none: nothing is counted" };
        return vec![why.to_owned()];
    };
    let caller = decision.caller();
    vec![
        limit_notes(decision.tier(), limits),
        format!("counted for {}, here from nothing", held(caller.id())),
    ]
}

/// What a tier allows, in one line.
pub(super) fn limit_notes(tier: Option<&str>, limits: &Limits) -> String {
    let window = |window: Window| match limits.of(window) {
        Limit::Unlimited => format!("no limit in any {}", window.name()),
        Limit::AtMost(number) => format!("at most {number} in any {}", window.name()),
    };
    format!("tier {}: {}, {}", held(tier), window(Window::Minute), window(Window::Hour))
}
