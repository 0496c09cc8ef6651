//! The steps of a decision of the egress, in order, each with what it saw.

use super::trace::{Passage, Step, decoded, limit_notes, passage, refused_to_decode};
use crate::authz::Decision;
use crate::authz::authenticate::sandbox::{Caller, Proof, presented};
use crate::authz::authenticate::within;
use crate::authz::decode::Request;
use crate::authz::decode::addressed::addressed;
use crate::clock::Now;
use crate::denial::{Denial, Outbound};
use crate::policy::egress::{Egress, Service};
use crate::policy::key::Networks;
use crate::policy::rule::Mode;

/// The steps, in the order in which `authz::egress` takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Decode,
    Caller,
    Service,
    Credential,
    Limits,
}

impl Stage {
    const ALL: [Self; 5] =
        [Self::Decode, Self::Caller, Self::Service, Self::Credential, Self::Limits];

    const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Caller => "caller",
            Self::Service => "service",
            Self::Credential => "credential",
            Self::Limits => "limits",
        }
    }

    fn of(denial: Denial, judged: bool) -> Self {
        match denial {
            Denial::RequestMalformed(_) | Denial::Forbidden(_) | Denial::NotConfigured
                if !judged =>
            {
                Self::Decode
            }
            Denial::CredentialMissing
            | Denial::CredentialAmbiguous
            | Denial::CredentialInvalid(_)
            | Denial::EgressDenied(Outbound::Identity) => Self::Caller,
            Denial::RequestMalformed(_)
            | Denial::Forbidden(_)
            | Denial::NotConfigured
            | Denial::DenialsLimited
            | Denial::EgressDenied(
                Outbound::UnknownService | Outbound::Tier | Outbound::Method | Outbound::Path,
            ) => Self::Service,
            Denial::CredentialUnavailable(_) => Self::Credential,
            Denial::RateLimited(_) => Self::Limits,
        }
    }
}

/// What each step saw of the request.
pub(super) fn steps(decision: &Decision<'_>, now: Now) -> Vec<Step> {
    let judged = decision.request.is_some();
    let objection = decision.denial().map(|denial| Stage::of(denial, judged));
    let step = |stage: Stage| {
        let passage = passage(stage, objection, decision.outcome.is_err());
        let notes = match (passage, &decision.snapshot.egress, &decision.request) {
            (Passage::NotReached, _, _) | (_, None, _) => Vec::new(),
            (_, Some(_), None) => refused_to_decode(decision),
            (_, Some(egress), Some(request)) => match stage {
                Stage::Decode => decoded(request),
                Stage::Caller => caller(decision, egress, request, now),
                Stage::Service => service(decision, egress, request),
                Stage::Credential => credential(decision),
                Stage::Limits => limits(decision),
            },
        };
        Step { stage: stage.name(), passage, notes }
    };
    Stage::ALL.map(step).into()
}

fn caller(
    decision: &Decision<'_>,
    egress: &Egress,
    request: &Request<'_>,
    now: Now,
) -> Vec<String> {
    let identity = egress.map.options.identity;
    let mut notes = Vec::new();
    if identity.token {
        let slots: Vec<_> = presented(request).iter().map(|(slot, _)| *slot).collect();
        notes.push(match slots.as_slice() {
            [] => "no sandbox token is presented".to_owned(),
            slots => format!("a sandbox token is presented in {}", slots.join(", ")),
        });
    }
    if identity.mtls {
        notes.push(match request.principal {
            Some(name) => format!("the certificate names {name}"),
            None => "no certificate was shown to Envoy".to_owned(),
        });
    }
    if identity.header {
        notes.push("X-Sandbox-ID alone is believed: for development".to_owned());
    }
    match decision.call.caller {
        Some(caller) => notes.extend(proven(caller, request, now)),
        None => notes.push("nobody is proven to call".to_owned()),
    }
    if decision.denial() == Some(Denial::EgressDenied(Outbound::Identity)) {
        notes.push("what else the request says of its identity contradicts that".to_owned());
    }
    notes
}

