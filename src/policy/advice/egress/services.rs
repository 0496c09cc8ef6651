//! Services that let more pass than was probably meant.

use crate::policy::advice::capped;
use crate::policy::destination::{Host, ServiceId};
use crate::policy::egress::{Service, ServiceMap};
use crate::policy::locate::Finding;
use crate::policy::place::Place;
use crate::policy::raw::EgressFile;
use crate::policy::rule::Mode;

/// Calls of well-known services that hand out credentials, or keys to the whole account: with one of
/// these an agent needs the proxy no more. Host, method, an example of the path.
const DANGEROUS: [(&str, &str, &str); 14] = [
    ("api.openai.com", "POST", "/v1/realtime/client_secrets"),
    ("api.openai.com", "POST", "/v1/realtime/sessions"),
    ("api.openai.com", "POST", "/v1/organization/admin_api_keys"),
    ("api.openai.com", "POST", "/v1/organization/projects/p/service_accounts"),
    ("api.anthropic.com", "POST", "/v1/organizations/api_keys/k"),
    ("api.anthropic.com", "POST", "/v1/organizations/invites"),
    ("api.github.com", "POST", "/app/installations/1/access_tokens"),
    ("api.github.com", "POST", "/repos/o/r/actions/runners/registration-token"),
    ("api.github.com", "POST", "/orgs/o/actions/runners/registration-token"),
    ("api.github.com", "POST", "/user/keys"),
    ("slack.com", "POST", "/api/oauth.v2.access"),
    ("slack.com", "POST", "/api/apps.connections.open"),
    ("oauth2.googleapis.com", "POST", "/token"),
    ("sts.amazonaws.com", "POST", "/"),
];

/// Services that show every caller what it was sent.
const ECHOES: [&str; 10] = [
    "httpbin.org",
    "eu.httpbin.org",
    "httpbin.dev",
    "httpbingo.org",
    "nghttp2.org",
    "postman-echo.com",
    "webhook.site",
    "requestbin.com",
    "beeceptor.com",
    "reqbin.com",
];

/// Headers in which credentials stand.
const CREDENTIAL_HEADERS: [&str; 6] =
    ["authorization", "x-api-key", "api-key", "x-goog-api-key", "x-auth-token", "cookie"];

pub(super) fn advise(file: &EgressFile<'_>, map: &ServiceMap, advice: &mut Vec<Finding>) {
    let place = Place::Root;
    let place = place.field("egress_services");
    let mut credentialed = vec![false; map.services.len()];
    for credential in &map.credentials {
        if let Some(slot) = credentialed.get_mut(credential.service.0) {
            *slot = true;
        }
    }
    let mut by_kind: [Vec<Finding>; 6] = Default::default();
    let [unused, shadow, open, dangerous, echo, plain] = &mut by_kind;
    let written = file.egress_services.iter().flat_map(|written| written.iter());
    let services = map.services.iter().zip(credentialed).zip((0..).map(ServiceId));
    for (((service, credentialed), id), (name, raw)) in services.zip(written) {
        let place = place.field(name);
        if !map.tiers.iter().any(|tier| tier.has(id)) {
            let message = "no tier has it: nobody can call it";
            unused.push(Finding::at_key(place.path(), message));
        }
        if service.mode == Mode::Shadow {
            shadow.push(place.field("mode").report(
                "only watches: what methods, paths and limits would deny is logged, and passes",
            ));
        }
        if credentialed && service.allowed_paths.is_none() {
            open.push(place.report(
                "has a credential and no allowed_paths: an agent may call whatever the credential \
                 may, and some calls make new credentials (write [\"/**\"] if that is meant)",
            ));
        }
        dangerous.extend(minting(service).filter(|_| credentialed).map(|(method, path)| {
            place.field("allowed_paths").report(format!(
                "let {method} {path} pass, which gives the agent a credential of its own or power \
                 over the account: name it in denied_paths",
            ))
        }));
        if credentialed && let Some(host) = echoes(service) {
            echo.push(place.field("base_url").report(format!(
                "{host} answers with what it was sent: the agent reads the credential there"
            )));
        }
        let headers = place.field("headers");
        for (header, _) in raw.headers.iter().flat_map(|headers| headers.iter()) {
            if CREDENTIAL_HEADERS.iter().any(|other| header.eq_ignore_ascii_case(other)) {
                plain.push(headers.field(header).report(
                    "stands here in plain text, and is no secret to gatepost: if it is a \
                     credential, it belongs into egress_credentials",
                ));
            }
        }
    }
    advice.extend(by_kind.into_iter().flat_map(capped));
}

/// The dangerous calls of the service that its methods and paths let pass, as its upstream gets them.
fn minting(service: &Service) -> impl Iterator<Item = (&'static str, &'static str)> {
    DANGEROUS.into_iter().filter_map(move |(host, method, path)| {
        let here = matches!(&service.destination.host, Host::Name(name) if **name == *host);
        // What the agent sends: the base path is put before it.
        let sent = path.strip_prefix(&*service.base_path).filter(|rest| rest.starts_with('/'))?;
        let passes = service.methods.contains(method) && service.allows_path(sent);
        (here && (passes || service.mode == Mode::Shadow)).then_some((method, path))
    })
}

fn echoes(service: &Service) -> Option<&str> {
    let Host::Name(name) = &service.destination.host else { return None };
    let is = |echo: &&str| {
        name.strip_suffix(*echo).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    ECHOES.iter().any(is).then_some(name)
}