fn proven(caller: Caller<'_>, request: &Request<'_>, now: Now) -> Vec<String> {
    let how = match caller.proof {
        Proof::Token(token) => format!("by the token {}", token.id),
        Proof::Certificate => "by its certificate".to_owned(),
        Proof::Word => "by its own word".to_owned(),
    };
    let mut notes = vec![format!("it is the sandbox {}, {how}", caller.name)];
    let Some(sandbox) = caller.sandbox else {
        notes.push("which is not configured: it has the tier default".to_owned());
        return notes;
    };
    if !sandbox.enabled {
        notes.push("the sandbox is disabled: refused".to_owned());
    }
    if let Proof::Token(token) = caller.proof {
        if !token.enabled {
            notes.push("the token is revoked: refused".to_owned());
        }
        if within(token.validity, now).is_err() {
            notes.push("the token is not good now: refused".to_owned());
        }
    }
    if let Networks::Listed(networks) = &sandbox.networks {
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        let peer = request.peer.map_or("unknown".to_owned(), |peer| peer.to_string());
        let verdict =
            if sandbox.networks.contain(request.peer) { "within" } else { "not within, refused:" };
        notes.push(format!("the TCP peer {peer} is {verdict} {}", networks.join(", ")));
    }
    notes
}

fn service(decision: &Decision<'_>, egress: &Egress, request: &Request<'_>) -> Vec<String> {
    let options = &egress.map.options;
    let Some(address) = addressed(request, &options.proxy_hosts) else {
        return vec![format!("{} is a proxy host, and the path names no service", request.host)];
    };
    let mut notes =
        vec![format!("addressed to {}, its own path being {}", address.service, address.path)];
    let Some(service) = decision.call.found.service else {
        notes.push("no service has this name".to_owned());
        return notes;
    };
    let Some(tier) = decision.call.found.tier else {
        notes.push("the caller has no tier: there is no egress policy `default`".to_owned());
        return notes;
    };
    let has = egress.map.service(&service.name).is_some_and(|(id, _)| tier.has(id));
    let verdict = if has { "has" } else { "does not have" };
    notes.push(format!("the tier {} {verdict} the service {}", tier.name, service.name));
    if has {
        notes.extend(allowed(service, request.method, address.path));
    }
    notes
}

fn allowed(service: &Service, method: &str, path: &str) -> Vec<String> {
    let met = |met: bool| if met { "allowed" } else { "not allowed" };
    let methods: Vec<_> = service.methods.iter().collect();
    let matching = |globs: &[crate::policy::glob::Glob]| {
        globs.iter().find(|glob| glob.matches_path(path)).map(ToString::to_string)
    };
    let why = match (matching(&service.denied_paths), &service.allowed_paths) {
        (Some(glob), _) => format!("denied_paths has {glob}"),
        (None, None) => "every path is".to_owned(),
        (None, Some(globs)) => matching(globs)
            .map_or("no pattern matches".to_owned(), |glob| format!("{glob} matches")),
    };
    let mut notes = vec![
        format!("{method} is {} ({})", met(service.methods.contains(method)), methods.join(", ")),
        format!("{path} is {}: {why}", met(service.allows_path(path))),
    ];
    if service.mode == Mode::Shadow {
        notes.push("the service is in shadow mode: method, path and limits only watch".to_owned());
    }
    notes
}

fn credential(decision: &Decision<'_>) -> Vec<String> {
    let found = &decision.call.found;
    let mut notes = Vec::new();
    if let Some(target) = found.target {
        notes.push(format!("goes to {} by the cluster {}", target.authority, target.cluster));
    }
    notes.push(match found.credential {
        Some(name) => format!("with the credential {name}, whose value is not looked up here"),
        None => "the service has no credential: nothing is injected".to_owned(),
    });
    notes
}

fn limits(decision: &Decision<'_>) -> Vec<String> {
    let Some(limits) = decision.limits() else { return vec!["nothing is counted".to_owned()] };
    let who = match decision.call.caller.map(|caller| (caller.name, caller.sandbox.is_some())) {
        Some((name, true)) => format!("counted for {name} and this service, here from nothing"),
        Some((_, false)) | None => {
            "counted for the peer, with all unknown sandboxes there".to_owned()
        }
    };
    vec![limit_notes(decision.tier(), limits), who]
}
